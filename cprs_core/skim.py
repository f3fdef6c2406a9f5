"""Adaptive depth: a long text is skimmed first, and only what promises something is read in full.

Long texts are mostly beside the point. A skimmer is a few bidirectional layers behind the first causal ones of a critic,
trained to foresee the scores of the whole. Sentences that it expects something of are read by the whole critic, one after
the other in the same windows, so that what lay far apart in the text is seen together. The rest keeps what the skimmer
guesses, made small, so that it ranks below all that was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .windows import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .tokens import Tokens

UNLIKELY = 1e-3  # what guesses about what is not read are multiplied by
SEPARATOR = "\n"  # stands where something is left out
AMPLE = 4  # times a budget must be read at least: what is not read is in no fine order


@dataclass(frozen=True)
class Skim:
    """How a critic skims.

    Attributes:
        threshold: the guess from which a sentence is read.
        share: so much of a text is read in any case, the most promising sentences first, from 0 to 1.
        window_size: tokens of a window, instruction and query included.
    """

    threshold: float
    share: float
    window_size: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Skim | None:
        """What the config of a critic says; None if it has no skimmer, or none that is finished."""
        skim = config.get("skim") or {}
        if skim.get("threshold") is None:
            return None
        return cls(skim["threshold"], skim.get("share", 0.0), skim.get("window_size") or config["window_size"])

    def pays(self, windows: int, asked: float) -> bool:
        """Whether to skim a text of so many windows, of which a budget asks for the share ``asked``."""
        return windows > 1 and AMPLE * asked <= self.share

    def largest_budget(self, windows: int, tokens: int) -> int | None:
        """The largest budget with which it pays to skim a text of so many windows and tokens, 0 if it does so without one
        alone; None if it never pays."""
        if not self.pays(windows, 0):
            return None
        budget = int(self.share / AMPLE * tokens) + 1
        while budget and not self.pays(windows, budget / tokens):
            budget -= 1
        return budget


@dataclass(frozen=True)
class Reading:
    """What is read of a text of n tokens.

    Attributes:
        ids: int32 [m], the tokens that are read, and separators. places: int64 [m], where in the text they are, -1 for
            separators.
        windows: int64 [w, 2], ranges of the m.
        unread: bool [n].
    """

    ids: NDArray[np.int32]
    places: NDArray[np.int64]
    windows: NDArray[np.int64]
    unread: NDArray[np.bool_]


def choose(
    tokens: Tokens,
    sentences: NDArray[np.int64],
    guesses: NDArray[np.float32],
    limit: float,
    share: float,
    separator: NDArray[np.int32],
    room: int,
    overlap: int,
) -> Reading:
    """What to read of a text.

    Args:
        sentences: int64 [s, 2], character ranges. guesses: float [n], one a token.
        limit: a sentence is read if the best guess in it is at least so much.
        share: the best sentences are read that have no more than this share of the tokens together.
        separator: token ids. room, overlap: of windows.
    """
    first = np.searchsorted(tokens.ends, sentences[:, 0], side="right")
    last = np.maximum(np.searchsorted(tokens.starts, sentences[:, 1], side="left"), first)
    filled = last > first
    first, last = first[filled], last[filled]
    best, sizes = best_of(guesses, first, last), last - first
    read = best >= limit
    order = np.argsort(-best, kind="stable")
    read[order[np.cumsum(sizes[order]) <= share * len(tokens)]] = True
    begins = read & ~np.append(False, read[:-1])
    ids: list[NDArray[np.int32]] = []
    places: list[NDArray[np.int64]] = []
    borders: list[NDArray[np.int64]] = []
    size = 0
    unread = np.ones(len(tokens), bool)
    for start, stop in zip(np.flatnonzero(begins), np.flatnonzero(read & ~np.append(read[1:], False)), strict=True):
        if ids:
            ids.append(separator)
            places.append(np.full(len(separator), -1))
            size += len(separator)
        stretch = np.arange(first[start], last[stop])
        ids.append(tokens.ids[stretch])
        places.append(stretch)
        unread[stretch] = False
        borders.append(last[start : stop + 1] - first[start] + size)
        size += len(stretch)
    if not ids:
        return Reading(tokens.ids[:0], np.empty(0, np.int64), np.empty((0, 2), np.int64), unread)
    return Reading(np.concatenate(ids), np.concatenate(places), cut(np.concatenate(borders), size, room, overlap), unread)


def best_of(values: NDArray[np.float32], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.float32]:
    """The best value [s] of each of some ranges, in order and none of them empty."""
    if not len(first):
        return values[:0]
    bounds = np.stack([first, last], 1).ravel()  # every second range of reduceat lies between two of ours
    return np.maximum.reduceat(np.append(values, 0), bounds)[::2]


def threshold(guesses: Tensor, relevant: Tensor, sizes: Tensor, lost: float) -> tuple[float, dict[str, float]]:
    """The highest limit below which lies at most the share ``lost`` of what is relevant, and what it comes to.

    Args:
        guesses: float [s], the best of each sentence. relevant, sizes: int [s], its relevant tokens, and all.
    """
    order = guesses.argsort()
    gone = relevant[order].cumsum(0) / max(1, int(relevant.sum()))
    skipped = int((gone <= lost).sum())
    limit = float(guesses[order[skipped]]) if skipped < len(order) else 1.0
    below = guesses < limit
    return limit, {
        "read": float(sizes[~below].sum() / max(1, int(sizes.sum()))),
        "relevant_lost": float(relevant[below].sum() / max(1, int(relevant.sum()))),
    }
