"""Kernels of `moe`: the router's choice, and rows on their way to the experts and back."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def route_kernel(
    logits_ptr,
    weights_ptr,
    experts_ptr,
    tokens,
    experts,
    stride,
    TOP_K: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """The TOP_K largest logits of every token, and softmax over them alone.

    Equal to softmax over all experts and scaling the chosen to one: the others' sum cancels.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column, slot = tl.arange(0, BLOCK), tl.arange(0, SLOTS)
    inside = (row < tokens)[:, None] & (column < experts)[None, :]
    place = row[:, None] * stride + column[None, :]
    x = tl.load(logits_ptr + place, mask=inside, other=0.0).to(tl.float32)
    # A NaN wins and makes the weights NaN, as in torch. Experts that are masked by -inf lose, but
    # still win against those already chosen, and these against columns past the end: every
    # choice is an expert, and none is chosen twice.
    left = tl.where(x != x, float("inf"), tl.maximum(x, -1.0e38))
    left = tl.where(inside, left, -3.3e38)
    best = tl.full((ROWS, SLOTS), -3.0e38, dtype=tl.float32)
    which = tl.zeros((ROWS, SLOTS), dtype=tl.int32)
    for turn in tl.static_range(TOP_K):
        top, index = tl.max(left, 1), tl.argmax(left, 1)
        best = tl.where(slot[None, :] == turn, top[:, None], best)
        which = tl.where(slot[None, :] == turn, index[:, None], which)
        left = tl.where(column[None, :] == index[:, None], -3.0e38, left)
    p = tl.exp(best - tl.max(best, 1)[:, None])
    p = p / tl.sum(p, 1)[:, None]
    out = row[:, None] * TOP_K + slot[None, :]
    good = (row < tokens)[:, None] & (slot < TOP_K)[None, :]
    tl.store(weights_ptr + out, p, mask=good)
    tl.store(experts_ptr + out, which, mask=good)


@triton.jit
def permute_kernel(
    x_ptr, order_ptr, out_ptr, width, stride_x, stride_out, TOP_K: tl.constexpr, BLOCK: tl.constexpr
):
    """out[i] = x[order[i] // TOP_K], one row a program."""
    row = tl.program_id(0).to(tl.int64)
    token = (tl.load(order_ptr + row) // TOP_K).to(tl.int64)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + token * stride_x + column, mask=column < width, other=0.0)
        tl.store(out_ptr + row * stride_out + column, x, mask=column < width)


@triton.jit
def unpermute_kernel(
    y_ptr,
    place_ptr,
    weights_ptr,
    out_ptr,
    width,
    stride_y,
    stride_out,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
    WEIGHTED: tl.constexpr,
):
    """out[t] = Σ_j weights[t, j] · y[place[t, j]] (weights of one unless WEIGHTED)."""
    token = tl.program_id(0).to(tl.int64)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        total = tl.zeros((BLOCK,), dtype=tl.float32)
        for slot in tl.static_range(TOP_K):
            row = tl.load(place_ptr + token * TOP_K + slot).to(tl.int64)
            y = tl.load(y_ptr + row * stride_y + column, mask=column < width, other=0.0)
            if WEIGHTED:
                total += y.to(tl.float32) * tl.load(weights_ptr + token * TOP_K + slot)
            else:
                total += y.to(tl.float32)
        place = out_ptr + token * stride_out + column
        tl.store(place, total.to(out_ptr.dtype.element_ty), mask=column < width)


@triton.jit
def unpermute_backward_kernel(
    dout_ptr,
    y_ptr,
    place_ptr,
    weights_ptr,
    dy_ptr,
    dweights_ptr,
    width,
    stride_dout,
    stride_y,
    stride_dy,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """dy[place] = weight · dout[token] and dweight = y[place] · dout[token], one copy a program."""
    copy = tl.program_id(0).to(tl.int64)
    token = copy // TOP_K
    row = tl.load(place_ptr + copy).to(tl.int64)
    weight = tl.load(weights_ptr + copy)
    share = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        dout = tl.load(dout_ptr + token * stride_dout + column, mask=inside, other=0.0)
        dout = dout.to(tl.float32)
        y = tl.load(y_ptr + row * stride_y + column, mask=inside, other=0.0).to(tl.float32)
        share += y * dout
        dy = (weight * dout).to(dy_ptr.dtype.element_ty)
        tl.store(dy_ptr + row * stride_dy + column, dy, mask=inside)
    tl.store(dweights_ptr + copy, tl.sum(share, 0))
