"""Pictures hold the figures: a line or a bar a side."""

from __future__ import annotations

import numpy as np
import pytest

from cprs_core.bench import plots
from cprs_core.bench.options import DTYPES
from cprs_core.bench.runner import Row


def row(task: str, side: str, size: int, seconds: float, **figures: float | None) -> Row:
    return Row(task, side, size, 128_000, [seconds], {"gpu_bytes": None, "host_bytes": 2**21, **figures})


@pytest.mark.parametrize(("gpu", "title"), [(2**31, "peak GPU memory (GiB)"), (None, "growth of host memory (MiB)")])
def test_length_has_a_line_a_side(gpu: int | None, title: str) -> None:
    rows = [
        row("length", side, n, n / 1000, gpu_bytes=gpu) for side in ("plain float32", "cprs int8") for n in (4000, 2_000_000)
    ]
    figure = plots.length(rows)
    seconds, _, memory = figure.axes
    assert [line.get_label() for line in seconds.lines] == ["plain float32", "cprs int8"]
    assert np.array(seconds.lines[0].get_data()).tolist() == [[4000, 2_000_000], [4, 2000]]
    assert [label.get_text() for label in seconds.get_xticklabels()] == ["4k", "2M"]
    assert memory.get_title() == title and np.array(memory.lines[1].get_data())[1].tolist() == [2, 2]


def test_batch_has_the_straightforward_way_as_a_level() -> None:
    rows = [
        row("batch", "plain bfloat16", 0, 128),
        row("batch", "cprs bfloat16", 1000, 64),
        row("batch", "cprs bfloat16", 4000, 32),
    ]
    (axes,) = plots.batch(rows).axes
    level, line = axes.lines
    assert set(level.get_ydata()) == {1000} and list(line.get_ydata()) == [2000, 4000]


def test_documents_has_a_bar_a_side() -> None:
    rows = [row("documents", f"cprs {dtype}", 200, 1, documents_per_second=number) for number, dtype in enumerate(DTYPES, 1)]
    (axes,) = plots.documents(rows).axes
    assert [bar.get_width() for bar in axes.patches] == [1, 2, 3, 4, 5]
    assert len({tuple(bar.get_facecolor()) for bar in axes.patches}) == len(DTYPES)
