"""The most common words, counted from the text as a reader would."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable

import pytest

from cprs_core.errors import InputError
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.frequency import COMMON, DOTS, FREQUENT, REPEATS, common, frequent
from cprs_core.segments import segment

from .conftest import count_words, gold, plain

Count = Callable[[str], int]
Make = Callable[..., Case]


def made(make: Make, length: int, count: Count = count_words, seed: int = 0) -> Case:
    return make(length, random.Random(seed), count, task="t", key="k")


def listed_words(case: Case) -> list[str]:
    """The words of a numbered list, if it is one."""
    entries = [re.fullmatch(r"(\d+)\. ([a-z-]+)", line) for line in case.text.splitlines()]
    assert [int(entry[1]) for entry in entries if entry] == list(range(1, len(entries) + 1))
    return [entry[2] for entry in entries if entry]


def check_gold(case: Case) -> None:
    """Gold is every occurrence of an answer and nothing else."""
    words = [match for match in re.finditer(r"[^\s]+", case.text) if match[0] in case.answers]
    assert case.gold.tolist() == [list(match.span()) for match in words]
    assert set(gold(case)) == set(case.answers)


@pytest.mark.parametrize("length", [9_000, 20_000])
def test_common_words_come_thirty_times_and_the_others_three_times(length: int) -> None:
    case = made(common, length)
    words = listed_words(case)
    counts = Counter(words).most_common()
    assert {word for word, _ in counts[:COMMON]} == set(case.answers) and len(case.answers) == COMMON
    assert {count for _, count in counts[:COMMON]} == {REPEATS}
    assert {count for _, count in counts[COMMON:-1]} == {3} and counts[-1][1] <= 3
    assert abs(count_words(case.text) / length - 1) < 0.006
    check_gold(case)


@pytest.mark.parametrize("length", [600, 900, 1_500, 3_000, 6_000])
def test_short_lists_have_fewer_repeats(length: int) -> None:
    for seed in range(5):
        case = made(common, length, seed=seed)
        counts = Counter(listed_words(case)).most_common()
        assert {count for _, count in counts[:COMMON]} == {min(REPEATS, length // 300)}
        assert {word for word, _ in counts[:COMMON]} == set(case.answers)
        assert counts[COMMON][1] < counts[COMMON - 1][1] and len(counts) > 3 * COMMON
        check_gold(case)


def test_wanted_words_are_spread_over_the_list() -> None:
    case = made(common, 20_000)
    places = [index for index, word in enumerate(listed_words(case)) if word in case.answers]
    assert abs(sum(places) / len(places) / len(listed_words(case)) - 0.5) < 0.06


def test_coded_words_fall_with_the_square_of_their_rank() -> None:
    case = made(frequent, 50_000)
    words = case.text.split()
    counts = Counter(words).most_common()
    assert counts[0][0] == DOTS
    for rank, (_, count) in enumerate(counts[:60], 1):
        expected = len(words) / rank**2 / (math.pi**2 / 6)
        assert abs(count - expected) <= 1 + 0.02 * expected
    assert [word for word, _ in counts[1 : 1 + FREQUENT]] == list(case.answers)
    assert all(re.fullmatch("[a-z]{6}", word) for word, _ in counts[1:])
    check_gold(case)


@pytest.mark.parametrize("make", [common, frequent])
def test_lengths_in_tokens(count_tokens: Count, make: Make) -> None:
    for length, seed in ((600, 1), (1_000, 2), (5_000, 3), (20_000, 4)):
        case = made(make, length, count_tokens, seed)
        assert abs(count_tokens(case.text) / length - 1) < 0.02
        check_gold(case)


@pytest.mark.parametrize("length", range(600, 1_000, 57))
def test_from_600_tokens_on_there_are_frequent_words(count_tokens: Count, length: int) -> None:
    for count in (count_tokens, count_words):
        case = made(frequent, length, count)
        counts = Counter(case.text.split()).most_common()
        assert {word for word, _ in counts[1 : 1 + FREQUENT]} == set(case.answers)
        assert counts[FREQUENT][1] > counts[FREQUENT + 1][1]


@pytest.mark.parametrize("make", [common, frequent])
def test_every_line_is_a_part_to_choose(make: Make) -> None:
    case = made(make, 5_000)
    lines = segment(case.text, "line")
    assert len(lines) > 500 and segment(case.text, "sentence").tolist() == lines.tolist()


@pytest.mark.parametrize("make", [common, frequent])
def test_the_seed_makes_the_case(make: Make) -> None:
    assert plain(made(make, 1_000)) == plain(made(make, 1_000)) != plain(made(make, 1_000, seed=1))


def test_short_texts_are_refused() -> None:
    with pytest.raises(InputError, match="599 tokens is too short"):
        made(common, 599)
    with pytest.raises(InputError, match="20 tokens is too short"):
        made(frequent, 20)
