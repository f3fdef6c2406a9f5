"""Probabilities of tokens to spans of characters: plain, vectorised functions over numpy arrays, in linear time.

labels      B/I/O/E for each token: the label head's own, or what a threshold on the score leaves
runs        repaired runs of labels: what the model marks as one piece
candidates  the text cut into disjoint pieces that can be kept or left out, each with a score
choose      which candidates stay: the model's decision, a threshold, or the best under a budget
spans       chosen neighbours joined
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .segments import Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

B, I, O, E = range(4)  # noqa: E741 - label ids of the paper's checkpoint

MAX_GAP = 2  # tokens that a broken run may lack in its middle


@dataclass(frozen=True)
class TokenScores:
    """What the critic says about the n tokens of a text, for T tags.

    Attributes:
        starts, ends: int64 [n], character offsets.
        label_probs: float32 [n, 4], over B, I, O, E.
        tag_probs: float32 [n, T], of each tag; what is missing to 1 is "outside". All ones where the checkpoint has no
            usable LM head.
    """

    starts: Ints
    ends: Ints
    label_probs: Floats
    tag_probs: Floats

    @cached_property
    def keep(self) -> Floats:
        """float32 [n, T]: the score of each token for each tag, (1 - P(O)) * P(tag) (paper section 2.3)."""
        return (1 - self.label_probs[:, O, None]) * self.tag_probs

    def labels(self, threshold: float | None = None) -> NDArray[np.int8]:
        """B/I/O/E ids [n]: the likeliest label; with a threshold, O below it and the likeliest of B, I, E from it on."""
        if threshold is None:
            return self.label_probs.argmax(1).astype(np.int8)
        inside = self.label_probs.copy()
        inside[:, O] = -1
        kept = self.keep.max(1, initial=0) >= threshold
        return np.where(kept, inside.argmax(1), O).astype(np.int8)


@dataclass(frozen=True)
class Candidates:
    """m disjoint pieces of one text in reading order.

    Attributes:
        starts, ends: int64 [m], characters. scores: float32 [m], mean over the tokens. tags: int64 [m], index of the
            best tag. tokens: int64 [m], how many. kept: bool [m], what the model (or the threshold) keeps.
        marked: bool [m], whether the model's labels mark anything in it.
        whole: bool [m], marked as one piece by the model, so never joined with another such piece.
    """

    starts: Ints
    ends: Ints
    scores: Floats
    tags: Ints
    tokens: Ints
    kept: Bools
    marked: Bools
    whole: Bools

    def __len__(self) -> int:
        return len(self.starts)


def runs(labels: NDArray[np.int8], max_gap: int = MAX_GAP) -> Ints:
    """Token ranges int64 [r, 2] that labels [n] mark, in order and disjoint.

    A run begins at B, or wherever tokens are marked after O or E; it ends at E, or before O or B. A run that lacks its
    B continues the one before it, if that lacks its E and at most ``max_gap`` tokens lie between, or if they touch.
    """
    marked = labels != O
    before, previous = np.roll(marked, 1), np.roll(labels, 1)
    before[:1] = False
    begins = marked & (~before | (labels == B) | (previous == E))
    starts = np.flatnonzero(begins)
    if not len(starts):
        return np.empty((0, 2), np.int64)
    stops = marked & ~np.append(marked[1:] & ~begins[1:], False)
    ends = np.flatnonzero(stops) + 1
    gap = starts[1:] - ends[:-1]
    joined = (labels[starts[1:]] != B) & (gap <= max_gap) & ((labels[ends[:-1] - 1] != E) | (gap == 0))
    return np.stack([starts[np.append(True, ~joined)], ends[np.append(~joined, True)]], 1)


def complete(ranges: Ints, units: Ints) -> Ints:
    """Character ranges [r, 2], sorted, to the ranges [k, 2] of units (indices into units [u, 2]) that they touch,
    disjoint. A range that touches none (white space) is left out."""
    first = np.searchsorted(units[:, 1], ranges[:, 0], side="right")
    last = np.searchsorted(units[:, 0], ranges[:, 1], side="left")
    touching = last > first
    first, last = first[touching], last[touching]
    if not len(first):
        return np.empty((0, 2), np.int64)
    reach = np.maximum.accumulate(last)
    opens = np.append(True, first[1:] >= reach[:-1])
    closes = np.append(opens[1:], True)
    return np.stack([first[opens], reach[closes]], 1)


def candidates(units: Ints, scores: TokenScores, unit: Unit, threshold: float | None) -> Candidates:
    """What can be kept or left out of a text, given its units (character ranges int64 [u, 2]).

    Sentences, lines and paragraphs are candidates as they are, and the model keeps one whose score reaches the threshold
    (without a threshold: one that it marks anything in). Of words, those that the model marks together are one candidate.
    """
    ranges = runs(scores.labels(threshold))
    characters = np.stack([scores.starts[ranges[:, 0]], scores.ends[ranges[:, 1] - 1]], 1)
    touched = complete(characters, units)
    marked = _inside(touched, len(units))
    whole = np.zeros(len(units), bool)
    if unit == "word":
        leads = ~_inside(touched + np.array([1, 0]), len(units))  # every unit but those that continue a marked piece
        whole[touched[:, 0]] = True
        marked, whole = marked[leads], whole[leads]
        units = np.stack([units[leads, 0], units[np.append(leads[1:], True)[: len(units)], 1]], 1)
    first = np.searchsorted(scores.ends, units[:, 0], side="right")
    last = np.maximum(np.searchsorted(scores.starts, units[:, 1], side="left"), first)
    count = last - first
    total = np.concatenate([np.zeros((1, scores.keep.shape[1])), np.cumsum(scores.keep, axis=0, dtype=np.float64)])
    means = (total[last] - total[first]) / np.maximum(count, 1)[:, None]
    best = means.max(1, initial=0).clip(0, 1).astype(np.float32)
    kept = marked if unit == "word" or threshold is None else best >= threshold
    return Candidates(units[:, 0], units[:, 1], best, means.argmax(1), count, kept, marked, whole)


def _inside(ranges: Ints, n: int) -> Bools:
    """bool [n]: which indices lie in one of the disjoint ranges [r, 2]."""
    change = np.zeros(n + 1, np.int64)
    np.add.at(change, ranges[:, 0], 1)
    np.add.at(change, ranges[:, 1], -1)
    return np.cumsum(change)[:n] > 0


def choose(parts: Sequence[Candidates], budget: int) -> list[Bools]:
    """The best-scored candidates of all parts whose tokens fit into the budget together, as masks."""
    costs, scores = np.concatenate([part.tokens for part in parts]), np.concatenate([part.scores for part in parts])
    return np.split(best_fitting(costs, scores, budget), np.cumsum([len(part) for part in parts])[:-1])


def best_fitting(costs: Ints, scores: Floats, budget: float) -> Bools:
    """bool [n]: the best-scored whose costs fit into the budget together; one that does not fit is skipped, and equal
    scores go in reading order."""
    chosen = np.zeros(len(costs), bool)
    order = np.argsort(-scores, kind="stable")
    while len(order := order[costs[order] <= budget]):
        fits = int(np.searchsorted(np.cumsum(costs[order]), budget, side="right"))
        chosen[order[:fits]] = True
        budget -= int(costs[order[:fits]].sum())
        order = order[fits:]
    return chosen


def drop_weakest(parts: Sequence[Candidates], masks: Sequence[Bools], tokens: int) -> list[Bools]:
    """The masks less the worst-scored candidates that have at least so many tokens together; of equals the last go first."""
    chosen = np.concatenate(masks)
    order = np.flatnonzero(chosen)[::-1]
    order = order[np.argsort(np.concatenate([part.scores for part in parts])[order], kind="stable")]
    costs = np.cumsum(np.concatenate([part.tokens for part in parts])[order])
    chosen[order[: np.searchsorted(costs, tokens) + 1]] = False
    return np.split(chosen, np.cumsum([len(part) for part in parts])[:-1])


def spans(part: Candidates, chosen: Bools) -> list[tuple[int, int, float, int]]:
    """(start, end, score, tag) of the chosen candidates, neighbours of one tag joined."""
    index = np.flatnonzero(chosen)
    if not len(index):
        return []
    joined = (np.diff(index) == 1) & (np.diff(part.tags[index]) == 0)
    joined &= ~(part.whole[index[1:]] & part.whole[index[:-1]])
    opens = np.flatnonzero(np.append(True, ~joined))
    weight = np.maximum(part.tokens[index], 1).astype(np.float64)
    score = np.add.reduceat(part.scores[index] * weight, opens) / np.add.reduceat(weight, opens)
    starts = part.starts[index[opens]]
    ends = part.ends[index[np.append(opens[1:], len(index)) - 1]]
    tags = part.tags[index[opens]]
    return list(zip(starts.tolist(), ends.tolist(), score.clip(0, 1).tolist(), tags.tolist(), strict=True))
