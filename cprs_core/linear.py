"""Matrix products of inference in several precisions, each split in two: ``encode`` prepares the activations, so that it
can be fused with what made them, and a call multiplies what was encoded.

    Dense     as the weights are: float32, bfloat16, float16
    Float8    e4m3 weights and activations with one scale a row of either; GPUs from compute capability 8.9 on
    Int8      int8 weights and activations, likewise; CPUs
    Int8Weight  int8 weights, the activations as they are; GPUs short of memory
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Encoded = tuple[Tensor, ...]

FLOAT8 = torch.float8_e4m3fn
FLOAT8_MAX = torch.finfo(FLOAT8).max


class Linear(Protocol):
    """A weight [N, K] and a bias [N] or None, ready to be multiplied with."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None: ...

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        """Activations [M, K] in the form that the product reads."""
        ...

    def __call__(self, *encoded: Tensor) -> Tensor:
        """[M, N]."""
        ...


class Dense:
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        return (x,)

    def __call__(self, *encoded: Tensor) -> Tensor:
        return F.linear(encoded[0], self.weight, self.bias)


class Float8:
    """Row-wise scaled e4m3 (Micikevicius et al. 2022): the largest of each row becomes the largest number of the format."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        values, scale = self.encode(weight)
        self.weight, self.scale, self.bias = values.t(), scale.t(), bias

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        x = x.float()
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / FLOAT8_MAX
        return (x / scale).to(FLOAT8), scale

    def __call__(self, *encoded: Tensor) -> Tensor:
        values, scale = encoded
        return torch._scaled_mm(
            values, self.weight, scale, self.scale, bias=self.bias, out_dtype=torch.bfloat16, use_fast_accum=True
        )


class Int8:
    """Row-wise scaled int8."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        values, scale = self.encode(weight)
        self.weight, self.scale, self.bias = values.t(), scale.t(), bias

    @staticmethod
    def encode(x: Tensor) -> Encoded:
        x = x.float()
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
        return (x / scale).round().to(torch.int8), scale

    def __call__(self, *encoded: Tensor) -> Tensor:
        values, scale = encoded
        product = torch._int_mm(values, self.weight).float().mul_(scale).mul_(self.scale)
        return product if self.bias is None else product.add_(self.bias)
