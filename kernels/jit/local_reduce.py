"""Kernel of `local_reduce`: one block of every buffer a program."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sum_kernel(x_ptr, out_ptr, count, stride, BUFFERS: tl.constexpr, BLOCK: tl.constexpr):
    """out = x[0] + x[1] + ..., in this order, in fp32."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    total = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    here = x_ptr
    for _ in tl.static_range(1, BUFFERS):
        # Pointers go from buffer to buffer: the product of stride and number may exceed 2**31.
        here += stride
        total += tl.load(here + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + place, total.to(out_ptr.dtype.element_ty), mask=inside)
