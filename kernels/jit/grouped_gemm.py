"""Kernels of `grouped_gemm`: tiles of all experts' products in one launch."""

from __future__ import annotations

import triton
import triton.language as tl

from .gemm import tile_of


@triton.jit
def expert_of(row, every, low, high, counts, ends, BLOCK_M: tl.constexpr):
    """Whose the ``row``-th tile is, the first row of the tile, and the end of the expert's rows.

    ``every`` = 0, 1, ...; of each expert its rows [low, high), its tiles, and the tiles up to its
    last. A row past all tiles has no expert: the first is then no smaller than their number.
    """
    expert = tl.sum((ends <= row).to(tl.int32), 0)
    mine = every == expert
    before = tl.sum(tl.where(mine, ends - counts, 0), 0)
    first = tl.sum(tl.where(mine, low, 0), 0)
    last = tl.sum(tl.where(mine, high, 0), 0)
    return expert, first + (row - before) * BLOCK_M, last


@triton.jit
def grouped_kernel(
    x_ptr,
    w_ptr,
    offsets_ptr,
    out_ptr,
    tokens,
    n,
    k,
    experts,
    tiles,
    stride_x,
    stride_we,
    stride_wk,
    stride_wn,
    stride_out,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EXPERTS: tl.constexpr,
    EVEN_N: tl.constexpr,
    EVEN_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of out = x · w[expert of the row]. No tile spans two experts.

    ``tiles`` is an upper bound of the rows of tiles, known without reading the offsets on the
    host; a program whose tile does not exist ends at once.
    """
    row, column = tile_of(tl.program_id(0), tiles, tl.cdiv(n, BLOCK_N), GROUP)
    every = tl.arange(0, EXPERTS)
    low = tl.load(offsets_ptr + every, mask=every < experts, other=0)
    high = tl.load(offsets_ptr + every + 1, mask=every < experts, other=0)
    counts = (high - low + BLOCK_M - 1) // BLOCK_M
    ends = tl.cumsum(counts, 0)
    expert, top, last = expert_of(row, every, low, high, counts, ends, BLOCK_M)
    if expert < experts:
        offs_m = (top + tl.arange(0, BLOCK_M)).to(tl.int64)
        offs_n = column * BLOCK_N + tl.arange(0, BLOCK_N)
        offs_k = tl.arange(0, BLOCK_K)
        x_ptrs = x_ptr + offs_m[:, None] * stride_x + offs_k[None, :]
        w_ptr += expert.to(tl.int64) * stride_we
        wide_n, wide_k = offs_n.to(tl.int64), offs_k.to(tl.int64)
        w_ptrs = w_ptr + wide_k[:, None] * stride_wk + wide_n[None, :] * stride_wn
        total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        # Rows of the next expert may be loaded; they are never stored.
        rows = (offs_m < tokens)[:, None]
        for start in range(0, k, BLOCK_K):
            here = offs_k < k - start
            if EVEN_K:
                x = tl.load(x_ptrs, mask=rows, other=0.0)
            else:
                x = tl.load(x_ptrs, mask=rows & here[None, :], other=0.0)
            if EVEN_N and EVEN_K:
                w = tl.load(w_ptrs)
            else:
                w = tl.load(w_ptrs, mask=here[:, None] & (offs_n < n)[None, :], other=0.0)
            total = tl.dot(x, w, total, input_precision=PRECISION)
            x_ptrs += BLOCK_K
            w_ptrs += tl.cast(BLOCK_K, tl.int64) * stride_wk
        place = out_ptr + offs_m[:, None] * stride_out + offs_n[None, :]
        inside = (offs_m < last)[:, None] & (offs_n < n)[None, :]
        tl.store(place, total.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def weight_kernel(
    x_ptr,
    dy_ptr,
    offsets_ptr,
    dw_ptr,
    n,
    k,
    stride_x,
    stride_dy,
    BLOCK_T: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of dw[expert] = xᵀ · dy over the expert's rows; zero where it has none."""
    columns = tl.cdiv(n, BLOCK_N)
    expert = tl.program_id(1)
    offs_k = (tl.program_id(0) // columns) * BLOCK_K + tl.arange(0, BLOCK_K)
    offs_n = (tl.program_id(0) % columns) * BLOCK_N + tl.arange(0, BLOCK_N)
    first, last = tl.load(offsets_ptr + expert), tl.load(offsets_ptr + expert + 1)
    local = tl.arange(0, BLOCK_T)
    row = (first + local).to(tl.int64)
    x_ptrs = x_ptr + row[:, None] * stride_x + offs_k[None, :]
    dy_ptrs = dy_ptr + row[:, None] * stride_dy + offs_n[None, :]
    total = tl.zeros((BLOCK_K, BLOCK_N), dtype=tl.float32)
    for start in range(0, last - first, BLOCK_T):
        here = (local < last - first - start)[:, None]
        x = tl.load(x_ptrs, mask=here & (offs_k < k)[None, :], other=0.0)
        dy = tl.load(dy_ptrs, mask=here & (offs_n < n)[None, :], other=0.0)
        total = tl.dot(tl.trans(x), dy, total, input_precision=PRECISION)
        x_ptrs += tl.cast(BLOCK_T, tl.int64) * stride_x
        dy_ptrs += tl.cast(BLOCK_T, tl.int64) * stride_dy
    place = (expert.to(tl.int64) * k + offs_k[:, None]) * n + offs_n[None, :]
    inside = (offs_k < k)[:, None] & (offs_n < n)[None, :]
    tl.store(dw_ptr + place, total.to(dw_ptr.dtype.element_ty), mask=inside)
