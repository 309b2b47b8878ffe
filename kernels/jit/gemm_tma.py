"""Kernels of `gemm` and `gate_up` by tensor descriptors: the memory engine moves their tiles.

Needs Triton 3.4. Elsewhere the compiler turns descriptors back into pointers.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .gemm import activated, tile_of


@triton.jit
def gemm_tma_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    bias_ptr,
    scale_ptr,
    m,
    n,
    k,
    stride_a,
    stride_b,
    stride_c,
    A_TURNED: tl.constexpr,
    B_TURNED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    SUBTILE: tl.constexpr,
    FLATTEN: tl.constexpr,
    SPECIALIZE: tl.constexpr,
    PRECISION: tl.constexpr,
    INTEGER: tl.constexpr,
    BIAS: tl.constexpr,
    SCALED: tl.constexpr,
    ACTIVATION: tl.constexpr,
):
    """C = act(scale · A · B + bias), persistent: one program a processor walks the tiles.

    A_TURNED: A lies as [K, M]; B_TURNED: B lies as [N, K]. SUBTILE stores each tile in two
    halves, which leaves shared memory for one more stage. FLATTEN makes one loop of tiles and
    K steps, so that loads of the next tile overlap the epilogue of this one. SPECIALIZE gives
    loads and products warps of their own.
    """
    if A_TURNED:
        a_desc = tl.make_tensor_descriptor(a_ptr, [k, m], [stride_a, 1], [BLOCK_K, BLOCK_M])
    else:
        a_desc = tl.make_tensor_descriptor(a_ptr, [m, k], [stride_a, 1], [BLOCK_M, BLOCK_K])
    if B_TURNED:
        b_desc = tl.make_tensor_descriptor(b_ptr, [n, k], [stride_b, 1], [BLOCK_N, BLOCK_K])
    else:
        b_desc = tl.make_tensor_descriptor(b_ptr, [k, n], [stride_b, 1], [BLOCK_K, BLOCK_N])
    width: tl.constexpr = BLOCK_N // 2 if SUBTILE else BLOCK_N
    c_desc = tl.make_tensor_descriptor(c_ptr, [m, n], [stride_c, 1], [BLOCK_M, width])
    rows, columns = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    kind: tl.constexpr = tl.int32 if INTEGER else tl.float32

    for tile in tl.range(
        tl.program_id(0),
        rows * columns,
        tl.num_programs(0),
        flatten=FLATTEN,
        warp_specialize=SPECIALIZE,
    ):
        row, column = tile_of(tile, rows, columns, GROUP)
        top, left = row * BLOCK_M, column * BLOCK_N
        total = tl.zeros((BLOCK_M, BLOCK_N), dtype=kind)
        for step in range(tl.cdiv(k, BLOCK_K)):
            if A_TURNED:
                a = a_desc.load([step * BLOCK_K, top]).T
            else:
                a = a_desc.load([top, step * BLOCK_K])
            if B_TURNED:
                b = b_desc.load([left, step * BLOCK_K]).T
            else:
                b = b_desc.load([step * BLOCK_K, left])
            total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=kind)
        if SCALED:
            total *= tl.load(scale_ptr)
        if BIAS:
            offs_n = left + tl.arange(0, BLOCK_N)
            bias = tl.load(bias_ptr + offs_n, mask=offs_n < n, other=0.0)
            total += bias.to(tl.float32)[None, :]
        if not INTEGER:
            total = activated(total, ACTIVATION)
        if SUBTILE:
            halves = tl.permute(tl.reshape(total, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1))
            first, second = tl.split(halves)
            c_desc.store([top, left], first.to(c_ptr.dtype.element_ty))
            c_desc.store([top, left + width], second.to(c_ptr.dtype.element_ty))
        else:
            c_desc.store([top, left], total.to(c_ptr.dtype.element_ty))


@triton.jit
def gate_up_tma_kernel(
    x_ptr,
    gate_ptr,
    up_ptr,
    h_ptr,
    g_ptr,
    u_ptr,
    m,
    n,
    k,
    stride_x,
    stride_w,
    stride_h,
    W_TURNED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
    FLATTEN: tl.constexpr,
    PRECISION: tl.constexpr,
    KEEP: tl.constexpr,
):
    """h = silu(X · Wg) · (X · Wu), persistent: X is loaded once for both products.

    W_TURNED: weights lie as [N, K]. KEEP stores both products too. FLATTEN: as `gemm_tma_kernel`.
    """
    x_desc = tl.make_tensor_descriptor(x_ptr, [m, k], [stride_x, 1], [BLOCK_M, BLOCK_K])
    if W_TURNED:
        gate_desc = tl.make_tensor_descriptor(gate_ptr, [n, k], [stride_w, 1], [BLOCK_N, BLOCK_K])
        up_desc = tl.make_tensor_descriptor(up_ptr, [n, k], [stride_w, 1], [BLOCK_N, BLOCK_K])
    else:
        gate_desc = tl.make_tensor_descriptor(gate_ptr, [k, n], [stride_w, 1], [BLOCK_K, BLOCK_N])
        up_desc = tl.make_tensor_descriptor(up_ptr, [k, n], [stride_w, 1], [BLOCK_K, BLOCK_N])
    h_desc = tl.make_tensor_descriptor(h_ptr, [m, n], [stride_h, 1], [BLOCK_M, BLOCK_N])
    g_desc = tl.make_tensor_descriptor(g_ptr, [m, n], [stride_h, 1], [BLOCK_M, BLOCK_N])
    u_desc = tl.make_tensor_descriptor(u_ptr, [m, n], [stride_h, 1], [BLOCK_M, BLOCK_N])
    kind: tl.constexpr = h_ptr.dtype.element_ty
    rows, columns = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    for tile in tl.range(tl.program_id(0), rows * columns, tl.num_programs(0), flatten=FLATTEN):
        row, column = tile_of(tile, rows, columns, GROUP)
        top, left = row * BLOCK_M, column * BLOCK_N
        gate = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        up = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            at = step * BLOCK_K
            x = x_desc.load([top, at])
            if W_TURNED:
                wg, wu = gate_desc.load([left, at]).T, up_desc.load([left, at]).T
            else:
                wg, wu = gate_desc.load([at, left]), up_desc.load([at, left])
            gate = tl.dot(x, wg, gate, input_precision=PRECISION)
            up = tl.dot(x, wu, up, input_precision=PRECISION)
        if KEEP:
            g_desc.store([top, left], gate.to(kind))
            u_desc.store([top, left], up.to(kind))
        h_desc.store([top, left], (activated(gate, 3) * up).to(kind))
