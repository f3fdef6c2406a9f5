"""JSON lines: each line is a row, its number the number of the line, from 0. Blank lines are no rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CprsError, InputError
from ...instruction import check_text
from .. import columns
from ..tables import check_columns
from .block import Bad, Block, Source, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_BOM = b"\xef\xbb\xbf"
_LOOKED_AT = 100  # lines, in which the columns must show


class JsonLines(Source):
    endings = (".jsonl", ".ndjson")

    def cut(self, files: Sequence[Path], size: int) -> Iterator[Block]:
        """At the first line end behind every ``size`` bytes."""
        self._check(files[0])
        number = 0
        for file in files:
            start = row = 0
            try:
                with file.open("rb") as lines:
                    while part := lines.read(size):
                        part += b"" if part.endswith(b"\n") else lines.readline()
                        rows = part.count(b"\n") + (not part.endswith(b"\n"))
                        yield Block(number, [str(file)], row, rows, start, start + len(part))
                        number, row, start = number + 1, row + rows, start + len(part)
            except OSError as error:
                raise unreadable(file, error) from error

    def read(self, block: Block) -> tuple[pa.Table, list[Bad]]:
        import pyarrow as pa

        (file,) = block.files
        try:
            with open(file, "rb") as content:
                content.seek(block.start)
                lines = content.read(block.stop - block.start).removeprefix(b"" if block.start else _BOM).split(b"\n")
        except OSError as error:
            raise unreadable(file, error) from error
        needed = self.batch.needed
        rows: list[list[Any]] = []
        bad = []
        for number, line in enumerate(lines, block.row):
            if not line.strip():
                continue
            try:
                fields = self._fields(line)
                values = [fields.pop(name) for name in needed]
                rows.append([file, number, *values, json.dumps(fields)])
            except CprsError as error:
                bad.append(Bad.of(file, number, error))
        names = [*columns.IDENTITY, *needed, columns.FIELDS]
        kinds = [pa.int64() if name == columns.ROW else pa.string() for name in names]
        found = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
        return pa.table(dict(zip(names, found, strict=True))), bad

    def _fields(self, line: bytes) -> dict[str, Any]:
        """The fields of a line, those that are read being texts."""
        try:
            fields = json.loads(line.decode())
        except UnicodeDecodeError as error:
            raise InputError(f"the line is not UTF-8 (byte {error.start})") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"the line is not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise InputError(f"the line is no JSON object but {type(fields).__name__}")
        reserved = [*columns.IDENTITY, *columns.RESULTS, columns.FIELDS]
        check_columns("the line", list(fields), self.batch.needed, reserved)
        for name in self.batch.needed:
            check_text(name, fields[name])
        return fields

    def _check(self, file: Path) -> None:
        """Refuses a file if none of its first lines has the columns."""
        try:
            with file.open("rb") as lines:
                first = [line for line in islice(lines, _LOOKED_AT) if line.strip()]
        except OSError as error:
            raise unreadable(file, error) from error
        problem: CprsError | None = None
        for line in first:
            try:
                self._fields(line.removeprefix(_BOM))
                return
            except CprsError as error:
                problem = problem or error
        if problem is not None:
            raise InputError(f"none of the first {len(first)} lines of {file} can be used; the first: {problem}")
