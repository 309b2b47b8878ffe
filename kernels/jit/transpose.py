"""Kernel of `transpose`: one tile a program."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def transpose_kernel(
    x_ptr,
    out_ptr,
    rows,
    columns,
    stride_x,
    stride_out,
    blocks,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    EVEN: tl.constexpr,
):
    """out[n, m] = x[m, n]: rows are read, and rows of the result are written, without gaps."""
    offs_m = (tl.program_id(0) // blocks) * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_n = (tl.program_id(0) % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    x_place = x_ptr + offs_m.to(tl.int64)[:, None] * stride_x + offs_n[None, :]
    place = out_ptr + offs_n.to(tl.int64)[:, None] * stride_out + offs_m[None, :]
    if EVEN:
        tl.store(place, tl.trans(tl.load(x_place)))
    else:
        inside = (offs_m < rows)[:, None] & (offs_n < columns)[None, :]
        x = tl.load(x_place, mask=inside, other=0.0)
        back = (offs_n < columns)[:, None] & (offs_m < rows)[None, :]
        tl.store(place, tl.trans(x), mask=back)
