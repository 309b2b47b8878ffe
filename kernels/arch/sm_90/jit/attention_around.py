"""What stands before and after `attention_whole`: figures of the rows, and dQ from fp32 sums."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def prepare_kernel(
    o_ptr,
    do_ptr,
    lse_ptr,
    rows_ptr,
    sums_ptr,
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
    """Of a tile of queries lse · log₂e and, behind them, delta; its sums of dQ become zero.

    delta[i] = Σ_d o[i, d]·do[i, d], which the softmax's backward pass subtracts from row i. Rows
    past the end have an infinite lse, so that their weights are zero: exp2(x - inf) = 0.
    """
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    local, offs_d = tl.arange(0, BLOCK_M), tl.arange(0, DIM)[None, :]
    offs_m = tl.program_id(0) * BLOCK_M + local
    row, inside = offs_m.to(tl.int64)[:, None], (offs_m < seq)[:, None]
    o_ptrs = o_ptr + batch * stride_ob + head * stride_oh + row * stride_os + offs_d
    g_ptrs = do_ptr + batch * stride_gb + head * stride_gh + row * stride_gs + offs_d
    o = tl.load(o_ptrs, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(g_ptrs, mask=inside, other=0.0).to(tl.float32)
    line = tl.program_id(1).to(tl.int64)
    lse = tl.load(lse_ptr + line * seq + offs_m, mask=offs_m < seq, other=float("inf"))
    tile = line * tl.num_programs(0) + tl.program_id(0)
    place = rows_ptr + tile * (2 * BLOCK_M) + local
    tl.store(place, lse * 1.4426950408889634)
    tl.store(place + BLOCK_M, tl.sum(o * g, 1))
    sums = sums_ptr + tile * (BLOCK_M * DIM) + local[:, None] * DIM + offs_d
    tl.store(sums, tl.zeros((BLOCK_M, DIM), dtype=tl.float32))


@triton.jit
def finish_kernel(
    sums_ptr,
    dq_ptr,
    seq,
    scale,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    PARTS: tl.constexpr,
):
    """dQ of a tile of queries, scaled and rounded, from sums as threads of `add_part` hold them."""
    WIDE: tl.constexpr = DIM // PARTS
    tile = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    offs_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    place = (tl.program_id(1).to(tl.int64) * seq + offs_m.to(tl.int64))[:, None] * DIM
    place += tl.arange(0, WIDE)[None, :]
    for part in tl.static_range(PARTS):
        at = sums_ptr + (tile * PARTS + part) * (BLOCK_M * WIDE)
        held = tl.load(at + tl.arange(0, BLOCK_M * WIDE))
        # Rows are 16 a warp, those of a thread eight apart; columns go by eights.
        held = tl.reshape(held, (2, WIDE // 8, BLOCK_M // 16, 8, 8))
        total = tl.reshape(tl.permute(held, (2, 0, 3, 1, 4)), (BLOCK_M, WIDE))
        dq = (total * scale).to(dq_ptr.dtype.element_ty)
        tl.store(dq_ptr + place + part * WIDE, dq, mask=(offs_m < seq)[:, None])
