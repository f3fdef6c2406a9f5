"""The critic's pass for inference: many windows in one row of tokens, with no padding, no masks and no token computed twice.

    causal layers          own tokens of every window, one after the other; behind the prefixes, in the first batch
      attention            [prefix; own] of each window
    bidirectional layers   [prefix; own] of every window, one after the other
      attention            the same

What a causal layer makes of a prefix does not depend on what follows, so windows with the same instruction and query share
it; from the border on (paper section 2.2), each window has its own. The decoder is spelled out here: products that read
the same states are one, and on a GPU what lies between two products is one kernel. It agrees with
:class:`~.model.TokenCritic`, the same decoder as transformers has it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import steps
from .linear import Linear, padded
from .shape import Shape, layer_name, skim_layer_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

Take = Callable[[str], Tensor | None]
"""A weight by its name in the published layout, where and as it is computed with; None if there is none."""


@dataclass(frozen=True)
class Layer:
    """Weights of a decoder layer; products that read the same states are merged."""

    norm: Tensor
    qkv: Linear
    head_norms: tuple[Tensor, Tensor] | None
    out: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class Sequences:
    """Where sequences lie in a row of L tokens.

    Attributes:
        lengths: tokens of each. borders: int32 [sequences + 1], where each begins, and the end.
        positions: int64 [L], of each token in its sequence.
        own: int64 [T], the places of the windows' own tokens. rest: int64 [L - T], those of their prefixes.
        prefix: int64 [L - T], where the latter lie among all prefixes.
    """

    lengths: list[int]
    borders: Tensor
    positions: Tensor
    own: Tensor
    rest: Tensor
    prefix: Tensor

    def fill(self, row: Tensor, prefixes: Tensor) -> Tensor:
        """Puts all prefixes [P, ...] in their places in a row [L, ...]."""
        return row.index_copy_(0, self.rest, prefixes.index_select(0, self.prefix))


@dataclass
class Prefixes:
    """What windows share: ``ids`` of each prefix, and, once a batch has run them along, queries, keys and values
    [P, heads, D] of every causal layer, and the states [P, H] behind them."""

    ids: list[NDArray[np.int32]]
    qkv: list[Tensor] | None = None
    hidden: Tensor | None = None


class PackedDecoder:
    """The decoder of a critic.

    Args:
        take: gives its weights; merged ones are copied, a layer at a time.
        linear: the kind of its products.
    """

    def __init__(self, shape: Shape, take: Take, linear: type[Linear]) -> None:
        self.shape = shape
        self.embedding, self._norm = taken(take, "model.embed_tokens.weight"), taken(take, "model.norm.weight")
        self.device = self.embedding.device
        self._frequencies, self._magnitude = _frequencies(shape, self.device)
        layers = [_layer(take, layer_name(index), shape.head_norms, linear) for index in range(shape.layers)]
        self._causal, self._bidirectional = layers[: shape.border], layers[shape.border :]
        self._behind, skim_layers = shape.skim or (0, 0)
        self._skimmer = [_layer(take, skim_layer_name(index), shape.head_norms, linear) for index in range(skim_layers)]
        self._skim_norm = taken(take, "skimmer.norm.weight") if self._skimmer else self._norm
        on_gpu = self.device.type == "cuda"
        self._steps: Any = steps
        self._attention = _flash if on_gpu and self.embedding.dtype in (torch.bfloat16, torch.float16) else _sdpa
        if on_gpu and _has_triton():
            from . import fused, kernels

            self._steps = fused
            if self._attention is _flash and shape.head_dim in kernels.HEAD_SIZES:
                self._attention = _triton
                if _runs_on_hopper(self.device, self.embedding.dtype, shape.head_dim):
                    self._attention = _hopper

    def states(self, ids: Sequence[NDArray[np.int32]], which: Sequence[int], prefixes: Prefixes) -> Tensor:
        """The last hidden states [T, H] of windows' own tokens, one window after the other, behind the final norm.

        Args:
            ids: the own tokens of each window. which: which of the prefixes each has.
            prefixes: are run along if they are new.
        """
        return self._through(self._causal, self._bidirectional, self._norm, ids, which, prefixes)

    def skimmed(self, ids: Sequence[NDArray[np.int32]], which: Sequence[int], prefixes: Prefixes) -> Tensor:
        """The last hidden states of the skimmer (:mod:`~.skim`), likewise. It has prefixes of its own."""
        return self._through(self._causal[: self._behind], self._skimmer, self._skim_norm, ids, which, prefixes)

    def _through(
        self,
        causal: Sequence[Layer],
        bidirectional: Sequence[Layer],
        norm: Tensor,
        ids: Sequence[NDArray[np.int32]],
        which: Sequence[int],
        prefixes: Prefixes,
    ) -> Tensor:
        sizes, lengths = [len(part) for part in prefixes.ids], [len(part) for part in ids]
        sequences = self._sequences(which, sizes, lengths)
        if prefixes.qkv is None or prefixes.hidden is None:  # they go first, as windows without a prefix
            size, none = sum(sizes), len(sizes)
            first = self._sequences([*[none] * none, *which], [*sizes, 0], [*sizes, *lengths])
            qkv: list[Tensor] = []
            x = self._run(causal, self.embed([*prefixes.ids, *ids]), first, qkv, size)
            prefixes.qkv, prefixes.hidden, x = qkv, x[:size].clone(), x[size:]
        else:
            x = self._run(causal, self.embed(ids), sequences, prefixes.qkv)
        row = sequences.fill(x.new_empty(len(sequences.positions), x.shape[1]), prefixes.hidden)
        x = self._run(bidirectional, row.index_copy_(0, sequences.own, x), sequences)
        return self._steps.normed(x.index_select(0, sequences.own), norm, self.shape.eps)

    def _run(
        self, layers: Sequence[Layer], x: Tensor, sequences: Sequences, shared: list[Tensor] | None = None, size: int = 0
    ) -> Tensor:
        """States through layers: bidirectional ones [L, H], or causal ones, of windows' own tokens [T, H].

        Args:
            shared: queries, keys and values of prefixes in each causal layer. Those that it lacks are added, of the first
                ``size`` tokens.
        """
        shape = self.shape
        own, positions = None, sequences.positions
        if shared is not None:
            own, positions = sequences.own, positions.index_select(0, sequences.own)
        cos, sin = self._angles(positions, x.dtype)
        length, x = len(x), padded(x)
        down: Tensor | None = None
        for index, layer in enumerate(layers):
            if down is None:
                states = self._steps.normed(x, layer.norm, shape.eps, layer.qkv.encode)
            else:
                x, states = self._steps.add_normed(x, down, layer.norm, shape.eps, layer.qkv.encode)
            qkv = layer.qkv(states)[:length].unflatten(-1, (-1, shape.head_dim))
            into = None if own is None else (qkv.new_empty(len(sequences.positions), *qkv.shape[1:]), own)
            qkv = self._steps.rotated(qkv, cos, sin, shape.heads, shape.kv_heads, layer.head_norms, shape.eps, into)
            if shared is not None:
                if len(shared) == index:
                    shared.append(qkv[:size].clone())
                sequences.fill(qkv, shared[index])
            mixed = self._attend(qkv, sequences, causal=shared is not None)
            out = layer.out(self._steps.encoded(mixed, layer.out.encode, own))
            x, states = self._steps.add_normed(x, out, layer.mlp_norm, shape.eps, layer.gate_up.encode)
            down = layer.down(self._steps.gated(layer.gate_up(states), layer.down.encode))
        return x[:length] if down is None else x[:length] + down[:length]

    def _attend(self, qkv: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Attention within each sequence of a row: [L, heads * D] from [L, heads + 2 * kv_heads, D]."""
        q, k, v = qkv.split([self.shape.heads, self.shape.kv_heads, self.shape.kv_heads], 1)
        return self._attention(q, k, v, sequences, self.shape.head_dim**-0.5, causal).flatten(1)

    def _angles(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [L, 1, D / 2]."""
        angles = (positions[:, None].float() * self._frequencies)[:, None]
        return (angles.cos() * self._magnitude).to(dtype), (angles.sin() * self._magnitude).to(dtype)

    def embed(self, ids: Sequence[NDArray[np.int32]]) -> Tensor:
        """States [T, H] of tokens before the first layer, one window after the other."""
        return F.embedding(self.send(np.concatenate(ids).astype(np.int64)), self.embedding)

    def _sequences(self, which: Sequence[int], prefix_lengths: Sequence[int], own_lengths: Sequence[int]) -> Sequences:
        sizes = np.array(prefix_lengths)[np.array(which, int)]
        lengths = sizes + own_lengths
        borders = np.append(0, np.cumsum(lengths))
        positions = np.arange(borders[-1]) - np.repeat(borders[:-1], lengths)
        is_own = positions >= np.repeat(sizes, lengths)
        starts = np.append(0, np.cumsum(prefix_lengths))[np.array(which, int)]
        prefix = (np.repeat(starts, lengths) + positions)[~is_own]
        arrays = (borders.astype(np.int32), positions, np.flatnonzero(is_own), np.flatnonzero(~is_own), prefix)
        return Sequences(lengths.tolist(), *map(self.send, arrays))

    def send(self, array: NDArray[Any]) -> Tensor:
        """An array to the device; the host does not wait for it."""
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor


@cache
def _has_triton() -> bool:
    if importlib.util.find_spec("triton") and shutil.which(os.environ.get("CC", "cc")):
        return True
    warnings.warn("fused kernels need triton and a C compiler, which are not both here; the GPU runs slower", stacklevel=2)
    return False


def _runs_on_hopper(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    try:
        from . import hopper
    except ImportError:  # Gluon is not in every triton
        return False
    return hopper.works(device, dtype, size)


def _hopper(q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, scale: float, causal: bool) -> Tensor:
    """Attention within sequences [L, heads, D] by our own kernel for Hopper GPUs, where there is a long one."""
    from .hopper import SHORTEST, attend

    longest = max(sequences.lengths)
    if longest < SHORTEST:
        return _triton(q, k, v, sequences, scale, causal)
    return attend(q, k, v, sequences.borders, longest, scale, causal)


def _triton(q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, scale: float, causal: bool) -> Tensor:
    """Attention within sequences [L, heads, D] by our own kernel, which is faster than torch's for sequences in a row."""
    from .kernels import attend

    return attend(q, k, v, sequences.borders, max(sequences.lengths), scale, causal)


def _flash(q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, scale: float, causal: bool) -> Tensor:
    """Attention within sequences [L, heads, D] by torch's Flash kernel."""
    borders, longest = sequences.borders, max(sequences.lengths)
    return torch.ops.aten._flash_attention_forward(
        q, k, v, borders, borders, longest, longest, 0.0, causal, False, scale=scale
    )[0]


def _sdpa(q: Tensor, k: Tensor, v: Tensor, sequences: Sequences, scale: float, causal: bool) -> Tensor:
    """Attention within sequences [L, heads, D], one after the other."""
    mixed = torch.empty_like(q)
    end = 0
    for length in sequences.lengths:
        part, end = slice(end, end + length), end + length
        ready = (x[part] if x.is_cuda else padded(x[part]) for x in (q, k, v))
        one_q, one_k, one_v = (x.transpose(0, 1)[None] for x in ready)
        mask, size = None, one_q.shape[2]
        if size > length and not causal:  # a causal token sees nothing behind it anyway
            mask = torch.zeros(size, dtype=q.dtype)
            mask[length:] = -torch.inf
            mask = mask.expand(1, 1, size, size)
        attended = F.scaled_dot_product_attention(
            one_q, one_k, one_v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=True
        )
        mixed[part] = attended[0, :, :length].transpose(0, 1)
    return mixed


def _frequencies(shape: Shape, device: torch.device) -> tuple[Tensor, float]:
    """Rotary frequencies [D / 2], and by how much cosines and sines are stretched."""
    rope = shape.config["rope_parameters"]
    if rope["rope_type"] == "default":
        exponents = torch.arange(0, shape.head_dim, 2, device=device).float() / shape.head_dim
        return rope["rope_theta"] ** -exponents, 1.0
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    return ROPE_INIT_FUNCTIONS[rope["rope_type"]](AutoConfig.for_model(**shape.config), device)


def _layer(take: Take, name: str, has_head_norms: bool, linear: type[Linear]) -> Layer:
    def product(*modules: str) -> Linear:
        parts = [f"{name}.{module}" for module in modules]
        biases = [bias for part in parts if (bias := take(f"{part}.bias")) is not None]
        return linear(torch.cat([taken(take, f"{part}.weight") for part in parts]), torch.cat(biases) if biases else None)

    def norm(module: str) -> Tensor:
        return taken(take, f"{name}.{module}.weight")

    return Layer(
        norm=norm("input_layernorm"),
        qkv=product("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        head_norms=(norm("self_attn.q_norm"), norm("self_attn.k_norm")) if has_head_norms else None,
        out=product("self_attn.o_proj"),
        mlp_norm=norm("post_attention_layernorm"),
        gate_up=product("mlp.gate_proj", "mlp.up_proj"),
        down=product("mlp.down_proj"),
    )


def taken(take: Take, name: str) -> Tensor:
    """A weight that must be there."""
    weight = take(name)
    if weight is None:
        raise KeyError(name)
    return weight
