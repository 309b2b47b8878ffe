"""Kernels of `decode_attention`: one for a share of a sequence's keys, one that joins shares."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["longest"])
def share_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    table_ptr,
    lengths_ptr,
    out_ptr,
    lse_ptr,
    stride_qb,
    stride_qh,
    stride_qs,
    stride_kp,
    stride_kt,
    stride_kh,
    stride_vp,
    stride_vt,
    stride_vh,
    stride_tb,
    stride_ob,
    stride_oh,
    stride_os,
    kv_heads,
    group,
    queries,
    blocks,
    longest,
    share,
    factor,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PAGE: tl.constexpr,
    RAGGED: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """All queries of heads that share keys against keys ``share`` · split and on, of one sequence.

    A row is a head's query: the heads of a group and their queries make the rows of one product.
    ``PAGE``: tokens of a page; 0: sequence b is page b. ``SPLIT``: this is a part, which goes to
    ``out`` in fp32 with the logarithm of its weight (to base 2); else to its place in ``out``.
    ``factor`` = scale · log₂e: exponents are powers of two.
    """
    line, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks
    batch, kv_head = (line // kv_heads).to(tl.int64), (line % kv_heads).to(tl.int64)
    row = block * BLOCK_M + tl.arange(0, BLOCK_M)
    real = row < group * queries
    head, query = kv_head * group + row // queries, row % queries
    offs_d, local = tl.arange(0, DIM), tl.arange(0, BLOCK_N)
    length = longest
    if RAGGED:
        length = tl.minimum(tl.load(lengths_ptr + batch), longest)
    low = tl.program_id(1) * share
    high = tl.minimum(length, low + share)
    # The last query sees all keys, each before it one less.
    seen = length - queries + 1 + query
    q_row = batch * stride_qb + head * stride_qh + query.to(tl.int64) * stride_qs
    q = tl.load(q_ptr + q_row[:, None] + offs_d[None, :], mask=real[:, None], other=0.0)
    k_ptr += kv_head * stride_kh
    v_ptr += kv_head * stride_vh
    table_ptr += batch * stride_tb
    total = tl.zeros((BLOCK_M, DIM), dtype=tl.float32)
    weight = tl.zeros((BLOCK_M,), dtype=tl.float32)
    top = tl.full((BLOCK_M,), -1.0e30, dtype=tl.float32)
    for start in range(low, high, BLOCK_N):
        offs_n = start + local
        inside = offs_n < high
        if PAGE == 0:
            page = batch
            slot = offs_n.to(tl.int64)
        elif PAGE % BLOCK_N == 0:  # one page has the whole tile
            page = tl.load(table_ptr + start // PAGE).to(tl.int64)
            slot = (start % PAGE + local).to(tl.int64)
        else:
            page = tl.load(table_ptr + offs_n // PAGE, mask=inside, other=0).to(tl.int64)
            slot = (offs_n % PAGE).to(tl.int64)
        k_row, v_row = page * stride_kp + slot * stride_kt, page * stride_vp + slot * stride_vt
        k = tl.load(k_ptr + k_row[None, :] + offs_d[:, None], mask=inside[None, :], other=0.0)
        # What lies past the end may be NaN, and nothing times that is not nothing.
        v = tl.load(v_ptr + v_row[:, None] + offs_d[None, :], mask=inside[:, None], other=0.0)
        keep = inside[None, :] & (offs_n[None, :] < seen[:, None])
        scores = tl.where(keep, tl.dot(q, k, input_precision=PRECISION) * factor, -1.0e30)
        higher = tl.maximum(top, tl.max(scores, 1))
        # Of a query that sees none of these keys all scores equal the top: one, each, if kept.
        p = tl.where(keep, tl.exp2(scores - higher[:, None]), 0.0)
        shrink = tl.exp2(top - higher)
        weight = weight * shrink + tl.sum(p, 1)
        total = tl.dot(p.to(v.dtype), v, total * shrink[:, None], input_precision=PRECISION)
        top = higher
    # A query that saw no key has a sum of zero, and a top beside which no other part is small.
    weight = tl.where(weight > 0.0, weight, 1.0)
    mixed = total / weight[:, None]
    if SPLIT:
        place = (line.to(tl.int64) * group * queries + row) * tl.num_programs(1) + tl.program_id(1)
        tl.store(lse_ptr + place, top + tl.log2(weight), mask=real)
        tl.store(out_ptr + place[:, None] * DIM + offs_d[None, :], mixed, mask=real[:, None])
    else:
        o_row = batch * stride_ob + head * stride_oh + query.to(tl.int64) * stride_os
        o_ptrs = out_ptr + o_row[:, None] + offs_d[None, :]
        tl.store(o_ptrs, mixed.to(out_ptr.dtype.element_ty), mask=real[:, None])


@triton.jit(do_not_specialize=["longest"])
def join_kernel(
    parts_ptr,
    lse_ptr,
    lengths_ptr,
    out_ptr,
    stride_ob,
    stride_oh,
    stride_os,
    heads,
    queries,
    longest,
    share,
    splits,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    RAGGED: tl.constexpr,
):
    """One row of the result: its parts, each by the share that it has of all weights."""
    number = tl.program_id(0)
    batch, rest = (number // (heads * queries)).to(tl.int64), number % (heads * queries)
    head, query = (rest // queries).to(tl.int64), (rest % queries).to(tl.int64)
    offs_d = tl.arange(0, DIM)
    length = longest
    if RAGGED:
        length = tl.minimum(tl.load(lengths_ptr + batch), longest)
    used = tl.cdiv(length, share)
    first = number.to(tl.int64) * splits
    total = tl.zeros((DIM,), dtype=tl.float32)
    weight, top = 0.0, -1.0e30
    for start in range(0, used, BLOCK):
        part = start + tl.arange(0, BLOCK)
        there = part < used
        lse = tl.load(lse_ptr + first + part, mask=there, other=-1.0e30)
        ptrs = parts_ptr + (first + part)[:, None] * DIM + offs_d[None, :]
        mixed = tl.load(ptrs, mask=there[:, None], other=0.0)
        higher = tl.maximum(top, tl.max(lse, 0))
        shrink, p = tl.exp2(top - higher), tl.where(there, tl.exp2(lse - higher), 0.0)
        weight = weight * shrink + tl.sum(p, 0)
        total = total * shrink + tl.sum(p[:, None] * mixed, 0)
        top = higher
    # A query that sees no key has parts that are all zero, of equal weight, or none.
    total = total / tl.where(weight > 0.0, weight, 1.0)
    o_row = batch * stride_ob + head * stride_oh + query * stride_os
    tl.store(out_ptr + o_row + offs_d, total.to(out_ptr.dtype.element_ty))
