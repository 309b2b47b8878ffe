"""Kernels of `quantize`: largest magnitudes, scales and the rounding to 8 bits."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def scale_of(top, limit):
    """top / limit; 1 where top is zero. Never below the smallest normal number of fp32.

    A smaller scale has few bits or none left, and zero divided by none is NaN.
    """
    return tl.where(top > 0.0, tl.maximum(top / limit, 1.1754943508222875e-38), 1.0)


@triton.jit
def largest_kernel(
    x_ptr, partial_ptr, width, total, stride_x, BLOCK: tl.constexpr, STEPS: tl.constexpr
):
    """The largest magnitude of this program's share of the rows, elements counted row by row."""
    first = tl.program_id(0).to(tl.int64) * (BLOCK * STEPS)
    best = tl.zeros((BLOCK,), dtype=tl.float32)
    for step in range(STEPS):
        place = first + step * BLOCK + tl.arange(0, BLOCK)
        where = place // width * stride_x + place % width
        x = tl.load(x_ptr + where, mask=place < total, other=0.0).to(tl.float32)
        best = tl.maximum(best, tl.abs(x))
    tl.store(partial_ptr + tl.program_id(0), tl.max(best, 0))


@triton.jit
def scale_kernel(partial_ptr, scale_ptr, count, limit, BLOCK: tl.constexpr):
    """scale = the largest of the shares / limit; 1 where all are zero. One program."""
    best = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, count, BLOCK):
        place = start + tl.arange(0, BLOCK)
        best = tl.maximum(best, tl.load(partial_ptr + place, mask=place < count, other=0.0))
    top = tl.max(best, 0)
    tl.store(scale_ptr, scale_of(top, limit))


@triton.jit
def tensor_kernel(
    x_ptr, q_ptr, scale_ptr, width, total, limit, stride_x, stride_q, BLOCK: tl.constexpr
):
    """q = x / scale, one scale for all."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < total
    row, column = place // width, place % width
    x = tl.load(x_ptr + row * stride_x + column, mask=inside, other=0.0).to(tl.float32)
    q = x / tl.load(scale_ptr)
    q = tl.where(q != q, q, tl.minimum(tl.maximum(q, -limit), limit))  # a NaN stays one
    tl.store(q_ptr + row * stride_q + column, q.to(q_ptr.dtype.element_ty), mask=inside)


@triton.jit
def block_kernel(
    x_ptr,
    q_ptr,
    scale_ptr,
    rows,
    width,
    groups,
    limit,
    stride_x,
    stride_q,
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """q = x / scale with one scale for GROUP columns of a row; GROUPS of them a program."""
    number = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    row, group = number // groups, number % groups
    column = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    inside = (row < rows)[:, None] & (column < width)
    x = tl.load(x_ptr + row[:, None] * stride_x + column, mask=inside, other=0.0).to(tl.float32)
    top = tl.max(tl.abs(x), 1)
    scale = scale_of(top, limit)
    tl.store(scale_ptr + number, scale, mask=row < rows)
    q = x / scale[:, None]
    q = tl.where(q != q, q, tl.minimum(tl.maximum(q, -limit), limit))  # a NaN stays one
    place = q_ptr + row[:, None] * stride_q + column
    tl.store(place, q.to(q_ptr.dtype.element_ty), mask=inside)
