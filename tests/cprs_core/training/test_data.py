"""JSONL files: what is read, how it is split, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
        ("{", "Expecting"),
        ([1], "a row is an object"),
        ({"context": "x"}, "query must be a string"),
        ({"query": "", "context": "x"}, "query must be a non-empty string"),
        ({"query": "q", "context": 3}, "context must be a string"),
        ({"query": "q", "context": "\ud800"}, "context holds a lone surrogate"),
        ({"query": "q", "context": "abc", "answers": "abc"}, "answers must be a list"),
        ({"query": "q", "context": "abc", "answers": ["abc", " "]}, "answers must be a list of non-empty strings"),
        ({"query": "q", "context": "abc", "spans": "0-3"}, "spans must be a list"),
        ({"query": "q", "context": "abc", "spans": [[0, 9, "evidence"]]}, r"spans: 0\.\.9"),
        ({"query": "q", "context": "abc", "spans": [[-1, 2]]}, r"spans: -1\.\.2"),
        ({"query": "q", "context": "abc", "spans": [[2, 2, "evidence"]]}, r"spans: 2\.\.2"),
        ({"query": "q", "context": "abc", "spans": [[0]]}, "spans must be"),
        ({"query": "q", "context": "abc", "spans": [[0, 1.0]]}, "spans must be"),
        ({"query": "q", "context": "abc", "spans": [[0, 1, 2]]}, "spans must be"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: object, reason: str) -> None:
    good = json.dumps({"query": "q", "context": "abc", "spans": []})
    path = tmp_path / "x.jsonl"
    path.write_text(f"{good}\n\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(DataError, match=rf"x\.jsonl, line 3: {reason}.*; see `cprs train --help`"):
        list(data.read_jsonl(path))


def test_fields_that_need_not_be_there(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"query": "q", "context": "abc"},
        {"query": "q", "context": "abc", "spans": None, "answers": None, "doc": ""},
        {"query": "q", "context": "a\u2028c", "spans": [[0, 1], [1, 3, "answer"]], "answers": ["a"]},
    ]
    rows[-1] |= {"source": "s", "doc": 7}
    path = tmp_path / "x.jsonl"
    path.write_text("\ufeff" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    bare = {"source": "x", "query": "q", "context": "abc", "spans": [], "answers": [], "doc": "abc"}
    spans = [(0, 1, "evidence"), (1, 3, "answer")]
    full = {"source": "s", "query": "q", "context": "a\u2028c", "spans": spans, "answers": ["a"], "doc": "7"}
    assert list(data.read_jsonl(path)) == [bare, bare, full]


def test_rows_are_parsed_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n \n{"a": 2}\n{"b": 3}\n')
    parsed = data.parse_jsonl(path, lambda row, line: (line, row["a"]) if "a" in row else int("x"), "cprs eval")
    assert [next(parsed), next(parsed)] == [(1, 1), (3, 2)]
    with pytest.raises(DataError, match=r"line 4: invalid literal .*; see `cprs eval --help` for the format"):
        next(parsed)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl cannot be read"):
        list(data.read_jsonl(tmp_path / "missing.jsonl"))
    (tmp_path / "x.jsonl").write_bytes(b'{"query": "\xff"}')
    with pytest.raises(DataError, match=r"x\.jsonl cannot be read as UTF-8"):
        list(data.read_jsonl(tmp_path / "x.jsonl"))


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither"):
        data.read([tmp_path / "missing"])
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no training record"):
        data.read([tmp_path / "empty.jsonl"])
