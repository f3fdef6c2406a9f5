"""JSONL files: what is read, how it is split, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cprs_core.errors import DataError
from cprs_core.training import data


def test_rows_are_read_and_split_by_document(rows: Path) -> None:
    train, valid = data.read([rows], validation_share=0.2)
    assert len(train) + len(valid) == 200 and 15 < len(valid) < 70
    assert not {record["doc"] for record in train} & {record["doc"] for record in valid}
    for record in train:
        [(start, end, tag)] = record["spans"]
        assert tag == "evidence" and record["context"][start:end].endswith(".")
    assert data.read([rows], validation_share=0.2) == (train, valid)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "line 2"),
        ({"context": "x"}, "query"),
        ({"query": "", "context": "x"}, "non-empty"),
        ({"query": "q", "context": 3}, "non-empty"),
        ({"query": "q", "context": "abc", "spans": [[0, 9, "evidence"]]}, "0..9"),
        ({"query": "q", "context": "abc", "spans": [[2, 2, "evidence"]]}, "2..2"),
        ({"query": "q", "context": "abc", "spans": [[0]]}, "line 2"),
        ([1], "line 2"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: object, reason: str) -> None:
    good = json.dumps({"query": "q", "context": "abc", "spans": []})
    path = tmp_path / "x.jsonl"
    path.write_text(f"{good}\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(DataError, match=reason):
        list(data.read_jsonl(path))


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither"):
        data.read([tmp_path / "missing"])
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no training record"):
        data.read([tmp_path / "empty.jsonl"])
