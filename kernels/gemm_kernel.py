"""The Triton kernel of `gemm`, apart so that the operation can be named without Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def gemm_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    m,
    n,
    k,
    stride_a,
    stride_b,
    stride_c,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of C = A · B; row strides in elements, inner strides 1."""
    tile = tl.program_id(0)
    rows, columns = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    group_size = GROUP_M * columns
    first_row = (tile // group_size) * GROUP_M
    height = min(rows - first_row, GROUP_M)
    row = first_row + (tile % group_size) % height
    column = (tile % group_size) // height

    # 64-bit: offsets pass 2³¹ elements on large matrices.
    offs_m = (row * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)
    offs_n = (column * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
    offs_k = tl.arange(0, BLOCK_K).to(tl.int64)
    # Rows and columns past the edge wrap around: they are loaded in bounds and never stored.
    a_ptrs = a_ptr + (offs_m % m)[:, None] * stride_a + offs_k[None, :]
    b_ptrs = b_ptr + offs_k[:, None] * stride_b + (offs_n % n)[None, :]

    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        left = k - start
        a = tl.load(a_ptrs, mask=offs_k[None, :] < left, other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < left, other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * stride_b

    c_ptrs = c_ptr + offs_m[:, None] * stride_c + offs_n[None, :]
    inside = (offs_m[:, None] < m) & (offs_n[None, :] < n)
    tl.store(c_ptrs, total.to(c_ptr.dtype.element_ty), mask=inside)
