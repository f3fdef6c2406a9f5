"""Scores along a text as a picture (extra ``plot``): what was kept, what was not, and from which score on."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MissingExtraError
from ..palette import BLUE, GREY, RED
from .stretches import parts
from .terminal import visible

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter
except ImportError as error:
    raise MissingExtraError("matplotlib", "plot") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..result import Compression

_BINS = 1500  # about as many as a picture has pixels; a bin shows the best score in it, so that no kept span is lost
_MOST = 40  # texts in a picture


class Plot(Figure):
    """A figure that notebooks show without further ado."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=110)
        return content.getvalue()


def plot(results: Sequence[Compression], titles: Sequence[str] | None = None) -> Figure:
    """A panel for each result, one under the other.

    Raises:
        InputError: no result or too many for a picture; one without scores, because a service made it.
    """
    if not 1 <= len(results) <= _MOST:
        raise InputError(f"a picture holds 1 to {_MOST} texts, got {len(results)}; draw them in several")
    figure = Plot(figsize=(10, 1.3 + 2.1 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 1, squeeze=False)[:, 0]
    for result, axes, title in zip(results, panels, titles or [""] * len(results), strict=True):
        _draw(axes, result)
        axes.set_title(_plain(title, 100), fontsize=10, loc="left")
    figure.supxlabel("position in the text (characters)", fontsize=10)
    figure.supylabel("score", fontsize=10)
    kinds = panels[0].get_legend_handles_labels()
    look: dict[str, Any] = {"loc": "outside upper left", "ncols": 2, "fontsize": 9, "frameon": False, "alignment": "left"}
    figure.legend(*kinds, title=_plain(results[0].query, 110), title_fontsize=12, **look)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Writes a picture.

    Raises:
        InputError: the ending of the name is of no kind of picture, or the file cannot be written.
    """
    check(path)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def check(path: str | Path) -> None:
    """Raises InputError if the ending of a name is of no kind of picture."""
    kinds = Figure().canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in kinds:
        raise InputError(f"{path} is no name of a picture; let it end in .png, .svg or .pdf")


def _draw(axes: Axes, result: Compression) -> None:
    found = result.candidates
    if found is None:
        raise InputError("this result has no scores to draw, for a service made it; compress with a ContextCompressor")
    length = max(1, len(result.source))
    kept = [part for span in result.spans for part in parts(result, span)]
    edges = np.linspace(0, length, min(_BINS, length) + 1)
    all_of_it = _profile(zip(found.starts.tolist(), found.ends.tolist(), found.scores.tolist(), strict=True), edges)
    best = _profile(((part.start, part.end, part.score) for part in kept), edges)
    axes.stairs(all_of_it, edges, fill=True, color=GREY, alpha=0.45, label="left out")
    axes.stairs(best, edges, fill=True, color=BLUE, label="kept")
    axes.stairs(np.where(best >= 0, -0.02, -0.07), edges, baseline=-0.07, fill=True, color=BLUE)  # those of low score too
    if result.limit is not None:
        _line(axes, result.limit, "--", "threshold")
    elif kept:
        _line(axes, min(part.score for part in kept), ":", "least kept")
    axes.set(xlim=(0, length), ylim=(-0.08, 1.02), yticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, score: float, style: str, name: str) -> None:
    axes.axhline(score, color=RED, linestyle=style, linewidth=1.2)
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    axes.annotate(f"{name}\n{score:.2f}", (1, score), (4, 0), fontsize=8, color=RED, **place)


def _profile(pieces: Iterable[tuple[int, int, float]], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best score in each bin; below 0 where there is no piece."""
    bins = len(edges) - 1
    found = np.full(bins, -0.001)
    for start, end, score in pieces:
        part = slice(int(start * bins / edges[-1]), int((end - 1) * bins / edges[-1]) + 1)
        found[part] = np.maximum(found[part], score)
    return found


def _plain(text: str, most: int) -> str:
    """A line of text as it is: matplotlib takes dollar signs for formulas."""
    line = " ".join(visible(text).split()).replace("$", r"\$")
    return line if len(line) <= most else line[: most - 1] + "…"
