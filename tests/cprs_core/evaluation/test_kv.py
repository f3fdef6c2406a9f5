"""Key-value retrieval, read back with a JSON parser."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain

import pytest

from cprs_core.errors import InputError
from cprs_core.evaluation import kv
from cprs_core.evaluation.options import TaskOptions

from .conftest import count_words, gold, plain


def test_the_wanted_pair_is_where_it_should_be(count_tokens: Callable[[str], int]) -> None:
    cases = kv.cases(TaskOptions(lengths=(3_000, 6_000), depths=5, samples=2), count_tokens)
    assert len(cases) == len({case.key for case in cases}) == 20
    for case in cases:
        pairs = json.loads(case.text)
        assert len(set(chain(*pairs.items()))) == 2 * len(pairs)
        [key] = [key for key in pairs if key in case.query]
        assert case.answers == (pairs[key],) and gold(case) == [f'"{key}": "{pairs[key]}"']
        assert abs(list(pairs).index(key) - case.about["depth"] / 100 * (len(pairs) - 1)) <= 0.5
        assert abs(count_tokens(case.text) / case.about["length"] - 1) < 0.015
        assert len(case.text.splitlines()) == len(pairs) + 2


def test_the_seed_makes_the_case() -> None:
    first, again, other = (kv.cases(TaskOptions(lengths=(500,), seed=seed), count_words)[2] for seed in (3, 3, 4))
    assert plain(first) == plain(again) and first.text != other.text and first.query != other.query


def test_a_single_pair_is_no_task() -> None:
    assert len(json.loads(kv.cases(TaskOptions(lengths=(4,)), count_words)[0].text)) == 2
    with pytest.raises(InputError, match="2 tokens has no room for two pairs"):
        kv.cases(TaskOptions(lengths=(2,)), count_words)[0]
