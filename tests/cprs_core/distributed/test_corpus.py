"""Runs over a corpus, in this process: every row once, whatever the formats, and however often a run is stopped."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cprs_core import CprsError, InputError, ModelLoadError, cli
from cprs_core.distributed import corpus
from cprs_core.distributed.corpus import compress_corpus
from cprs_core.distributed.worker import BlockWorker

from .helpers import MODEL, QUERY, read, same, texts, write


def counts(summary):
    return summary.rows, summary.bad, summary.input_tokens, summary.kept_tokens, summary.blocks


@pytest.mark.parametrize(
    ("source", "target"),
    [("parquet", None), ("parquet", "jsonl"), ("jsonl", None), ("jsonl", "parquet"), ("text", None), ("text", "parquet")],
)
def test_rows_are_those_of_the_plain_compressor(here, batch, compressor, tmp_path, source, target):
    rows = texts(30)
    files = write(tmp_path / "in", source, rows)
    out = tmp_path / "out"
    summary = compress_corpus([tmp_path / "in"], out, batch(), output_format=target, block_bytes=700)
    found = read(out)
    ending = target or ("jsonl" if source == "text" else source)
    assert {part.suffix for part in (out / "compressed").iterdir()} == {f".{ending}"}
    expected = compressor.compress_batch([(text, QUERY) for text in rows], ratio=0.4)
    half = len(rows) // 2
    places = [(str(files[i // half]), i % half) for i in range(30)] if source != "text" else [(str(f), 0) for f in files]
    assert [(row["cprs_file"], row["cprs_row"]) for row in found] == places
    for i, (row, result) in enumerate(zip(found, expected, strict=True)):
        same(row, result)
        assert "text" not in row and "cprs_error" not in row
        if source != "text":
            fields = json.loads(row["cprs_fields"]) if (source, target) == ("jsonl", "parquet") else row
            assert (fields["id"], fields["n"]) == (f"{'ab'[i // half]}{i % half}", i % half)
    tokens = sum(r.input_tokens for r in expected), sum(r.kept_tokens for r in expected)
    assert counts(summary) == (30, 0, *tokens, len(here)) and len(here) > 3
    assert json.loads((out / "summary.json").read_text())["kept_tokens"] == tokens[1]
    assert not (out / "bad").exists() or not list((out / "bad").iterdir())


def test_a_stopped_run_goes_on(here, batch, tmp_path):
    write(tmp_path, "jsonl", [*texts(20), 5, None, *texts(20)])
    whole = compress_corpus([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "whole", batch(), block_bytes=500)
    here.clear()

    def stop(done, total):
        assert total == 42
        if done > 15:
            raise KeyboardInterrupt

    inputs, out = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compress_corpus(inputs, out, batch(), block_bytes=500, progress=stop, resume=out.exists())
    before = {part: part.stat().st_mtime_ns for part in (out / "compressed").iterdir()}
    last = out / "compressed" / f"part-{here[-1]:08d}.jsonl"
    (out / "compressed" / f".{last.name}.abc").write_text("a worker died while it wrote this")
    with (out / "blocks.jsonl").open("a") as log:
        log.write('{"block": 1')  # and the driver while it wrote that
    steps = []
    done = compress_corpus(
        inputs, out, batch(), block_bytes=500, resume=True, progress=lambda done, total: steps.append(done)
    )
    assert sorted(here) == list(range(whole.blocks))  # each block once
    assert {part: part.stat().st_mtime_ns for part in before} == before
    assert read(out) == read(tmp_path / "whole") and read(out, "bad") == read(tmp_path / "whole", "bad")
    assert counts(done) == counts(whole) and done.done_before == len(before) and steps[-1] == 42 and steps[0] > 15
    assert [row["cprs_row"] for row in read(out, "bad")] == [20, 0]
    figures = (out / "summary.json").read_bytes()
    again = compress_corpus(inputs, out, batch(), block_bytes=500, resume=True)  # there is nothing left to do
    assert counts(again) == counts(whole) and again.workers == 0 and len(here) == whole.blocks
    assert (out / "summary.json").read_bytes() == figures


def test_a_block_whose_line_was_not_written_is_done_again_in_its_place(here, batch, tmp_path):
    write(tmp_path, "jsonl", texts(20))
    out = tmp_path / "out"
    compress_corpus([tmp_path / "a.jsonl"], out, batch(), block_bytes=300)
    rows = read(out)
    lines = (out / "blocks.jsonl").read_text().splitlines(keepends=True)
    (out / "blocks.jsonl").write_text("".join(lines[:1]))
    (out / "bad").mkdir(exist_ok=True)
    (out / "bad" / "part-00000001.jsonl").write_text('{"cprs_file": "?", "cprs_row": 0}\n')  # of an attempt that ran out
    compress_corpus([tmp_path / "a.jsonl"], out, batch(), block_bytes=300, resume=True)
    assert read(out) == rows and read(out, "bad") == []


def test_what_a_run_was_started_with_must_stay(here, batch, tmp_path):
    (file, _) = write(tmp_path, "jsonl", texts(8))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="no run in"):
        compress_corpus([file], out, batch(), resume=True)
    compress_corpus([file], out, batch())
    with pytest.raises(InputError, match="--resume"):
        compress_corpus([file], out, batch())
    with pytest.raises(InputError, match=r"query was .* and is now"):
        compress_corpus([file], out, batch(query="Who?"), resume=True)
    with pytest.raises(InputError, match="block_bytes was 131072 and is now 5"):
        compress_corpus([file], out, batch(), block_bytes=5, resume=True)
    os.utime(file, (1, 1))
    with pytest.raises(InputError, match="inputs was"):
        compress_corpus([file], out, batch(), resume=True)


def test_bad_rows_are_told_apart(here, batch, tmp_path):
    rows = [{"text": b"Ann owns it."}, {"text": b"\xff"}, {"text": None}, {"text": b"It rained. " * 30}, {"text": b""}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    summary = compress_corpus([tmp_path / "a.parquet"], tmp_path / "out", batch(max_chars=100))
    found, bad = read(tmp_path / "out"), read(tmp_path / "out", "bad")
    assert (summary.rows, summary.bad) == (5, 3)
    assert [row["cprs_row"] for row in found] == [0, 4] and [row["cprs_row"] for row in bad] == [1, 2, 3]
    assert [row["cprs_error"].partition(":")[0] for row in bad] == ["InputError", "InputError", "LimitError"]
    assert {row["cprs_file"] for row in bad} == {str(tmp_path / "a.parquet")}


def test_a_corpus_of_bad_rows_is_an_error_that_quotes_the_first(here, batch, tmp_path):
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for file in files:
        file.write_bytes(b"caf\xe9")
    with pytest.raises(CprsError, match=r"none of the 2 rows.*not UTF-8 \(byte 3\)"):
        compress_corpus(files, tmp_path / "out", batch())
    assert len(read(tmp_path / "out", "bad")) == 2


def test_a_corpus_without_rows(here, batch, tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    summary = compress_corpus([tmp_path / "a.jsonl"], tmp_path / "out", batch())
    assert counts(summary) == (0, 0, 0, 0, 0) and here == []
    assert (tmp_path / "out" / "summary.json").exists()


def test_an_output_inside_an_input_would_be_read_again(here, batch, tmp_path):
    (tmp_path / "a.txt").write_text("It rained.")
    with pytest.raises(InputError, match="lies in the input"):
        compress_corpus([tmp_path], tmp_path / "out", batch())


def test_what_a_worker_cannot_do_is_raised_here(here, batch, tmp_path):
    (tmp_path / "a.txt").write_text("It rained.")
    (tmp_path / "model").mkdir()
    how = corpus.BatchCompressor(query=QUERY, model=str(tmp_path / "model"), device="cpu")
    with pytest.raises(ModelLoadError, match=r"no config\.json"):
        compress_corpus([tmp_path / "a.txt"], tmp_path / "out", how)
    with pytest.raises(ModelLoadError, match="no folder"):
        compress_corpus([tmp_path / "a.txt"], tmp_path / "new", corpus.BatchCompressor(query=QUERY, model="./none"))
    compress_corpus([tmp_path / "a.txt"], tmp_path / "out2", batch())  # another output is not affected
    assert len(read(tmp_path / "out2")) == 1


def test_workers_find_the_folder_of_a_model_wherever_they_are(here, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("It rained.")
    monkeypatch.chdir(Path(MODEL["model"]).parent)
    how = corpus.BatchCompressor(query=QUERY, **{**MODEL, "model": Path(MODEL["model"]).name})
    compress_corpus([tmp_path / "a.txt"], tmp_path / "out", how)
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["model"] == MODEL["model"]


def test_a_block_that_ends_its_process_is_given_up(batch, tmp_path, compressor, monkeypatch):
    """The process ends by an exception that nothing catches; what is left of it is what SIGKILL leaves."""
    (file, _) = write(tmp_path, "jsonl", texts(8))

    class Killed(BaseException):
        pass

    def killed(*args, **options):
        raise Killed

    how = batch()
    monkeypatch.setattr(type(how), "__call__", killed)
    block = {"number": 0, "files": [str(file)], "row": 0, "rows": 4, "start": 0, "stop": file.stat().st_size, "group": 0}
    for _ in range(3):
        with pytest.raises(Killed):
            BlockWorker(how, "jsonl", str(tmp_path / "out"), "jsonl")(pa.Table.from_pylist([block]))
    worker = BlockWorker(how, "jsonl", str(tmp_path / "out"), "jsonl")
    (tally,) = worker(pa.Table.from_pylist([block])).to_pylist()
    with pytest.raises(CprsError, match=r"a\.jsonl, rows 0 to 3, ended the process 3 times"):
        corpus.checked(tally)
    monkeypatch.undo()
    worker = BlockWorker(batch(), "jsonl", str(tmp_path / "new"), "jsonl")
    for _ in range(5):  # done is done, however often it is done
        assert worker(pa.Table.from_pylist([block])).to_pylist()[0]["error"] is None


def run(*arguments):
    return CliRunner().invoke(cli.app, ["map", *map(str, arguments)])


def test_the_command(here, tmp_path):
    (file, _) = write(tmp_path, "jsonl", [*texts(10), None])
    model = ["--model", MODEL["model"], "--device", "cpu", "--dtype", "float32"]
    done = run(file, tmp_path / "b.jsonl", "-o", tmp_path / "out", "-q", QUERY, "--ratio", "0.4", *model)
    assert done.exit_code == 0, done.output
    assert "10 rows: kept" in done.stderr and "1 bad row could not be compressed" in done.stderr.replace("\n", " ")
    assert "tokens/s" in done.stderr and done.stdout == ""
    quiet = run(file, "-o", tmp_path / "new", "-q", QUERY, "--preset", "answer", "--format", "parquet", "--quiet", *model)
    assert quiet.exit_code == 0 and quiet.output == ""
    settings = json.loads((tmp_path / "new" / "settings.json").read_text())
    assert settings["instruction"]["tags"] == ["answer"] and settings["output_format"] == "parquet"


def test_the_command_when_it_is_stopped(here, tmp_path, monkeypatch):
    (file, _) = write(tmp_path, "jsonl", texts(8))

    def interrupted(blocks, work, pool):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(corpus, "_tallies", interrupted)
    stopped = run(file, "-o", tmp_path / "out", "-q", QUERY, "--device", "cpu")
    assert stopped.exit_code == 130 and "--resume" in stopped.stderr


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-q", QUERY, "--query-column", "id"],
        ["-q", QUERY, "--max-tokens", "5", "--ratio", "0.5"],
        ["-q", QUERY, "--text-column", "body"],
        ["-q", QUERY, "--preset", "answer", "--instruction", "Keep all."],
        ["-q", QUERY, "--input-format", "csv"],
        ["-q", QUERY, "--block-mb", "0.0000001"],
        ["-q", QUERY, "--threads", "0"],
    ],
)
def test_the_command_refuses_what_makes_no_sense(here, tmp_path, options):
    (file, _) = write(tmp_path, "jsonl", texts(4))
    refused = run(file, "-o", tmp_path / "out", "--device", "cpu", *options)
    assert refused.exit_code == 2 and not (tmp_path / "out").exists()
    assert run(tmp_path / "none.jsonl", "-o", tmp_path / "out", "-q", QUERY).exit_code == 2
