"""Matrix products of the packed decoder, in the precision that was asked for.

    Dense    weights and states in one floating-point type
    Float8   both in 8-bit floats, a scale for each row of either (GPUs from Ada and Hopper on)
    Int8     8-bit weights with a scale for each row; on a CPU the states too, a scale for each token

A product has two steps, so that making its input small (``encode``) can run in one kernel with whatever makes the input.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Encoded = tuple[Tensor, ...]

_FLOAT8 = torch.float8_e4m3fn


class Linear(Protocol):
    """x [L, in] to [L, out]: ``linear(linear.encode(x))``."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight [out, in], bias [out]."""
        ...

    @staticmethod
    def encode(x: Tensor) -> Encoded: ...

    def __call__(self, encoded: Encoded) -> Tensor: ...


class Dense:
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        return (x,)

    def __call__(self, encoded: Encoded) -> Tensor:
        (x,) = encoded
        return F.linear(padded(x), self._weight, self._bias)[: len(x)]


class Float8:
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        values, scales = self.encode(weight)
        self._weight, self._scales, self._bias, self._dtype = values.t(), scales.t(), bias, weight.dtype

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        """Rows in 8 bits, and a float32 scale [L, 1] for each."""
        wide = x.float()
        scales = wide.abs().amax(-1, keepdim=True).clamp(min=1e-12) / torch.finfo(_FLOAT8).max
        return (wide / scales).to(_FLOAT8), scales

    def __call__(self, encoded: Encoded) -> Tensor:
        values, scales = encoded
        return torch._scaled_mm(
            values, self._weight, scales, self._scales, bias=self._bias, out_dtype=self._dtype, use_fast_accum=True
        )


class Int8:
    """Weights alone: half the memory of 16 bits; each is widened as it is used."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._scales = _rounded(weight)
        self._bias, self._dtype = bias, weight.dtype

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        return (x,)

    def __call__(self, encoded: Encoded) -> Tensor:
        return F.linear(encoded[0], self._weight.to(self._dtype) * self._scales[:, None].to(self._dtype), self._bias)


class DynamicInt8:
    """Weights and states, by oneDNN. States are shifted to be positive; one scale for all of them would ruin small ones."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        values, self._scales = _rounded(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(values, None)
        self._bias = bias

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        largest = _largest_state()
        scales = x.abs().amax(-1, keepdim=True).clamp_(min=1e-12) / largest
        return (x / scales).round_().add_(largest + 1).to(torch.uint8), scales

    def __call__(self, encoded: Encoded) -> Tensor:
        values, scales = encoded
        product = _by_onednn(values, _largest_state() + 1, self._weight, self._scales).mul_(scales)
        return product if self._bias is None else product.add_(self._bias)


def rows(length: int, device: torch.device) -> int:
    """With how many rows products are computed, so that there are few different numbers of them.

    On CPUs, torch compiles 16-bit kernels for each number and keeps them all, megabytes each; on GPUs, cuBLAS looks for a
    kernel anew, and memory that was enough for one number is too small for the next.
    """
    largest = 64 if device.type == "cpu" else 128  # rows that a kernel computes together anyway
    step = min(largest, 1 << max(length - 1, 32).bit_length() - 3)  # or a quarter of the power of two below, from 8 on
    return -(-length // step) * step


def padded(x: Tensor) -> Tensor:
    """x [L, ...] with so many :func:`rows`; what is in the last ones does not matter."""
    length, more = len(x), rows(len(x), x.device)
    if more == length or (x.device.type == "cpu" and x.dtype == torch.float32):
        return x
    longer = x.new_empty(more, *x.shape[1:])
    longer[:length], longer[length:] = x, 0
    return longer


def _rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [out, in] and a float32 scale for each row [out]."""
    wide = weight.float()
    scales = wide.abs().amax(-1).clamp(min=1e-12) / 127
    return (wide / scales[:, None]).round().to(torch.int8), scales


@cache
def _largest_state() -> int:
    """127; or 63 on CPUs without VNNI, which add products in pairs, in 16 bits that larger ones overflow."""
    states, weight = torch.full((16, 64), 255, dtype=torch.uint8), torch.full((64, 64), 127, dtype=torch.int8)
    found = _by_onednn(states, 0, torch.ops.onednn.qlinear_prepack(weight, None), torch.ones(64))
    return 127 if bool((found == 255 * 127 * 64).all()) else 63


def _by_onednn(states: Tensor, zero: int, weight: Tensor, scales: Tensor) -> Tensor:
    """float32 [L, out] from uint8 states [L, in], of which ``zero`` stands for 0, and prepacked weights with scales."""
    zeros = torch.zeros(len(scales), dtype=torch.int32)
    return torch.ops.onednn.qlinear_pointwise(
        *(states, 1.0, zero, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
    )
