"""Rows of figures against the same figures computed one by one."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cprs_core import ContextCompressor
from cprs_core.errors import InputError
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.critic import Cprs
from cprs_core.evaluation.methods import Bm25, Fusion, Lead, Oracle, Ranker, Scores
from cprs_core.evaluation.ranges import Ranges, ranges
from cprs_core.evaluation.runner import FULL, Row, Runner
from cprs_core.result import join
from cprs_core.segments import segment

from .cases import TEXT, characters, made
from .conftest import count_words

BUDGETS = [20.0, 2.5, 60.0]


class Echo:
    """Answers with what it was given to read."""

    name = "echo"

    def __init__(self) -> None:
        self.read: list[str] = []

    def answer(self, query: str, context: str) -> str:
        self.read.append(context)
        return context


class Slow(Ranker):
    name = "slow"

    def score(self, case: Case, sentences: Ranges) -> Scores:
        time.sleep(0.05)
        return np.arange(len(sentences), dtype=float)


def rows(runner: Runner, case: Case) -> dict[str, Row]:
    return {row["method"]: row for row in runner.rows(7, case, runner.names)}


def test_a_row_says_what_was_kept_at_each_budget() -> None:
    case = made(TEXT, "The key is 4711.", "The box is red", answers=("4711", "red"), about={"length": 4})
    found = rows(Runner([Lead(), Oracle()], BUDGETS, count_words), case)
    assert list(found) == ["lead", "oracle"]
    lead = found["lead"]
    assert (lead["number"], lead["task"], lead["key"], lead["about"], lead["bins"]) == (7, "t", "k", {"length": 4}, None)
    figures = lead["figures"]
    gold = len("The key is 4711.") + len("The box is red")
    assert figures["text"] == {"tokens": 20, "chars": len(TEXT), "sentences": 5, "gold": gold / len(TEXT)}
    assert figures["recall"] == {"20": 16 / gold, "2.5": 0.0, "60": 16 / gold}
    assert figures["retained"] == {"20": 0.0, "2.5": 0.0, "60": 0.0}
    assert figures["kept"]["2.5"] == 0.0 and 0.5 < figures["kept"]["60"] <= 0.6
    assert set(figures) == {"text", "cost", "kept", "recall", "retained"} and figures["cost"]["seconds"] > 0
    assert found["oracle"]["figures"]["recall"] == {"20": 16 / gold, "2.5": 0.0, "60": 1.0}
    assert found["oracle"]["figures"]["retained"]["60"] == 1.0
    assert json.loads(json.dumps(found)) == found


def test_white_space_between_sentences_is_no_evidence() -> None:
    case = made("One sentence.   \n  Another one.", "One sentence.   \n  Another one.")
    (row,) = Runner([Oracle()], [100.0], count_words).rows(0, case, ["oracle"])
    assert row["figures"]["recall"] == {"100": 1.0}
    blank = replace(case, gold=ranges([(14, 17)]))
    (row,) = Runner([Oracle()], [100.0], count_words).rows(0, blank, ["oracle"])
    assert "recall" not in row["figures"] and row["figures"]["text"]["gold"] == 0


def test_cprs_decides_by_itself_and_is_calibrated(compressor: ContextCompressor, prose: str) -> None:
    start = prose.index("The licence")
    case = replace(made(prose, answers=("2031", "no such words"), needs_all=False), gold=ranges([(start, start + 32)]))
    row = rows(Runner([Cprs(compressor)], [5.0], count_words), case)["cprs"]
    kept = Cprs(compressor).decide(case)
    text = join(prose, kept.tolist())
    own = row["figures"]["decision"]
    assert own["kept"] == len(characters(kept)) / len(prose)
    assert own["evidence"] == len(characters(kept) & set(range(start, start + 32))) / 32
    assert own["retained"] == float("2031" in text)
    assert (own["tokens"], own["kept_tokens"]) == (count_words(prose), count_words(text))
    assert {"precision", "recall", "f1"} < set(own) and "no_answer" not in row["figures"]
    counts, scores, truth = np.array(row["bins"]).T
    sentences = segment(prose, "sentence")
    assert counts.sum() == len(sentences) and truth.sum() == 1
    assert scores.sum() == pytest.approx(Cprs(compressor).scores(case, sentences).sum())


def test_where_nothing_answers_the_share_kept_is_all_there_is(compressor: ContextCompressor, prose: str) -> None:
    found = rows(Runner([Cprs(compressor), Lead()], [5.0], count_words, Echo()), made(prose))
    assert set(found["lead"]["figures"]) == {"text", "cost", "kept"}
    assert set(found["cprs"]["figures"]) == {"text", "cost", "kept", "no_answer"}
    kept = Cprs(compressor).decide(made(prose))
    assert found["cprs"]["figures"]["no_answer"] == {"kept": len(characters(kept)) / len(prose)}
    assert found[FULL]["figures"].keys() == {"text"}  # there is no answer to compare with


def test_the_reader_gets_what_cprs_keeps_and_as_much_of_others(compressor: ContextCompressor, prose: str) -> None:
    reader = Echo()
    case = made(prose, "The licence ends on 3 May 2031.", answers=("2031",))
    found = rows(Runner([Lead(), Cprs(compressor)], [5.0], count_words, reader), case)
    assert list(found) == ["lead", "cprs", FULL]
    lead, cprs, full = reader.read
    assert cprs == join(prose, Cprs(compressor).decide(case).tolist()) and full == prose
    assert prose.startswith(lead[:20]) and len(lead) <= len(cprs) + lead.count(" ")
    assert found[FULL]["figures"]["reader"] == {
        "exact": 0.0, "contains": 1.0, "kept": 1.0, "f1": pytest.approx(found[FULL]["figures"]["reader"]["f1"]),
    }  # fmt: skip
    assert 0 < found["cprs"]["figures"]["reader"]["kept"] < 1


def test_the_reader_gets_a_budget() -> None:
    reader = Echo()
    case = made(TEXT, "The key is 4711.", answers=("4711",))
    found = rows(Runner([Lead(), Oracle()], [2.0], count_words, reader, 20.0), case)
    assert reader.read == ["The key is 4711.", "The key is 4711.", TEXT]
    assert found["oracle"]["figures"]["reader"]["contains"] == 1.0
    with pytest.raises(InputError, match="--llm-budget"):
        Runner([Lead()], [2.0], count_words, reader)


def test_only_what_is_asked_for_is_measured() -> None:
    reader = Echo()
    runner = Runner([Lead(), Oracle()], [2.0], count_words, reader, 20.0)
    case = made(TEXT, "The key is 4711.", answers=("4711",))
    assert [row["method"] for row in runner.rows(0, case, ["oracle"])] == ["oracle"] and len(reader.read) == 1


def test_a_fusion_takes_the_time_of_its_parts() -> None:
    slow = Slow()
    runner = Runner([slow, Fusion(Bm25(), slow)], [2.0, 20.0], count_words)
    seconds = {name: row["figures"]["cost"]["seconds"] for name, row in rows(runner, made()).items()}
    assert 0.05 <= seconds["slow"] < seconds["fusion"] < 2 * seconds["slow"] + 0.05
    (alone,) = runner.rows(0, made(), ["fusion"])
    assert alone["figures"]["cost"]["seconds"] >= 0.05


def test_any_text_can_be_measured(compressor: ContextCompressor, odd_text: st.SearchStrategy[str]) -> None:
    @given(odd_text.filter(str.strip), st.data())
    @settings(max_examples=30)
    def check(text: str, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(text) - 1))
        case = replace(made(text), gold=ranges([(start, data.draw(st.integers(start + 1, len(text))))]))
        for row in rows(Runner([Cprs(compressor), Bm25(), Oracle()], [5.0, 100.0], count_words), case).values():
            for group in ("kept", "recall", "decision"):
                own = row["figures"].get(group, {})
                assert all(0 <= own[name] <= 1 for name in own if "tokens" not in name)

    check()
