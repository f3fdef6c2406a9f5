"""A new process that loads a model: its figures, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cprs_core import CprsError
from cprs_core.bench.options import Options
from cprs_core.bench.runner import Bench
from cprs_core.bench.sides import Side
from cprs_core.bench.start import start


def test_a_start_has_its_parts(options: Callable[..., Options]) -> None:
    (row,) = Bench(options(tasks=("start",), baseline=False), lambda what: None).rows()
    assert (row.task, row.side, row.tokens) == ("start", "cprs float32", 0)
    parts = row.figures["import"], row.figures["load"], row.figures["first"]
    assert min(parts) > 0 and sum(parts) == pytest.approx(row.median)
    assert 50 * 2**20 < row.figures["peak_bytes"] < 2 * 2**30


def test_a_process_that_fails_is_an_error_that_says_why(options: Callable[..., Options], tmp_path: Path) -> None:
    with pytest.raises(CprsError, match="no folder"):
        start(Side("cprs", "float32"), options(model=str(tmp_path / "missing")))
