"""What a block becomes on disk, whole or not at all: its rows in ``compressed/``, those that cannot be compressed in
``bad/``."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CprsError, InputError
from . import columns
from .sources.block import Bad

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("parquet", "jsonl")
COMPRESSED, BAD = "compressed", "bad"  # folders


def write_rows(out: Path, number: int, table: pa.Table, format: str) -> list[Bad]:
    """Writes the rows of a block; returns those that the format cannot hold."""
    made, bad = _parquet(table) if format == "parquet" else _lines(table)
    _publish(out / COMPRESSED / f"part-{number:08d}.{format}", made if len(table) > len(bad) else None)
    return bad


def write_bad(out: Path, number: int, rows: Sequence[Bad]) -> None:
    """Writes the rows of a block that could not be compressed."""
    lines = [
        _line({columns.FILE: bad.file, columns.ROW: bad.row, columns.ERROR: bad.reason})
        for bad in sorted(rows, key=lambda bad: (bad.file, bad.row))
    ]
    _publish(out / BAD / f"part-{number:08d}.jsonl", b"".join(lines) or None)


def _publish(path: Path, content: bytes | None) -> None:
    """Puts a file in its place at once, instead of the one that an attempt before may have left there. None = no file."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CprsError(
            f"cannot write {path}: {error.strerror or error}; free or change it, then go on with --resume"
        ) from error


def _parquet(table: pa.Table) -> tuple[bytes, list[Bad]]:
    import pyarrow.parquet as pq

    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue(), []


def _lines(table: pa.Table) -> tuple[bytes, list[Bad]]:
    try:
        return b"".join(map(_line, table.to_pylist())), []
    except UnicodeDecodeError:
        lines, bad = [], []
    for i in range(len(table)):
        try:
            lines.append(_line(table.slice(i, 1).to_pylist()[0]))
        except UnicodeDecodeError as error:
            file, row = (table.column(name)[i].as_py() for name in columns.IDENTITY)
            bad.append(Bad.of(file, row, InputError(f"a column is not UTF-8 ({error}), which JSON has to be")))
    return b"".join(lines), bad


def _line(row: dict[str, Any]) -> bytes:
    fields = json.loads(row.pop(columns.FIELDS, "{}"))
    whole = _plain({**fields, **row})
    try:
        return json.dumps(whole, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a UTF-16 pair, which JSON may have as an escape
        return json.dumps(whole).encode() + b"\n"


def _plain(value: Any) -> Any:
    """A value of Arrow as JSON has it: bytes in base64, what is no number null, dates and the like in words."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
