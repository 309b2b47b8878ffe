"""Kernels of `rmsnorm` and `layernorm` for rows that no program holds: a row is walked in blocks.

A row is read as often as it is needed, again from the cache that the first time left it in. With
CENTRE the mean is taken off first and a bias added: layer norm; without, root-mean-square norm.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _block(x_ptr, residual_ptr, column, inside, ADD: tl.constexpr):
    """A block of what is normed, as it is rounded where it is written."""
    x = tl.load(x_ptr + column, mask=inside, other=0.0)
    if ADD:
        x = x + tl.load(residual_ptr + column, mask=inside, other=0.0)
    return x


@triton.jit
def forward_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    bias_ptr,
    sum_ptr,
    y_ptr,
    mean_ptr,
    scale_ptr,
    stride_x,
    stride_residual,
    stride_sum,
    stride_y,
    eps,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ADD: tl.constexpr,
    CENTRE: tl.constexpr,
):
    """y = (x - mean) · scale · weight + bias, scale = 1 / sqrt(mean of squares + eps)."""
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * stride_x
    residual_ptr += row * stride_residual
    sum_ptr += row * stride_sum
    y_ptr += row * stride_y
    lane = tl.arange(0, BLOCK)
    mean = 0.0
    if CENTRE:
        total = tl.zeros((BLOCK,), dtype=tl.float32)
        for start in range(0, WIDTH, BLOCK):
            column = start + lane
            total += _block(x_ptr, residual_ptr, column, column < WIDTH, ADD).to(tl.float32)
        mean = tl.sum(total, 0) / WIDTH
        tl.store(mean_ptr + row, mean)
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, WIDTH, BLOCK):
        column = start + lane
        inside = column < WIDTH
        x = _block(x_ptr, residual_ptr, column, inside, ADD)
        if ADD:
            tl.store(sum_ptr + column, x, mask=inside)
        wide = tl.where(inside, x.to(tl.float32) - mean, 0.0)
        squares += wide * wide
    scale = 1.0 / tl.sqrt(tl.sum(squares, 0) / WIDTH + eps)
    tl.store(scale_ptr + row, scale)
    for start in range(0, WIDTH, BLOCK):
        column = start + lane
        inside = column < WIDTH
        # Added again rather than read from where the sum went, perhaps by another thread.
        wide = _block(x_ptr, residual_ptr, column, inside, ADD).to(tl.float32) - mean
        y = wide * scale * tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
        if CENTRE:
            y += tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(y_ptr + column, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    mean_ptr,
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
    ADD: tl.constexpr,
    CENTRE: tl.constexpr,
):
    """dx of many rows, and this program's share of dweight (and dbias) as one row of ``partial``.

    dx = scale·(w·dy - x̂·mean(w·dy·x̂) [- mean(w·dy)]) with x̂ = (x - mean)·scale; with ADD the
    gradient that flows past the norm is added. ``partial`` comes as zeros: shares are summed in
    memory, which for the few programs of a grid the cache holds.
    """
    lane = tl.arange(0, BLOCK)
    share_ptr = partial_ptr + tl.program_id(0).to(tl.int64) * (2 * WIDTH if CENTRE else WIDTH)
    first_row = tl.program_id(0).to(tl.int64)
    for turn in range(tl.cdiv(rows - tl.program_id(0), tl.num_programs(0))):
        row = first_row + turn * tl.num_programs(0)
        scale = tl.load(scale_ptr + row)
        mean = tl.load(mean_ptr + row) if CENTRE else 0.0
        along = tl.zeros((BLOCK,), dtype=tl.float32)
        level = tl.zeros((BLOCK,), dtype=tl.float32)
        for start in range(0, WIDTH, BLOCK):
            column = start + lane
            inside = column < WIDTH
            x = tl.load(x_ptr + row * stride_x + column, mask=inside, other=0.0).to(tl.float32)
            dy = tl.load(dy_ptr + row * stride_dy + column, mask=inside, other=0.0).to(tl.float32)
            weighted = dy * tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
            along += weighted * ((x - mean) * scale)
            if CENTRE:
                level += weighted
        first = tl.sum(along, 0) / WIDTH
        second = tl.sum(level, 0) / WIDTH if CENTRE else 0.0
        for start in range(0, WIDTH, BLOCK):
            column = start + lane
            inside = column < WIDTH
            x = tl.load(x_ptr + row * stride_x + column, mask=inside, other=0.0).to(tl.float32)
            dy = tl.load(dy_ptr + row * stride_dy + column, mask=inside, other=0.0).to(tl.float32)
            unit = (x - mean) * scale
            weighted = dy * tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
            dx = scale * (weighted - unit * first - second)
            if ADD:
                past = extra_ptr + row * stride_extra + column
                dx += tl.load(past, mask=inside, other=0.0).to(tl.float32)
            out = dx_ptr + row * stride_dx + column
            tl.store(out, dx.to(dx_ptr.dtype.element_ty), mask=inside)
            before = tl.load(share_ptr + column, mask=inside, other=0.0)
            tl.store(share_ptr + column, before + dy * unit, mask=inside)
            if CENTRE:
                before = tl.load(share_ptr + WIDTH + column, mask=inside, other=0.0)
                tl.store(share_ptr + WIDTH + column, before + dy, mask=inside)
        # A later row may find a share in the hands of another thread.
        tl.debug_barrier()
