"""Where training records come from: a folder of prepared sources, or plain JSONL files.

A JSONL row: ``{"query": str, "context": str, "spans": [[start, end, "evidence"], ...]}``; optional ``"answers": [str]``,
``"source": str``, ``"doc": str``. Offsets are characters, end exclusive; the tag ``answer`` marks exact words, ``evidence``
whole sentences or passages, and is meant where no tag is named. No spans: the context does not answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError
from ..instruction import check_text
from . import splits
from .splits import Record

T = TypeVar("T")


def read(paths: Sequence[str | Path], *, validation_share: float = 0.05) -> tuple[list[Record], list[Record]]:
    """Training and validation records of all paths: JSONL files, or folders as :mod:`.splits` describes them.

    A JSONL file is split by document (``doc``, else the context) and a hash, so the split never changes.

    Raises:
        DataError: a path or a row that is not as documented, or no record at all.
    """
    train: list[Record] = []
    valid: list[Record] = []
    for path in map(Path, paths):
        if (path / "train").is_dir():
            train += splits.training_records(path)
            valid += (r for r in splits.validation_records(path) if r["source"] not in splits.HELD_OUT)
        elif path.is_file():
            for record in read_jsonl(path):
                measured = splits.is_validation(record["source"], record["doc"], share=validation_share)
                (valid if measured else train).append(record)
        else:
            raise DataError(f"{path} is neither a JSONL file nor a folder with train/*.json.xz")
    if not train:
        raise DataError(f"no training record in {', '.join(map(str, paths))}; add data, or lower validation_share")
    return train, valid


def read_jsonl(path: Path) -> Iterator[Record]:
    """The rows of a JSONL file, checked.

    Raises:
        DataError: with the line's number and the field.
    """
    return parse_jsonl(path, lambda row, _: record(row, path.stem), "cprs train")


def parse_jsonl(path: Path, parse: Callable[[dict[str, Any], int], T], command: str) -> Iterator[T]:
    """What ``parse`` makes of each row and its line number; ``command`` is the one whose help describes the format.

    Raises:
        DataError: the file cannot be read, or a row is not JSON or not what ``parse`` takes; with the line's number.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _parsed(path, line, number, parse, command)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _parsed(path: Path, line: str, number: int, parse: Callable[[dict[str, Any], int], T], command: str) -> T:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"a row is an object of fields, not {line.strip()[:40]}")
        return parse(row, number)
    except ValueError as error:
        raise DataError(f"{path}, line {number}: {error}; see `{command} --help` for the format") from error


def record(row: dict[str, Any], source: str) -> Record:
    """A row's fields, checked.

    Raises:
        ValueError: a field is missing or not as documented; the message begins with its name.
    """
    for field in ("query", "context"):
        check_text(field, row.get(field))
        if not row[field].strip():
            raise ValueError(f"{field} must be a non-empty string")
    answers, spans = ([] if row.get(field) is None else row[field] for field in ("answers", "spans"))
    if not isinstance(answers, list) or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise ValueError(f"answers must be a list of non-empty strings, not {answers!r}")
    if not isinstance(spans, list):
        raise ValueError(f"spans must be a list, not {spans!r}")
    return Record(
        source=str(row.get("source", source)),
        query=row["query"],
        context=row["context"],
        spans=[_span(span, len(row["context"])) for span in spans],
        answers=answers,
        doc=str(row.get("doc") or row["context"]),
    )


def _span(span: object, length: int) -> tuple[int, int, str]:
    match span:
        case [int(start), int(end)]:
            tag = "evidence"
        case [int(start), int(end), str(tag)]:
            pass
        case _:
            raise ValueError(f"spans must be [start, end] or [start, end, tag] with whole numbers, not {span!r}")
    if not 0 <= start < end <= length:
        raise ValueError(f"spans: {start}..{end} is not inside the context of {length} characters")
    return start, end, tag
