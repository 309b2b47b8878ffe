"""A kernel of `gate_up` by tensor descriptors that takes both weights for one array.

Needs Triton 3.4. Elsewhere the compiler turns descriptors back into pointers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gemm import activated, tile_of


@triton.jit
def gate_up_paired_kernel(
    x_ptr,
    pair_ptr,
    h_ptr,
    g_ptr,
    u_ptr,
    m,
    n,
    k,
    stride_x,
    apart,
    stride_w,
    stride_h,
    GATE_FIRST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    FLATTEN: tl.constexpr,
    PRECISION: tl.constexpr,
    KEEP: tl.constexpr,
):
    """h = silu(X · Wg) · (X · Wu), persistent, of weights that lie as [N, K].

    One of them (Wg with GATE_FIRST) begins at ``pair_ptr``, the other ``apart`` elements behind it.
    A tile of each makes the operand of one product, twice as wide: matrix units read X once for
    both, instead of once for each. KEEP stores both products too. FLATTEN: as in
    `gemm_tma.gemm_tma_kernel`.
    """
    x_desc = tl.make_tensor_descriptor(x_ptr, [m, k], [stride_x, 1], [BLOCK_M, BLOCK_K])
    w_desc = tl.make_tensor_descriptor(
        pair_ptr, [2, n, k], [apart, stride_w, 1], [2, BLOCK_N, BLOCK_K]
    )
    h_desc = tl.make_tensor_descriptor(h_ptr, [m, n], [stride_h, 1], [BLOCK_M, BLOCK_N])
    g_desc = tl.make_tensor_descriptor(g_ptr, [m, n], [stride_h, 1], [BLOCK_M, BLOCK_N])
    u_desc = tl.make_tensor_descriptor(u_ptr, [m, n], [stride_h, 1], [BLOCK_M, BLOCK_N])
    kind: tl.constexpr = h_ptr.dtype.element_ty
    rows, columns = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    for tile in tl.range(tl.program_id(0), rows * columns, tl.num_programs(0), flatten=FLATTEN):
        row, column = tile_of(tile, rows, columns, GROUP)
        top, left = row * BLOCK_M, column * BLOCK_N
        both = tl.zeros((BLOCK_M, 2 * BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            at = step * BLOCK_K
            x = x_desc.load([top, at])
            w = tl.reshape(w_desc.load([0, left, at]), (2 * BLOCK_N, BLOCK_K)).T
            both = tl.dot(x, w, both, input_precision=PRECISION)
        first, second = tl.split(tl.permute(tl.reshape(both, (BLOCK_M, 2, BLOCK_N)), (0, 2, 1)))
        if GATE_FIRST:
            gate, up = first, second
        else:
            gate, up = second, first
        if KEEP:
            g_desc.store([top, left], gate.to(kind))
            u_desc.store([top, left], up.to(kind))
        h_desc.store([top, left], (activated(gate, 3) * up).to(kind))
