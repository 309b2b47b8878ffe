"""The products of experts by tensor descriptors: tiles are moved by the memory engine.

Needs Triton 3.4. Elsewhere the compiler turns descriptors back into pointers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gemm import tile_of
from .grouped_gemm import expert_of


@triton.jit
def grouped_tma_kernel(
    x_ptr,
    w_ptr,
    offsets_ptr,
    out_ptr,
    tokens,
    n,
    k,
    experts,
    stride_x,
    stride_we,
    stride_w,
    stride_out,
    W_TURNED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    EXPERTS: tl.constexpr,
    SUBTILE: tl.constexpr,
    FLATTEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out = x · w[expert of the row], persistent: one program a processor walks the tiles.

    W_TURNED: weights lie as [experts, N, K]. No tile spans two experts; what it loads of the next
    expert's rows is not stored. A descriptor over all experts keeps what lies past K at zero,
    where one over rows of all of them would load the next expert's. SUBTILE, FLATTEN: as in
    `gemm_tma`.
    """
    x_desc = tl.make_tensor_descriptor(x_ptr, [tokens, k], [stride_x, 1], [BLOCK_M, BLOCK_K])
    if W_TURNED:
        w_desc = tl.make_tensor_descriptor(
            w_ptr, [experts, n, k], [stride_we, stride_w, 1], [1, BLOCK_N, BLOCK_K]
        )
    else:
        w_desc = tl.make_tensor_descriptor(
            w_ptr, [experts, k, n], [stride_we, stride_w, 1], [1, BLOCK_K, BLOCK_N]
        )
    every = tl.arange(0, EXPERTS)
    low = tl.load(offsets_ptr + every, mask=every < experts, other=0)
    high = tl.load(offsets_ptr + every + 1, mask=every < experts, other=0)
    counts = (high - low + BLOCK_M - 1) // BLOCK_M
    ends = tl.cumsum(counts, 0)
    rows, columns = tl.sum(counts, 0), tl.cdiv(n, BLOCK_N)
    width: tl.constexpr = BLOCK_N // 2 if SUBTILE else BLOCK_N
    for tile in tl.range(tl.program_id(0), rows * columns, tl.num_programs(0), flatten=FLATTEN):
        row, column = tile_of(tile, rows, columns, GROUP)
        expert, top, last = expert_of(row, every, low, high, counts, ends, BLOCK_M)
        left = column * BLOCK_N
        total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            x = x_desc.load([top, step * BLOCK_K])
            if W_TURNED:
                w = w_desc.load([expert, left, step * BLOCK_K]).reshape(BLOCK_N, BLOCK_K).T
            else:
                w = w_desc.load([expert, step * BLOCK_K, left]).reshape(BLOCK_K, BLOCK_N)
            total = tl.dot(x, w, total, input_precision=PRECISION)
        offs_m = (top + tl.arange(0, BLOCK_M)).to(tl.int64)
        offs_n = left + tl.arange(0, width)
        place = out_ptr + offs_m[:, None] * stride_out + offs_n[None, :]
        inside = (offs_m < last)[:, None]
        if SUBTILE:
            halves = tl.permute(tl.reshape(total, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1))
            first, second = tl.split(halves)
            kind: tl.constexpr = out_ptr.dtype.element_ty
            tl.store(place, first.to(kind), mask=inside & (offs_n < n)[None, :])
            tl.store(place + width, second.to(kind), mask=inside & (offs_n + width < n)[None, :])
        else:
            mask = inside & (offs_n < n)[None, :]
            tl.store(place, total.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def weight_tma_kernel(
    x_ptr,
    dy_ptr,
    offsets_ptr,
    dw_ptr,
    tokens,
    n,
    k,
    stride_x,
    stride_dy,
    BLOCK_T: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of dw[expert] = xᵀ · dy over the expert's rows; zero where it has none.

    Blocks of rows that are the expert's alone move by descriptors; the rest of its last block is
    loaded row by row, since the next expert's rows must not be added.
    """
    columns = tl.cdiv(n, BLOCK_N)
    expert = tl.program_id(1)
    at_k = (tl.program_id(0) // columns) * BLOCK_K
    at_n = (tl.program_id(0) % columns) * BLOCK_N
    x_desc = tl.make_tensor_descriptor(x_ptr, [tokens, k], [stride_x, 1], [BLOCK_T, BLOCK_K])
    dy_desc = tl.make_tensor_descriptor(dy_ptr, [tokens, n], [stride_dy, 1], [BLOCK_T, BLOCK_N])
    first, last = tl.load(offsets_ptr + expert), tl.load(offsets_ptr + expert + 1)
    total = tl.zeros((BLOCK_K, BLOCK_N), dtype=tl.float32)
    whole = (last - first) // BLOCK_T
    for step in range(whole):
        x = x_desc.load([first + step * BLOCK_T, at_k])
        dy = dy_desc.load([first + step * BLOCK_T, at_n])
        total = tl.dot(x.T, dy, total, input_precision=PRECISION)
    offs_k, offs_n = at_k + tl.arange(0, BLOCK_K), at_n + tl.arange(0, BLOCK_N)
    row = (first + whole * BLOCK_T + tl.arange(0, BLOCK_T)).to(tl.int64)
    if first + whole * BLOCK_T < last:
        here = (row < last)[:, None]
        x_place = x_ptr + row[:, None] * stride_x + offs_k[None, :]
        dy_place = dy_ptr + row[:, None] * stride_dy + offs_n[None, :]
        x = tl.load(x_place, mask=here & (offs_k < k)[None, :], other=0.0)
        dy = tl.load(dy_place, mask=here & (offs_n < n)[None, :], other=0.0)
        total = tl.dot(tl.trans(x), dy, total, input_precision=PRECISION)
    place = (expert.to(tl.int64) * k + offs_k[:, None]) * n + offs_n[None, :]
    inside = (offs_k < k)[:, None] & (offs_n < n)[None, :]
    tl.store(dw_ptr + place, total.to(dw_ptr.dtype.element_ty), mask=inside)
