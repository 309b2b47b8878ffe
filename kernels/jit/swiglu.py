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
):
    """h = silu(gate) · up. Programs run along the rows, one after the other."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    if EVEN:
        gate = tl.load(gate_ptr + row * stride_g + column).to(tl.float32)
        up = tl.load(up_ptr + row * stride_u + column).to(tl.float32)
    else:
        gate = tl.load(gate_ptr + row * stride_g + column, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(up_ptr + row * stride_u + column, mask=inside, other=0.0).to(tl.float32)
    h = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(h_ptr + row * stride_h + column, h.to(h_ptr.dtype.element_ty), mask=inside)


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
):
    """dup = dh · silu(gate); dgate = dh · up · silu'(gate); the sigmoid is computed again."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    if EVEN:
        dh = tl.load(dh_ptr + row * stride_dh + column).to(tl.float32)
        gate = tl.load(gate_ptr + row * stride_g + column).to(tl.float32)
        up = tl.load(up_ptr + row * stride_u + column).to(tl.float32)
    else:
        dh = tl.load(dh_ptr + row * stride_dh + column, mask=inside, other=0.0).to(tl.float32)
        gate = tl.load(gate_ptr + row * stride_g + column, mask=inside, other=0.0).to(tl.float32)
        up = tl.load(up_ptr + row * stride_u + column, mask=inside, other=0.0).to(tl.float32)
    sigmoid = 1.0 / (1.0 + tl.exp(-gate))
    silu = gate * sigmoid
    dup = dh * silu
    dgate = dh * up * (sigmoid + silu * (1.0 - sigmoid))
    kind = dgate_ptr.dtype.element_ty
    tl.store(dgate_ptr + row * stride_dg + column, dgate.to(kind), mask=inside)
    tl.store(dup_ptr + row * stride_du + column, dup.to(kind), mask=inside)
