"""Which candidates of some texts are kept: the model's decision, or the best that fit into one budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from . import spans as decode
from .result import join
from .segments import subdivide
from .spans import Candidates, TokenScores

Ranges = list[tuple[int, int, float, int]]
"""(start, end, score, tag) of the kept spans of a text."""


@dataclass(frozen=True)
class Scored:
    """A text with the scores of its tokens, and the candidates that they make.

    Attributes:
        limit: the score from which the model keeps a candidate.
        skimmed_to: the largest budget with which this text alone is skimmed, so that all budgets up to there have scores in
            common, and all larger ones; None if it is always read in full.
    """

    text: str
    scores: TokenScores
    candidates: Candidates
    limit: float | None
    skimmed_to: int | None = None


def select(
    parts: Sequence[Scored], budget: int | None, floor: float | None, share: float, count: Callable[[str], int]
) -> list[Ranges]:
    """The spans to keep of each text.

    Args:
        budget: the most tokens to keep of all texts together; None = what the model keeps.
        floor: under a budget, the least score of what is kept.
        share: without a budget, the least score as a share of the best of all texts.
        count: the number of tokens of a text.
    """
    if budget is None:
        bar = share_of_best(parts, share)
        return [decode.spans(part.candidates, near(part.candidates, bar)) for part in parts]
    fitting = [_fitting(part, budget) for part in parts]
    masks = decode.choose(fitting, budget) if fitting else []
    if floor is not None:
        masks = [mask & (part.scores >= floor) for mask, part in zip(masks, fitting, strict=True)]
    while True:
        picked = [decode.spans(part, mask) for part, mask in zip(fitting, masks, strict=True)]
        kept = sum(count(kept_text(part.text, ranges)) for part, ranges in zip(parts, picked, strict=True))
        if kept <= budget:
            return picked
        # Cut out of its place, a piece can take a token or two more than inside the text.
        masks = decode.drop_weakest(fitting, masks, kept - budget)


def share_of_best(parts: Sequence[Scored], share: float) -> float:
    """A share of the best score of what the model keeps of some texts."""
    return share * max((top_score(part.candidates) for part in parts), default=0.0)


def top_score(part: Candidates) -> float:
    """The best score of what the model keeps; 0 if it keeps nothing."""
    return float(part.scores[part.kept].max(initial=0))


def near(part: Candidates, limit: float) -> NDArray[np.bool_]:
    """bool [m]: what the model keeps that also scores at least so much."""
    return part.kept & (part.scores >= np.float32(limit))


def kept_text(text: str, ranges: Ranges) -> str:
    """The text that the spans make."""
    return join(text, [(start, end) for start, end, _, _ in ranges])


def cuts(part: Scored) -> tuple[Candidates, Candidates]:
    """The clauses of all candidates, and their words: what a budget too small for a whole candidate chooses from."""
    clauses = _cut(part, part.candidates, "clause")
    return clauses, _cut(part, clauses, "word")


def _cut(part: Scored, pieces: Candidates, smaller: Literal["clause", "word"]) -> Candidates:
    units = subdivide(part.text, np.stack([pieces.starts, pieces.ends], 1), smaller)
    return decode.candidates(units, part.scores, "sentence", part.limit)


def _fitting(part: Scored, budget: int) -> Candidates:
    """The candidates, those that no budget of this size can hold cut into clauses, and if need be into words: the best
    sentence may be the longest, and a part of it is worth more than the whole of another."""
    found = part.candidates
    for smaller in ("clause", "word"):
        long = found.tokens > budget
        if not long.any():
            break
        units = np.stack([found.starts, found.ends], 1)
        units = np.concatenate([units[~long], subdivide(part.text, units[long], smaller)])
        found = decode.candidates(units[np.argsort(units[:, 0])], part.scores, "sentence", part.limit)
    return found
