"""The benchmark's cases on a tiny data folder, and its figures, whole and in shards."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import quality
from cases import Case, cases, crop, excerpt
from typer.testing import CliRunner, Result

from cprs_core.evaluation.methods import Oracle
from cprs_core.evaluation.metrics import recall
from cprs_core.evaluation.ranges import ranges
from cprs_core.segments import segment

TINY = str(Path(__file__).parents[1] / "data" / "tiny-checkpoint")


def test_crop_and_excerpt_cut_at_sentences() -> None:
    text = " ".join(f"Sentence number {n:03d} ends here." for n in range(100))
    start = text.index("Sentence number 050")
    short, gold = crop(text, ranges([(0, 10), (start, start + 19), (start + 5, start + 29)]), 400)
    assert len(short) <= 400 and short.startswith("Sentence") and short.endswith("here.")
    middle, far = crop(text, ranges([(start, start + 19), (start + 5, start + 29)]), 400)
    assert [middle[a:b] for a, b in far.tolist()] == ["Sentence number 050 ends here"]
    assert all(short[a:b] for a, b in gold.tolist())
    assert excerpt(text, 65) == "Sentence number 000 ends here. Sentence number 001 ends here."
    assert excerpt("Unbroken" * 9, 20) == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows, contexts = [], []
    for n in range(40):
        evidence = f"The harbor of town {n} was dug in {1800 + n} by hand."
        contexts.append(f"Town {n} lies by the sea. {evidence} " + f"Nothing else happened in place {n}. " * 30)
        start = contexts[-1].index(evidence)
        spans = [[start, start + len(evidence), "evidence"]] if n % 4 else []
        rows.append({"query": f"When was the harbor of town {n} dug?", "context": n, "spans": spans,
                     "answers": [str(1800 + n)] if spans else [], "doc": f"town {n}"})  # fmt: skip
    (tmp_path / "train").mkdir()
    data = {"source": "qed", "contexts": contexts, "rows": rows}
    (tmp_path / "train" / "qed.json.xz").write_bytes(lzma.compress(json.dumps(data).encode()))
    (tmp_path / "haystack").mkdir()
    prose = "\n\n".join(f"It was chapter {n}. " + "The sea was calm that day. " * 40 for n in range(100))
    (tmp_path / "haystack" / "book.txt.xz").write_bytes(lzma.compress(prose.encode()))
    return tmp_path


def test_cases_hold_their_evidence_once(folder: Path) -> None:
    found = list(cases(folder, "qed", "answerable", 10))
    assert len(found) == 10
    for case in found:
        (start, end), = case.gold.tolist()  # fmt: skip
        evidence = case.text[start:end]
        assert evidence.startswith("The harbor of town") and case.text.count(evidence) == 1
        assert 16_000 <= len(case.text) <= 18_500
        assert recall(case.gold, Oracle().keep(case, segment(case.text, "sentence"), 0.02)) == 1.0
    assert len({case.text.index(case.text[case.gold[0, 0] : case.gold[0, 1]]) // 4000 for case in found}) > 1


def test_cases_are_stable(folder: Path) -> None:
    def texts(kind: str, count: int, seed: int = 0) -> list[str]:
        return [case.text for case in cases(folder, "qed", kind, count, seed)]  # type: ignore[arg-type]

    assert texts("answerable", 8)[:3] == texts("answerable", 3)
    assert texts("answerable", 3) != texts("answerable", 3, seed=1)
    assert len(texts("unanswerable", 50)) == 10


def test_absent_cases_have_no_evidence(folder: Path) -> None:
    present: dict[str, Case] = {case.query: case for case in cases(folder, "qed", "answerable", 10)}
    for case in cases(folder, "qed", "absent", 10):
        (start, end), = present[case.query].gold.tolist()  # fmt: skip
        assert len(case.gold) == 0 and present[case.query].text[start:end] not in case.text


def run(*arguments: str) -> Result:
    app = quality.typer.Typer()
    app.command()(quality.main)
    return CliRunner().invoke(app, arguments)


def without_seconds(figures: Any) -> Any:
    if not isinstance(figures, dict):
        return figures
    return {key: without_seconds(value) for key, value in figures.items() if key not in ("cost", "rows", "machine")}


def test_shards_give_the_figures_of_one_run(folder: Path, tmp_path: Path) -> None:
    given = ["--data", str(folder), "--model", TINY, "--methods", "bm25,random", "--cases", "7", "--out"]
    whole, *parts = (str(tmp_path / f"{name}.json") for name in range(4))
    result = run(*given, whole)
    assert result.exit_code == 0, result.output
    for number, part in enumerate(parts, 1):
        assert run(*given, part, "--shard", f"{number}/3").exit_code == 0
    merged = run("--merge", parts[2], parts[0], parts[1], "--out", str(tmp_path / "merged.json"))
    assert merged.exit_code == 0, merged.output
    one, together = (json.loads(Path(name).read_text()) for name in (whole, tmp_path / "merged.json"))
    assert without_seconds(together) == without_seconds(one)
    assert len(together["rows"]) == 7 * 3  # the oracle, too
    figures = one["sources"]["qed"]
    assert figures["case"]["cases"] == 7 and figures["case"]["wide"] == 0.0 and figures["case"]["sentences"] > 100
    assert figures["methods"]["oracle"]["recall"]["2"] == 1.0 == one["means"]["held out"]["oracle"]["2"]
    assert 0 <= figures["methods"]["random"]["recall"]["5"] < 1 and one["machine"]["cores"]
    assert "MEAN held out" in result.output and merged.output.count("qed") == 1


def test_methods_measured_apart_give_the_figures_of_one_run(folder: Path, tmp_path: Path) -> None:
    given = ["--data", str(folder), "--model", TINY, "--cases", "5", "--no-answer", "1"]
    for name, methods in (("all", "bm25,random,lead"), ("one", "lead,bm25"), ("two", "random")):
        assert run(*given, "--methods", methods, "--out", str(tmp_path / name)).exit_code == 0
    merged = run("--merge", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "merged"))
    assert merged.exit_code == 0, merged.output
    whole, together = (json.loads((tmp_path / name).read_text()) for name in ("all", "merged"))
    assert together["settings"]["methods"] == ["bm25", "random", "lead", "oracle"]
    assert without_seconds(together["sources"]) == without_seconds(whole["sources"])


def test_the_model_is_measured_in_every_way(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(quality, "NEEDLE_LENGTHS", (600, 900))
    monkeypatch.setattr("cases.BURIED_IN", 2_000)
    out = tmp_path / "out.json"
    options = ["--methods", "cprs", "--cases", "2", "--no-answer", "1", "--needles", "2", "--out", str(out),
               "--plots", str(tmp_path / "plots")]  # fmt: skip
    result = run("--data", str(folder), "--model", TINY, "--sources", "qed", *options)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    figures = report["sources"]["qed"]
    assert {"precision", "recall", "f1", "kept"} <= set(figures["methods"]["cprs"]["decision"])
    assert set(figures["no_answer"]) == {"unanswerable", "absent"}
    needles = report["needles"]["tasks"]["niah/single"]["cprs"]
    assert needles["cases"] == 2 * 2 * 3 and 0 <= needles["decision"]["retained"] <= 1
    assert list(report["needles"]["groups"]["niah/single"]["length"]) == ["600", "900"]
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {"recall", "needles", "reliability"}
    for title in ("own decision", "Needles by length", "Needles by depth", "Needles by kind"):
        assert title in result.output


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    data = ["--data", str(folder), "--model", TINY]
    part = tmp_path / "part.json"
    assert run(*data, "--methods", "bm25", "--cases", "1", "--out", str(part)).exit_code == 0
    other = json.loads(part.read_text())
    other["settings"]["seed"] = 1
    (tmp_path / "other.json").write_text(json.dumps(other))
    elsewhere = json.loads(part.read_text())
    elsewhere["rows"] = [{**row, "task": "wice"} for row in elsewhere["rows"] if row["method"] == "oracle"]
    elsewhere["settings"] |= {"sources": ["wice"], "methods": ["oracle"]}
    (tmp_path / "elsewhere.json").write_text(json.dumps(elsewhere))
    for arguments, reason in (
        ([*data, "--methods", "bm52"], "bm52"),
        ([*data, "--sources", "qde"], "qde"),
        ([*data, "--shard", "3/2"], "I/N"),
        ([], "--data"),
        (["--merge"], "--merge"),
        ([*data, "--merge", str(part)], "--merge"),
        (["--merge", str(part), str(part)], "more than one"),
        (["--merge", str(part), str(tmp_path / "other.json")], "different settings"),
        (["--merge", str(part), str(tmp_path / "elsewhere.json")], "bm25 was not measured on wice"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and reason in result.output, (arguments, result.output)
