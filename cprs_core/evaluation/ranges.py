"""Sets of characters as ranges int64 [k, 2], disjoint and in order: what two of them share, in linear time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ranges = NDArray[np.int64]


def ranges(pairs: list[tuple[int, int]]) -> Ranges:
    """Ranges from pairs (start, end) that are disjoint and in order."""
    return np.array(pairs, np.int64).reshape(-1, 2)


def union(a: Ranges) -> Ranges:
    """The same characters from ranges that start in order but may overlap; those that touch are joined."""
    if not len(a):
        return a
    ends = np.maximum.accumulate(a[:, 1])
    opens = np.append(True, a[1:, 0] > ends[:-1])
    return np.stack([a[opens, 0], ends[np.append(opens[1:], True)]], 1)


def size(a: Ranges) -> int:
    """How many characters there are in a set."""
    return int((a[:, 1] - a[:, 0]).sum())


def meetings(a: Ranges, b: Ranges) -> tuple[NDArray[np.int64], NDArray[np.int64], Ranges]:
    """Every pair of a range of ``a`` and one of ``b`` that share characters, m <= len(a) + len(b) of them.

    Returns:
        Their indices in ``a`` and in ``b``, int64 [m] each, and what they share, int64 [m, 2], in order.
    """
    first = np.searchsorted(b[:, 1], a[:, 0], side="right")
    count = np.maximum(np.searchsorted(b[:, 0], a[:, 1], side="left") - first, 0)
    of_a = np.repeat(np.arange(len(a)), count)
    of_b = np.arange(len(of_a)) + np.repeat(first - (np.cumsum(count) - count), count)
    shared = np.stack([np.maximum(a[of_a, 0], b[of_b, 0]), np.minimum(a[of_a, 1], b[of_b, 1])], 1)
    return of_a, of_b, shared


def intersection(a: Ranges, b: Ranges) -> Ranges:
    """The characters that lie in both sets."""
    return meetings(a, b)[2]


def covered(a: Ranges, b: Ranges) -> NDArray[np.int64]:
    """int64 [len(a)]: how many characters of each range of ``a`` lie in ``b``."""
    of_a, _, shared = meetings(a, b)
    return np.bincount(of_a, shared[:, 1] - shared[:, 0], len(a)).astype(np.int64)


def marked(sentences: Ranges, spans: Ranges) -> NDArray[np.bool_]:
    """bool [n]: the sentences that lie in the spans by half, or hold half of one of them."""
    sentence, span, shared = meetings(sentences, spans)
    found = 2 * covered(sentences, spans) >= sentences[:, 1] - sentences[:, 0]
    held = 2 * (shared[:, 1] - shared[:, 0]) >= (spans[:, 1] - spans[:, 0])[span]
    found[sentence[held]] = True
    return found
