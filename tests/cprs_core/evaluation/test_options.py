"""Options of a task, and the lazy list of its cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cprs_core.errors import InputError
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.options import Cases, TaskOptions


def numbered(number: int) -> Case:
    return Case("task", str(number), "query", "text", np.empty((0, 2), np.int64))


def keys(cases: Cases) -> list[str]:
    return [case.key for case in cases]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lengths": ()}, "lengths"),
        ({"lengths": (0, 5)}, "lengths"),
        ({"lengths": (5, 5)}, "different"),
        ({"depths": 0}, "depths"),
        ({"depths": 102}, "1 to 101"),
        ({"samples": 0}, "samples"),
        ({"limit": 0}, "limit"),
    ],
)
def test_what_is_out_of_range_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        TaskOptions(**options)


@pytest.mark.parametrize(
    ("depths", "percents"),
    [(1, (50.0,)), (2, (0.0, 100.0)), (4, (0.0, 33.33, 66.67, 100.0)), (5, (0.0, 25.0, 50.0, 75.0, 100.0))],
)
def test_depths(depths: int, percents: tuple[float, ...]) -> None:
    assert TaskOptions(depths=depths).percents == percents


def test_every_case_has_its_own_random_numbers() -> None:
    of_cases = [(0, "a", "1"), (1, "a", "1"), (0, "b", "1"), (0, "a", "2")]
    drawn = [TaskOptions(seed=seed).rng(task, key).random() for seed, task, key in of_cases]
    assert len(set(drawn)) == 4 and TaskOptions(samples=9).rng("a", "1").random() == drawn[0]


def test_cases_are_made_when_they_are_asked_for() -> None:
    made: list[int] = []

    def make(plan: int) -> Case:
        made.append(plan)
        return numbered(plan)

    cases = Cases.of(range(10, 20), make, TaskOptions())
    assert len(cases) == 10 and not made
    assert cases[3].key == "13" and cases[-1].key == "19" and made == [13, 19]
    assert keys(cases[2:5]) == ["12", "13", "14"] and keys(cases[::-4]) == ["19", "15", "11"]
    assert keys(cases) == [str(number) for number in range(10, 20)]
    with pytest.raises(IndexError):
        cases[10]


def test_a_limit_draws_cases_by_the_seed_and_keeps_their_order() -> None:
    def drawn(seed: int, limit: int) -> list[str]:
        return keys(Cases.of(range(100), numbered, TaskOptions(seed=seed, limit=limit)))

    assert drawn(0, 10) == drawn(0, 10) != drawn(1, 10)
    assert len(set(drawn(0, 10))) == 10 and drawn(0, 10) == sorted(drawn(0, 10), key=int)
    assert len(drawn(0, 100)) == len(drawn(0, 500)) == 100


def test_joined_cases_follow_one_another() -> None:
    parts = [Cases.of(range(start, end), numbered, TaskOptions()) for start, end in ((0, 3), (5, 5), (7, 9))]
    assert keys(Cases.joined(parts)) == ["0", "1", "2", "7", "8"]
    assert not len(Cases.joined([]))


def test_an_index_error_while_a_case_is_made_does_not_end_the_list() -> None:
    cases = Cases.of([[1], [], [2]], lambda plan: numbered(plan[0]), TaskOptions())
    with pytest.raises(IndexError):
        list(cases)
