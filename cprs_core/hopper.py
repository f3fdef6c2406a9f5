"""Attention within the sequences of a row, in either direction, on Hopper GPUs: what :mod:`~.kernels` does on others.

One warp loads blocks of keys and values, two groups of four warps compute 64 rows each. While the tensor cores mix the
values of a block, the group makes weights of the next block's scores, as in FlashAttention-3 (arXiv 2407.08608, section
3.2). That needs Gluon, the lower level of Triton, which is experimental: :func:`works` tries what is installed.
"""

from __future__ import annotations

import warnings
from functools import cache

import torch
import triton
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from . import kernels

SHORTEST = 1024  # tokens of the longest sequence of a row, below which the other kernel is as fast
_GROUP, _GROUPS = gl.constexpr(64), gl.constexpr(2)
_ROWS = _GROUP.value * _GROUPS.value
_BLOCK = gl.constexpr(128)  # keys and values of a step; as many as rows, so that the last step alone has some to leave out
_AHEAD = gl.constexpr(2)  # steps whose keys and values are in shared memory


def attend(q: Tensor, k: Tensor, v: Tensor, borders: Tensor, longest: int, scale: float, causal: bool) -> Tensor:
    """As :func:`~.kernels.attend`."""
    heads, size = q.shape[1:]
    mixed = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    with torch.cuda.device(q.device):
        _attend[(triton.cdiv(longest, _ROWS), heads, len(borders) - 1)](
            *(_blocks(q, _GROUP.value), _blocks(k, _BLOCK.value), _blocks(v, _BLOCK.value), mixed, borders),
            *(scale * kernels.LOG2_E, heads // k.shape[1], mixed.stride(0)),
            CAUSAL=causal,
            SIZE=size,
            num_warps=4,
        )
    return mixed


@cache
def works(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether the kernel computes what the other one does, for heads of this size."""
    if torch.cuda.get_device_capability(device)[0] != 9:
        return False
    lengths = torch.tensor([0, 300, 700], dtype=torch.int32, device=device)
    drawn = torch.randn(700, 8, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    q, k, v = drawn.split([4, 2, 2], 1)
    try:
        for causal in (False, True):
            expected, found = (by(q, k, v, lengths, SHORTEST, size**-0.5, causal) for by in (kernels.attend, attend))
            torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    except Exception as error:  # whatever has changed there
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        warnings.warn(f"attention is slower than it could be: this triton cannot run our kernel ({reason})", stacklevel=2)
        return False
    return True


def _blocks(x: Tensor, rows: int) -> TensorDescriptor:
    """How the tensor memory accelerator finds a head's rows in x [L, heads, D]."""
    size = x.shape[-1]
    return TensorDescriptor.from_tensor(x.flatten(1), [rows, size], _layout(rows, size, x.dtype))


@cache
def _layout(rows: int, size: int, dtype: torch.dtype) -> gl.NVMMASharedLayout:
    return gl.NVMMASharedLayout.get_default_for([rows, size], gl.bfloat16 if dtype == torch.bfloat16 else gl.float16)


@gluon.jit
def _attend(
    q_blocks, k_blocks, v_blocks, out_ptr, borders_ptr, scale, group, out_token, CAUSAL: gl.constexpr, SIZE: gl.constexpr
):
    head, sequence = gl.program_id(1), gl.program_id(2)
    start = gl.load(borders_ptr + sequence)
    length = gl.load(borders_ptr + sequence + 1) - start
    first = (gl.num_programs(0) - 1 - gl.program_id(0)) * (_GROUP * _GROUPS)  # the longest rows of a causal layer first
    if first < length:
        steps = gl.cdiv(gl.minimum(first + _GROUP * _GROUPS, length) if CAUSAL else length, _BLOCK)
        kind: gl.constexpr = out_ptr.dtype.element_ty
        q = gl.allocate_shared_memory(kind, [_GROUPS, _GROUP, SIZE], q_blocks.layout)
        k = gl.allocate_shared_memory(kind, [_AHEAD, _BLOCK, SIZE], k_blocks.layout)
        v = gl.allocate_shared_memory(kind, [_AHEAD, _BLOCK, SIZE], v_blocks.layout)
        q_here = gl.allocate_shared_memory(gl.int64, [_GROUPS, 1], mbarrier.MBarrierLayout())
        k_here = gl.allocate_shared_memory(gl.int64, [_AHEAD, 1], mbarrier.MBarrierLayout())
        k_done = gl.allocate_shared_memory(gl.int64, [_AHEAD, 1], mbarrier.MBarrierLayout())
        v_here = gl.allocate_shared_memory(gl.int64, [_AHEAD, 1], mbarrier.MBarrierLayout())
        v_done = gl.allocate_shared_memory(gl.int64, [_AHEAD, 1], mbarrier.MBarrierLayout())
        for i in gl.static_range(_GROUPS):
            mbarrier.init(q_here.index(i), count=1)
        for i in gl.static_range(_AHEAD):
            mbarrier.init(k_here.index(i), count=1)
            mbarrier.init(k_done.index(i), count=_GROUPS)
            mbarrier.init(v_here.index(i), count=1)
            mbarrier.init(v_done.index(i), count=_GROUPS)
        fence_async_shared()
        memory = (q, k, v, q_here, k_here, k_done, v_here, v_done)
        place = (start, length, first, steps, head)
        gl.warp_specialize(
            [
                (_mix, (memory, place, out_ptr, out_token, scale, 0, CAUSAL, SIZE)),
                (_mix, (memory, place, out_ptr, out_token, scale, 1, CAUSAL, SIZE)),
                (_load, (memory, place, q_blocks, k_blocks, v_blocks, group, SIZE)),
            ],
            [4, 1],
            [240, 24],  # registers a thread
        )


@gluon.jit
def _load(memory, place, q_blocks, k_blocks, v_blocks, group, SIZE: gl.constexpr):
    """Loads queries, then keys and values from the last step to the first, each as soon as there is room."""
    q, k, v, q_here, k_here, k_done, v_here, v_done = memory
    start, _length, first, steps, head = place
    for i in gl.static_range(_GROUPS):
        mbarrier.expect(q_here.index(i), q_blocks.block_type.nbytes)
        tma.async_copy_global_to_shared(q_blocks, [start + first + _GROUP * i, head * SIZE], q_here.index(i), q.index(i))
    for i in range(steps):
        slot, turn = i % _AHEAD, (i // _AHEAD + 1) & 1
        at = [start + (steps - 1 - i) * _BLOCK, head // group * SIZE]
        mbarrier.wait(k_done.index(slot), turn)
        mbarrier.expect(k_here.index(slot), k_blocks.block_type.nbytes)
        tma.async_copy_global_to_shared(k_blocks, at, k_here.index(slot), k.index(slot))
        mbarrier.wait(v_done.index(slot), turn)
        mbarrier.expect(v_here.index(slot), v_blocks.block_type.nbytes)
        tma.async_copy_global_to_shared(v_blocks, at, v_here.index(slot), v.index(slot))


@gluon.jit
def _mix(memory, place, out_ptr, out_token, scale, PART: gl.constexpr, CAUSAL: gl.constexpr, SIZE: gl.constexpr):
    """A group's part: 64 rows."""
    q, k, v, q_here, k_here, k_done, v_here, v_done = memory
    start, length, first, steps, head = place
    kind: gl.constexpr = out_ptr.dtype.element_ty
    scored: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, _BLOCK, 16])
    summed: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, SIZE, 16])
    factor: gl.constexpr = gl.DotOperandLayout(0, summed, 2)
    first += _GROUP * PART

    mbarrier.wait(q_here.index(PART), 0)
    mbarrier.wait(k_here.index(0), 0)
    scores = gl.zeros([_GROUP, _BLOCK], gl.float32, scored)
    scores = warpgroup_mma(q.index(PART), k.index(0).permute((1, 0)), scores, use_acc=False)
    mbarrier.arrive(k_done.index(0))
    row = first + gl.arange(0, _GROUP, gl.SliceLayout(1, scored))[:, None]
    column = (steps - 1) * _BLOCK + gl.arange(0, _BLOCK, gl.SliceLayout(0, scored))[None, :]
    scores = gl.where((column < length) & (column <= row) if CAUSAL else column < length, scores, -1e30)
    most = gl.max(scores, 1) * scale
    weights = gl.exp2(scores * scale - most[:, None])
    total = gl.sum(weights, 1)
    weights = gl.convert_layout(weights.to(kind), factor)
    mixed = gl.zeros([_GROUP, SIZE], gl.float32, summed)
    mbarrier.wait(k_here.index(1 % _AHEAD), 1 // _AHEAD & 1, pred=steps > 1)
    for i in range(1, steps):
        slot, last = i % _AHEAD, (i - 1) % _AHEAD
        scores = warpgroup_mma(q.index(PART), k.index(slot).permute((1, 0)), scores, use_acc=False, is_async=True)
        mbarrier.wait(v_here.index(last), (i - 1) // _AHEAD & 1)
        mixed = warpgroup_mma(weights, v.index(last), mixed, is_async=True)
        scores = warpgroup_mma_wait(1, [scores])
        mbarrier.arrive(k_done.index(slot))
        higher = gl.maximum(most, gl.max(scores, 1) * scale)
        new = gl.exp2(scores * scale - higher[:, None])
        fade = gl.exp2(most - higher)
        total, most = total * fade + gl.sum(new, 1), higher
        following = gl.convert_layout(new.to(kind), factor)
        # Waiting here for the next keys keeps the compiler from making the weights after the mixing instead of meanwhile.
        mbarrier.wait(k_here.index((i + 1) % _AHEAD), (i + 1) // _AHEAD & 1, pred=i + 1 < steps)
        mixed, weights, following = warpgroup_mma_wait(0, [mixed, weights, following])
        mbarrier.arrive(v_done.index(last))
        mixed *= gl.convert_layout(fade, gl.SliceLayout(1, summed))[:, None]
        weights = following
    last = (steps - 1) % _AHEAD
    mbarrier.wait(v_here.index(last), (steps - 1) // _AHEAD & 1)
    mixed = warpgroup_mma(weights, v.index(last), mixed)
    mixed /= gl.convert_layout(total, gl.SliceLayout(1, summed))[:, None]
    row = first + gl.arange(0, _GROUP, gl.SliceLayout(1, summed))[:, None]
    column = gl.arange(0, SIZE, gl.SliceLayout(0, summed))[None, :]
    gl.store(out_ptr + (start + row).to(gl.int64) * out_token + head * SIZE + column, mixed.to(kind), mask=row < length)
