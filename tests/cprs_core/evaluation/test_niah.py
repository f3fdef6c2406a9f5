"""Needles: planted where and as often as asked, told apart by their keys, in texts of the length that was asked for."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cprs_core.errors import InputError
from cprs_core.evaluation import niah
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.haystack import load
from cprs_core.evaluation.niah import FORMS, VARIANTS, Shape
from cprs_core.evaluation.options import Cases, TaskOptions
from cprs_core.evaluation.values import Kind

from .conftest import count_words, gold, plain

PLACEHOLDERS = {
    "kind": r"(?:number|phrase|uuid)",
    "key": r"(?P<key>[a-z0-9-]+)",
    "value": r"(?P<value>[a-z0-9]+(?:[ -][a-z0-9]+)*)",
}
NEEDLES = [re.compile(re.sub(r"\\?\{(\w+)\\?\}", lambda m: PLACEHOLDERS[m[1]], re.escape(form))) for form in FORMS]


def found(text: str) -> list[tuple[str, str]]:
    """The (key, value) of every needle of a text, in order."""
    matches = (match for pattern in NEEDLES for match in pattern.finditer(text))
    return [(match["key"], match["value"]) for match in sorted(matches, key=re.Match.start)]


def cases(variant: str, count: Callable[[str], int] = count_words, **options: Any) -> Cases:
    return niah.cases(variant, replace(TaskOptions(lengths=(1_000,), depths=3), **options), count)


@pytest.mark.parametrize("variant", VARIANTS)
def test_needles(variant: str) -> None:
    shape = VARIANTS[variant]
    made = list(cases(variant, samples=2))
    assert len(made) == 3 * 3 * 2 and len({case.key for case in made}) == len(made)
    assert {case.about["kind"] for case in made} == {"number", "words", "uuid"}
    for case in made:
        hidden = found(case.text)
        assert len(hidden) == shape.keys * shape.values
        assert len({key for key, _ in hidden}) == shape.keys and len({value for _, value in hidden}) == len(hidden)
        asked = [key for key, _ in hidden if key in case.query]
        assert len(asked) == shape.asked * shape.values
        wanted = {value for key, value in hidden if key in asked}
        assert set(case.answers) == wanted and case.needs_all
        # gold: the whole needles that are asked for, and nothing else
        assert [found(needle) for needle in gold(case)] == [[pair] for pair in hidden if pair[0] in asked]
        assert all(any(pattern.fullmatch(needle) for pattern in NEEDLES) for needle in gold(case))
        assert all(sum(answer in needle for needle in gold(case)) == case.text.count(answer) == 1 for answer in case.answers)
        assert all(end < start for (_, end), (start, _) in pairwise(case.gold.tolist()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_lengths_and_depths_are_what_was_asked_for(count_tokens: Callable[[str], int], variant: str) -> None:
    for case in cases(variant, count_tokens, lengths=(2_000, 8_000), depths=5, limit=8):
        assert abs(count_tokens(case.text) / case.about["length"] - 1) < 0.015
        depths = [100 * start / (len(case.text) - end + start) for start, end in case.gold.tolist()]
        assert min(abs(depth - case.about["depth"]) for depth in depths) < 6_000 / case.about["length"]


def test_the_same_seed_makes_the_same_cases_whatever_else_is_asked_for() -> None:
    def made(options: Sequence[tuple[str, Any]]) -> dict[str, Case]:
        return {case.key: case for case in cases("multikey", **dict(options))}

    one, more, other = made([]), made([("samples", 2), ("depths", 5)]), made([("seed", 1)])
    assert set(one) < set(more) and set(one) == set(other)
    for key, case in one.items():
        assert plain(case) == plain(more[key])
        assert case.text != other[key].text and case.answers != other[key].answers
    assert set(made([("limit", 4)])) < set(one)


@pytest.mark.parametrize("key_kind", ["words", "uuid"])
def test_a_haystack_of_needles(key_kind: Kind) -> None:
    shape = Shape(haystack="needles", key_kind=key_kind, value_kind="uuid", forms=FORMS[:1])
    case = niah.hide(shape, load("noise"), 3_000, 50, random.Random(0), count_words, task="t", key="k")
    lines = [found(line) for line in case.text.splitlines()]
    pairs = [pair for [pair] in lines]
    assert len(pairs) > 250 and abs(count_words(case.text) - 3_000) <= 15
    assert len({key for key, _ in pairs}) == len({value for _, value in pairs}) == len(pairs)
    [(key, value)] = found(gold(case)[0])
    assert f" {key} " in case.query and case.answers == (value,)
    assert abs(pairs.index((key, value)) - len(pairs) / 2) < 3


def test_every_form_is_used_and_makes_a_question() -> None:
    made = list(cases("single", samples=8))
    assert len({pattern for case in made for pattern in NEEDLES if pattern.search(case.text)}) == len(FORMS)
    [case] = cases("multiquery", depths=1, limit=1)
    assert re.fullmatch(r"What are all the special magic \w+s for \S+, \S+, \S+ and \S+ that .*\?", case.query)
    assert case.instruction.tags == ("needle",)


def test_an_odd_haystack(count_tokens: Callable[[str], int], tmp_path: Path) -> None:
    path = tmp_path / "odd.txt"
    path.write_text("图书馆的造价是15.7亿元；后来增加了。没有人知道！\n\n👩‍👩‍👧 “नमस्ते।” שלום مرحبا؟ Cafe\u0301\u2028x\n\n")
    for case in cases("multivalue", count_tokens, lengths=(2_000,), haystack=str(path)):
        assert [value for needle in gold(case) for _, value in found(needle)] == [value for _, value in found(case.text)]
        assert sorted(case.answers) == sorted(value for _, value in found(case.text))
        assert abs(count_tokens(case.text) / 2_000 - 1) < 0.02


def test_a_text_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="20 tokens has no room for 4 needles"):
        list(cases("multikey", lengths=(20,)))
