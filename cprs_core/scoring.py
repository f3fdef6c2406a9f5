"""Windows to probabilities: the two ways in which a critic runs.

PackedScorer   :mod:`~.packed`, the fast one
PlainScorer    transformers' own forward pass, for what the other cannot do: layers that lie on several devices or are
               offloaded, other families of decoders, an attention kernel that the user chose
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .packed import FAMILIES, PackedDecoder, Prefixes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .model import TokenCritic

Memory = dict[tuple[bytes, ...], Prefixes]

_PADDING = 1.15  # the longest of windows that are padded to one length may be this much longer than the shortest


@dataclass(frozen=True)
class Window:
    """Tokens of a text ``ids`` int32 [n], what is put in front of them ``prefix`` int32 [p], and ``tag_ids`` [T + 1]."""

    ids: NDArray[np.int32]
    prefix: NDArray[np.int32]
    tag_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.prefix) + len(self.ids)


class Scorer(Protocol):
    """Attributes:
    device: where it computes. token_bytes: memory that a token of a batch takes there at most, about.
    """

    device: torch.device
    token_bytes: int

    def score(self, windows: Sequence[Window], memory: Memory) -> Tensor:
        """float32 [tokens of all windows, 4 + T]: probabilities of the labels and of the tags, which are the same for all
        windows. ``memory`` keeps from one batch of a call to the next what they share."""
        ...


def scorer(model: TokenCritic, *, has_tags: bool = True) -> Scorer:
    """The fast scorer for a model, if it can do it, else the plain one."""
    config: Any = model.config
    in_one_place = not getattr(model, "hf_device_map", None) and all(p.device.type != "meta" for p in model.parameters())
    if config.model_type in FAMILIES and config._attn_implementation == "sdpa" and in_one_place:
        return PackedScorer(model, has_tags)
    return PlainScorer(model, has_tags)


class PackedScorer:
    def __init__(self, model: TokenCritic, has_tags: bool) -> None:
        self._model, self._has_tags = model, has_tags
        self._decoder = PackedDecoder(model)
        self.device, self.token_bytes = self._decoder.device, _token_bytes(model)

    @torch.inference_mode()
    def score(self, windows: Sequence[Window], memory: Memory) -> Tensor:
        names = [window.prefix.tobytes() for window in windows]
        distinct = dict(zip(names, (window.prefix for window in windows), strict=True))
        key = tuple(distinct)
        if key not in memory:
            memory.clear()
            memory[key] = self._decoder.prefixes(list(distinct.values()))
        numbers = {name: number for number, name in enumerate(key)}
        hidden = self._decoder.hidden([window.ids for window in windows], [numbers[name] for name in names], memory[key])
        return _probabilities(self._model, hidden, windows[0].tag_ids, self._has_tags)


class PlainScorer:
    def __init__(self, model: TokenCritic, has_tags: bool) -> None:
        self._model, self._has_tags = model, has_tags
        embedding: Any = model.get_input_embeddings()
        self.device: torch.device = embedding.weight.device
        if self.device.type == "meta":  # offloaded layers: their inputs start on the first device that computes
            places: Any = getattr(model, "hf_device_map", {})
            self.device = torch.device(next((place for place in places.values() if place not in ("disk", "cpu")), "cpu"))
        self.token_bytes = _token_bytes(model)

    @torch.inference_mode()
    def score(self, windows: Sequence[Window], memory: Memory) -> Tensor:
        order = sorted(range(len(windows)), key=lambda i: len(windows[i]))
        alike: list[list[int]] = []
        for i in order:
            if not alike or len(windows[i]) > _PADDING * len(windows[alike[-1][0]]):
                alike.append([])
            alike[-1].append(i)
        states = [state for group in alike for state in self._hidden([windows[i] for i in group])]
        own = [state for _, state in sorted(zip(order, states, strict=True), key=lambda pair: pair[0])]
        return _probabilities(self._model, torch.cat(own), windows[0].tag_ids, self._has_tags)

    def _hidden(self, windows: Sequence[Window]) -> list[Tensor]:
        """The last hidden states [n, H] of each window's own tokens."""
        longest = max(map(len, windows))
        ids = np.zeros((len(windows), longest), np.int64)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window)] = np.concatenate([window.prefix, window.ids])
        mask = torch.arange(longest) < torch.tensor([[len(window)] for window in windows])
        states = self._model(
            torch.from_numpy(ids).to(self.device), attention_mask=None if mask.all() else mask.long().to(self.device)
        ).hidden
        return [row[len(window.prefix) : len(window)] for row, window in zip(states, windows, strict=True)]


def _probabilities(model: TokenCritic, hidden: Tensor, tag_ids: NDArray[np.int32], has_tags: bool) -> Tensor:
    labels = model.label_logits(hidden).softmax(-1)
    if not has_tags:
        return torch.cat([labels, labels.new_ones(len(labels), len(tag_ids) - 1)], 1)
    tags = model.tag_logits(hidden[None], torch.from_numpy(tag_ids.astype(np.int64)))[0].softmax(-1)
    return torch.cat([labels, tags[:, :-1].to(labels.device)], 1)


def _token_bytes(model: TokenCritic) -> int:
    config: Any = model.config
    heads = config.num_attention_heads + 2 * config.num_key_value_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    numbers = 3 * config.intermediate_size + 6 * config.hidden_size + 4 * heads * head_dim
    return numbers * next(model.parameters()).element_size()
