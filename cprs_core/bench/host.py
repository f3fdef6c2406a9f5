"""A compression in two parts, each without the other: what the host does, from tokenising to decoding, and what the model
does. On a GPU they go on at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..compressor import ContextCompressor
from ..scoring import Memory, Window

_STRETCH, _KEPT = 64, 0.02  # every so many tokens are kept or left out together, and so many of them are kept


class InstantScorer:
    """A :class:`~cprs_core.scoring.Scorer` that answers at once, with probabilities that are random, always the same, and
    keep little. ``seen`` are the windows that it was asked about."""

    device = torch.device("cpu")
    token_bytes = batch_bytes = 1

    def __init__(self) -> None:
        self._answers = np.empty((0, 0), np.float32)
        self.seen: list[Window] = []

    def score(self, windows: Sequence[Window], memory: Memory) -> Tensor:
        self.seen += windows
        tokens, tags = sum(len(window.ids) for window in windows), len(windows[0].tag_ids) - 1
        if len(self._answers) < tokens or self._answers.shape[1] != 4 + tags:
            self._answers = _answers(tokens, tags)
        return torch.from_numpy(self._answers[:tokens])


def host_alone(compressor: ContextCompressor, scorer: InstantScorer | None = None) -> ContextCompressor:
    """The same compressor, windows and batches, without a model."""
    checkpoint = replace(compressor.checkpoint, scorers=[scorer or InstantScorer()])
    return ContextCompressor(checkpoint, window_size=compressor.window_size, batch_tokens=compressor.engine.batch_tokens)


def model_alone(compressor: ContextCompressor, text: str, query: str) -> Callable[[], None]:
    """The model's part of a compression, without skimming: windows are cut already, and nothing is made of the scores."""
    scorer = InstantScorer()
    host_alone(compressor, scorer).scores(text, query)
    return lambda: deque(compressor.engine.run(scorer.seen), maxlen=0).clear()


def _answers(tokens: int, tags: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    kept = np.repeat(rng.random(-(-tokens // _STRETCH)) < _KEPT, _STRETCH)[:tokens]
    outside = np.where(kept, 0.1, 0.99) * rng.uniform(0.9, 1, tokens)
    labels = rng.dirichlet((1, 8, 1), tokens) * (1 - outside)[:, None]
    shown = [labels[:, :2], outside[:, None], labels[:, 2:], rng.uniform(0.8, 1, (tokens, tags)) / tags]
    return np.concatenate(shown, 1).astype(np.float32)
