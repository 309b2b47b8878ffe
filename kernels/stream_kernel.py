"""The Triton kernel of `stream`, apart so that the operation can be named without Triton."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def stream_kernel(x_ptr, y_ptr, out_ptr, count, scalar, OP: tl.constexpr, BLOCK: tl.constexpr):
    """One block of out = x | s·x | x + y | x + s·y (OP = 0..3)."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    x = tl.load(x_ptr + place, mask=inside, other=0.0)
    if OP == 0:
        out = x
    elif OP == 1:
        out = x.to(tl.float32) * scalar
    else:
        y = tl.load(y_ptr + place, mask=inside, other=0.0)
        if OP == 2:
            out = x + y
        else:
            out = x.to(tl.float32) + scalar * y.to(tl.float32)
    tl.store(out_ptr + place, out.to(out_ptr.dtype.element_ty), mask=inside)
