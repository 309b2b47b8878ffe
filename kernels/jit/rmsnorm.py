"""Kernels of `rmsnorm`: one program a block of rows, the whole width at once."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    sum_ptr,
    y_ptr,
    scale_ptr,
    rows,
    stride_x,
    stride_residual,
    stride_sum,
    stride_y,
    eps,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    ADD: tl.constexpr,
    EARLY: tl.constexpr,
    LOADS: tl.constexpr,
    STORES: tl.constexpr,
):
    """y = x / rms(x) · weight; with ADD x + residual takes the place of x and is written too.

    What bounds it is memory, and how little of the time of a program others fill: a program ends
    with a load of weights, a round trip to the cache that begins when all of its warps have met
    over the sum. EARLY asks for them beside the row, at the price of registers: worth trying where
    as many programs fit as before. LOADS and STORES tell the cache of rows, of which nobody reads
    x again, and y and the sum only who comes next.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < WIDTH)[None, :]
    place = row[:, None] * stride_x + column[None, :]
    x = tl.load(x_ptr + place, mask=inside, other=0.0, eviction_policy=LOADS)
    if ADD:
        other = row[:, None] * stride_residual + column[None, :]
        x = x + tl.load(residual_ptr + other, mask=inside, other=0.0, eviction_policy=LOADS)
    if EARLY:
        weight = tl.load(weight_ptr + column, mask=column < WIDTH, other=0.0)
    if ADD:
        total = sum_ptr + row[:, None] * stride_sum + column[None, :]
        tl.store(total, x, mask=inside, eviction_policy=STORES)
    wide = x.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(wide * wide, axis=1) / WIDTH + eps)
    tl.store(scale_ptr + row, scale, mask=row < rows)
    if not EARLY:
        weight = tl.load(weight_ptr + column, mask=column < WIDTH, other=0.0)
    y = wide * scale[:, None] * weight.to(tl.float32)[None, :]
    out = row[:, None] * stride_y + column[None, :]
    tl.store(y_ptr + out, y.to(y_ptr.dtype.element_ty), mask=inside, eviction_policy=STORES)


@triton.jit
def backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    scale_ptr,
    extra_ptr,
    dx_ptr,
    partial_ptr,
    rows,
    stride_dy,
    stride_x,
    stride_extra,
    stride_dx,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
    ADD: tl.constexpr,
):
    """dx of many rows, and this program's share of dweight as one row of ``partial``.

    dx = scale·(w·dy - x̂·mean(w·dy·x̂)) with x̂ = x·scale; with ADD the gradient that flows past
    the norm is added. Programs walk the rows in steps of their number: the order of summation,
    and so every bit of dweight, depends on the grid alone. With STAGES > 2 the next rows are on
    their way to shared memory, which holds STAGES - 1 of them, while this one is summed: memory
    never waits for a sum. (With 2 the one buffer is filled again only after it was used.)
    """
    column = tl.arange(0, BLOCK)
    here = column < WIDTH
    weight = tl.load(weight_ptr + column, mask=here, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    step = tl.num_programs(0) * ROWS
    for start in tl.range(tl.program_id(0) * ROWS, rows, step, num_stages=STAGES):
        row = start + tl.arange(0, ROWS).to(tl.int64)
        inside = (row < rows)[:, None] & here[None, :]
        scale = tl.load(scale_ptr + row, mask=row < rows, other=0.0)
        place = row[:, None] * stride_x + column[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
        along = row[:, None] * stride_dy + column[None, :]
        dy = tl.load(dy_ptr + along, mask=inside, other=0.0).to(tl.float32)
        unit = x * scale[:, None]
        total += tl.sum(dy * unit, axis=0)
        weighted = dy * weight[None, :]
        mean = tl.sum(weighted * unit, axis=1) / WIDTH
        dx = scale[:, None] * (weighted - unit * mean[:, None])
        if ADD:
            past = row[:, None] * stride_extra + column[None, :]
            dx += tl.load(extra_ptr + past, mask=inside, other=0.0).to(tl.float32)
        out = row[:, None] * stride_dx + column[None, :]
        tl.store(dx_ptr + out, dx.to(dx_ptr.dtype.element_ty), mask=inside)
    tl.store(partial_ptr + tl.program_id(0).to(tl.int64) * WIDTH + column, total, mask=here)


@triton.jit
def columns_kernel(
    partial_ptr,
    out_ptr,
    rows,
    stride,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out = the sum of ``rows`` fp32 rows: the second half of a two-step reduction."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = column < WIDTH
    # Threads keep sums of their own and meet once, at the end: nothing waits between two loads.
    total = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for start in range(0, rows, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & here[None, :]
        place = row[:, None] * stride + column[None, :]
        total += tl.load(partial_ptr + place, mask=inside, other=0.0)
    tl.store(out_ptr + column, tl.sum(total, axis=0).to(out_ptr.dtype.element_ty), mask=here)
