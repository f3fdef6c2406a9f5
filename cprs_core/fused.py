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

from .linear import Encoded, Float8, padded, rows
from .steps import Encode

_FLOAT8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(_FLOAT8).max
_CHUNK = 1024  # columns of a program where rows need not be seen as a whole


def encoded(x: Tensor, encode: Encode, places: Tensor | None = None) -> Encoded:
    """States [L, n], or those at some places int64 [T], ready for a product."""
    if encode is Float8.encode:
        return _rows(x, encode, places=places)
    if places is None:
        return encode(padded(x))
    some = x.new_empty(rows(len(places), x.device), x.shape[1])
    torch.index_select(x, 0, places, out=some[: len(places)])
    return encode(some)


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
    into: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Queries, keys and values [L, heads + 2 * kv_heads, D], the first two normed, if so asked, and turned: in place, or
    into a longer row at places int64 [L]."""
    row, places = into or (qkv, qkv)
    turned, half = heads + kv_heads, qkv.shape[-1] // 2
    q_weight, k_weight = head_norms or (qkv, qkv)
    with torch.cuda.device_of(qkv):
        _rotate[(len(qkv),)](
            *(qkv, row, places, cos, sin, q_weight, k_weight, qkv.stride(0), qkv.stride(1), row.stride(0), row.stride(1)),
            *(heads, turned, kv_heads, half, eps),
            NORM=head_norms is not None,
            ELSEWHERE=into is not None,
            HEADS=triton.next_power_of_2(turned),
            VALUES=triton.next_power_of_2(kv_heads),
            HALF=triton.next_power_of_2(half),
            num_warps=4,
        )
    return row


def gated(gate_up: Tensor, encode: Encode) -> Encoded:
    """SwiGLU, ready for a product."""
    length, width = gate_up.shape[0], gate_up.shape[1] // 2
    float8 = encode is Float8.encode
    values, scales = _outputs(gate_up, length, width, float8)
    with torch.cuda.device_of(gate_up):
        if float8:  # a scale needs the whole row: a power of 2 of columns, and what is left
            most = 1 << width.bit_length() - 1
            _gate_float8[(length,)](
                *(gate_up, values, scales, gate_up.stride(0), width, _LARGEST),
                MOST=most,
                REST=triton.next_power_of_2(max(1, width - most)),
                num_warps=max(1, min(16, most // 512)),
            )
            return values, scales
        _gate[(length, triton.cdiv(width, _CHUNK))](gate_up, values, gate_up.stride(0), width, BLOCK=_CHUNK, num_warps=4)
    return encode(values)


def _rows(
    x: Tensor,
    encode: Encode | None,
    y: Tensor | None = None,
    weight: Tensor | None = None,
    eps: float = 0.0,
    places: Tensor | None = None,
) -> Any:
    """Rows [L, n], or those at some places, added to those of ``y`` and normed, if so asked; ready for a product."""
    length, width = len(x if places is None else places), x.shape[1]
    float8 = encode is Float8.encode
    block = triton.next_power_of_2(width)
    values, scales = _outputs(x, rows(length, x.device), width, float8)
    with torch.cuda.device_of(x):
        _row[(length,)](
            *(x, x if places is None else places, x if y is None else y, x if weight is None else weight, values, scales),
            *(x.stride(0), x.stride(0) if y is None else y.stride(0), width, eps, _LARGEST),
            SOME=places is not None,
            ADD=y is not None,
            NORM=weight is not None,
            FLOAT8=float8,
            BLOCK=block,
            num_warps=max(1, min(16, block // 512)),
        )
    if float8:
        return values, scales
    return values[:length] if encode is None else encode(values)


def _outputs(x: Tensor, length: int, width: int, float8: bool) -> tuple[Tensor, Tensor]:
    """Memory for rows, and for the scale of each."""
    values = torch.empty(length, width, dtype=_FLOAT8 if float8 else x.dtype, device=x.device)
    return values, torch.empty(length, 1, dtype=torch.float32, device=x.device) if float8 else values


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
    places_ptr,
    y_ptr,
    weight_ptr,
    values_ptr,
    scales_ptr,
    x_row,
    y_row,
    width,
    eps,
    largest,
    SOME: tl.constexpr,
    ADD: tl.constexpr,
    NORM: tl.constexpr,
    FLOAT8: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    place = tl.load(places_ptr + row) if SOME else row
    x = tl.load(x_ptr + place * x_row + columns, mask=inside, other=0.0).to(tl.float32)
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
def _swiglu(gate_up_ptr, width, columns):
    inside = columns < width
    gate = tl.load(gate_up_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + width + columns, mask=inside, other=0.0).to(tl.float32)
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit
def _gate(gate_up_ptr, values_ptr, stride, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    y = _swiglu(gate_up_ptr + row * stride, width, columns)
    tl.store(values_ptr + row * width + columns, y.to(values_ptr.dtype.element_ty), mask=columns < width)


@triton.jit
def _gate_float8(gate_up_ptr, values_ptr, scales_ptr, stride, width, largest, MOST: tl.constexpr, REST: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    gate_up_ptr += row * stride
    values_ptr += row * width
    left, right = tl.arange(0, MOST), MOST + tl.arange(0, REST)
    y, z = _swiglu(gate_up_ptr, width, left), _swiglu(gate_up_ptr, width, right)
    scale = tl.maximum(tl.maximum(tl.max(tl.abs(y), 0), tl.max(tl.abs(z), 0)), 1e-12) / largest
    tl.store(scales_ptr + row, scale)
    kind = values_ptr.dtype.element_ty
    tl.store(values_ptr + left, (y / scale).to(kind))
    tl.store(values_ptr + right, (z / scale).to(kind), mask=right < width)


@triton.jit
def _weight(q_ptr, k_ptr, is_query, column, inside):
    q, k = tl.load(q_ptr + column, mask=inside, other=0.0), tl.load(k_ptr + column, mask=inside, other=0.0)
    return tl.where(is_query, q, k).to(tl.float32)


@triton.jit
def _rotate(
    qkv_ptr,
    row_ptr,
    places_ptr,
    cos_ptr,
    sin_ptr,
    q_weight_ptr,
    k_weight_ptr,
    qkv_token,
    qkv_head,
    row_token,
    row_head,
    heads,
    turned,
    kv_heads,
    half,
    eps,
    NORM: tl.constexpr,
    ELSEWHERE: tl.constexpr,
    HEADS: tl.constexpr,
    VALUES: tl.constexpr,
    HALF: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    qkv_ptr += token * qkv_token
    row_ptr += (tl.load(places_ptr + token) if ELSEWHERE else token) * row_token
    head, column = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = (head < turned) & (column < half)
    left = tl.load(qkv_ptr + head * qkv_head + column, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(qkv_ptr + head * qkv_head + half + column, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        scale = tl.rsqrt((tl.sum(left * left, 1) + tl.sum(right * right, 1)) / (2 * half) + eps)[:, None]
        left = left * scale * _weight(q_weight_ptr, k_weight_ptr, head < heads, column, inside)
        right = right * scale * _weight(q_weight_ptr, k_weight_ptr, head < heads, half + column, inside)
    cos = tl.load(cos_ptr + token * half + column, mask=column < half, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + token * half + column, mask=column < half, other=0.0).to(tl.float32)
    kind = row_ptr.dtype.element_ty
    tl.store(row_ptr + head * row_head + column, (left * cos - right * sin).to(kind), mask=inside)
    tl.store(row_ptr + head * row_head + half + column, (right * cos + left * sin).to(kind), mask=inside)
    if ELSEWHERE:
        head, column = turned + tl.arange(0, VALUES)[:, None], tl.arange(0, 2 * HALF)[None, :]
        inside = (head < turned + kv_heads) & (column < 2 * half)
        values = tl.load(qkv_ptr + head * qkv_head + column, mask=inside)
        tl.store(row_ptr + head * row_head + column, values, mask=inside)
