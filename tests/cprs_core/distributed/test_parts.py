"""Parts of an output: whole or not at all, and readable by anything."""

import datetime
import json
import os
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cprs_core import CprsError
from cprs_core.distributed import parts
from cprs_core.distributed.sources.block import Bad


def table(**columns):
    return pa.table({"cprs_file": ["f"] * 2, "cprs_row": [0, 1], **columns})


def strict(line):
    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(line, parse_constant=refuse)


def test_json_lines_hold_what_arrow_holds(tmp_path):
    values = {
        "when": [datetime.datetime(2031, 5, 3), None],
        "price": [Decimal("1.50"), Decimal("2.00")],
        "raw": [b"\xff", b""],
        "real": [float("nan"), 0.5],
        "nested": [[{"x": float("inf"), "y": [b"a"]}], []],
        "text": ["中文 😀\u2028", 'a "quote"'],
    }
    assert parts.write_rows(tmp_path, 3, table(**values), "jsonl") == []
    first, second, end = (tmp_path / "compressed" / "part-00000003.jsonl").read_bytes().split(b"\n")
    assert end == b"" and "中文 😀".encode() in first
    row = strict(first)
    assert row["when"] == "2031-05-03 00:00:00" and row["price"] == "1.50" and row["raw"] == "/w=="
    assert row["real"] is None and row["nested"] == [{"x": None, "y": ["YQ=="]}] and row["text"] == values["text"][0]
    rest = {"price": "2.00", "raw": "", "real": 0.5, "nested": [], "text": 'a "quote"'}
    assert strict(second) == {"cprs_file": "f", "cprs_row": 1, "when": None, **rest}


def test_fields_of_a_json_line_come_back_as_they_were(tmp_path):
    fields = ['{"id": 12345678901234567890123, "x": "\\ud800", "y": 1e3}', "{}"]
    parts.write_rows(tmp_path, 0, table(cprs_fields=fields), "jsonl")
    first, second, _ = (tmp_path / "compressed" / "part-00000000.jsonl").read_bytes().split(b"\n")
    assert strict(first) == {"cprs_file": "f", "cprs_row": 0, **json.loads(fields[0])}
    assert strict(second) == {"cprs_file": "f", "cprs_row": 1}
    parts.write_rows(tmp_path, 0, table(cprs_fields=fields), "parquet")
    assert pq.read_table(tmp_path / "compressed" / "part-00000000.parquet").column("cprs_fields").to_pylist() == fields


def test_what_json_cannot_hold_is_a_bad_row(tmp_path):
    broken = pa.array([b"caf\xe9", b"fine"]).cast(pa.string(), safe=False)
    (bad,) = parts.write_rows(tmp_path, 0, table(note=broken), "jsonl")
    assert (bad.file, bad.row) == ("f", 0) and "not UTF-8" in bad.reason
    assert strict((tmp_path / "compressed" / "part-00000000.jsonl").read_bytes())["note"] == "fine"
    assert parts.write_rows(tmp_path, 0, table(note=broken), "parquet") == []


@pytest.mark.parametrize("format", parts.FORMATS)
def test_an_attempt_takes_the_place_of_the_one_before(tmp_path, format):
    parts.write_rows(tmp_path, 0, table(), format)
    parts.write_bad(tmp_path, 0, [Bad("f", 2, "InputError: no")])
    assert strict((tmp_path / "bad" / "part-00000000.jsonl").read_bytes())["cprs_row"] == 2
    parts.write_rows(tmp_path, 0, table().slice(0, 0), format)
    parts.write_bad(tmp_path, 0, [])
    assert list((tmp_path / "compressed").iterdir()) == list((tmp_path / "bad").iterdir()) == []


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CprsError, match=r"part-00000000\.jsonl: No space left.*--resume"):
        parts.write_rows(tmp_path, 0, table(), "jsonl")
    assert list((tmp_path / "compressed").iterdir()) == []
