"""Kernels of `attention`: tiles of queries against tiles of keys, softmax kept running."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_part(
    total,
    weight,
    top,
    q,
    k_ptr,
    v_ptr,
    stride_k,
    stride_v,
    offs_m,
    low,
    high,
    seq,
    factor,
    BLOCK_N: tl.constexpr,
    DIM: tl.constexpr,
    CAUSAL: tl.constexpr,
    MASK: tl.constexpr,
):
    """Add keys low..high to the running softmax. MASK: they may be past the end or the diagonal."""
    local, offs_d = tl.arange(0, BLOCK_N), tl.arange(0, DIM)
    k_tile = local[None, :] * stride_k + offs_d[:, None]
    v_tile = local[:, None] * stride_v + offs_d[None, :]
    wide_k, wide_v = tl.cast(stride_k, tl.int64), tl.cast(stride_v, tl.int64)
    for start in range(low, high, BLOCK_N):
        offs_n = start + local
        # A 64-bit start and 32-bit places within the tile: fewer registers than 64-bit places.
        k_ptrs, v_ptrs = k_ptr + start * wide_k + k_tile, v_ptr + start * wide_v + v_tile
        if MASK:
            k = tl.load(k_ptrs, mask=(offs_n < seq)[None, :], other=0.0)
            v = tl.load(v_ptrs, mask=(offs_n < seq)[:, None], other=0.0)
        else:
            k = tl.load(k_ptrs)
            v = tl.load(v_ptrs)
        scores = tl.dot(q, k) * factor
        if MASK:
            keep = (offs_n < seq)[None, :]
            if CAUSAL:
                keep = keep & (offs_m[:, None] >= offs_n[None, :])
            scores = tl.where(keep, scores, -1.0e30)
        higher = tl.maximum(top, tl.max(scores, 1))
        p = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(top - higher)
        weight = weight * shrink + tl.sum(p, 1)
        total = tl.dot(p.to(v.dtype), v, total * shrink[:, None])
        top = higher
    return total, weight, top


@triton.jit
def forward_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    o_ptr,
    lse_ptr,
    stride_qb,
    stride_qh,
    stride_qs,
    stride_kb,
    stride_kh,
    stride_ks,
    stride_vb,
    stride_vh,
    stride_vs,
    stride_ob,
    stride_oh,
    stride_os,
    heads,
    group,
    seq,
    factor,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
):
    """One block of queries of one head. ``factor`` = scale · log₂e: exponents are powers of two."""
    # The longest rows first: the short ones fill the last wave.
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    kv_head = head // group
    offs_m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_d = tl.arange(0, DIM)
    rows = (offs_m < seq)[:, None]
    q_ptr += batch * stride_qb + head * stride_qh
    q = tl.load(
        q_ptr + offs_m.to(tl.int64)[:, None] * stride_qs + offs_d[None, :], mask=rows, other=0.0
    )
    k_ptr += batch * stride_kb + kv_head * stride_kh
    v_ptr += batch * stride_vb + kv_head * stride_vh
    total = tl.zeros((BLOCK_M, DIM), dtype=tl.float32)
    weight = tl.zeros((BLOCK_M,), dtype=tl.float32)
    top = tl.full((BLOCK_M,), -1.0e30, dtype=tl.float32)
    if CAUSAL:
        middle = block * BLOCK_M // BLOCK_N * BLOCK_N
        high = tl.minimum(seq, (block + 1) * BLOCK_M)
    else:
        middle = seq // BLOCK_N * BLOCK_N
        high = seq
    total, weight, top = forward_part(
        total, weight, top, q, k_ptr, v_ptr, stride_ks, stride_vs, offs_m, 0, middle, seq, factor,
        BLOCK_N, DIM, CAUSAL, False,
    )  # fmt: skip
    total, weight, top = forward_part(
        total, weight, top, q, k_ptr, v_ptr, stride_ks, stride_vs, offs_m, middle, high, seq,
        factor, BLOCK_N, DIM, CAUSAL, True,
    )  # fmt: skip
    o_ptr += batch * stride_ob + head * stride_oh
    o_ptrs = o_ptr + offs_m.to(tl.int64)[:, None] * stride_os + offs_d[None, :]
    tl.store(o_ptrs, (total / weight[:, None]).to(o_ptr.dtype.element_ty), mask=rows)
    lse_ptrs = lse_ptr + tl.program_id(1).to(tl.int64) * seq + offs_m
    tl.store(lse_ptrs, (top + tl.log2(weight)) * 0.6931471805599453, mask=offs_m < seq)


@triton.jit
def delta_kernel(
    o_ptr,
    do_ptr,
    delta_ptr,
    stride_ob,
    stride_oh,
    stride_os,
    stride_gb,
    stride_gh,
    stride_gs,
    heads,
    seq,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """delta[i] = Σ_d o[i, d]·do[i, d], which the softmax's backward pass subtracts from row i."""
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    offs_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    row, offs_d = offs_m.to(tl.int64)[:, None], tl.arange(0, DIM)[None, :]
    inside = (offs_m < seq)[:, None]
    o_ptrs = o_ptr + batch * stride_ob + head * stride_oh + row * stride_os + offs_d
    g_ptrs = do_ptr + batch * stride_gb + head * stride_gh + row * stride_gs + offs_d
    o = tl.load(o_ptrs, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(g_ptrs, mask=inside, other=0.0).to(tl.float32)
    place = delta_ptr + tl.program_id(1).to(tl.int64) * seq + offs_m
    tl.store(place, tl.sum(o * g, 1), mask=offs_m < seq)


@triton.jit
def key_value_part(
    dk,
    dv,
    k,
    v,
    q_ptr,
    do_ptr,
    lse_ptr,
    delta_ptr,
    stride_q,
    stride_g,
    offs_n,
    low,
    high,
    seq,
    factor,
    BLOCK_M: tl.constexpr,
    DIM: tl.constexpr,
    MASK: tl.constexpr,
    EVEN: tl.constexpr,
):
    """Add queries low..high of one head. Scores are transposed: keys by queries."""
    local, offs_d = tl.arange(0, BLOCK_M), tl.arange(0, DIM)
    q_tile = local[:, None] * stride_q + offs_d[None, :]
    g_tile = local[:, None] * stride_g + offs_d[None, :]
    wide_q, wide_g = tl.cast(stride_q, tl.int64), tl.cast(stride_g, tl.int64)
    for start in range(low, high, BLOCK_M):
        offs_m = start + local
        inside = offs_m < seq
        q_ptrs, g_ptrs = q_ptr + start * wide_q + q_tile, do_ptr + start * wide_g + g_tile
        if EVEN:
            q, do = tl.load(q_ptrs), tl.load(g_ptrs)
            lse = tl.load(lse_ptr + offs_m)
            delta = tl.load(delta_ptr + offs_m)
        else:
            q = tl.load(q_ptrs, mask=inside[:, None], other=0.0)
            do = tl.load(g_ptrs, mask=inside[:, None], other=0.0)
            # exp2(x - inf) = 0: rows past the end add nothing.
            lse = tl.load(lse_ptr + offs_m, mask=inside, other=float("inf"))
            delta = tl.load(delta_ptr + offs_m, mask=inside, other=0.0)
        scores = tl.dot(k, tl.trans(q)) * factor
        p = tl.exp2(scores - (lse * 1.4426950408889634)[None, :])
        if MASK:
            p = tl.where(offs_m[None, :] >= offs_n[:, None], p, 0.0)
        dv = tl.dot(p.to(do.dtype), do, dv)
        dp = tl.dot(v, tl.trans(do))
        ds = p * (dp - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk)
    return dk, dv


@triton.jit
def key_value_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    do_ptr,
    lse_ptr,
    delta_ptr,
    dk_ptr,
    dv_ptr,
    stride_qb,
    stride_qh,
    stride_qs,
    stride_kb,
    stride_kh,
    stride_ks,
    stride_vb,
    stride_vh,
    stride_vs,
    stride_gb,
    stride_gh,
    stride_gs,
    heads,
    group,
    seq,
    factor,
    scale,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    EVEN: tl.constexpr,
):
    """dk and dv of one block of keys: all query heads of its group, one after the other."""
    block = tl.program_id(0)
    kv_heads = heads // group
    batch = (tl.program_id(1) // kv_heads).to(tl.int64)
    kv_head = (tl.program_id(1) % kv_heads).to(tl.int64)
    offs_n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_d = tl.arange(0, DIM)
    row, inside = offs_n.to(tl.int64)[:, None], (offs_n < seq)[:, None]
    k_ptr += batch * stride_kb + kv_head * stride_kh
    v_ptr += batch * stride_vb + kv_head * stride_vh
    k = tl.load(k_ptr + row * stride_ks + offs_d[None, :], mask=inside, other=0.0)
    v = tl.load(v_ptr + row * stride_vs + offs_d[None, :], mask=inside, other=0.0)
    dk = tl.zeros((BLOCK_N, DIM), dtype=tl.float32)
    dv = tl.zeros((BLOCK_N, DIM), dtype=tl.float32)
    for member in range(group):
        head = kv_head * group + member
        q_head = q_ptr + batch * stride_qb + head * stride_qh
        do_head = do_ptr + batch * stride_gb + head * stride_gh
        line = (batch * heads + head) * seq
        start = 0
        if CAUSAL:
            # Queries before this block of keys do not see it; those beside it see a part of it.
            start = tl.minimum((block + 1) * BLOCK_N, tl.cdiv(seq, BLOCK_M) * BLOCK_M)
            dk, dv = key_value_part(
                dk, dv, k, v, q_head, do_head, lse_ptr + line, delta_ptr + line, stride_qs,
                stride_gs, offs_n, block * BLOCK_N, start, seq, factor, BLOCK_M, DIM, True, EVEN,
            )  # fmt: skip
        dk, dv = key_value_part(
            dk, dv, k, v, q_head, do_head, lse_ptr + line, delta_ptr + line, stride_qs, stride_gs,
            offs_n, start, seq, seq, factor, BLOCK_M, DIM, False, EVEN,
        )  # fmt: skip
    line = tl.program_id(1).to(tl.int64) * seq
    place = (line + row) * DIM + offs_d[None, :]
    tl.store(dk_ptr + place, (dk * scale).to(dk_ptr.dtype.element_ty), mask=inside)
    tl.store(dv_ptr + place, dv.to(dv_ptr.dtype.element_ty), mask=inside)


@triton.jit
def query_part(
    dq,
    q,
    do,
    lse,
    delta,
    k_ptr,
    v_ptr,
    stride_k,
    stride_v,
    offs_m,
    low,
    high,
    seq,
    factor,
    BLOCK_N: tl.constexpr,
    DIM: tl.constexpr,
    MASK: tl.constexpr,
    EVEN: tl.constexpr,
):
    """Add keys low..high to dq of a block of queries."""
    local, offs_d = tl.arange(0, BLOCK_N), tl.arange(0, DIM)
    k_tile = local[:, None] * stride_k + offs_d[None, :]
    v_tile = local[:, None] * stride_v + offs_d[None, :]
    wide_k, wide_v = tl.cast(stride_k, tl.int64), tl.cast(stride_v, tl.int64)
    for start in range(low, high, BLOCK_N):
        offs_n = start + local
        k_ptrs, v_ptrs = k_ptr + start * wide_k + k_tile, v_ptr + start * wide_v + v_tile
        if EVEN:
            k, v = tl.load(k_ptrs), tl.load(v_ptrs)
        else:
            inside = (offs_n < seq)[:, None]
            k = tl.load(k_ptrs, mask=inside, other=0.0)
            v = tl.load(v_ptrs, mask=inside, other=0.0)
        p = tl.exp2(tl.dot(q, tl.trans(k)) * factor - lse[:, None])
        if MASK:
            p = tl.where(offs_m[:, None] >= offs_n[None, :], p, 0.0)
        elif not EVEN:
            # Past the end scores are zero, beside which exp2(-lse) may overflow: inf · 0 is NaN.
            p = tl.where((offs_n < seq)[None, :], p, 0.0)
        dp = tl.dot(do, tl.trans(v))
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq)
    return dq


@triton.jit
def query_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    do_ptr,
    lse_ptr,
    delta_ptr,
    dq_ptr,
    stride_qb,
    stride_qh,
    stride_qs,
    stride_kb,
    stride_kh,
    stride_ks,
    stride_vb,
    stride_vh,
    stride_vs,
    stride_gb,
    stride_gh,
    stride_gs,
    heads,
    group,
    seq,
    factor,
    scale,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    EVEN: tl.constexpr,
):
    """dq of one block of queries of one head."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    kv_head = head // group
    offs_m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    offs_d = tl.arange(0, DIM)
    row, inside = offs_m.to(tl.int64)[:, None], (offs_m < seq)[:, None]
    q_ptrs = q_ptr + batch * stride_qb + head * stride_qh + row * stride_qs + offs_d[None, :]
    g_ptrs = do_ptr + batch * stride_gb + head * stride_gh + row * stride_gs + offs_d[None, :]
    q = tl.load(q_ptrs, mask=inside, other=0.0)
    do = tl.load(g_ptrs, mask=inside, other=0.0)
    line = tl.program_id(1).to(tl.int64) * seq
    lse = tl.load(lse_ptr + line + offs_m, mask=offs_m < seq, other=float("inf"))
    delta = tl.load(delta_ptr + line + offs_m, mask=offs_m < seq, other=0.0)
    lse *= 1.4426950408889634
    k_ptr += batch * stride_kb + kv_head * stride_kh
    v_ptr += batch * stride_vb + kv_head * stride_vh
    dq = tl.zeros((BLOCK_M, DIM), dtype=tl.float32)
    middle = seq
    if CAUSAL:
        middle = block * BLOCK_M // BLOCK_N * BLOCK_N
        dq = query_part(
            dq, q, do, lse, delta, k_ptr, v_ptr, stride_ks, stride_vs, offs_m, middle,
            tl.minimum(seq, (block + 1) * BLOCK_M), seq, factor, BLOCK_N, DIM, True, EVEN,
        )  # fmt: skip
    dq = query_part(
        dq, q, do, lse, delta, k_ptr, v_ptr, stride_ks, stride_vs, offs_m, 0, middle, seq, factor,
        BLOCK_N, DIM, False, EVEN,
    )  # fmt: skip
    place = (line + row) * DIM + offs_d[None, :]
    tl.store(dq_ptr + place, (dq * scale).to(dq_ptr.dtype.element_ty), mask=inside)
