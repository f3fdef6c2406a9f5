"""Four-bit weights: symmetric, in groups, with the rounding in the training loop.

A weight [out, in] is cut into groups of ``GROUP`` along its last dimension; each group has one float16 scale and values
from -8 to 7. On disk two values share a byte. Used to ship the default model small; it is computed with in full precision
after loading, so nothing else in the package knows of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 32
PACKED, SCALE = ".int4", ".scale"


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Float [..., in] to int8 values [..., in] in -8..7 and float16 scales [..., in / GROUP]."""
    groups = weight.float().unflatten(-1, (-1, GROUP))
    largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))  # gets the value -8: the wider side of the range
    scale = (largest / -8).half()
    safe = torch.where(scale == 0, 1, scale.float())
    return (groups / safe).round().clamp(-8, 7).to(torch.int8).flatten(-2), scale.squeeze(-1)


def dequantize(values: Tensor, scale: Tensor) -> Tensor:
    """The float32 weights that values and scales stand for."""
    return (values.float().unflatten(-1, (-1, GROUP)) * scale.float().unsqueeze(-1)).flatten(-2)


def pack(values: Tensor) -> Tensor:
    """int8 [..., n] in -8..7 to uint8 [..., n / 2]: even positions in the low half of a byte."""
    nibbles = (values + 8).to(torch.uint8)
    return nibbles[..., ::2] | (nibbles[..., 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """The inverse of :func:`pack`."""
    return torch.stack((packed & 15, packed >> 4), -1).flatten(-2).to(torch.int8) - 8


def pack_state(state: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """A state dict with the weights of ``names`` quantised (``NAME.int4``, ``NAME.scale``), the others in float16."""
    names = set(names)
    packed: dict[str, Tensor] = {}
    for name, weight in state.items():
        if name in names:
            values, scale = quantize(weight)
            packed[name + PACKED], packed[name + SCALE] = pack(values).contiguous(), scale.contiguous()
        else:
            packed[name] = weight.half().contiguous()
    return packed


def unpack_state(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`pack_state`, in float32."""
    names = (name.removesuffix(PACKED) for name in packed if not name.endswith(SCALE))
    return {name: unpacked(packed, name, torch.float32) for name in names}


def unpacked(packed: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
    """One weight of a state dict, quantised or not."""
    if name + PACKED not in packed:
        return packed[name].to(dtype)
    return dequantize(unpack(packed[name + PACKED]), packed[name + SCALE]).to(dtype)


def size_of(packed: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    """The size of a weight, quantised or not; None if there is none, or its scales do not fit."""
    if name in packed:
        return tuple(packed[name].shape)
    if name + PACKED not in packed or name + SCALE not in packed:
        return None
    *rows, half = packed[name + PACKED].shape
    return (*rows, 2 * half) if packed[name + SCALE].shape == (*rows, 2 * half // GROUP) else None


def quantizable(model: nn.Module) -> list[str]:
    """Names of the weights to quantise: the decoder's matrices and its embedding; never the heads or the norms."""
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Embedding))
        and name.startswith(("model.", "skimmer.layers."))
        and module.weight.shape[-1] % GROUP == 0
    ]


class _QuantizedLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, _rounded(self.weight), self.bias)


class _QuantizedEmbedding(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:
        return _rounded(super().forward(input))  # groups lie within a row, so only the rows that are read need rounding


_TRAINED_AS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: _QuantizedLinear, nn.Embedding: _QuantizedEmbedding}


def _rounded(weight: Tensor) -> Tensor:
    """The weight as it will be after quantisation; gradients pass straight through (straight-through estimator)."""
    with torch.no_grad():
        error = dequantize(*quantize(weight)).to(weight.dtype) - weight
    return weight + error


def prepare_training(model: nn.Module) -> None:
    """Makes every weight of :func:`quantizable` that is trained round itself wherever it is used.

    Swapping the class keeps parameters, names and ties as they are, and all layers alike, which compilers reward.
    """
    for name in quantizable(model):
        module = model.get_submodule(name.removesuffix(".weight"))
        if module.weight.requires_grad:
            module.__class__ = _TRAINED_AS[type(module)]


def finish_training(model: nn.Module) -> None:
    """Undoes :func:`prepare_training`; the weights stay unrounded."""
    plain = {trained: original for original, trained in _TRAINED_AS.items()}
    for module in model.modules():
        module.__class__ = plain.get(type(module), type(module))
