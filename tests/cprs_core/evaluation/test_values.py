"""Keys and values: all different, none within another, as many as were asked for."""

from __future__ import annotations

import random
import uuid
from itertools import islice
from string import ascii_lowercase

import pytest

from cprs_core.evaluation.values import KINDS, Kind, coded_words, listed, names, values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_most", [1, 6_000, 30_000])
def test_values_differ_and_are_the_same_for_the_same_seed(kind: Kind, at_most: int) -> None:
    first = list(islice(values(random.Random(1), kind, at_most), at_most))
    assert len(set(first)) == at_most
    assert list(islice(values(random.Random(1), kind, at_most), at_most)) == first
    assert next(values(random.Random(2), kind, at_most)) != first[0]


def test_forms() -> None:
    rng = random.Random(0)
    assert all(len(value) == 7 and value.isdigit() and value[0] != "0" for value in islice(values(rng, "number", 9), 99))
    assert len(next(values(rng, "number", 10**7))) >= 8
    assert all(str(uuid.UUID(value, version=4)) == value for value in islice(values(rng, "uuid", 9), 99))
    assert all(len(value.split(" ")) == 2 for value in islice(values(rng, "words", 9), 99))


def test_no_name_is_part_of_another() -> None:
    every = set(names(random.Random(0), 1))  # all that there are of two words
    assert len(every) > 9_000 and {name.count("-") for name in every} == {1}
    for name in every:
        parts = {name[start:end] for start in range(len(name)) for end in range(start + 1, len(name) + 1)}
        assert parts & every == {name}


def test_more_names_take_more_words() -> None:
    for at_most, words in ((4_000, 2), (6_000, 3), (400_000, 3), (600_000, 4)):
        assert {len(name.split("-")) for name in islice(names(random.Random(0), at_most), 100)} == {words}


def test_coded_words_end_when_there_are_no_more() -> None:
    assert sorted(coded_words(random.Random(0), letters=1)) == list(ascii_lowercase)
    assert all(len(word) == 6 and word.islower() for word in islice(coded_words(random.Random(0), letters=6), 50))


def test_listed() -> None:
    assert [listed(list(items)) for items in ("a", "ab", "abcd")] == ["a", "a and b", "a, b, c and d"]
