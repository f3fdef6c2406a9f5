"""How far fast ways agree with the model in float32, run the straightforward way, on the same windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compressor import ContextCompressor
from ..spans import TokenScores

if TYPE_CHECKING:
    from numpy.typing import NDArray


def agreement(
    compressor: ContextCompressor, text: str, found: Sequence[TokenScores], expected: Sequence[TokenScores]
) -> dict[str, Any]:
    """Compares the scores of a text for several queries with those that they should be.

    Returns:
        ``same_label``, ``same_decision``: shares of the tokens with the same likeliest label, and that the model keeps, or
        leaves out, both times. ``difference``: the largest of a keep score.
    """
    labels = np.concatenate([a.labels() == b.labels() for a, b in zip(found, expected, strict=True)])
    decisions = np.concatenate(
        [_kept(compressor, text, a) == _kept(compressor, text, b) for a, b in zip(found, expected, strict=True)]
    )
    differences = [float(np.abs(a.keep - b.keep).max(initial=0)) for a, b in zip(found, expected, strict=True)]
    return {
        "same_label": float(labels.mean()),
        "same_decision": float(decisions.mean()),
        "difference": max(differences),
        "tokens_compared": len(labels),
    }


def _kept(compressor: ContextCompressor, text: str, scores: TokenScores) -> NDArray[np.bool_]:
    """bool [n]: which tokens the model keeps by itself."""
    kept = np.zeros(len(scores.starts), np.bool_)
    for start, end, *_ in compressor.decide(text, scores):
        kept[(scores.starts >= start) & (scores.ends <= end)] = True
    return kept
