"""Kernel of `adamw`: one block of every buffer a program."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def step_kernel(
    weight_ptr,
    m_ptr,
    v_ptr,
    gradient_ptr,
    copy_ptr,
    count,
    keep,
    beta1,
    fresh1,
    beta2,
    fresh2,
    rate,
    unbias,
    eps,
    COPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """w = keep·w - rate·m / (unbias·sqrt(v) + eps), after m and v took the gradient in."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    gradient = tl.load(gradient_ptr + place, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + place, mask=inside, other=0.0)
    m = tl.load(m_ptr + place, mask=inside, other=0.0)
    v = tl.load(v_ptr + place, mask=inside, other=0.0)
    m = beta1 * m + fresh1 * gradient
    v = beta2 * v + fresh2 * (gradient * gradient)
    weight = keep * weight - rate * (m / (unbias * tl.sqrt(v) + eps))
    tl.store(weight_ptr + place, weight, mask=inside)
    tl.store(m_ptr + place, m, mask=inside)
    tl.store(v_ptr + place, v, mask=inside)
    if COPY:
        tl.store(copy_ptr + place, weight.to(copy_ptr.dtype.element_ty), mask=inside)
