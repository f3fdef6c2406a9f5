"""Attention within the sequences of a row, in either direction, as a Triton kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

HEAD_SIZES = (32, 64, 128)
LOG2_E = 1.4426950408889634


def attend(q: Tensor, k: Tensor, v: Tensor, borders: Tensor, longest: int, scale: float, causal: bool) -> Tensor:
    """Attention of q [L, heads, D] over k and v [L, kv_heads, D] within each sequence; heads share keys in groups.

    Args:
        borders: int32 [sequences + 1], where each begins, and the end. longest: tokens of the longest, or more.
    """
    mixed = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    heads, size = q.shape[1:]
    rows, warps = (128, 8) if longest >= 1024 else (64, 4)
    with torch.cuda.device(q.device):
        grid = (triton.cdiv(longest, rows), heads, len(borders) - 1)
        _attend[grid](
            *(q, k, v, mixed, borders, scale * LOG2_E, heads // k.shape[1]),
            *(
                q.stride(0),
                q.stride(1),
                k.stride(0),
                k.stride(1),
                v.stride(0),
                v.stride(1),
                mixed.stride(0),
                mixed.stride(1),
            ),
            CAUSAL=causal,
            ROWS=rows,
            COLUMNS=rows,
            SIZE=size,
            num_warps=warps,
            num_stages=3,
        )
    return mixed


@triton.jit
def _attend(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    borders_ptr,
    scale,
    group,
    q_token,
    q_head,
    k_token,
    k_head,
    v_token,
    v_head,
    out_token,
    out_head,
    CAUSAL: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    SIZE: tl.constexpr,
):
    head, sequence = tl.program_id(1), tl.program_id(2)
    start = tl.load(borders_ptr + sequence).to(tl.int64)
    length = tl.load(borders_ptr + sequence + 1).to(tl.int32) - start.to(tl.int32)
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * ROWS  # the longest rows of a causal layer first
    if first < length:
        rows, columns, within = first + tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, SIZE)
        q_ptr += start * q_token + head * q_head
        k_ptr += start * k_token + (head // group) * k_head
        v_ptr += start * v_token + (head // group) * v_head
        q = tl.load(q_ptr + rows[:, None] * q_token + within[None, :], mask=rows[:, None] < length, other=0.0)
        most = tl.full([ROWS], -1e30, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        mixed = tl.zeros([ROWS, SIZE], tl.float32)
        end = tl.minimum(first + ROWS, length) if CAUSAL else length
        whole = (first if CAUSAL else length) // COLUMNS * COLUMNS  # up to here every row sees every column
        for low in range(0, whole, COLUMNS):
            k = tl.load(k_ptr + (low + columns)[None, :] * k_token + within[:, None])
            v = tl.load(v_ptr + (low + columns)[:, None] * v_token + within[None, :])
            scores = tl.dot(q, k) * scale
            higher = tl.maximum(most, tl.max(scores, 1))
            weights = tl.exp2(scores - higher[:, None])
            fade = tl.exp2(most - higher)
            total = total * fade + tl.sum(weights, 1)
            mixed = tl.dot(weights.to(v.dtype), v, mixed * fade[:, None])
            most = higher
        for low in range(whole, end, COLUMNS):
            seen = low + columns
            k = tl.load(k_ptr + seen[None, :] * k_token + within[:, None], mask=seen[None, :] < length, other=0.0)
            v = tl.load(v_ptr + seen[:, None] * v_token + within[None, :], mask=seen[:, None] < length, other=0.0)
            allowed = seen[None, :] < length
            if CAUSAL:
                allowed = allowed & (seen[None, :] <= rows[:, None])
            scores = tl.where(allowed, tl.dot(q, k) * scale, -1e30)
            higher = tl.maximum(most, tl.max(scores, 1))
            weights = tl.exp2(scores - higher[:, None])
            fade = tl.exp2(most - higher)
            total = total * fade + tl.sum(weights, 1)
            mixed = tl.dot(weights.to(v.dtype), v, mixed * fade[:, None])
            most = higher
        out_ptr += start * out_token + head * out_head
        values = (mixed / total[:, None]).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + rows[:, None] * out_token + within[None, :], values, mask=rows[:, None] < length)
