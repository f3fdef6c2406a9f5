"""cprs among the methods: what it keeps by itself is what the compressor keeps, and one pass serves everything."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cprs_core import ContextCompressor, Instruction
from cprs_core.evaluation.critic import Cprs, pool
from cprs_core.evaluation.runner import Runner
from cprs_core.segments import segment

from .cases import made

INSTRUCTIONS: list[Callable[[], Instruction]] = [Instruction.sentences, Instruction.answer, Instruction.code]


def test_its_own_decision_is_that_of_the_compressor(
    compressor: ContextCompressor, prose: str, odd_text: st.SearchStrategy[str]
) -> None:
    kept = []

    @given(st.one_of(st.just(prose), odd_text.filter(str.strip)), st.sampled_from(INSTRUCTIONS))
    @settings(max_examples=25)
    def check(text: str, instruction: Callable[[], Instruction]) -> None:
        case = made(text, instruction=instruction())
        spans = compressor.compress(text, case.query, case.instruction).spans
        found = Cprs(compressor).decide(case).tolist()
        assert found == [[span.start, span.end] for span in spans]
        kept.append(len(found))

    check()
    assert max(kept) > 1


def test_a_sentence_scores_the_mean_of_its_tokens(compressor: ContextCompressor, prose: str) -> None:
    case, sentences = made(prose), segment(prose, "sentence")
    tokens = compressor.scores(prose, case.query, case.instruction)
    found = Cprs(compressor).scores(case, sentences)
    for (start, end), score in zip(sentences.tolist(), found, strict=True):
        inside = [keep.max() for stop, keep in zip(tokens.ends, tokens.keep, strict=True) if start < stop <= end]
        assert abs(score - np.mean(inside)) < 1e-6
    assert 0 <= found.min() < found.max() <= 1


def test_one_pass_serves_ranking_and_decision(compressor: ContextCompressor, prose: str) -> None:
    counted = Mock(wraps=compressor, checkpoint=compressor.checkpoint)
    method, case, sentences = Cprs(counted), made(prose), segment(prose, "sentence")
    for share in (0.1, 0.5):
        method.keep(case, sentences, share)
    method.decide(case)
    assert counted.scores.call_count == 1
    method.decide(made(prose, query="And who signed it?"))
    assert counted.scores.call_count == 2


def test_the_windows_of_a_text_can_be_watched(compressor: ContextCompressor, prose: str) -> None:
    method, seen = Cprs(compressor), []
    Runner([method], [5], compressor.count_tokens).watch(lambda done, total: seen.append((done, total)))
    method.decide(made(prose * 3))
    assert len(seen) > 1 and seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]


def test_pool_takes_tokens_with_their_leading_space() -> None:
    ends, scores = np.array([3, 4, 8, 12]), np.array([1.0, 0.0, 0.5, 1.0])  # "The." " cat" " sat"
    assert pool(ends, scores, np.array([[0, 4], [5, 12], [20, 25]])).tolist() == [0.5, 0.75, 0.0]
