"""Ranges against sets of characters."""

from __future__ import annotations

from itertools import accumulate, chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cprs_core.evaluation.ranges import Ranges, covered, intersection, marked, meetings, ranges, size, union

NUMBERS = st.integers(0, 8)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS.filter(bool)), max_size=8)  # (characters before, characters)
OVERLAPPING = st.lists(st.tuples(st.integers(0, 40), NUMBERS.filter(bool)), max_size=8)


def disjoint(pairs: list[tuple[int, int]]) -> Ranges:
    edges = list(accumulate(chain.from_iterable(pairs)))
    return ranges(list(zip(edges[::2], edges[1::2], strict=True)))


def characters(a: Ranges) -> set[int]:
    return set(chain.from_iterable(range(start, end) for start, end in a.tolist()))


@given(OVERLAPPING)
def test_union_holds_the_same_characters_in_as_few_ranges_as_can_be(pairs: list[tuple[int, int]]) -> None:
    joined = union(ranges(sorted((start, start + length) for start, length in pairs)))
    expected = {char for start, length in pairs for char in range(start, start + length)}
    assert characters(joined) == expected and size(joined) == len(expected)
    assert len(joined) == sum(char - 1 not in expected for char in expected)
    assert joined.dtype == np.int64 and joined.shape[1] == 2


@given(PAIRS, PAIRS)
def test_what_two_sets_share(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = disjoint(one), disjoint(other)
    assert characters(intersection(a, b)) == characters(a) & characters(b)
    assert size(intersection(a, b)) == len(characters(a) & characters(b))
    assert covered(a, b).tolist() == [len(set(range(start, end)) & characters(b)) for start, end in a.tolist()]

    of_a, of_b, shared = meetings(a, b)
    expected = [
        (i, j, [max(a[i, 0], b[j, 0]), min(a[i, 1], b[j, 1])])
        for i in range(len(a))
        for j in range(len(b))
        if max(a[i, 0], b[j, 0]) < min(a[i, 1], b[j, 1])
    ]
    assert list(zip(of_a.tolist(), of_b.tolist(), shared.tolist(), strict=True)) == expected
    assert len(shared) <= len(a) + len(b)


@given(PAIRS, PAIRS)
def test_marked_sentences_lie_in_the_spans_by_half_or_hold_half_of_one(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    sentences, spans = disjoint(one), disjoint(other)
    expected = []
    for start, end in sentences.tolist():
        own = set(range(start, end))
        inside = 2 * len(own & characters(spans)) >= len(own)
        holds = any(2 * len(own & set(range(a, b))) >= b - a for a, b in spans.tolist())
        expected.append(inside or holds)
    assert marked(sentences, spans).tolist() == expected


def test_by_hand() -> None:
    sentences, spans = ranges([(0, 10), (11, 20), (20, 30)]), ranges([(2, 4), (9, 13), (28, 29)])
    assert intersection(sentences, spans).tolist() == [[2, 4], [9, 10], [11, 13], [28, 29]]
    assert covered(sentences, spans).tolist() == [3, 2, 1]
    assert marked(sentences, spans).tolist() == [True, True, True]
    assert marked(sentences, ranges([(8, 12)])).tolist() == [True, False, False]
    assert union(ranges([(0, 5), (1, 2), (5, 6), (8, 9)])).tolist() == [[0, 6], [8, 9]]
    assert size(ranges([])) == 0 and not len(union(ranges([])))
