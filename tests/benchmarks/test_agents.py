"""What agents send to their LLM: 50,000 tokens with a fake compressor, fewer with the default model."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from agents import AGENTS, Calls, holds
from words import KEPT, WordCompressor

from cprs_core import ContextCompressor
from cprs_core.evaluation.haystack import load
from cprs_core.evaluation.niah import Shape, hide

frameworks = pytest.mark.parametrize("framework", AGENTS)
both = pytest.mark.parametrize("asynchronous", [False, True])


def count(calls: Calls, count_tokens: Callable[[str], int]) -> int:
    return sum(count_tokens(text) for call in calls for text in call)


@frameworks
@both
def test_of_50_000_tokens_a_tenth_at_most_is_sent(framework: str, asynchronous: bool) -> None:
    words = WordCompressor()
    text = "Nothing of this matters at all to anyone. " * 3_000 + KEPT + " Nor does any of this. " * 6_000
    assert words.count_tokens(text) >= 50_000
    whole, short = (AGENTS[framework]("Who?", text, some, asynchronous) for some in (None, words))
    assert count(short, words.count_tokens) <= 0.1 * count(whole, words.count_tokens)
    assert holds(whole, [KEPT]) and holds(short, [KEPT]) and not holds(short, ["Nothing of this"])
    assert len(whole) == len(short) == 2 and len(words.calls) == 1
    assert not holds(short, [KEPT, "never said"])


@pytest.fixture(scope="module")
def small() -> ContextCompressor:
    return ContextCompressor.from_pretrained(device="cpu")


@frameworks
@both
def test_the_default_model_keeps_the_answer(small: ContextCompressor, framework: str, asynchronous: bool) -> None:
    case = hide(Shape(), load("pydoc"), 3_000, 60, random.Random(7), small.count_tokens, task="agents", key="")
    whole, short = (AGENTS[framework](case.query, case.text, some, asynchronous) for some in (None, small))
    assert holds(short, case.answers)
    assert count(short, small.count_tokens) <= 0.1 * count(whole, small.count_tokens)
