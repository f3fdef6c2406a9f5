"""Results as pictures: recall against budget, where needles are lost, and how far scores can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError
from ..palette import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from ..terminal import short
from .metrics import BINS
from .report import ALL
from .runner import Row

try:
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter
except ImportError as error:
    raise MissingExtraError("matplotlib", "eval") from error

_LOST_TO_RETAINED = LinearSegmentedColormap.from_list("retention", [RED, "#f0e9c8", GREEN])
_LOOKS: dict[str, dict[str, Any]] = {  # each lies on those before and is thinner, so that equals can be seen
    "cprs": {"color": BLUE, "marker": "o", "linewidth": 6, "markersize": 12},
    "bm25": {"color": ORANGE, "marker": "s", "linewidth": 3.5, "markersize": 8},
    "embeddings": {"color": GREEN, "marker": "^", "linewidth": 2, "markersize": 6},
    "fusion": {"color": PINK, "marker": "D", "linewidth": 0.8, "markersize": 3},
    "random": {"color": GREY, "marker": "x", "linestyle": ":"},
    "lead": {"color": SKY, "marker": "v", "linestyle": ":"},
    "oracle": {"color": "black", "linestyle": "--", "linewidth": 1},
    "llmlingua": {"color": RED, "marker": "P", "linestyle": "-."},
    "longllmlingua": {"color": "#7a4a1e", "marker": "*", "linestyle": "-."},
}
_WIDTH = 15  # inches of panels side by side, at most


def draw(folder: Path, rows: Sequence[Row], tasks: dict[str, Any]) -> list[Path]:
    """Draws what there are figures for: ``recall.png``, ``needles.png`` and ``reliability.png``.

    Args:
        tasks: of a run's results, by task and method.

    Returns:
        The files.
    """
    figures = {"recall": recall(tasks), "needles": needles(rows), "reliability": reliability(tasks)}
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=150)
    return paths


def recall(tasks: dict[str, Any]) -> Figure | None:
    """Evidence recall against the share of the text that was kept: a panel a task, a line a method."""
    shown = {
        task: {name: figures for name, figures in methods.items() if "recall" in figures}
        for task, methods in tasks.items()
        if task != ALL
    }
    shown = {task: methods for task, methods in shown.items() if methods}
    if not shown:
        return None
    figure, panels = _panels(len(shown), width=3.6, height=3.0)
    for (task, methods), axes in zip(shown.items(), panels, strict=True):
        axes.set_title(task, fontsize=10)
        for name in sorted(methods, key=list(_LOOKS).index):
            of = methods[name]
            kept = [100 * of["kept"][budget] for budget in of["recall"]]
            axes.plot(kept, list(of["recall"].values()), label=name, clip_on=False, **_LOOKS[name])
            if of.get("decision", {}).get("kept"):
                _own_decision(axes, name, 100 * of["decision"]["kept"], of["decision"]["evidence"])
        budgets = [float(budget) for budget in next(iter(methods.values()))["recall"]]
        axes.margins(x=0.1)
        axes.set_xscale("log")
        axes.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
        axes.set_xticks([], minor=True)
        axes.set_ylim(0, 1.05)
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.3)
    figure.supxlabel("share of the text kept (%)", fontsize=10)
    figure.supylabel("share of the evidence kept", fontsize=10)
    figure.suptitle("Evidence recall by share of the text kept", fontsize=12, x=0.02, ha="left")
    labels = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels.keys(), loc="outside right center", fontsize=9)
    return figure


def _own_decision(axes: Axes, name: str, percent: float, share: float) -> None:
    star: dict[str, Any] = {"marker": "*", "s": 170, "zorder": 5, "clip_on": False}
    axes.scatter(percent, share, color="white", edgecolors=_LOOKS[name]["color"], label=f"{name}, own decision", **star)
    axes.annotate(f"{percent:.2g}%", (percent, share), (0, -16), textcoords="offset points", ha="center", fontsize=8)


def needles(rows: Sequence[Row]) -> Figure | None:
    """Where in texts of which length answers survive the model's own decision (figure 4 of the paper): a panel a task."""
    cells: dict[str, dict[tuple[int, float], list[float]]] = {}
    for row in rows:
        about, own = row["about"], row["figures"].get("decision", {})
        if {"length", "depth"} <= about.keys() and "retained" in own:
            cells.setdefault(row["task"], {}).setdefault((about["length"], about["depth"]), []).append(own["retained"])
    if not cells:
        return None
    lengths = sorted({length for found in cells.values() for length, _ in found})
    depths = sorted({depth for found in cells.values() for _, depth in found})
    figure, panels = _panels(len(cells), width=1.6 + 0.62 * len(lengths), height=1.2 + 0.36 * len(depths))
    for (task, found), axes in zip(cells.items(), panels, strict=True):
        grid = [[float(np.mean(found.get((length, depth), np.nan))) for length in lengths] for depth in depths]
        image = axes.imshow(grid, cmap=_LOST_TO_RETAINED, vmin=0, vmax=1, aspect="auto")
        for y, line in enumerate(grid):
            for x, value in enumerate(line):
                axes.text(x, y, "" if np.isnan(value) else f"{value:.0%}", ha="center", va="center", fontsize=8)
        axes.set_title(task, fontsize=10)
        axes.set_xticks(range(len(lengths)), [short(length) for length in lengths], fontsize=9)
        axes.set_yticks(range(len(depths)), [f"{depth:g}%" for depth in depths], fontsize=9)
        axes.set_xticks(np.arange(len(lengths) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(depths) - 1) + 0.5, minor=True)
        axes.tick_params(which="both", length=0)
        axes.grid(which="minor", color="white", linewidth=1.5)
    figure.colorbar(image, ax=panels, format=PercentFormatter(1), label="retained", aspect=30)
    figure.supxlabel("length of the text (tokens)", fontsize=10)
    figure.supylabel("depth in the text", fontsize=10)
    figure.suptitle("Needles retained by cprs, its own decision", fontsize=12)
    return figure


def reliability(tasks: dict[str, Any]) -> Figure | None:
    """How often sentences of each score are evidence, over all cases, and how many sentences there are."""
    of_all = tasks.get(ALL) or next(iter(tasks.values()))
    found = of_all.get("cprs", {}).get("calibration")
    if not found:
        return None
    counts, scores, truth = np.array(found["bins"]).T
    some = counts > 0
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=1, label="perfectly calibrated")
    upper.plot(scores[some] / counts[some], truth[some] / counts[some], "o-", color=BLUE, clip_on=False, label="cprs")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is evidence")
    upper.legend(loc="lower right", fontsize=9)
    upper.grid(alpha=0.3)
    lower.bar((np.arange(BINS) + 0.5) / BINS, counts, width=0.9 / BINS, color=BLUE)
    lower.set_yscale("log")
    lower.set(xlabel="score of a sentence", ylabel="sentences")
    figure.suptitle(f"Calibration of cprs: expected error {found['error']:.3f}", fontsize=12)
    return figure


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of a size in inches, those of a row sharing their axis."""
    columns = min(count, max(int(_WIDTH / width), 1))
    lines = ceil(count / columns)
    figure = Figure(figsize=(columns * width + 2, lines * height + 0.8), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    panels = list(grid.flat)
    for empty in panels[count:]:
        empty.remove()
    return figure, panels[:count]
