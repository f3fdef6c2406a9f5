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
import torch.nn.functional as F
from torch import Tensor

from .linear import Float8, Linear, padded
from .packed import PackedDecoder, Prefixes, Take, taken
from .shape import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .model import TokenCritic

Memory = dict[tuple[bool | bytes, ...], dict[torch.device, Prefixes]]
"""The prefixes of the last batch, by whether it skimmed and their ids, on each device that needed them."""

_FLOAT8_BATCH = 7 * 2**29  # bytes, of those that such weights save: the faster the products, the more a launch weighs
_PADDING = 1.15  # the longest of windows that are padded to one length may be this much longer than the shortest


@dataclass(frozen=True)
class Window:
    """Tokens of a text ``ids`` int32 [n], what is put in front of them ``prefix`` int32 [p], and ``tag_ids`` [T + 1].

    ``skim``: whether it is for the skimmer (:mod:`~.skim`) instead of the whole critic.
    """

    ids: NDArray[np.int32]
    prefix: NDArray[np.int32]
    tag_ids: NDArray[np.int32]
    skim: bool = False

    def __len__(self) -> int:
        return len(self.prefix) + len(self.ids)

    def goes_with(self, other: Window) -> bool:
        """Whether both can be in one batch."""
        return self.skim == other.skim and np.array_equal(self.tag_ids, other.tag_ids)


class Scorer(Protocol):
    """Attributes:
    device: where it computes. token_bytes: memory that a token of a batch takes there at most, about.
    batch_bytes: memory that a batch may take there, if more of it than any GPU needs makes this one faster; else 0.
    """

    device: torch.device
    token_bytes: int
    batch_bytes: int

    def score(self, windows: Sequence[Window], memory: Memory) -> Tensor:
        """float32 [tokens of all windows, 4 + T]: probabilities of the labels and of the tags, which are the same for all
        windows; a skimmer's guess is the probability of I. ``memory`` keeps from one batch of a call to the next what they
        share on a device."""
        ...


class PackedScorer:
    """Args:
    take: gives the weights of a decoder of this shape, and of its heads. has_tags: whether the LM head is a critic.
    """

    def __init__(self, shape: Shape, take: Take, linear: type[Linear], *, has_tags: bool) -> None:
        self._decoder = PackedDecoder(shape, take, linear)
        self._skim = (taken(take, "skimmer.head.weight"), take("skimmer.head.bias")) if shape.skim else None
        self._labels = taken(take, "cls_head.weight"), take("cls_head.bias")
        self._words = (self._decoder.embedding if shape.tied else take("lm_head.weight")) if has_tags else None
        self.device = self._decoder.device
        self.batch_bytes = _FLOAT8_BATCH if linear is Float8 else 0
        heads = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
        self.token_bytes = _token_bytes(shape.hidden, shape.inner, heads, self._decoder.embedding.element_size())

    @torch.inference_mode()
    def score(self, windows: Sequence[Window], memory: Memory) -> Tensor:
        skim = windows[0].skim
        names = [window.prefix.tobytes() for window in windows]
        distinct = dict(zip(names, (window.prefix for window in windows), strict=True))
        key: tuple[bool | bytes, ...] = (skim, *distinct)
        if key not in memory:
            memory.clear()
        prefixes = memory.setdefault(key, {}).setdefault(self.device, Prefixes(list(distinct.values())))
        numbers = {name: number for number, name in enumerate(distinct)}
        which = [numbers[name] for name in names]
        ids, words = [window.ids for window in windows], len(windows[0].tag_ids)
        if skim:
            if self._skim is None:
                raise ValueError("this critic has no skimmer")
            guesses = F.linear(self._decoder.skimmed(ids, which, prefixes).float(), *self._skim).sigmoid()
            none, any_tag = torch.zeros_like(guesses), guesses.new_ones(len(guesses), words - 1)
            return torch.cat([none, guesses, 1 - guesses, none, any_tag], 1)
        tag_ids = self._decoder.send(windows[0].tag_ids.astype(np.int64))
        hidden = padded(self._decoder.states(ids, which, prefixes))
        tags = None if self._words is None else hidden @ self._words[tag_ids].T
        return _probabilities(F.linear(hidden.float(), *self._labels), tags, words)[: sum(map(len, ids))]


class PlainScorer:
    batch_bytes = 0

    def __init__(self, model: TokenCritic, has_tags: bool) -> None:
        self._model, self._has_tags = model, has_tags
        embedding: Any = model.get_input_embeddings()
        self.device: torch.device = embedding.weight.device
        if self.device.type == "meta":  # offloaded layers: their inputs start on the first device that computes
            places: Any = getattr(model, "hf_device_map", {})
            self.device = torch.device(next((place for place in places.values() if place not in ("disk", "cpu")), "cpu"))
        config: Any = model.config
        heads = config.num_attention_heads + 2 * getattr(config, "num_key_value_heads", config.num_attention_heads)
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.token_bytes = _token_bytes(
            config.hidden_size, config.intermediate_size, heads * head_dim, next(model.parameters()).element_size()
        )

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
        hidden = torch.cat(own)
        tag_ids = torch.from_numpy(windows[0].tag_ids.astype(np.int64))
        tags = self._model.tag_logits(hidden[None], tag_ids)[0] if self._has_tags else None
        return _probabilities(self._model.label_logits(hidden), tags, len(tag_ids))

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


def _probabilities(labels: Tensor, tags: Tensor | None, words: int) -> Tensor:
    """[n, 4 + T] from logits [n, 4] and [n, T + 1], the last of which is of "outside" and is left out."""
    labels = labels.softmax(-1)
    shares = labels.new_ones(len(labels), words) if tags is None else tags.float().softmax(-1).to(labels.device)
    return torch.cat([labels, shares[:, :-1]], 1)


def _token_bytes(hidden: int, inner: int, heads: int, element: int) -> int:
    return (3 * inner + 6 * hidden + 4 * heads) * element
