"""Kernel of `rope`: one token a program, all heads of queries and keys."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def turn(
    x_ptr,
    out_ptr,
    cosine,
    sine,
    heads,
    stride_x,
    stride_out,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
    HEADS: tl.constexpr,
):
    """Rotate pairs (i, i + HALF) of every head of a token, HEADS heads at a time."""
    column = tl.arange(0, BLOCK)
    kind = out_ptr.dtype.element_ty
    for start in range(0, heads, HEADS):
        # 64-bit: queries may lie head by head, each as long as all its tokens.
        head = start + tl.arange(0, HEADS).to(tl.int64)
        inside = (head < heads)[:, None] & (column < HALF)[None, :]
        x_place = x_ptr + head[:, None] * stride_x + column[None, :]
        first = tl.load(x_place, mask=inside, other=0.0).to(tl.float32)
        second = tl.load(x_place + HALF, mask=inside, other=0.0).to(tl.float32)
        place = out_ptr + head[:, None] * stride_out + column[None, :]
        tl.store(place, (first * cosine - second * sine).to(kind), mask=inside)
        tl.store(place + HALF, (second * cosine + first * sine).to(kind), mask=inside)


@triton.jit
def rope_kernel(
    q_ptr,
    k_ptr,
    table_ptr,
    q_out_ptr,
    k_out_ptr,
    heads,
    kv_heads,
    stride_qt,
    stride_qh,
    stride_kt,
    stride_kh,
    stride_qot,
    stride_qoh,
    stride_kot,
    stride_koh,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    BACKWARD: tl.constexpr,
):
    """Cosines and sines are loaded once for all heads; backward is the turn the other way."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    cosine = tl.load(table_ptr + token * HALF + column, mask=column < HALF, other=0.0)
    sine_ptr = table_ptr + tl.num_programs(0).to(tl.int64) * HALF + token * HALF
    sine = tl.load(sine_ptr + column, mask=column < HALF, other=0.0)
    if BACKWARD:
        sine = -sine
    cosine, sine = cosine[None, :], sine[None, :]
    turn(
        q_ptr + token * stride_qt, q_out_ptr + token * stride_qot, cosine, sine, heads, stride_qh,
        stride_qoh, HALF, BLOCK, HEADS,
    )  # fmt: skip
    turn(
        k_ptr + token * stride_kt, k_out_ptr + token * stride_kot, cosine, sine, kv_heads,
        stride_kh, stride_koh, HALF, BLOCK, KV_HEADS,
    )  # fmt: skip
