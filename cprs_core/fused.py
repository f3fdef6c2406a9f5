"""What lies between the products of a decoder's layer, as Triton kernels: the functions of :mod:`~.steps`, each reading its
input once and writing what the next product reads.

A row's result depends on nothing but the row: not on how many there are, nor on which GPU it is.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .linear import Encoded, Float8
from .steps import Encode

_FLOAT8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(_FLOAT8).max
_CHUNK = 1024  # columns of a program where rows need not be seen as a whole


def encoded(x: Tensor, encode: Encode) -> Encoded:
    """States [L, n], ready for a product."""
    return _rows(x, encode) if encode is Float8.encode else encode(x)


def normed(x: Tensor, weight: Tensor, eps: float, encode: Encode | None = None) -> Any:
    """The RMS norm of states [L, H], ready for a product."""
    return _rows(x, encode, weight=weight, eps=eps)


def add_normed(x: Tensor, y: Tensor, weight: Tensor, eps: float, encode: Encode | None = None) -> tuple[Tensor, Any]:
    """The sum of states, which takes the place of ``y``, and its RMS norm, ready for a product."""
    return y, _rows(x, encode, y, weight, eps)


def rotated(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
    head_norms: tuple[Tensor, Tensor] | None,
    eps: float,
) -> Tensor:
    """Queries, keys and values [L, heads + 2 * kv_heads, D], the first two normed, if so asked, and turned in place."""
    turned, half = heads + kv_heads, qkv.shape[-1] // 2
    q_weight, k_weight = head_norms or (qkv, qkv)
    with torch.cuda.device_of(qkv):
        _rotate[(len(qkv),)](
            *(qkv, cos, sin, q_weight, k_weight, qkv.stride(0), qkv.stride(1), heads, turned, half, eps),
            NORM=head_norms is not None,
            HEADS=triton.next_power_of_2(turned),
            HALF=triton.next_power_of_2(half),
            num_warps=4,
        )
    return qkv


def gated(gate_up: Tensor, encode: Encode) -> Encoded:
    """SwiGLU, ready for a product."""
    length, width = gate_up.shape[0], gate_up.shape[1] // 2
    float8 = encode is Float8.encode  # a scale needs the whole row
    block = triton.next_power_of_2(width) if float8 else _CHUNK
    values, scales = _outputs(gate_up, width, float8)
    with torch.cuda.device_of(gate_up):
        _gate[(length, triton.cdiv(width, block))](
            *(gate_up, values, scales, gate_up.stride(0), width, _LARGEST),
            FLOAT8=float8,
            BLOCK=block,
            num_warps=max(1, min(16, block // 512)) if float8 else 4,
        )
    return (values, scales) if float8 else encode(values)


def _rows(x: Tensor, encode: Encode | None, y: Tensor | None = None, weight: Tensor | None = None, eps: float = 0.0) -> Any:
    """Rows [L, n], added to those of ``y`` and normed, if so asked; ready for a product."""
    length, width = x.shape
    float8 = encode is Float8.encode
    block = triton.next_power_of_2(width)
    values, scales = _outputs(x, width, float8)
    with torch.cuda.device_of(x):
        _row[(length,)](
            *(x, x if y is None else y, x if weight is None else weight, values, scales),
            *(x.stride(0), x.stride(0) if y is None else y.stride(0), width, eps, _LARGEST),
            ADD=y is not None,
            NORM=weight is not None,
            FLOAT8=float8,
            BLOCK=block,
            num_warps=max(1, min(16, block // 512)),
        )
    if float8:
        return values, scales
    return values if encode is None else encode(values)


def _outputs(x: Tensor, width: int, float8: bool) -> tuple[Tensor, Tensor]:
    """Memory for rows, and for the scale of each."""
    values = torch.empty(len(x), width, dtype=_FLOAT8 if float8 else x.dtype, device=x.device)
    return values, torch.empty(len(x), 1, dtype=torch.float32, device=x.device) if float8 else values


@triton.jit
def _put(y, values_ptr, scales_ptr, row, width, columns, inside, largest, FLOAT8: tl.constexpr):
    if FLOAT8:
        scale = tl.maximum(tl.max(tl.abs(y), 0), 1e-12) / largest
        tl.store(scales_ptr + row, scale)
        y = y / scale
    tl.store(values_ptr + row * width + columns, y.to(values_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _row(
    x_ptr,
    y_ptr,
    weight_ptr,
    values_ptr,
    scales_ptr,
    x_row,
    y_row,
    width,
    eps,
    largest,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
    FLOAT8: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(x_ptr + row * x_row + columns, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        kind = y_ptr.dtype.element_ty
        x = (x + tl.load(y_ptr + row * y_row + columns, mask=inside, other=0.0).to(tl.float32)).to(kind)
        tl.store(y_ptr + row * y_row + columns, x, mask=inside)
        x = x.to(tl.float32)
    if NORM:
        weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
        x = x * tl.rsqrt(tl.sum(x * x, 0) / width + eps) * weight
    _put(x, values_ptr, scales_ptr, row, width, columns, inside, largest, FLOAT8)


@triton.jit
def _gate(gate_up_ptr, values_ptr, scales_ptr, stride, width, largest, FLOAT8: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    gate = tl.load(gate_up_ptr + row * stride + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + row * stride + width + columns, mask=inside, other=0.0).to(tl.float32)
    y = gate / (1.0 + tl.exp(-gate)) * up
    _put(y, values_ptr, scales_ptr, row, width, columns, inside, largest, FLOAT8)


@triton.jit
def _weight(q_ptr, k_ptr, is_query, column, inside):
    q, k = tl.load(q_ptr + column, mask=inside, other=0.0), tl.load(k_ptr + column, mask=inside, other=0.0)
    return tl.where(is_query, q, k).to(tl.float32)


@triton.jit
def _rotate(
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    q_weight_ptr,
    k_weight_ptr,
    row_stride,
    head_stride,
    heads,
    turned,
    half,
    eps,
    NORM: tl.constexpr,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < turned) & (column < half)
    place = qkv_ptr + row * row_stride + head * head_stride + column
    left = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(place + half, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        scale = tl.rsqrt((tl.sum(left * left, 1) + tl.sum(right * right, 1)) / (2 * half) + eps)[:, None]
        left = left * scale * _weight(q_weight_ptr, k_weight_ptr, head < heads, column, inside)
        right = right * scale * _weight(q_weight_ptr, k_weight_ptr, head < heads, half + column, inside)
    cos = tl.load(cos_ptr + row * half + column, mask=column < half, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + row * half + column, mask=column < half, other=0.0).to(tl.float32)
    kind = qkv_ptr.dtype.element_ty
    tl.store(place, (left * cos - right * sin).to(kind), mask=inside)
    tl.store(place + half, (right * cos + left * sin).to(kind), mask=inside)
