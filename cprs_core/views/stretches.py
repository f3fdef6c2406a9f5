"""A source cut into stretches that are kept, left out, or left out for so long that a view folds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..result import Compression, Span

_FAR = 40  # characters within which a fold looks for white space, so that no word is cut


@dataclass(frozen=True)
class Stretch:
    """``source[start:end]``. ``span`` if it is kept, and then the score of this piece of it."""

    start: int
    end: int
    span: Span | None = None
    score: float = 0.0
    folded: bool = False


def stretches(result: Compression, shown: int) -> Iterator[Stretch]:
    """All of the source, in order.

    Args:
        shown: characters of left-out text to show on either side of a kept span; more than four times as many between two
            are folded.
    """
    last = 0
    for span in result.spans:
        yield from _left_out(result.source, last, span.start, shown)
        yield from parts(result, span)
        last = span.end
    yield from _left_out(result.source, last, len(result.source), shown)


def summary(*results: Compression) -> str:
    """How much was kept of all of them, in words."""
    read, kept = (sum(getattr(result, name) for result in results) for name in ("input_tokens", "kept_tokens"))
    pieces = sum(len(result.spans) for result in results)
    spans = "1 span" if pieces == 1 else f"{pieces:,} spans"
    return f"kept {kept:,} of {read:,} tokens ({kept / read if read else 0:.1%}) in {spans}"


def parts(result: Compression, span: Span) -> Iterator[Stretch]:
    """A span in the pieces that it was joined from, as far as they are known: neighbours may score differently."""
    found = result.candidates
    if found is None:
        yield Stretch(span.start, span.end, span, span.score)
        return
    first = int(np.searchsorted(found.ends, span.start, side="right"))
    last = int(np.searchsorted(found.starts, span.end, side="left"))
    start = span.start
    for i in range(first, last):
        end = span.end if i == last - 1 else int(found.ends[i])
        yield Stretch(start, end, span, float(found.scores[i]))
        start = end


def _left_out(source: str, start: int, end: int, shown: int) -> Iterator[Stretch]:
    fold_from = _white(source, start + shown, 1) if start else 0
    fold_to = end if end == len(source) else _white(source, end - shown, -1) + 1
    if fold_to - fold_from < 2 * shown:
        if end > start:
            yield Stretch(start, end)
        return
    if fold_from > start:
        yield Stretch(start, fold_from)
    yield Stretch(fold_from, fold_to, folded=True)
    if end > fold_to:
        yield Stretch(fold_to, end)


def _white(source: str, position: int, step: int) -> int:
    """The nearest white space in a direction, if there is some at hand."""
    near = range(position, max(-1, min(len(source), position + step * _FAR)), step)
    return next((i for i in near if source[i].isspace()), position)
