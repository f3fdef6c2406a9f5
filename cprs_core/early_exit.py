"""Adaptive depth: windows with nothing in them stop behind a causal layer, where a small head foresees what will matter.

Long texts are mostly beside the point. The head is trained with the critic: it reads the states behind one of the causal
layers and guesses the keep score that the whole model will give to each token. A window none of whose tokens reaches a
threshold goes no further; its guesses, made small, are its scores. Windows that go on are scored exactly as without it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .shape import EXIT_WIDTH

UNLIKELY = 1e-3  # what the guesses of stopped windows are multiplied by: they rank below all that was scored in full


class EarlyExit(nn.Module):
    """Logits [...] of the guesses from states [..., H] behind ``layer`` causal layers."""

    def __init__(self, hidden: int, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.inner, self.outer = nn.Linear(hidden, EXIT_WIDTH), nn.Linear(EXIT_WIDTH, 1)

    def forward(self, states: Tensor) -> Tensor:
        normed = F.rms_norm(states.float(), states.shape[-1:], eps=1e-6)
        return self.outer(F.silu(self.inner(normed))).squeeze(-1)


def threshold(guesses: Tensor, relevant: Tensor, lost: float) -> tuple[float, dict[str, float]]:
    """The highest threshold below which lies at most the share ``lost`` of what is relevant, and what it comes to.

    Args:
        guesses: float [w], the best of each window. relevant: int [w], its relevant tokens.
    """
    order = guesses.argsort()
    gone = relevant[order].cumsum(0) / max(1, int(relevant.sum()))
    stopping = int((gone <= lost).sum())
    limit = float(guesses[order[stopping]]) if stopping < len(order) else 1.0
    stops, nothing = guesses < limit, relevant == 0
    return limit, {
        "stopped": float(stops.float().mean()),
        "stopped_of_nothing": float(stops[nothing].float().mean()) if nothing.any() else 0.0,
        "relevant_lost": float(relevant[stops].sum() / max(1, int(relevant.sum()))),
    }
