"""Token ids to windows (paper section 2.4): slices of one tokenisation, cut where a sentence or paragraph ends.

Pure functions over numpy arrays; nothing is decoded or tokenised again, so offsets cannot slip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .segments import Unit, segment
from .tokens import Tokens, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How much of a window may stay empty so that it ends at a paragraph's, or else at a sentence's end.
_PARAGRAPH_SLACK, _SENTENCE_SLACK = 0.15, 0.3


def room(window_size: int, prefix_length: int, overlap: int = 0) -> int:
    """Tokens of the text that fit into a window behind its prefix.

    Raises:
        InputError: the prompt fills the window, or the overlap does.
    """
    free = window_size - prefix_length
    if free < max(32, window_size // 8):
        raise InputError(
            f"instruction and query take {prefix_length} tokens of a window of {window_size}, which leaves too few for the "
            "text; shorten them, or load the model with a larger window_size"
        )
    if not 0 <= overlap <= free // 2:
        raise InputError(f"overlap must be 0 to {free // 2} tokens (half of the {free} free in a window), got {overlap}")
    return free


def plan(text: str, tokens: Iterable[Tokens], room: int, overlap: int = 0) -> Iterator[tuple[int, Tokens, int | None]]:
    """Cuts a text into windows, as far as it is tokenised.

    Args:
        tokens: its parts, in order; no more of them are taken than the next window needs.
        room: the most tokens a window may hold.
        overlap: tokens that a window shares with the one before it.

    Yields:
        Where each window begins, in tokens; its tokens; and where the next one begins, None if it is the last. Together they
        cover all tokens.
    """
    coming = iter(tokens)
    begin, rest = 0, joined([])  # the tokens from ``begin`` on, as far as they have been taken
    while True:
        parts, known = [rest] if len(rest) else [], len(rest)
        while known <= room and (part := next(coming, None)) is not None:
            parts.append(part)
            known += len(part)
        rest = joined(parts)
        if known <= room:
            break
        end = (
            _unit_border(text, rest, "paragraph", max(overlap, int(room - _PARAGRAPH_SLACK * room)), room)
            or _unit_border(text, rest, "sentence", max(overlap, int(room - _SENTENCE_SLACK * room)), room)
            or _character_border(rest, overlap, room)
        )
        start = _character_border(rest, 0, end - overlap)
        yield begin, rest[:end], begin + start
        begin, rest = begin + start, rest[start:]
    if len(rest):
        yield begin, rest, None


def cut(borders: NDArray[np.int64], n: int, room: int, overlap: int = 0) -> NDArray[np.int64]:
    """Cuts n tokens into windows [w, 2] of at most ``room`` at the given ``borders``, or anywhere if none is near enough;
    neighbours share ``overlap`` tokens."""
    windows, start = [], 0
    borders = np.append(0, borders)
    while n - start > room:
        end = int(borders[np.searchsorted(borders, start + room, side="right") - 1])
        if end <= start + overlap:
            end = start + room
        windows.append((start, end))
        start = end - overlap
    windows.append((start, n))
    return np.array(windows, dtype=np.int64)


class Merger:
    """Puts values of windows in their places; where windows overlap, they are averaged.

    Args:
        n: tokens of the text, or more: memory that is not used is not taken from the system. width: values a token.
    """

    def __init__(self, n: int, width: int) -> None:
        self._sum = np.zeros((n, width), dtype=np.float32)
        self._count = np.zeros((n, 1), dtype=np.float32)

    def reach(self, n: int) -> None:
        """Makes room for the first n tokens, if there is too little."""
        if n > len(self._sum):
            self._sum.resize((n, self._sum.shape[1]), refcheck=False)
            self._count.resize((n, 1), refcheck=False)

    def add(self, places: slice | NDArray[Any], values: NDArray[np.float32]) -> None:
        """Adds values [length, width] of the tokens at some places, for which there must be room."""
        self._sum[places] += values
        self._count[places] += 1

    def mean(self, start: int, end: int) -> NDArray[np.float32]:
        """Values [end - start, width] of the tokens from ``start`` to ``end``, all of which were added."""
        return self._sum[start:end] / self._count[start:end]


def _unit_border(text: str, tokens: Tokens, unit: Unit, low: int, high: int) -> int | None:
    """The last token in (low, high] that begins a unit; None if none does."""
    begin = int(tokens.starts[low])
    starts = segment(text[begin : tokens.ends[high]], unit, concurrent=True)[1:, 0] + begin
    borders = np.searchsorted(tokens.ends, starts, side="right")
    borders = borders[(borders > low) & (borders <= high)]
    return int(borders[-1]) if len(borders) else None


def _character_border(tokens: Tokens, low: int, index: int) -> int:
    """The last index in (low, index] at which a token does not continue the character before it."""
    border = index
    while border > low + 1 and tokens.starts[border] < tokens.ends[border - 1]:
        border -= 1
    return border if tokens.starts[border] >= tokens.ends[border - 1] else index
