"""What cannot be measured is refused, with what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cprs_core.bench.options import RANDOM_7B, TASKS, Options, usual
from cprs_core.errors import InputError


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tasks": ("speed",)}, "no task 'speed'; choose from: start, length"),
        ({"dtypes": ("float32", "float4")}, "no dtype 'float4'"),
        ({"baseline_dtype": "float8"}, "--baseline-dtype"),
        ({"lengths": (0, 100)}, "--lengths must be 16 or more, got 0"),
        ({"batches": (0,)}, "--batches must be 1"),
        ({"documents": 0}, "--documents"),
        ({"document_tokens": 3}, "--document-tokens"),
        ({"window_size": 20}, "--window-size must be 64"),
        ({"baseline_window": 20}, "--baseline-window"),
        ({"runs": 0}, "--runs"),
        ({"tasks": ("agreement",), "model": RANDOM_7B}, "trained weights only"),
        ({"tasks": ("start",), "model": RANDOM_7B}, "not loaded but drawn"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: Callable[..., Options], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        options(**changes)


@pytest.mark.parametrize(("lengths", "length"), [((100, 200, 900), 200), ((900, 1000), 900)])
def test_one_text_is_as_long_as_all_sides_can(options: Callable[..., Options], lengths: tuple[int], length: int) -> None:
    assert options(lengths=lengths).usual_length == length


def test_what_is_usual_depends_on_device_and_model() -> None:
    cpu, gpu = usual("cprs-small", "cpu", float8=False, bfloat16=True), usual(RANDOM_7B, "cuda", float8=True, bfloat16=False)
    assert cpu["tasks"] == TASKS and "agreement" not in gpu["tasks"]
    assert cpu["dtypes"] == ("float32", "bfloat16", "int8") and gpu["dtypes"] == ("bfloat16", "float8")
    assert cpu["baseline_window"] == 1024 and gpu["baseline_window"] is None
    assert usual("folder", "cuda", float8=False, bfloat16=False)["dtypes"] == ("bfloat16",)
