"""Pictures hold the figures that they should, and are only drawn where there are some."""

from __future__ import annotations

import builtins
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from cprs_core.errors import MissingExtraError
from cprs_core.evaluation import plots
from cprs_core.evaluation.lineup import METHODS
from cprs_core.evaluation.report import results
from cprs_core.evaluation.runner import Row

from .rows import decided, row

BINS = [[8.0, 0.4, 0.0], *[[0.0, 0.0, 0.0]] * 8, [2.0, 1.8, 1.0]]


def some_rows() -> list[Row]:
    """Two lengths, three depths and two kinds, in two tasks; all is retained but the middle of long texts."""
    return [
        row(
            number,
            method,
            task,
            about={"length": length, "depth": depth, "kind": kind},
            figures=decided(float((length, depth, kind) != (1_000_000, 50.0, "uuid"))) if method == "cprs" else {},
            bins=BINS if method == "cprs" else None,
        )
        for task in ("niah/single", "niah/multikey")
        for length in (4_000, 1_000_000)
        for depth in (0.0, 50.0, 100.0)
        for number, kind in enumerate(("number", "uuid"))
        for method in ("cprs", "bm25")
    ]


def test_recall_has_a_panel_a_task_and_a_line_a_method() -> None:
    figure = plots.recall(results(some_rows())["tasks"])
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["niah/single", "niah/multikey"]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines) == ["cprs", "bm25"]
        assert np.array(lines["bm25"].get_data()) == pytest.approx(np.array([[1.9, 10.0], [0.5, 1.0]]))
        (star,) = axes.collections
        assert np.array(star.get_offsets()) == pytest.approx(np.array([[1.0, 0.6]]))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["cprs", "cprs, own decision", "bm25"]


def test_needles_are_a_grid_of_depth_and_length() -> None:
    figure = plots.needles(some_rows())
    assert figure is not None
    first, second, *_ = figure.axes
    for axes in (first, second):
        (image,) = axes.images
        assert np.asarray(image.get_array()).tolist() == [[1.0, 1.0], [1.0, 0.5], [1.0, 1.0]]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["4k", "1M"]
        assert [label.get_text() for label in first.get_yticklabels()] == ["0%", "50%", "100%"]
        assert sorted(text.get_text() for text in axes.texts) == ["100%"] * 5 + ["50%"]
    assert (to_hex(image.cmap(0.0)), to_hex(image.cmap(1.0))) == (plots.RED, plots.GREEN)


def test_reliability_shows_shares_and_counts() -> None:
    figure = plots.reliability(results(some_rows())["tasks"])
    assert figure is not None
    upper, lower = figure.axes
    shown = np.array(upper.lines[1].get_data())
    assert shown == pytest.approx(np.array([[0.05, 0.9], [0.0, 0.5]]))
    assert [bar.get_height() for bar in lower.patches] == [8 * 24, *[0] * 8, 2 * 24][:10]


def test_every_method_has_a_look_of_its_own() -> None:
    assert set(plots._LOOKS) == set(METHODS)
    assert len({(look["color"], look.get("marker")) for look in plots._LOOKS.values()}) == len(METHODS)


def test_files_are_drawn_where_there_are_figures(tmp_path: Path) -> None:
    rows = some_rows()
    drawn = plots.draw(tmp_path, rows, results(rows)["tasks"])
    assert [path.name for path in drawn] == ["recall.png", "needles.png", "reliability.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    bare = [row(0, "bm25")]
    assert [path.name for path in plots.draw(tmp_path, bare, results(bare)["tasks"])] == ["recall.png"]
    assert plots.recall({"qa/x": {"cprs": {"no_answer": {"kept": 0.1}}}}) is None


def test_many_panels_and_lengths_stay_readable() -> None:
    rows = [
        row(0, "cprs", f"ruler/{task}", about={"length": 1000 * 2**size, "depth": 0.0}, figures=decided(1.0))
        for task in range(13)
        for size in range(8)
    ]
    for figure in (plots.recall(results(rows)["tasks"]), plots.needles(rows)):
        assert figure is not None and len([axes for axes in figure.axes if axes.get_title()]) == 13
        assert figure.get_figwidth() < 20


def test_matplotlib_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return imported(name, *args)

    monkeypatch.delitem(sys.modules, "cprs_core.evaluation.plots")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"matplotlib.*cprs-core\[eval\]"):
        importlib.import_module("cprs_core.evaluation.plots")
