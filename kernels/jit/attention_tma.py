"""The forward pass of `attention` by tensor descriptors. Needs Triton 3.4."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def descriptor_part(
    total,
    weight,
    top,
    q,
    k_desc,
    v_desc,
    offs_m,
    low,
    high,
    seq,
    factor,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
    MASK: tl.constexpr,
    SPECIALIZE: tl.constexpr,
):
    """Add keys low..high to the running softmax; the descriptors give zeros past the end."""
    for start in tl.range(low, high, BLOCK_N, warp_specialize=SPECIALIZE):
        k = k_desc.load([start, 0])
        scores = tl.dot(q, k.T) * factor
        if MASK:
            offs_n = start + tl.arange(0, BLOCK_N)
            keep = (offs_n < seq)[None, :]
            if CAUSAL:
                keep = keep & (offs_m[:, None] >= offs_n[None, :])
            scores = tl.where(keep, scores, -1.0e30)
        higher = tl.maximum(top, tl.max(scores, 1))
        p = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(top - higher)
        weight = weight * shrink + tl.sum(p, 1)
        v = v_desc.load([start, 0])
        total = tl.dot(p.to(v.dtype), v, total * shrink[:, None])
        top = higher
    return total, weight, top


@triton.jit
def forward_tma_kernel(
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
    SPECIALIZE: tl.constexpr,
):
    """One block of queries of one head; as `attention.forward_kernel`, tiles by descriptors."""
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    kv_head = head // group
    q_desc = tl.make_tensor_descriptor(
        q_ptr + batch * stride_qb + head * stride_qh, [seq, DIM], [stride_qs, 1], [BLOCK_M, DIM]
    )
    k_desc = tl.make_tensor_descriptor(
        k_ptr + batch * stride_kb + kv_head * stride_kh, [seq, DIM], [stride_ks, 1], [BLOCK_N, DIM]
    )
    v_desc = tl.make_tensor_descriptor(
        v_ptr + batch * stride_vb + kv_head * stride_vh, [seq, DIM], [stride_vs, 1], [BLOCK_N, DIM]
    )
    o_desc = tl.make_tensor_descriptor(
        o_ptr + batch * stride_ob + head * stride_oh, [seq, DIM], [stride_os, 1], [BLOCK_M, DIM]
    )
    offs_m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    q = q_desc.load([block * BLOCK_M, 0])
    total = tl.zeros((BLOCK_M, DIM), dtype=tl.float32)
    weight = tl.zeros((BLOCK_M,), dtype=tl.float32)
    top = tl.full((BLOCK_M,), -1.0e30, dtype=tl.float32)
    if CAUSAL:
        middle = block * BLOCK_M // BLOCK_N * BLOCK_N
        high = tl.minimum(seq, (block + 1) * BLOCK_M)
    else:
        middle = seq // BLOCK_N * BLOCK_N
        high = seq
    if SPECIALIZE:
        # The compiler gives loads warps of their own in one loop only: all keys are masked.
        total, weight, top = descriptor_part(
            total, weight, top, q, k_desc, v_desc, offs_m, 0, high, seq, factor, BLOCK_N, CAUSAL,
            True, True,
        )  # fmt: skip
    else:
        total, weight, top = descriptor_part(
            total, weight, top, q, k_desc, v_desc, offs_m, 0, middle, seq, factor, BLOCK_N, CAUSAL,
            False, False,
        )  # fmt: skip
        total, weight, top = descriptor_part(
            total, weight, top, q, k_desc, v_desc, offs_m, middle, high, seq, factor, BLOCK_N,
            CAUSAL, True, False,
        )  # fmt: skip
    o_desc.store([block * BLOCK_M, 0], (total / weight[:, None]).to(o_ptr.dtype.element_ty))
    lse_ptrs = lse_ptr + tl.program_id(1).to(tl.int64) * seq + offs_m
    tl.store(lse_ptrs, (top + tl.log2(weight)) * 0.6931471805599453, mask=offs_m < seq)


@triton.jit
def key_value_tma_kernel(
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
    """dk and dv of one block of keys. All heads of the group and all blocks of queries are one
    loop, which the compiler pipelines as a whole."""
    block = tl.program_id(0)
    kv_heads = heads // group
    batch = (tl.program_id(1) // kv_heads).to(tl.int64)
    kv_head = tl.program_id(1) % kv_heads
    wide_head = kv_head.to(tl.int64)
    q_desc = tl.make_tensor_descriptor(
        q_ptr + batch * stride_qb,
        [heads, seq, DIM],
        [stride_qh, stride_qs, 1],
        [1, BLOCK_M, DIM],
    )
    g_desc = tl.make_tensor_descriptor(
        do_ptr + batch * stride_gb,
        [heads, seq, DIM],
        [stride_gh, stride_gs, 1],
        [1, BLOCK_M, DIM],
    )
    k_desc = tl.make_tensor_descriptor(
        k_ptr + batch * stride_kb + wide_head * stride_kh,
        [seq, DIM],
        [stride_ks, 1],
        [BLOCK_N, DIM],
    )
    v_desc = tl.make_tensor_descriptor(
        v_ptr + batch * stride_vb + wide_head * stride_vh,
        [seq, DIM],
        [stride_vs, 1],
        [BLOCK_N, DIM],
    )
    k, v = k_desc.load([block * BLOCK_N, 0]), v_desc.load([block * BLOCK_N, 0])
    offs_n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    local = tl.arange(0, BLOCK_M)
    dk = tl.zeros((BLOCK_N, DIM), dtype=tl.float32)
    dv = tl.zeros((BLOCK_N, DIM), dtype=tl.float32)
    # Queries before this block of keys do not see it.
    first = block * BLOCK_N // BLOCK_M if CAUSAL else 0
    blocks = tl.cdiv(seq, BLOCK_M) - first
    lines = (batch * heads + wide_head * group) * seq
    for step in range(group * blocks):
        member, start = step // blocks, (first + step % blocks) * BLOCK_M
        q = q_desc.load([kv_head * group + member, start, 0]).reshape(BLOCK_M, DIM)
        do = g_desc.load([kv_head * group + member, start, 0]).reshape(BLOCK_M, DIM)
        offs_m = start + local
        line = lines + member * seq
        if EVEN:
            lse, delta = tl.load(lse_ptr + line + offs_m), tl.load(delta_ptr + line + offs_m)
        else:
            inside = offs_m < seq
            # exp2(x - inf) = 0: rows past the end add nothing.
            lse = tl.load(lse_ptr + line + offs_m, mask=inside, other=float("inf"))
            delta = tl.load(delta_ptr + line + offs_m, mask=inside, other=0.0)
        scores = tl.dot(k, q.T) * factor
        p = tl.exp2(scores - (lse * 1.4426950408889634)[None, :])
        if CAUSAL:
            p = tl.where(offs_m[None, :] >= offs_n[:, None], p, 0.0)
        dv = tl.dot(p.to(do.dtype), do, dv)
        dp = tl.dot(v, do.T)
        ds = p * (dp - delta[None, :])
        dk = tl.dot(ds.to(q.dtype), q, dk)
    own = tl.program_id(1).to(tl.int64) * seq * DIM
    dk_desc = tl.make_tensor_descriptor(dk_ptr + own, [seq, DIM], [DIM, 1], [BLOCK_N, DIM])
    dv_desc = tl.make_tensor_descriptor(dv_ptr + own, [seq, DIM], [DIM, 1], [BLOCK_N, DIM])
    dk_desc.store([block * BLOCK_N, 0], (dk * scale).to(dk_ptr.dtype.element_ty))
    dv_desc.store([block * BLOCK_N, 0], dv.to(dv_ptr.dtype.element_ty))


@triton.jit
def query_tma_kernel(
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
    q_desc = tl.make_tensor_descriptor(
        q_ptr + batch * stride_qb + head * stride_qh, [seq, DIM], [stride_qs, 1], [BLOCK_M, DIM]
    )
    g_desc = tl.make_tensor_descriptor(
        do_ptr + batch * stride_gb + head * stride_gh, [seq, DIM], [stride_gs, 1], [BLOCK_M, DIM]
    )
    k_desc = tl.make_tensor_descriptor(
        k_ptr + batch * stride_kb + kv_head * stride_kh, [seq, DIM], [stride_ks, 1], [BLOCK_N, DIM]
    )
    v_desc = tl.make_tensor_descriptor(
        v_ptr + batch * stride_vb + kv_head * stride_vh, [seq, DIM], [stride_vs, 1], [BLOCK_N, DIM]
    )
    q, do = q_desc.load([block * BLOCK_M, 0]), g_desc.load([block * BLOCK_M, 0])
    offs_m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    line = tl.program_id(1).to(tl.int64) * seq
    lse = tl.load(lse_ptr + line + offs_m, mask=offs_m < seq, other=float("inf"))
    delta = tl.load(delta_ptr + line + offs_m, mask=offs_m < seq, other=0.0)
    lse *= 1.4426950408889634
    dq = tl.zeros((BLOCK_M, DIM), dtype=tl.float32)
    high = tl.minimum(seq, (block + 1) * BLOCK_M) if CAUSAL else seq
    for start in range(0, high, BLOCK_N):
        k, v = k_desc.load([start, 0]), v_desc.load([start, 0])
        p = tl.exp2(tl.dot(q, k.T) * factor - lse[:, None])
        offs_n = start + tl.arange(0, BLOCK_N)
        if CAUSAL:
            p = tl.where(offs_m[:, None] >= offs_n[None, :], p, 0.0)
        elif not EVEN:
            # Past the end scores are zero, beside which exp2(-lse) may overflow: inf · 0 is NaN.
            p = tl.where((offs_n < seq)[None, :], p, 0.0)
        dp = tl.dot(do, v.T)
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k.dtype), k, dq)
    dq_desc = tl.make_tensor_descriptor(dq_ptr + line * DIM, [seq, DIM], [DIM, 1], [BLOCK_M, DIM])
    dq_desc.store([block * BLOCK_M, 0], (dq * scale).to(dq_ptr.dtype.element_ty))
