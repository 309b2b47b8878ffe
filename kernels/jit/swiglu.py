"""Kernels of `swiglu`: elementwise, a block of one row a program."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_kernel(
    gate_ptr,
    up_ptr,
    h_ptr,
    width,
    blocks,
    stride_g,
    stride_u,
    stride_h,
    BLOCK: tl.constexpr,
    EVEN: tl.constexpr,
    LOADS: tl.constexpr,
    STORES: tl.constexpr,
):
    """h = silu(gate) · up. Programs run along the rows, one after the other.

    EVEN: no block passes the end of a row. LOADS and STORES may tell the cache to give those lines
    up first: no element is used again.
    """
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    gate = _read(gate_ptr + row * stride_g, column, width, EVEN, LOADS)
    up = _read(up_ptr + row * stride_u, column, width, EVEN, LOADS)
    h = gate / (1.0 + tl.exp(-gate)) * up
    _write(h_ptr + row * stride_h, h, column, width, EVEN, STORES)


@triton.jit
def backward_kernel(
    dh_ptr,
    gate_ptr,
    up_ptr,
    dgate_ptr,
    dup_ptr,
    width,
    blocks,
    stride_dh,
    stride_g,
    stride_u,
    stride_dg,
    stride_du,
    BLOCK: tl.constexpr,
    EVEN: tl.constexpr,
    LOADS: tl.constexpr,
    STORES: tl.constexpr,
):
    """dup = dh · silu(gate); dgate = dh · up · silu'(gate); the sigmoid is computed again."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    dh = _read(dh_ptr + row * stride_dh, column, width, EVEN, LOADS)
    gate = _read(gate_ptr + row * stride_g, column, width, EVEN, LOADS)
    up = _read(up_ptr + row * stride_u, column, width, EVEN, LOADS)
    sigmoid = 1.0 / (1.0 + tl.exp(-gate))
    silu = gate * sigmoid
    dup = dh * silu
    dgate = dh * up * (sigmoid + silu * (1.0 - sigmoid))
    _write(dgate_ptr + row * stride_dg, dgate, column, width, EVEN, STORES)
    _write(dup_ptr + row * stride_du, dup, column, width, EVEN, STORES)


@triton.jit
def _read(ptr, column, width, EVEN: tl.constexpr, LOADS: tl.constexpr):
    """Of a row, in fp32; zero behind its end."""
    if EVEN:
        values = tl.load(ptr + column, eviction_policy=LOADS)
    else:
        values = tl.load(ptr + column, mask=column < width, other=0.0, eviction_policy=LOADS)
    return values.to(tl.float32)


@triton.jit
def _write(ptr, values, column, width, EVEN: tl.constexpr, STORES: tl.constexpr):
    """To a row, in its format."""
    values = values.to(ptr.dtype.element_ty)
    if EVEN:
        tl.store(ptr + column, values, eviction_policy=STORES)
    else:
        tl.store(ptr + column, values, mask=column < width, eviction_policy=STORES)
