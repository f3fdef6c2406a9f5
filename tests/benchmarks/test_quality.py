"""The benchmark's arithmetic against brute force over characters, and its cases on a tiny data folder."""

import json
import lzma
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import quality
from cases import Case, cases, crop, excerpt
from needles import needles
from rankers import Bm25, Cprs, pool
from typer.testing import CliRunner

from cprs_core.instruction import Instruction
from cprs_core.segments import segment
from cprs_core.spans import TokenScores


def brute_recall(sentences: np.ndarray, scores: np.ndarray, gold: np.ndarray, budget: float) -> float:
    """Character sets and a plain loop."""
    kept: set[int] = set()
    spent = 0
    for index in sorted(range(len(sentences)), key=lambda i: (-scores[i], i)):
        start, end = sentences[index].tolist()
        if spent + end - start <= budget:
            kept |= set(range(start, end))
            spent += end - start
    everywhere = {c for start, end in sentences.tolist() for c in range(start, end)}
    wanted = {c for start, end in gold.tolist() for c in range(start, end)} & everywhere
    return len(kept & wanted) / len(wanted)


@pytest.mark.parametrize("seed", range(20))
def test_recall_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cuts = np.unique([0, 1000, *(2 * rng.integers(0, 500, 60))])
    sentences = np.stack([cuts[:-1], cuts[1:] - 1], axis=1)  # a space between two
    gold = np.sort(2 * rng.choice(500, 8, replace=False)).reshape(-1, 2)
    scores = rng.integers(0, 5, len(sentences)).astype(float)  # with ties
    found = quality.recalls("x" * 1000, sentences, scores, gold)
    for percent in quality.BUDGETS:
        assert found[str(percent)] == pytest.approx(brute_recall(sentences, scores, gold, 10 * percent))


def test_a_sentence_that_does_not_fit_is_skipped() -> None:
    lengths, scores = np.array([30, 8, 5]), np.array([3.0, 2.0, 1.0])
    assert quality.select(lengths, scores, 15).tolist() == [False, True, True]
    assert quality.select(lengths, scores, 4).tolist() == [False, False, False]


def test_decision() -> None:
    sentences = np.array([[0, 10], [11, 20], [21, 60]])
    gold = np.array([[0, 10], [21, 30]])  # the second lies in a much longer sentence
    assert quality.marked(sentences, gold).tolist() == [True, False, True]
    assert quality.decision(sentences, gold, sentences[:2]) == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    nothing = quality.decision(sentences, gold, np.empty((0, 2), np.int64))
    assert nothing == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_pool_takes_tokens_with_their_leading_space() -> None:
    ends, scores = np.array([3, 4, 8, 12]), np.array([1.0, 0.0, 0.5, 1.0])  # "The." " cat" " sat"
    assert pool(ends, scores, np.array([[0, 4], [5, 12], [20, 25]])).tolist() == [0.5, 0.75, 0.0]


def test_crop_and_excerpt_cut_at_sentences() -> None:
    text = " ".join(f"Sentence number {n:03d} ends here." for n in range(100))
    start = text.index("Sentence number 050")
    short, gold = crop(text, [(0, 10), (start, start + 19), (start + 5, start + 29)], 400)
    assert len(short) <= 400 and short.startswith("Sentence") and short.endswith("here.")
    middle, far = crop(text, [(start, start + 19), (start + 5, start + 29)], 400)
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
        assert quality.measure(case, [Bm25()])["oracle"]["2"] == 1.0
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


def test_needles_cover_depths_and_kinds(folder: Path) -> None:
    found = list(needles(folder, 2_000, 7))
    assert [needle.depth for needle in found] == pytest.approx(np.linspace(0, 1, 7).tolist())
    assert {needle.kind for needle in found} == {"number", "words", "uuid"}
    for needle in found:
        assert needle.text.count(needle.value) == 1 and needle.value not in needle.query
        place = needle.text.index(needle.value) / len(needle.text)
        assert abs(place - needle.depth) < 0.05
        assert any(needle.value in needle.text[a:b] for a, b in segment(needle.text, "sentence").tolist())


def test_command(folder: Path, tmp_path: Path) -> None:
    app = quality.typer.Typer()
    app.command()(quality.main)
    out = tmp_path / "out.json"
    given = ["--data", str(folder), "--methods", "bm25", "--cases", "3", "--out", str(out)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    assert figures["sources"]["qed"]["case"]["cases"] == 3 and 0 <= figures["sources"]["qed"]["bm25"]["5"] <= 1
    assert "MEAN held out" in result.output and figures["machine"]["cores"]
    wrong = CliRunner().invoke(app, ["--data", str(folder), "--methods", "bm52"])
    assert wrong.exit_code == 2 and "bm52" in wrong.output


class Oracle:
    """A compressor that knows: it keeps the sentences that share a number with the query."""

    checkpoint = SimpleNamespace(thresholds={"sentence": 0.5})

    def spans(self, text: str, query: str) -> list[tuple[int, int]]:
        wanted = set(re.findall(r"\d+|\w+-\w+", query))
        found = segment(text, "sentence").tolist()
        return [(a, b) for a, b in found if wanted & set(re.findall(r"\d+|\w+-\w+", text[a:b]))]

    def scores(self, text: str, query: str, instruction: Instruction) -> TokenScores:
        labels = np.tile([0.0, 0.0, 1.0, 0.0], (len(text), 1))
        for start, end in self.spans(text, query):
            labels[start:end] = [0.0, 0.9, 0.1, 0.0]
        starts = np.arange(len(text))
        return TokenScores(starts, starts + 1, labels, np.ones((len(text), 1)))

    def compress(self, text: str, query: str, instruction: Instruction) -> SimpleNamespace:
        spans = [SimpleNamespace(start=a, end=b) for a, b in self.spans(text, query)]
        kept = " ".join(text[span.start : span.end] for span in spans)
        return SimpleNamespace(spans=spans, text=kept, input_tokens=len(text), kept_tokens=len(kept))


def test_the_model_is_measured_in_every_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(self: Cprs, model: str, dtype: str | None) -> None:
        self.compressor, self.instruction = Oracle(), Instruction.sentences()  # type: ignore[assignment]
        self._last = ("", ""), None

    monkeypatch.setattr(Cprs, "__init__", init)
    monkeypatch.setattr(quality, "NEEDLE_TOKENS", (1_000,))
    results = quality.run(folder, "any", None, ["cprs", "bm25"], 5, "qed", 4, 6, 0, None, None)
    figures = results["sources"]["qed"]
    assert figures["cprs"]["5"] == 1.0 and figures["decision"]["recall"] == 1.0 and figures["decision"]["kept"] < 0.1
    assert set(figures["no_answer"]) == {"unanswerable", "absent"} and figures["no_answer"]["absent"] < 0.05
    assert results["needles"]["1000"]["retained"] == 1.0 and results["needles"]["1000"]["compression"] > 10
