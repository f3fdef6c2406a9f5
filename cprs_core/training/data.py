"""Where training records come from: a folder of prepared sources, or plain JSONL files.

A JSONL row: ``{"query": str, "context": str, "spans": [[start, end, "evidence"], ...]}``; optional ``"answers": [str]``,
``"source": str``, ``"doc": str``. Offsets are characters, end exclusive; the tag ``answer`` marks exact words, ``evidence``
whole sentences or passages. No spans: the context does not answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from . import splits
from .splits import Record


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
        DataError: with the line's number.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield _record(json.loads(line), path.stem)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
                    raise DataError(f"{path}, line {number}: {reason}; see `cprs train --help` for the format") from error


def _record(row: dict[str, Any], source: str) -> Record:
    query, context = row["query"], row["context"]
    if not isinstance(query, str) or not isinstance(context, str) or not query.strip() or not context.strip():
        raise ValueError("query and context must be non-empty strings")
    spans = [(int(start), int(end), str(tag)) for start, end, tag in row.get("spans", [])]
    for start, end, _ in spans:
        if not 0 <= start < end <= len(context):
            raise ValueError(f"span {start}..{end} is not inside the context of {len(context)} characters")
    return Record(
        source=str(row.get("source", source)),
        query=query,
        context=context,
        spans=spans,
        answers=[str(answer) for answer in row.get("answers", [])],
        doc=str(row.get("doc") or context),
    )
