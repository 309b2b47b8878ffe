"""Kernels of `gemm` and `gate_up`: tiles of the product, walked in grouped order."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_of(tile, rows, columns, GROUP: tl.constexpr):
    """Row and column of a tile: GROUP rows of tiles share columns of B in the cache."""
    size = GROUP * columns
    first = (tile // size) * GROUP
    height = min(rows - first, GROUP)
    return first + (tile % size) % height, (tile % size) // height


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    """x, relu(x), gelu(x) by its tanh form, or silu(x) (ACTIVATION = 0..3); fp32."""
    if ACTIVATION == 1:
        x = tl.where(x < 0.0, 0.0, x)  # a NaN stays one
    elif ACTIVATION == 2:
        inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
        x = x / (1.0 + tl.exp(-2.0 * inner))  # exact to the last bits below zero, and of infinity
    elif ACTIVATION == 3:
        x = x / (1.0 + tl.exp(-x))
    return x


@triton.jit
def gemm_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    bias_ptr,
    scale_ptr,
    m,
    n,
    k,
    stride_am,
    stride_ak,
    stride_bk,
    stride_bn,
    stride_cm,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EVEN_MN: tl.constexpr,
    EVEN_K: tl.constexpr,
    PRECISION: tl.constexpr,
    INTEGER: tl.constexpr,
    BIAS: tl.constexpr,
    SCALED: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """C = act(scale · A · B + bias); programs walk the tiles in steps of their number."""
    rows, columns = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    kind: tl.constexpr = tl.int32 if INTEGER else tl.float32
    step = tl.cast(BLOCK_K, tl.int64)
    for tile in range(tl.program_id(0), rows * columns, tl.num_programs(0)):
        row, column = tile_of(tile, rows, columns, GROUP)
        # 64-bit: offsets pass 2³¹ elements on large matrices.
        offs_m = row * BLOCK_M + tl.arange(0, BLOCK_M).to(tl.int64)
        offs_n = column * BLOCK_N + tl.arange(0, BLOCK_N).to(tl.int64)
        offs_k = tl.arange(0, BLOCK_K).to(tl.int64)
        a_ptrs = a_ptr + offs_m[:, None] * stride_am + offs_k[None, :] * stride_ak
        b_ptrs = b_ptr + offs_k[:, None] * stride_bk + offs_n[None, :] * stride_bn

        total = tl.zeros((BLOCK_M, BLOCK_N), dtype=kind)
        for start in range(0, k, BLOCK_K):
            here = offs_k < k - start
            if EVEN_MN and EVEN_K:
                a, b = tl.load(a_ptrs), tl.load(b_ptrs)
            elif EVEN_MN:
                a = tl.load(a_ptrs, mask=here[None, :], other=0.0)
                b = tl.load(b_ptrs, mask=here[:, None], other=0.0)
            else:
                a = tl.load(a_ptrs, mask=(offs_m < m)[:, None] & here[None, :], other=0.0)
                b = tl.load(b_ptrs, mask=here[:, None] & (offs_n < n)[None, :], other=0.0)
            total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=kind)
            a_ptrs += step * stride_ak
            b_ptrs += step * stride_bk

        inside = (offs_m < m)[:, None] & (offs_n < n)[None, :]
        c_ptrs = c_ptr + offs_m[:, None] * stride_cm + offs_n[None, :]
        if INTEGER:
            tl.store(c_ptrs, total, mask=inside)
        else:
            if SCALED:
                total *= tl.load(scale_ptr)
            if BIAS:
                bias = tl.load(bias_ptr + offs_n, mask=offs_n < n, other=0.0)
                total += bias.to(tl.float32)[None, :]
            total = activated(total, ACTIVATION)
            tl.store(c_ptrs, total.to(c_ptr.dtype.element_ty), mask=inside)


@triton.jit
def gate_up_kernel(
    x_ptr,
    gate_ptr,
    up_ptr,
    h_ptr,
    g_ptr,
    u_ptr,
    m,
    n,
    k,
    stride_xm,
    stride_wk,
    stride_wn,
    stride_hm,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EVEN_MN: tl.constexpr,
    EVEN_K: tl.constexpr,
    PRECISION: tl.constexpr,
    KEEP: tl.constexpr,
):
    """h = silu(X · Wg) · (X · Wu): X is loaded once for both; KEEP stores both products too."""
    rows, columns = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    step = tl.cast(BLOCK_K, tl.int64)
    for tile in range(tl.program_id(0), rows * columns, tl.num_programs(0)):
        row, column = tile_of(tile, rows, columns, GROUP)
        offs_m = row * BLOCK_M + tl.arange(0, BLOCK_M).to(tl.int64)
        offs_n = column * BLOCK_N + tl.arange(0, BLOCK_N).to(tl.int64)
        offs_k = tl.arange(0, BLOCK_K).to(tl.int64)
        x_ptrs = x_ptr + offs_m[:, None] * stride_xm + offs_k[None, :]
        w_offs = offs_k[:, None] * stride_wk + offs_n[None, :] * stride_wn
        gate_ptrs, up_ptrs = gate_ptr + w_offs, up_ptr + w_offs
        gate = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        up = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for start in range(0, k, BLOCK_K):
            here = offs_k < k - start
            if EVEN_MN and EVEN_K:
                x, wg, wu = tl.load(x_ptrs), tl.load(gate_ptrs), tl.load(up_ptrs)
            else:
                x = tl.load(x_ptrs, mask=(offs_m < m)[:, None] & here[None, :], other=0.0)
                wide = here[:, None] & (offs_n < n)[None, :]
                wg = tl.load(gate_ptrs, mask=wide, other=0.0)
                wu = tl.load(up_ptrs, mask=wide, other=0.0)
            gate = tl.dot(x, wg, gate, input_precision=PRECISION)
            up = tl.dot(x, wu, up, input_precision=PRECISION)
            x_ptrs += BLOCK_K
            gate_ptrs += step * stride_wk
            up_ptrs += step * stride_wk
        inside = (offs_m < m)[:, None] & (offs_n < n)[None, :]
        place = offs_m[:, None] * stride_hm + offs_n[None, :]
        if KEEP:
            tl.store(g_ptr + place, gate.to(g_ptr.dtype.element_ty), mask=inside)
            tl.store(u_ptr + place, up.to(u_ptr.dtype.element_ty), mask=inside)
        h = activated(gate, 3) * up
        tl.store(h_ptr + place, h.to(h_ptr.dtype.element_ty), mask=inside)
