"""The command: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cprs_core.cli import app

TINY = str(Path(__file__).parents[1] / "data" / "tiny-checkpoint")
TEXT = "The licence ends in 2031. It began in 2021.\r\nNobody renewed it. 中文句子。 Fin 😀.\n" * 4


def run(*arguments: str, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=input)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_bytes(TEXT.encode())
    return [str(path) for path in paths]


def compress(files: list[str], *more: str, **options: str | bytes) -> Result:
    base = ["compress", *files, "-q", "When does it end?", "--model", TINY, "--device", "cpu", "--window-size", "256"]
    return run(*base, *more, **options)  # type: ignore[arg-type]


def test_json_has_the_documented_shape(files: list[str]) -> None:
    result = compress(files, "--format", "json", "--max-tokens", "60")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert list(report) == ["model", "query", "instruction", "input_tokens", "kept_tokens", "ratio", "seconds", "documents"]
    assert 0 < report["kept_tokens"] <= 60 < report["input_tokens"]
    assert [document["path"] for document in report["documents"]] == files
    for document in report["documents"]:
        assert set(document) == {"path", "text", "spans"}
        for span in document["spans"]:
            assert list(span) == ["start", "end", "text", "score", "tag"]
            assert TEXT[span["start"] : span["end"]] == span["text"]  # offsets of the file as it is, CRLF included


def test_standard_input_and_output_file(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    result = compress(["-"], "--max-tokens", "20", "-o", str(out), input=TEXT.encode())
    assert result.exit_code == 0 and result.stdout == ""
    assert "kept" in result.stderr and "tokens" in result.stderr
    same = compress(files[:1], "--max-tokens", "20", "--quiet")
    assert same.stdout == out.read_bytes().decode() != "" and same.stderr == ""


def test_html_diff_and_many_files(files: list[str]) -> None:
    page = compress(files[:1], "--format", "html", "--ratio", "0.2").stdout
    assert page.startswith("<!doctype html>") and "<mark" in page and "<script" not in page and "http" not in page
    diff = compress(files[:1], "--format", "diff", "--ratio", "0.2").stdout
    assert diff.startswith("--- source\n+++ compressed\n@@ ")
    both = compress(files, "--ratio", "0.2").stdout
    assert all(f"==> {name} <==" in both for name in files)


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        (["--preset", "nonsense"], 2, "unknown preset"),
        (["--preset", "answer", "--instruction", "Keep it."], 2, "give one of them"),
        (["--max-tokens", "5", "--ratio", "0.5"], 2, "two budgets"),
        (["--ratio", "1.5"], 2, "over 0 and up to 1"),
        (["--window-size", "70"], 2, "leaves too few"),
        (["--device", "cuda:99"], 1, "cuda:99"),
        (["--dtype", "int3"], 1, "int3"),
        (["--model", "./no/such/folder"], 1, "no folder"),
        (["--format", "pdf"], 2, "pdf"),
    ],
)
def test_wrong_options_say_why(files: list[str], more: list[str], code: int, reason: str) -> None:
    result = compress(files[:1], *more)
    assert result.exit_code == code and reason in result.stderr and "Traceback" not in result.stderr


def test_wrong_files_say_why(tmp_path: Path) -> None:
    missing = compress([str(tmp_path / "none.txt")])
    assert missing.exit_code == 1 and "none.txt" in missing.stderr
    latin = tmp_path / "latin.txt"
    latin.write_bytes("café".encode("latin1"))
    assert compress([str(latin)]).exit_code == 2 and "UTF-8" in compress([str(latin)]).stderr
    text = tmp_path / "t.txt"
    text.write_text("Some text.")
    empty = run("compress", str(text), "-q", "  ", "--model", TINY)
    assert empty.exit_code == 2 and "query is empty" in empty.stderr
    unwritable = compress([str(text)], "-o", str(tmp_path / "no" / "x.txt"))
    assert unwritable.exit_code == 1 and "cannot write" in unwritable.stderr
    train = run("train", str(text))
    assert train.exit_code == 2 and "--base" in train.stderr
    train = run("train", str(tmp_path / "none.jsonl"), "--base", TINY, "-o", str(tmp_path / "o"))
    assert train.exit_code == 1 and "none.jsonl" in train.stderr


def test_models_version_and_help() -> None:
    assert "cprs-small" in run("models").stdout
    assert run("--version").stdout.startswith("cprs ")
    for command in ("compress", "train", "models"):
        assert run(command, "--help").exit_code == 0


def test_help_is_quick_because_it_imports_no_torch() -> None:
    code = "import sys; from cprs_core.cli import app; app(['--version'], standalone_mode=False)"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
