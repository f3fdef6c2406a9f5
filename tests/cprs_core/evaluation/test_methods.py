"""Methods without a model: rankings by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.errors import MissingExtraError
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.methods import Bm25, Fusion, Lead, Oracle, Random, Ranker, Scores
from cprs_core.evaluation.metrics import recall
from cprs_core.evaluation.ranges import Ranges, intersection
from cprs_core.segments import segment

from .cases import characters, made

SENTENCES = segment(made().text, "sentence")


@pytest.mark.parametrize("ranker", [Bm25(), Fusion(Bm25(), Lead()), Random(), Lead(), Oracle()], ids=lambda it: it.name)
def test_no_ranker_takes_more_than_its_share(ranker: Ranker, odd_text: st.SearchStrategy[str]) -> None:
    @given(odd_text.filter(str.strip), st.floats(0, 1))
    def check(text: str, share: float) -> None:
        case, sentences = made(text), segment(text, "sentence")
        kept = ranker.keep(case, sentences, share)
        assert len(characters(kept)) <= share * len(text)
        assert {tuple(row) for row in kept.tolist()} <= {tuple(row) for row in sentences.tolist()}
        assert len(ranker.keep(case, sentences, 1.0)) == len(sentences)

    check()


class Known(Ranker):
    """Has its scores from the start, and counts how often it is asked for them."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.known, self.asked = np.array(scores, float), 0

    def score(self, case: Case, sentences: Ranges) -> Scores:
        self.asked += 1
        return self.known


def test_scores_are_computed_once_for_a_case() -> None:
    ranker, case = Known(5, 1, 2, 3, 4), made()
    kept = [ranker.keep(case, SENTENCES, share).tolist() for share in (0.2, 0.4, 1.0)]
    assert kept[0] == SENTENCES[:1].tolist() and kept[2] == SENTENCES.tolist() and ranker.asked == 1
    ranker.keep(made(), SENTENCES, 0.5)
    assert ranker.asked == 2


def test_fusion_adds_reciprocal_ranks() -> None:
    first, second = Known(9, 5, 7), Known(1, 3, 2)
    found = Fusion(first, second).scores(made(), SENTENCES[:3])
    assert found == pytest.approx([1 / 61 + 1 / 63, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62])


def test_bm25_follows_its_formula() -> None:
    case = made("Red box. A red, red box of tin. Rain all day.", query="RED tin?")
    documents = [["red", "box"], ["a", "red", "red", "box", "of", "tin"], ["rain", "all", "day"]]
    idf = {word: log(3 - n + 0.5) - log(n + 0.5) for word, n in {"red": 2, "box": 2, "tin": 1, "rest": 1}.items()}
    floor = 0.25 * (2 * idf["red"] + 6 * idf["rest"]) / 8  # words of more than half of the documents get a share of the mean
    weights = {"red": floor, "tin": idf["tin"]}

    def score(words: list[str]) -> float:
        norm = 1.5 * (1 - 0.75 + 0.75 * len(words) / (11 / 3))
        return sum(weight * words.count(word) * 2.5 / (words.count(word) + norm) for word, weight in weights.items())

    found = Bm25().score(case, segment(case.text, "sentence"))
    assert found == pytest.approx([score(words) for words in documents])
    assert set(Bm25().score(made("?! ... —"), segment("?! ... —", "sentence"))) == {0.0}  # no words at all


def test_random_and_lead() -> None:
    case, other = made(), made(key="other")
    assert Random(1).scores(case, SENTENCES).tolist() == Random(1).scores(case, SENTENCES).tolist()
    orders = {tuple(np.argsort(Random(seed).scores(of, SENTENCES))) for seed in range(5) for of in (case, other)}
    assert len(orders) > 5
    assert Lead().keep(case, SENTENCES, 0.4).tolist() == SENTENCES[:2].tolist()


@given(st.data())
def test_nothing_beats_the_oracle_where_all_sentences_are_alike(data: st.DataObject) -> None:
    text = " ".join(["Ten chars."] * 12)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text) - 1), min_size=2, max_size=8)))
    case = replace(made(text), gold=np.array(cuts[: len(cuts) // 2 * 2], np.int64).reshape(-1, 2))
    sentences = segment(text, "sentence")
    gold = intersection(case.gold, sentences)
    if len(gold):
        share = data.draw(st.floats(0, 1))
        random, best = (method.keep(case, sentences, share) for method in (Random(data.draw(st.integers(0, 9))), Oracle()))
        assert recall(gold, best) >= recall(gold, random)


def test_bm25_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    with pytest.raises(MissingExtraError, match=r"rank-bm25.*cprs-core\[eval\]"):
        Bm25()
