"""Character spans to what a window trains on: a label and a tag for each token, a judgement for each sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..segments import segment
from ..spans import B, E, I, O
from .tasks import Span

OUTSIDE = -1


def label(starts: np.ndarray, ends: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """B/I/O/E ids [n] of tokens for character spans. A span of one token is a lone B; overlapping spans are one."""
    labels = np.full(len(starts), O, dtype=np.int64)
    for start, end in merge_spans(spans):
        first, last = _tokens(starts, ends, start, end)
        if last > first:
            labels[first:last] = I
            labels[last - 1] = E
            labels[first] = B
    return labels


def tags(starts: np.ndarray, ends: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """The tag [n] of each token: the column of its span, of the later one where spans overlap, else ``OUTSIDE``."""
    columns = np.full(len(starts), OUTSIDE, dtype=np.int64)
    for start, end, column in spans:
        first, last = _tokens(starts, ends, start, end)
        columns[first:last] = column
    return columns


def merge_spans(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted, overlapping ones joined."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def judge(
    text: str, spans: Sequence[tuple[int, int]], starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of the tokens of a part of the text: the number [n] of each one's sentence (from 1 in that part; 0 = none), whether
    each sentence matters (int [S + 1]: 1, 0, or -1 where it is neither a yes nor a no), and the sentences."""
    units = segment(text, "sentence")
    number = np.searchsorted(units[:, 0], ends, side="left")
    number = np.where(starts < units[np.maximum(number - 1, 0), 1] if len(units) else False, number, 0)
    present = number[number > 0]
    if not len(present):
        return number.astype(np.int64), np.array([-1]), []
    low, high = int(present.min()), int(present.max())
    units = units[low - 1 : high]
    marked = np.zeros(len(text) + 1, dtype=np.int64)
    for start, end in spans:
        marked[start:end] = 1
    covered = np.concatenate([[0], np.cumsum(marked)])
    share = (covered[units[:, 1]] - covered[units[:, 0]]) / np.maximum(units[:, 1] - units[:, 0], 1)
    relevant = np.select([share >= 0.5, share > 0.2], [1, -1], 0)
    numbers = np.where(number > 0, number - low + 1, 0).astype(np.int64)
    return numbers, np.concatenate([[-1], relevant]).astype(np.int64), [text[start:end] for start, end in units.tolist()]


def _tokens(starts: np.ndarray, ends: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """The range of tokens that touch the characters from ``start`` to ``end``."""
    return int(np.searchsorted(ends, start, side="right")), int(np.searchsorted(starts, end, side="left"))
