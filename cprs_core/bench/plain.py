"""The straightforward way to run a critic, for comparison: one window at a time, prefix included, under dense masks.

This is what the paper's released code does, in transformers' own forward pass and under inference mode: both masks are
written out for each window, nothing is shared between windows, and each window's results are fetched before the next runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..attention import MASK
from ..scoring import Memory, Window

if TYPE_CHECKING:
    from ..model import TokenCritic


class DenseScorer:
    """A :class:`~cprs_core.scoring.Scorer`; with batches of one token, the engine hands it the windows one by one."""

    token_bytes = batch_bytes = 1  # not needed: the batches are given

    def __init__(self, model: TokenCritic, *, has_tags: bool = True) -> None:
        embedding: Any = model.get_input_embeddings()
        self.device: torch.device = embedding.weight.device
        self._model, self._embedding, self._has_tags = model, embedding, has_tags

    @torch.inference_mode()
    def score(self, windows: Sequence[Window], memory: Memory) -> Tensor:
        return torch.cat([self._probabilities(window).cpu() for window in windows])

    def _probabilities(self, window: Window) -> Tensor:
        ids = torch.from_numpy(np.concatenate([window.prefix, window.ids]).astype(np.int64)).to(self.device)
        everything = torch.ones(1, 1, len(ids), len(ids), dtype=torch.bool, device=self.device)
        decoder: Any = self._model.model
        states = decoder(
            inputs_embeds=self._embedding(ids[None]),
            attention_mask=everything.tril(),
            use_cache=False,
            **{MASK: everything},
        ).last_hidden_state
        own = states[:, len(window.prefix) :]
        labels = self._model.label_logits(own)[0].softmax(-1)
        if not self._has_tags:
            return torch.cat([labels, labels.new_ones(len(labels), len(window.tag_ids) - 1)], 1)
        tags = self._model.tag_logits(own, torch.from_numpy(window.tag_ids.astype(np.int64)))[0].softmax(-1)
        return torch.cat([labels, tags[:, :-1]], 1)
