"""Numbers as people write them, and the machine."""

from __future__ import annotations

import json

import pytest

from cprs_core.errors import InputError
from cprs_core.machine import machine
from cprs_core.terminal import short, split, tokens


@pytest.mark.parametrize(("number", "name"), [(999, "999"), (4_000, "4k"), (1_500, "1.5k"), (1_000_000, "1M")])
def test_lengths_are_short_and_read_again(number: int, name: str) -> None:
    assert short(number) == name and tokens("--lengths", name) == number


@pytest.mark.parametrize("text", ["", "k", "-4k", "4 k", "4g", "1e3"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--batches"):
        tokens("--batches", text)


def test_lists_may_have_spaces() -> None:
    assert split(" a,b , c") == ["a", "b", "c"]


def test_the_machine_is_named() -> None:
    found = machine()
    assert {"platform", "processor", "cores", "gpu", "threads", "python", "torch", "transformers", "cprs"} <= set(found)
    assert found["processor"] and json.loads(json.dumps(found)) == found
