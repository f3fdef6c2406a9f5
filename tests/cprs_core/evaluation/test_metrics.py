"""Figures of a case against sets of characters, plain loops and SQuAD's own examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.evaluation.metrics import (
    BINS,
    answered,
    calibration_error,
    decision,
    mean,
    normalized,
    recall,
    reliability,
    retained,
)
from cprs_core.evaluation.ranges import Ranges, ranges

from .cases import characters


@st.composite
def some_ranges(draw: st.DrawFn, at_least: int = 0) -> Ranges:
    """Disjoint ranges in order; some touch."""
    cuts = sorted(draw(st.sets(st.integers(0, 60), min_size=2 * at_least)))
    return ranges(list(zip(cuts[::2], cuts[1::2], strict=False)))


@given(some_ranges(at_least=1), some_ranges())
def test_recall_is_the_share_of_gold_characters(gold: Ranges, kept: Ranges) -> None:
    wanted = characters(gold)
    assert recall(gold, kept) == len(wanted & characters(kept)) / len(wanted)


@given(some_ranges(), some_ranges(), some_ranges())
def test_decision_counts_sentences_by_half(gold: Ranges, kept: Ranges, sentences: Ranges) -> None:
    def counts(spans: Ranges) -> set[int]:
        marked = set()
        for index, sentence in enumerate(sentences):
            own = characters(sentence[None])
            parts = [characters(span[None]) for span in spans]
            if 2 * len(own & characters(spans)) >= len(own) or any(2 * len(own & part) >= len(part) for part in parts):
                marked.add(index)
        return marked

    truth, chosen = counts(gold), counts(kept)
    hits = len(truth & chosen)
    found = decision(gold, kept, sentences)
    assert found["precision"] == (hits / len(chosen) if chosen else 0)
    assert found["recall"] == (hits / len(truth) if truth else 0)
    assert found["f1"] == (2 * hits / (len(truth) + len(chosen)) if truth or chosen else 0)


def test_decision_by_hand() -> None:
    sentences = ranges([(0, 10), (11, 20), (21, 60)])
    gold = ranges([(0, 10), (21, 30)])  # the second lies in a much longer sentence
    assert decision(gold, sentences[:2], sentences) == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert decision(gold, ranges([]), sentences) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("kept", "answers", "every", "some"),
    [
        ("The key\n is  4711.", ["key is", "4711"], 1.0, 1.0),
        ("The key is", ["key", "4711"], 0.0, 1.0),
        ("the KEY", ["key"], 0.0, 0.0),
        ("", ["key"], 0.0, 0.0),
        ("47 11", ["4711"], 0.0, 0.0),
        ("图书馆\u3000好", ["馆 好"], 1.0, 1.0),
    ],
)
def test_answers_are_retained_word_for_word(kept: str, answers: list[str], every: float, some: float) -> None:
    assert retained(kept, answers, needs_all=True) == every
    assert retained(kept, answers, needs_all=False) == some


scored = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40)


@given(scored, scored)
def test_reliability_and_its_error_by_brute_force(first: list[tuple[float, bool]], second: list[tuple[float, bool]]) -> None:
    def bins_of(pairs: list[tuple[float, bool]]) -> list[list[float]]:
        scores, truth = (np.array([pair[place] for pair in pairs], kind) for place, kind in ((0, float), (1, bool)))
        return reliability(scores, truth)

    both = first + second
    missed = 0.0
    for number, (count, total, true) in enumerate(bins_of(both)):
        inside = [pair for pair in both if min(int(pair[0] * BINS), BINS - 1) == number]
        assert (count, true) == (len(inside), sum(hit for _, hit in inside))
        assert total == pytest.approx(sum(score for score, _ in inside))
        if inside:
            average, share = np.mean([score for score, _ in inside]), np.mean([hit for _, hit in inside])
            missed += len(inside) * abs(float(average - share))
    expected = missed / len(both) if both else 0.0
    assert calibration_error(bins_of(both)) == pytest.approx(expected)
    added = np.add(bins_of(first), bins_of(second))
    assert calibration_error(added.tolist()) == pytest.approx(expected)
    assert calibration_error((added / 2).tolist()) == pytest.approx(expected)


def test_answers_as_squad_compares_them() -> None:
    assert normalized("The  Eiffel-Tower, a landmark!") == ["eiffeltower", "landmark"]
    found = answered("the Denver Broncos!", ["Denver Broncos", "Broncos"], needs_all=False)
    assert found == {"exact": 1.0, "f1": 1.0, "contains": 1.0}
    found = answered("It was Denver", ["Denver Broncos"], needs_all=False)  # one of 3 words, one of 2
    assert found == {"exact": 0.0, "f1": pytest.approx(2 / 5), "contains": 0.0}
    found = answered("12, and 7", ["7", "12"], needs_all=True)
    assert found == {"exact": 0.0, "f1": pytest.approx(4 / 5), "contains": 1.0}
    assert answered("", ["7"], needs_all=True) == {"exact": 0.0, "f1": 0.0, "contains": 0.0}
    assert answered("The", ["a"], needs_all=True)["f1"] == 1.0  # nothing is left of either


def test_means_are_over_those_that_have_the_figure() -> None:
    assert mean([{"a": 1.0, "b": 4.0}, {"a": 2.0}, {}]) == {"a": 1.5, "b": 4.0}
    assert mean([]) == {}
