"""Kernels of `softmax`: rows that fit a program whole, and rows of any width in blocks."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_kernel(
    x_ptr, y_ptr, rows, width, stride_x, stride_y, BLOCK: tl.constexpr, ROWS: tl.constexpr
):
    """y = exp(x - max) / Σ, ROWS whole rows a program."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    place = row[:, None] * stride_x + column[None, :]
    x = tl.load(x_ptr + place, mask=inside, other=-float("inf")).to(tl.float32)
    p = tl.exp(x - tl.max(x, 1)[:, None])
    # One division a row, not one an element. A row of -inf or with a NaN is NaN, as in torch.
    y = p * (1.0 / tl.sum(p, 1))[:, None]
    out = row[:, None] * stride_y + column[None, :]
    tl.store(y_ptr + out, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def forward_long_kernel(x_ptr, y_ptr, width, stride_x, stride_y, BLOCK: tl.constexpr):
    """One row a program in blocks: running maximum and sum, then a second pass, from the cache."""
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * stride_x
    y_ptr += row * stride_y
    local = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), -3.4028234663852886e38, dtype=tl.float32)
    weight = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, width, BLOCK):
        inside = start + local < width
        x = tl.load(
            x_ptr + start + local, mask=inside, other=-float("inf"), eviction_policy="evict_last"
        ).to(tl.float32)
        higher = tl.maximum(top, x)
        weight = weight * tl.exp(top - higher) + tl.exp(x - higher)
        top = higher
    best = tl.max(top, 0)
    share = 1.0 / tl.sum(weight * tl.exp(top - best), 0)
    for start in range(0, width, BLOCK):
        inside = start + local < width
        x = tl.load(
            x_ptr + start + local, mask=inside, other=-float("inf"), eviction_policy="evict_first"
        ).to(tl.float32)
        y = tl.exp(x - best) * share
        tl.store(y_ptr + start + local, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    dy_ptr,
    y_ptr,
    dx_ptr,
    rows,
    width,
    stride_dy,
    stride_y,
    stride_dx,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """dx = y · (dy - Σ y·dy), ROWS whole rows a program."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    dy_place = row[:, None] * stride_dy + column[None, :]
    dy = tl.load(dy_ptr + dy_place, mask=inside, other=0.0).to(tl.float32)
    y_place = row[:, None] * stride_y + column[None, :]
    y = tl.load(y_ptr + y_place, mask=inside, other=0.0).to(tl.float32)
    dx = y * (dy - tl.sum(y * dy, 1)[:, None])
    out = row[:, None] * stride_dx + column[None, :]
    tl.store(dx_ptr + out, dx.to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_long_kernel(
    dy_ptr, y_ptr, dx_ptr, width, stride_dy, stride_y, stride_dx, BLOCK: tl.constexpr
):
    """One row a program in blocks, in two passes."""
    row = tl.program_id(0).to(tl.int64)
    dy_ptr += row * stride_dy
    y_ptr += row * stride_y
    dx_ptr += row * stride_dx
    local = tl.arange(0, BLOCK)
    shares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, width, BLOCK):
        inside = start + local < width
        dy = tl.load(dy_ptr + start + local, mask=inside, other=0.0, eviction_policy="evict_last")
        y = tl.load(y_ptr + start + local, mask=inside, other=0.0, eviction_policy="evict_last")
        shares += dy.to(tl.float32) * y.to(tl.float32)
    mean = tl.sum(shares, 0)
    for start in range(0, width, BLOCK):
        inside = start + local < width
        dy = tl.load(dy_ptr + start + local, mask=inside, other=0.0, eviction_policy="evict_first")
        y = tl.load(y_ptr + start + local, mask=inside, other=0.0, eviction_policy="evict_first")
        dx = y.to(tl.float32) * (dy.to(tl.float32) - mean)
        tl.store(dx_ptr + start + local, dx.to(dx_ptr.dtype.element_ty), mask=inside)
