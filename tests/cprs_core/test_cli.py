"""The command: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cprs_core.cli import app
from cprs_core.errors import CprsError

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


def test_in_colours_and_as_a_picture(files: list[str], tmp_path: Path) -> None:
    plain = compress(files[:1], "--ratio", "0.2", "--quiet").stdout
    assert "\x1b" not in plain
    shown = compress(files[:1], "--ratio", "0.2", "--format", "terminal", "--plot", str(tmp_path / "scores.png")).stdout
    assert "\x1b[" in shown and shown.count("kept") == 1
    picture = (tmp_path / "scores.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        (["--plot", "scores.txt"], 2, ".png"),
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
    for command in ("compress", "train", "eval", "bench", "models"):
        assert run(command, "--help").exit_code == 0


def test_help_is_quick_because_it_imports_no_torch() -> None:
    code = "import sys; from cprs_core.cli import app; app(['eval', '--help'], standalone_mode=False)"
    code += "; app(['bench', '--help'], standalone_mode=False)"
    code += "; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


SMALL = ["niah/single", "niah/multikey", "--lengths", "300,0.4k", "--depths", "2", "--limit", "2", "--model", TINY]
SMALL += ["--device", "cpu", "--methods", "cprs,bm25,random", "--budgets", "20,5"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("eval") / "run"
    return out, run("eval", *SMALL, "--out", str(out))


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "figures": {name: group for name, group in row["figures"].items() if name != "cost"}}


def test_eval_prints_tables_and_leaves_rows_figures_and_pictures(evaluated: tuple[Path, Result]) -> None:
    out, result = evaluated
    assert result.exit_code == 0, result.output
    for words in ("Evidence recall", "Answers retained", "own decision", "niah/multikey", "all tasks", "5 %", "random"):
        assert words in result.stdout
    assert "Traceback" not in result.stderr and "needles.png" in result.stderr
    found = rows(out)
    methods = ("cprs", "bm25", "random")
    assert [(row["number"], row["method"]) for row in found] == [(number, name) for number in range(4) for name in methods]
    assert {row["about"]["length"] for row in found} <= {300, 400}
    figures = json.loads((out / "results.json").read_text())
    assert set(figures) == {"settings", "machine", "tasks", "groups"}
    assert list(figures["tasks"]) == ["niah/single", "niah/multikey", "all tasks"]
    assert list(figures["tasks"]["niah/single"]["bm25"]["recall"]) == ["5", "20"]
    assert figures["settings"]["lengths"] == [300, 400] and figures["machine"]["cprs"]
    for name in ("recall", "needles", "reliability"):
        assert (out / f"{name}.png").stat().st_size > 5_000


def test_eval_is_stopped_and_goes_on(
    evaluated: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cprs_core.store import Store

    out, add = tmp_path / "run", Store.add

    def interrupted(self: Store, row: Any) -> None:
        if len(self.rows) == 4:
            raise KeyboardInterrupt
        add(self, row)

    monkeypatch.setattr(Store, "add", interrupted)
    stopped = run("eval", *SMALL, "--out", str(out))
    assert stopped.exit_code == 130 and "--resume" in stopped.stderr and str(out) in stopped.stderr
    assert not (out / "results.json").exists() and len(rows(out)) == 4
    monkeypatch.undo()

    before = rows(out)
    again = run("eval", *SMALL, "--out", str(out))
    assert again.exit_code == 2 and "--resume" in again.stderr
    other = run("eval", *SMALL, "--seed", "1", "--out", str(out), "--resume")
    assert other.exit_code == 2 and "seed was 0 and is now 1" in other.stderr
    resumed = run("eval", *SMALL, "--out", str(out), "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert rows(out)[:4] == before
    assert [timeless(row) for row in rows(out)] == [timeless(row) for row in rows(evaluated[0])]
    finished = rows(out)
    assert run("eval", *SMALL, "--out", str(out), "--resume").exit_code == 0 and rows(out) == finished


def test_eval_of_questions_with_and_without_an_answer(tmp_path: Path) -> None:
    lines = [
        {"query": "When does the licence end?", "context": TEXT, "answers": ["2031"]},
        {"query": "Who is the owner?", "context": TEXT, "answers": []},
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    given = ["eval", "qa", "--file", str(file), "--model", TINY, "--device", "cpu", "--methods", "cprs,lead"]
    result = run(*given)
    assert result.exit_code == 0, result.output
    assert "qa/mine" in result.stdout and "kept without" in result.stdout and result.stdout.count("own decision") == 1
    out = tmp_path / "run"
    assert run(*given, "--out", str(out)).exit_code == 0
    file.write_text(json.dumps(lines[0]))
    changed = run(*given, "--out", str(out), "--resume")
    assert changed.exit_code == 2 and "files was" in changed.stderr


def test_eval_with_a_reader_that_goes_away_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the tries
    options = ["--llm", "http://127.0.0.1:9/v1", "--llm-model", "m", "--llm-budget", "10", "--out", str(tmp_path / "run")]
    result = run("eval", *SMALL, *options)
    assert result.exit_code == 1 and "no answer from http://127.0.0.1:9/v1" in result.stderr
    assert "no case was done yet" in result.stderr and "Traceback" not in result.stderr

    answers = iter(["4711"] * 4)

    def answer(self: Any, query: str, context: str) -> str:
        try:
            return next(answers)
        except StopIteration:
            raise CprsError("it went away") from None

    monkeypatch.setattr("cprs_core.evaluation.llm.ServiceReader.answer", answer)
    result = run("eval", *SMALL, *options)
    assert result.exit_code == 1 and "it went away" in result.stderr and "--resume" in result.stderr
    assert [row["method"] for row in rows(tmp_path / "run")] == ["cprs", "bm25", "random", "full text"]
    answers = iter(["4711"] * 20)
    result = run("eval", *SMALL, *options, "--resume")
    assert result.exit_code == 0 and "Answers of the LLM" in result.stdout and "full text" in result.stdout


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        (["--methods", "cprs,bm52"], 2, "bm52"),
        (["--methods", "llmlingua"], 2, "--lingua-model"),
        (["--lengths", "4q"], 2, "4q"),
        (["--lengths", "4k,4000"], 2, "different"),
        (["--depths", "0"], 2, "depths"),
        (["--budgets", "0"], 2, "over 0"),
        (["--budgets", "5,x"], 2, "x is no share"),
        (["--llm-budget", "10"], 2, "--llm"),
        (["--llm", "nowhere"], 2, "hf:"),
        (["--llm", "http://x/v1", "--llm-model", "m", "--llm-budget", "200"], 2, "up to 100"),
        (["--resume"], 2, "--out"),
        (["--file", "none.jsonl"], 2, "none.jsonl"),
        (["--model", "./no/such/folder"], 1, "no folder"),
        (["niah"], 2, "named twice"),
        (["niah/single"], 2, "named twice"),
        (["nonsense"], 2, "no task 'nonsense'"),
        (["qa"], 2, "JSONL"),
    ],
)
def test_eval_says_what_is_wrong(more: list[str], code: int, reason: str) -> None:
    result = run("eval", *SMALL, *more)
    assert result.exit_code == code and reason in result.stderr and "Traceback" not in result.stderr


def test_eval_names_the_methods_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cprs_core.evaluation.lineup.usual_methods", lambda: (["bm25"], ["embeddings", "fusion"]))
    given = [part for part in SMALL if part not in ("--methods", "cprs,bm25,random")]
    result = run("eval", *given, "--limit", "1")
    assert result.exit_code == 0 and "embeddings, fusion left out" in result.stderr
    assert "cprs-core[eval]" in result.stderr and "bm25" in result.stdout


def test_errors_are_printed_as_they_are(tmp_path: Path) -> None:
    result = run("eval", "[bold]niah[/bold]", "--model", TINY)
    assert result.exit_code == 2 and "'[bold]niah[/bold]'" in result.stderr
