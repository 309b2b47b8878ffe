"""Kernels of `stream`: a program takes one block of the arrays, or several in turn."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def map_kernel(
    x_ptr,
    y_ptr,
    out_ptr,
    count,
    scalar,
    OP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
    PERSISTENT: tl.constexpr,
    STAGES: tl.constexpr,
    LOADS: tl.constexpr,
    STORES: tl.constexpr,
):
    """out = x | s·x | x + y | x + s·y (OP = 0..3), in fp32 (WIDE: fp64).

    One block a program; PERSISTENT programs walk the blocks in steps of their number, and with
    STAGES > 2 their next blocks are on their way to shared memory, which holds STAGES - 1 of them,
    while one is stored. LOADS and STORES may tell the cache to give those lines up first: no
    element is used again.
    """
    if PERSISTENT:
        blocks = (count - 1) // BLOCK + 1  # tl.cdiv would pass 31 bits before count does
        for block in tl.range(tl.program_id(0), blocks, tl.num_programs(0), num_stages=STAGES):
            _map_block(x_ptr, y_ptr, out_ptr, count, scalar, block, OP, WIDE, BLOCK, LOADS, STORES)
    else:
        block = tl.program_id(0)
        _map_block(x_ptr, y_ptr, out_ptr, count, scalar, block, OP, WIDE, BLOCK, LOADS, STORES)


@triton.jit
def _map_block(
    x_ptr,
    y_ptr,
    out_ptr,
    count,
    scalar,
    block,
    OP: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
    LOADS: tl.constexpr,
    STORES: tl.constexpr,
):
    kind: tl.constexpr = tl.float64 if WIDE else tl.float32
    # The number of a block is a plain int in the interpreter's loops: it has no `to`.
    place = block * tl.full((), BLOCK, tl.int64) + tl.arange(0, BLOCK)
    inside = place < count
    x = tl.load(x_ptr + place, mask=inside, other=0.0, eviction_policy=LOADS)
    if OP == 0:
        out = x
    elif OP == 1:
        out = x.to(kind) * scalar
    else:
        y = tl.load(y_ptr + place, mask=inside, other=0.0, eviction_policy=LOADS)
        if OP == 2:
            out = x + y
        else:
            out = x.to(kind) + scalar * y.to(kind)
    kept = out.to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + place, kept, mask=inside, eviction_policy=STORES)


@triton.jit
def sum_kernel(
    x_ptr,
    y_ptr,
    partial_ptr,
    count,
    DOT: tl.constexpr,
    BLOCK: tl.constexpr,
    STEPS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """This program's share of Σ x or Σ x·y, over STEPS blocks, summed in fp32 (WIDE: fp64)."""
    first = tl.program_id(0).to(tl.int64) * (BLOCK * STEPS)
    total = tl.zeros((BLOCK,), dtype=tl.float64 if WIDE else tl.float32)
    for step in range(STEPS):
        place = first + step * BLOCK + tl.arange(0, BLOCK)
        inside = place < count
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(total.dtype)
        if DOT:
            x *= tl.load(y_ptr + place, mask=inside, other=0.0).to(total.dtype)
        total += x
    tl.store(partial_ptr + tl.program_id(0), tl.sum(total, axis=0))


@triton.jit
def total_kernel(partial_ptr, out_ptr, count, BLOCK: tl.constexpr):
    """out = Σ partial, by one program."""
    total = tl.zeros((BLOCK,), dtype=partial_ptr.dtype.element_ty)
    for start in range(0, count, BLOCK):
        place = start + tl.arange(0, BLOCK)
        total += tl.load(partial_ptr + place, mask=place < count, other=0.0)
    tl.store(out_ptr, tl.sum(total, axis=0))
