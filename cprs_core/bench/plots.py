"""Measurements as pictures: a line or a bar a side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError
from ..palette import BLUE, GREEN, GREY, ORANGE, PINK, RED
from ..terminal import short
from .report import GIB, MIB, number
from .runner import Row

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import LogLocator, NullLocator
except ImportError as error:
    raise MissingExtraError("matplotlib", "eval") from error

_LOOKS: dict[str, dict[str, Any]] = {
    "plain": {"color": GREY, "marker": "s", "linestyle": "--"},
    "float32": {"color": GREEN, "marker": "^"},
    "bfloat16": {"color": BLUE, "marker": "o"},
    "float16": {"color": PINK, "marker": "v"},
    "float8": {"color": RED, "marker": "D"},
    "int8": {"color": ORANGE, "marker": "P"},
}


def draw(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Draws what was measured: ``length.png``, ``documents.png`` and ``batch.png``.

    Returns:
        The files.
    """
    paths = []
    for task, drawing in (("length", length), ("documents", documents), ("batch", batch)):
        if some := [row for row in rows if row.task == task]:
            paths.append(folder / f"{task}.png")
            drawing(some).savefig(paths[-1], dpi=150)
    return paths


def length(rows: Sequence[Row]) -> Figure:
    """Seconds, tokens a second and memory against the length of a text."""
    figure = _figure(12.5, 3.8)
    seconds, speed, memory = figure.subplots(1, 3)
    _lines(seconds, rows, lambda row: row.median)
    seconds.set_yscale("log")
    seconds.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    seconds.yaxis.set_minor_locator(NullLocator())
    seconds.yaxis.set_major_formatter(lambda value, _: number(value))
    _lines(speed, rows, lambda row: row.speed)
    _from_zero(speed)
    if any(row.figures["gpu_bytes"] for row in rows):
        _lines(memory, rows, lambda row: row.figures["gpu_bytes"] / GIB)
        memory.set_title("peak GPU memory (GiB)", fontsize=10)
    else:
        _lines(memory, rows, lambda row: row.figures["host_bytes"] / MIB)
        memory.set_title("growth of host memory (MiB)", fontsize=10)
    _from_zero(memory)
    seconds.set_title("seconds", fontsize=10)
    speed.set_title("tokens/s", fontsize=10)
    figure.supxlabel("tokens of the text", fontsize=10)
    figure.suptitle("One text, by its length", fontsize=12, x=0.01, ha="left")
    _legend(figure, seconds)
    return figure


def batch(rows: Sequence[Row]) -> Figure:
    """Tokens a second against the tokens of a batch."""
    figure = _figure(6.5, 3.8)
    axes = figure.subplots()
    for row in rows:
        if not row.size:
            axes.axhline(row.speed, label=row.side, **{**_look(row.side), "marker": None})
    _lines(axes, [row for row in rows if row.size], lambda row: row.speed)
    _from_zero(axes)
    axes.set(xlabel="tokens of a batch", ylabel="tokens/s")
    figure.suptitle(f"One text of {rows[0].tokens:,} tokens, by the size of batches", fontsize=12, x=0.01, ha="left")
    _legend(figure, axes)
    return figure


def documents(rows: Sequence[Row]) -> Figure:
    """Documents a second, a bar a side."""
    figure = _figure(6.5, 1.2 + 0.5 * len(rows))
    axes = figure.subplots()
    speeds = [row.figures["documents_per_second"] for row in rows]
    bars = axes.barh([row.side for row in rows], speeds, color=[_look(row.side)["color"] for row in rows], height=0.65)
    axes.bar_label(bars, [number(speed) for speed in speeds], padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("documents/s")
    title = f"{rows[0].size:,} documents of {rows[0].tokens / rows[0].size:,.0f} tokens, one question"
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    return figure


def _figure(width: float, height: float) -> Figure:
    """Of a size in inches, with some room at its edges."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))


def _lines(axes: Axes, rows: Sequence[Row], value: Callable[[Row], float]) -> None:
    """A line a side over a logarithmic axis of sizes, which are named as the command takes them."""
    for side in dict.fromkeys(row.side for row in rows):
        own = sorted((row for row in rows if row.side == side), key=lambda row: row.size)
        axes.plot([row.size for row in own], [value(row) for row in own], label=side, **_look(side))
    axes.set_xscale("log")
    sizes = sorted({row.size for row in rows})
    axes.set_xticks(sizes, [short(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)


def _from_zero(axes: Axes) -> None:
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=9)


def _look(side: str) -> dict[str, Any]:
    way, dtype = side.split()
    return _LOOKS["plain" if way == "plain" else dtype]
