"""Files cut into blocks: whatever the block size, the rows are those of the files, once, with their numbers."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cprs_core import InputError
from cprs_core.distributed.sources import open_source

from .helpers import texts, write

SAFE = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(source, files, size, seed=0):
    """All rows of the blocks, read in any order, sorted as in the files; and the bad ones."""
    blocks = list(source.cut(files, size))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert blocks == list(source.cut(files, size))
    rows, bad = [], []
    for block in random.Random(seed).sample(blocks, len(blocks)):
        table, found = source.read(block)
        rows += table.to_pylist()
        bad += found
    return sorted(rows, key=lambda row: (row["cprs_file"], row["cprs_row"])), sorted(bad), blocks


@SAFE
@given(data=st.data())
def test_json_lines_are_those_of_the_file(batch, tmp_path, data):
    line = st.one_of(
        st.builds(lambda text, more: json.dumps({"text": text, "k": more}), st.text(max_size=20), st.integers()),
        st.sampled_from(
            ["", "  ", '{"text": 5}', "[1]", '{"other": 1}', '{"text": "a"}\r', "no json", '{"text": "\\ud800"}']
        ),
    )
    lines = ['{"text": "first"}', *data.draw(st.lists(line, max_size=30))]
    content = "\n".join(lines) + data.draw(st.sampled_from(["", "\n"]))
    file = tmp_path / "a.jsonl"
    file.write_bytes(data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + content.encode())
    _, source, files = open_source([file], batch())
    rows, bad, blocks = rows_of(source, files, data.draw(st.integers(1, 200)))
    expected, refused = [], []
    for number, text in enumerate(lines):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
            fields["text"].encode()
            expected.append((number, fields.pop("text"), fields))
        except (ValueError, TypeError, KeyError, AttributeError):
            refused.append(number)
    assert [(row["cprs_row"], row["text"], json.loads(row["cprs_fields"])) for row in rows] == expected
    assert [row.row for row in bad] == refused
    assert sum(block.rows for block in blocks) == len(content.removesuffix("\n").split("\n"))


@SAFE
@given(data=st.data())
def test_rows_of_parquet_are_those_of_the_file(batch, tmp_path, data):
    count, group = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 25))
    rows = [{"text": text, "n": i, "list": [i, {"k": "v"}["k"]][:1]} for i, text in enumerate(texts(count))]
    table = pa.Table.from_pylist(rows, pa.schema({"text": pa.string(), "n": pa.int64(), "list": pa.list_(pa.int64())}))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=group)
    _, source, files = open_source([tmp_path], batch())
    found, bad, _ = rows_of(source, files, data.draw(st.integers(1, 5000)), data.draw(st.integers(0, 9)))
    assert not bad and [row["cprs_row"] for row in found] == list(range(count))
    assert [{name: row[name] for name in ("text", "n", "list")} for row in found] == rows


def test_many_rows_of_one_row_group_are_read_forward_once(batch, tmp_path, monkeypatch):
    rows = texts(5000)
    pq.write_table(pa.table({"text": pa.array(rows).dictionary_encode()}), tmp_path / "a.parquet")
    _, source, files = open_source([tmp_path], batch())
    opened = []
    plain = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda *args, **options: opened.append(args) or plain(*args, **options))
    blocks = list(source.cut(files, 1000))
    found = [text for block in blocks for text in source.read(block)[0].column("text").to_pylist()]
    assert found == rows and len(blocks) > 10 and len(opened) == 1


@SAFE
@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=12), size=st.integers(1, 120))
def test_text_files_are_grouped(batch, tmp_path_factory, sizes, size):
    folder = tmp_path_factory.mktemp("corpus")
    for i, length in enumerate(sizes):
        (folder / f"{i:02d}.txt").write_bytes(b"x" * length)
    _, source, files = open_source([folder], batch())
    rows, _, blocks = rows_of(source, files, size)
    assert [(row["cprs_file"], len(row["text"]), row["cprs_row"]) for row in rows] == [
        (str(folder / f"{i:02d}.txt"), length, 0) for i, length in enumerate(sizes)
    ]
    for block in blocks:
        assert len(block.files) == 1 or sum((folder / file).stat().st_size for file in block.files) <= size


def test_text_files_that_are_no_text(batch, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.md").write_bytes("\ufeff\r\nüber".encode())
    (tmp_path / "c.txt").write_bytes(b"x" * 41)
    _, source, files = open_source([tmp_path], batch(max_chars=10))
    (block,) = source.cut(files, 1000)
    table, bad = source.read(block)
    assert table.column("text").to_pylist() == ["\ufeff\r\nüber"]  # offsets are the file's
    assert [row.reason.partition(",")[0] for row in bad] == [
        "InputError: a.txt is not UTF-8 (byte 3); convert it first",
        "LimitError: the file has 41 bytes",
    ]
    (tmp_path / "b.md").unlink()
    assert "cannot read" in source.read(block)[1][1].reason


def test_files_of_folders(batch, tmp_path):
    for name in ("b/x.txt", "a.md", "b/.hidden.txt", "_tmp/c.txt", "b/y.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    kind, _, files = open_source([tmp_path, tmp_path / "a.md"], batch())
    assert kind == "text" and files == [tmp_path / "a.md", tmp_path / "b" / "x.txt"]
    kind, _, files = open_source([tmp_path / "b" / "y.csv"], batch(), "text")
    assert kind == "text" and [file.name for file in files] == ["y.csv"]
    write(tmp_path / "b", "jsonl", ["x"])
    kind, _, files = open_source([tmp_path], batch(), "jsonl")
    assert kind == "jsonl" and [file.name for file in files] == ["a.jsonl", "b.jsonl"]


def test_inputs_that_cannot_be_used(batch, tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        open_source([tmp_path / "none"], batch())
    with pytest.raises(InputError, match=r"no file to compress.*\.parquet"):
        open_source([tmp_path], batch())
    with pytest.raises(InputError, match="unknown format"):
        open_source([tmp_path], batch(), "csv")
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(InputError, match="does not say what it holds"):
        open_source([tmp_path / "a.csv"], batch())
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"several formats \(jsonl, text\)"):
        open_source([tmp_path], batch())


@pytest.mark.parametrize(
    ("name", "make", "options", "message"),
    [
        ("a.parquet", lambda f: f.write_bytes(b"no parquet"), {}, "cannot read"),
        ("a.parquet", lambda f: pq.write_table(pa.table({"body": ["a"]}), f), {}, "no column 'text'; it has 'body'"),
        ("a.parquet", lambda f: pq.write_table(pa.table({"text": [1]}), f), {}, "no texts but int64"),
        ("a.parquet", lambda f: pq.write_table(pa.table({"text": ["a"], "cprs_row": [1]}), f), {}, "'cprs_row' already"),
        ("a.jsonl", lambda f: f.write_text('{"body": "a"}\n'), {}, "no column 'text'; it has 'body'"),
        ("a.jsonl", lambda f: f.write_text("a,b\n1,2\n"), {}, "the line is not JSON"),
        ("a.jsonl", lambda f: f.write_text("[" * 100_000), {}, "the line is not JSON"),
        ("a.jsonl", lambda f: f.write_text('{"text": "a"}'), {"query": None, "query_column": "q"}, "no column 'q'"),
        ("a.txt", lambda f: f.write_text("a"), {"query": None, "query_column": "q"}, "text files have no columns"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_anything_runs(batch, tmp_path, name, make, options, message):
    make(tmp_path / name)
    _, source, files = open_source([tmp_path], batch(**options))
    with pytest.raises(InputError, match=message):
        list(source.cut(files, 1000))


def test_parquet_files_with_different_columns(batch, tmp_path):
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.array(["a"], pa.large_string()), "n": [1]}), tmp_path / "b.parquet")
    _, source, files = open_source([tmp_path], batch())
    assert len(list(source.cut(files, 1000))) == 2  # the text itself may be of any kind
    pq.write_table(pa.table({"text": ["a"], "m": [1]}), tmp_path / "c.parquet")
    _, source, files = open_source([tmp_path], batch())
    with pytest.raises(InputError, match="other columns"):
        list(source.cut(files, 1000))
