"""Kernels of `layernorm`: one program a block of rows, the whole width at once."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    mean_ptr,
    scale_ptr,
    rows,
    stride_x,
    stride_y,
    eps,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    EARLY: tl.constexpr,
    LOADS: tl.constexpr,
    STORES: tl.constexpr,
):
    """y = (x - mean) · scale · weight + bias, scale = 1 / sqrt(variance + eps).

    EARLY, LOADS, STORES: as in `rmsnorm.forward_kernel`.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    here = column < WIDTH
    inside = (row < rows)[:, None] & here[None, :]
    place = row[:, None] * stride_x + column[None, :]
    x = tl.load(x_ptr + place, mask=inside, other=0.0, eviction_policy=LOADS).to(tl.float32)
    if EARLY:
        weight = tl.load(weight_ptr + column, mask=here, other=0.0)
        bias = tl.load(bias_ptr + column, mask=here, other=0.0)
    mean = tl.sum(x, 1) / WIDTH
    # In two steps, from registers: the sum of squares less the square of the sum would cancel.
    centred = tl.where(inside, x - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / WIDTH + eps)
    tl.store(mean_ptr + row, mean, mask=row < rows)
    tl.store(scale_ptr + row, scale, mask=row < rows)
    if not EARLY:
        weight = tl.load(weight_ptr + column, mask=here, other=0.0)
        bias = tl.load(bias_ptr + column, mask=here, other=0.0)
    y = centred * scale[:, None] * weight.to(tl.float32)[None, :] + bias.to(tl.float32)[None, :]
    out = row[:, None] * stride_y + column[None, :]
    tl.store(y_ptr + out, y.to(y_ptr.dtype.element_ty), mask=inside, eviction_policy=STORES)


@triton.jit
def backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    mean_ptr,
    scale_ptr,
    dx_ptr,
    partial_ptr,
    rows,
    stride_dy,
    stride_x,
    stride_dx,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """dx of many rows, and this program's shares of dweight and dbias as one row of ``partial``.

    dx = scale·(w·dy - mean(w·dy) - x̂·mean(w·dy·x̂)) with x̂ = (x - mean)·scale. STAGES as in
    `rmsnorm`'s.
    """
    column = tl.arange(0, BLOCK)
    here = column < WIDTH
    weight = tl.load(weight_ptr + column, mask=here, other=0.0).to(tl.float32)
    total_w = tl.zeros((BLOCK,), dtype=tl.float32)
    total_b = tl.zeros((BLOCK,), dtype=tl.float32)
    step = tl.num_programs(0) * ROWS
    for start in tl.range(tl.program_id(0) * ROWS, rows, step, num_stages=STAGES):
        row = start + tl.arange(0, ROWS).to(tl.int64)
        inside = (row < rows)[:, None] & here[None, :]
        mean = tl.load(mean_ptr + row, mask=row < rows, other=0.0)
        scale = tl.load(scale_ptr + row, mask=row < rows, other=0.0)
        place = row[:, None] * stride_x + column[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
        along = row[:, None] * stride_dy + column[None, :]
        dy = tl.load(dy_ptr + along, mask=inside, other=0.0).to(tl.float32)
        # Outside dy is 0, and so is all that it multiplies.
        unit = (x - mean[:, None]) * scale[:, None]
        total_w += tl.sum(dy * unit, 0)
        total_b += tl.sum(dy, 0)
        weighted = dy * weight[None, :]
        first = tl.sum(weighted, 1) / WIDTH
        second = tl.sum(weighted * unit, 1) / WIDTH
        dx = scale[:, None] * (weighted - first[:, None] - unit * second[:, None])
        out = row[:, None] * stride_dx + column[None, :]
        tl.store(dx_ptr + out, dx.to(dx_ptr.dtype.element_ty), mask=inside)
    line = tl.program_id(0).to(tl.int64) * (2 * WIDTH)
    tl.store(partial_ptr + line + column, total_w, mask=here)
    tl.store(partial_ptr + line + WIDTH + column, total_b, mask=here)
