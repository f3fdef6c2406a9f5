"""Labels, tags and judgements against sets of characters."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.spans import B, E, I, O
from cprs_core.training.labels import OUTSIDE, judge, label, merge_spans, tags

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12), st.integers(0, 2)), max_size=6)


@given(SPANS)
def test_labels_cover_exactly_the_spans(drawn: list[tuple[int, int, int]]) -> None:
    spans = [(start, start + size) for start, size, _ in drawn]
    starts = np.arange(80)
    labels = label(starts, starts + 1, spans)
    inside = {character for start, end in spans for character in range(start, end)}
    assert set(np.flatnonzero(labels != O).tolist()) == inside
    for start, end in merge_spans(spans):
        assert labels[start] == B and (end - start == 1 or labels[end - 1] == E)
        assert (labels[start + 1 : end - 1] == I).all()


@given(SPANS)
def test_the_later_tag_wins(drawn: list[tuple[int, int, int]]) -> None:
    starts = np.arange(80)
    expected = [OUTSIDE] * 80
    for start, size, column in drawn:
        expected[start : start + size] = [column] * len(expected[start : start + size])
    assert tags(starts, starts + 1, [(s, s + size, c) for s, size, c in drawn]).tolist() == expected


def test_sentences_are_numbered_from_the_first_that_is_seen() -> None:
    text = "One is here. Two is there. Three is gone. Four."
    starts = np.arange(len(text))
    part = slice(text.index("Two"), text.index("Four") - 1)
    numbers, relevant, sentences = judge(text, [(27, 41), (13, 17)], starts[part], starts[part] + 1)
    assert sentences == ["Two is there.", "Three is gone."]
    assert relevant.tolist() == [-1, -1, 1]  # a third of the second sentence is neither
    for offset, number in enumerate(numbers.tolist()):
        assert number == 0 or text[part.start + offset] in sentences[number - 1]
    assert numbers[0] == 1 and numbers[-1] == 2
    assert judge("  ", [], np.array([0]), np.array([2]))[1].tolist() == [-1]
