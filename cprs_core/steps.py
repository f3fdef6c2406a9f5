"""What lies between the products of a decoder's layer, in torch; :mod:`~.fused` has the same for GPUs, a kernel each.

``encode`` makes a result ready for the product that reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .linear import Encoded, padded

Encode = Callable[[Tensor], Encoded]


def encoded(x: Tensor, encode: Encode, places: Tensor | None = None) -> Encoded:
    """States [L, n], or those at some places int64 [T], ready for a product."""
    return encode(padded(x if places is None else x.index_select(0, places)))


def normed(x: Tensor, weight: Tensor, eps: float, encode: Encode | None = None) -> Any:
    """The RMS norm of states [L, H], ready for a product."""
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    y = (x * torch.rsqrt(size.square() / x.shape[-1] + eps).to(x.dtype)).mul_(weight)
    return y if encode is None else encode(y)


def add_normed(x: Tensor, y: Tensor, weight: Tensor, eps: float, encode: Encode | None = None) -> tuple[Tensor, Any]:
    """The sum of states, which takes the place of ``y``, and its RMS norm, ready for a product."""
    x = y.add_(x)
    return x, normed(x, weight, eps, encode)


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
    if head_norms is not None:
        q, k, _ = qkv.split([heads, kv_heads, kv_heads], 1)
        q.copy_(normed(q, head_norms[0], eps))
        k.copy_(normed(k, head_norms[1], eps))
    left, right = qkv[:, : heads + kv_heads].chunk(2, -1)
    turned = (left * cos).addcmul_(right, sin, value=-1)
    right.mul_(cos).addcmul_(left, sin)
    left.copy_(turned)
    return qkv if into is None else into[0].index_copy_(0, into[1], qkv)


def gated(gate_up: Tensor, encode: Encode) -> Encoded:
    """SwiGLU, ready for a product."""
    gate, up = gate_up.chunk(2, -1)
    return encode(F.silu(gate).mul_(up))
