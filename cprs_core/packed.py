"""The critic's pass for inference: many windows in one row of tokens, with no padding, no masks and no token computed twice.

    causal layers          own tokens of every window, one after the other; the prefixes were run before, once
      attention            [prefix; own] of each window
    bidirectional layers   [prefix; own] of every window, one after the other
      attention            the same

What a causal layer makes of a prefix does not depend on what follows, so windows with the same instruction and query share
it; from the border on (paper section 2.2), each window has its own. The decoder is spelled out here, and products that read
the same states are one; it agrees with :class:`~.model.TokenCritic`, whose weights it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .model import TokenCritic

Product = tuple[Tensor, Tensor | None]

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})  # decoders that are what is spelled out here, and no more


@dataclass(frozen=True)
class Layer:
    """Weights of a decoder layer, those of a product with its bias; products that read the same states are merged."""

    norm: Tensor
    qkv: Product
    head_norms: tuple[Tensor, Tensor] | None
    out: Product
    mlp_norm: Tensor
    gate_up: Product
    down: Product


@dataclass(frozen=True)
class Sequences:
    """Where sequences lie in a row of L tokens, and what they are made of.

    Attributes:
        lengths: tokens of each.
        positions: int64 [L], of each token in its sequence.
        source: int64 [L], where each token lies among [prefixes; own tokens]. own: int64 [T], the row's own tokens.
    """

    lengths: list[int]
    positions: Tensor
    source: Tensor
    own: Tensor


@dataclass(frozen=True)
class Prefixes:
    """What windows share: keys, queries and values [P, heads, D] of every causal layer, and the states [P, H] behind them.

    ``lengths``: tokens of each prefix.
    """

    lengths: list[int]
    qkv: list[Tensor]
    hidden: Tensor


class PackedDecoder:
    """The decoder of a critic.

    Args:
        model: shares its weights: those of the layers become views of the merged ones.
    """

    def __init__(self, model: TokenCritic) -> None:
        config: Any = model.config
        decoder: Any = model.model
        self._embedding, self._angles, self._norm = decoder.embed_tokens, decoder.rotary_emb, decoder.norm.weight
        self.device: torch.device = self._norm.device
        self._heads, self._kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self._scale = float(decoder.layers[0].self_attn.scaling)
        self._eps = float(config.rms_norm_eps)
        layers = [_layer(layer) for layer in decoder.layers]
        border: int = config.first_bidirectional_layer
        self._causal, self._bidirectional = layers[:border], layers[border:]

    def prefixes(self, ids: Sequence[NDArray[np.int32]]) -> Prefixes:
        """Runs prefixes, each [p], through the causal layers."""
        lengths = [len(part) for part in ids]
        sequences = self._sequences([0] * len(ids), [0], lengths)
        qkv: list[Tensor] = []

        def attend(part: Tensor) -> Tensor:
            qkv.append(part)
            return self._attend(part, sequences, causal=True)

        return Prefixes(lengths, qkv, self._run(self._causal, self._embed(ids), sequences.positions, attend))

    def hidden(self, ids: Sequence[NDArray[np.int32]], which: Sequence[int], prefixes: Prefixes) -> Tensor:
        """The last hidden states, after the final norm, of the windows' own tokens, [T, H], one window after the other.

        Args:
            ids: own tokens of each window, [n]; which: the number of its prefix.
        """
        sequences = self._sequences(which, prefixes.lengths, [len(part) for part in ids])
        shared = iter(prefixes.qkv)

        def attend_shared(qkv: Tensor) -> Tensor:
            row = torch.cat([next(shared), qkv]).index_select(0, sequences.source)
            return self._attend(row, sequences, causal=True).index_select(0, sequences.own)

        def attend(qkv: Tensor) -> Tensor:
            return self._attend(qkv, sequences, causal=False)

        positions = sequences.positions
        x = self._run(self._causal, self._embed(ids), positions.index_select(0, sequences.own), attend_shared)
        x = torch.cat([prefixes.hidden, x]).index_select(0, sequences.source)
        x = self._run(self._bidirectional, x, positions, attend)
        return self._normed(x.index_select(0, sequences.own), self._norm)

    def _run(self, layers: Sequence[Layer], x: Tensor, positions: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """States [L, H] through layers; ``attend`` takes queries, keys and values [L, heads, D] to the mixed values."""
        cos, sin = (part[0, :, None] for part in self._angles(x, positions[None]))
        for layer in layers:
            mixed = attend(self._rotated(F.linear(self._normed(x, layer.norm), *layer.qkv), cos, sin, layer.head_norms))
            x = x + F.linear(mixed, *layer.out)
            gate, up = F.linear(self._normed(x, layer.mlp_norm), *layer.gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, *layer.down)
        return x

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._eps)).to(x.dtype)

    def _rotated(self, qkv: Tensor, cos: Tensor, sin: Tensor, head_norms: tuple[Tensor, Tensor] | None) -> Tensor:
        """Queries, keys and values [L, heads, D], the first two turned by their positions."""
        q, k, v = self._split(qkv.unflatten(-1, (self._heads + 2 * self._kv_heads, -1)))
        if head_norms is not None:
            q, k = self._normed(q, head_norms[0]), self._normed(k, head_norms[1])
        qk = torch.cat([q, k], 1)
        left, right = qk.chunk(2, -1)
        return torch.cat([qk * cos + torch.cat([-right, left], -1) * sin, v], 1)

    def _split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        return qkv.split([self._heads, self._kv_heads, self._kv_heads], 1)

    def _attend(self, qkv: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Attention within each sequence of a row: [L, heads * D] from [L, heads + 2 * kv_heads, D]."""
        q, k, v = self._split(qkv)
        mixed = torch.empty_like(q)
        end = 0
        for length in sequences.lengths:
            part, end = slice(end, end + length), end + length
            one_q, one_k, one_v = (x[part].transpose(0, 1)[None] for x in (q, k, v))
            attended = F.scaled_dot_product_attention(
                one_q, one_k, one_v, is_causal=causal, scale=self._scale, enable_gqa=True
            )
            mixed[part] = attended[0].transpose(0, 1)
        return mixed.flatten(1)

    def _embed(self, ids: Sequence[NDArray[np.int32]]) -> Tensor:
        return self._embedding(self._send(np.concatenate(ids).astype(np.int64)))

    def _sequences(self, which: Sequence[int], prefix_lengths: Sequence[int], own_lengths: Sequence[int]) -> Sequences:
        sizes = np.array(prefix_lengths)[np.array(which, int)]
        lengths = sizes + own_lengths
        positions = np.concatenate([np.arange(n) for n in lengths])
        is_own = positions >= np.repeat(sizes, lengths)
        source = np.empty(len(positions), np.int64)
        source[is_own] = sum(prefix_lengths) + np.arange(sum(own_lengths))
        starts = np.append(0, np.cumsum(prefix_lengths))[np.array(which, int)]
        source[~is_own] = (np.repeat(starts, lengths) + positions)[~is_own]
        return Sequences(
            lengths.tolist(),
            *(self._send(part) for part in (positions, source, np.flatnonzero(is_own))),
        )

    def _send(self, array: NDArray[Any]) -> Tensor:
        """An array to the device; the host does not wait for it."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


def _layer(layer: Any) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    has_head_norms = getattr(attention, "q_norm", None) is not None
    return Layer(
        norm=layer.input_layernorm.weight,
        qkv=_merge(attention.q_proj, attention.k_proj, attention.v_proj),
        head_norms=(attention.q_norm.weight, attention.k_norm.weight) if has_head_norms else None,
        out=_merge(attention.o_proj),
        mlp_norm=layer.post_attention_layernorm.weight,
        gate_up=_merge(mlp.gate_proj, mlp.up_proj),
        down=_merge(mlp.down_proj),
    )


def _merge(*modules: nn.Linear) -> Product:
    """One product for several modules, whose weights become views of its own."""
    weight = torch.cat([module.weight.detach() for module in modules]) if len(modules) > 1 else modules[0].weight.detach()
    bias = torch.cat([module.bias.detach() for module in modules]) if modules[0].bias is not None else None
    for module, view in zip(modules, weight.split([module.out_features for module in modules]), strict=True):
        module.weight = nn.Parameter(view, requires_grad=False)
    return weight, bias
