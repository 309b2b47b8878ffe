"""Linear layers in fp8: all three products of a step, each operand under a scale of its own.

Operands are quantized to e4m3 as they are used ("dynamic" scaling: the largest value of a tensor
becomes the largest of the format; Micikevicius et al., FP8 Formats for Deep Learning, 2022) and
products are written in bf16. Matrix units take 8-bit operands along the inner dimension only, so
that the gradients' operands are turned before they are quantized. By `quantize` and `gemm` where
there is a Triton target, else by the library's own scaled product.
"""

from __future__ import annotations

from typing import Any

import torch

from . import quantize
from .arguments import as_rows, check_tensor
from .dtypes import torch_dtype
from .gemm import gemm


def product(a: torch.Tensor, b: torch.Tensor, arch: str | None = None) -> torch.Tensor:
    """a · bᵀ of a [M, K] and b [N, K], contiguous, in bf16: bf16 [M, N].

    Raises:
        RuntimeError: the library has no scaled product for this device.
        ValueError: of the Triton kernels; names the argument, what it got and what it takes.
    """
    if a.numel() == 0 or b.numel() == 0:
        return a.new_zeros(a.shape[0], b.shape[0])  # a sum of nothing is 0
    (qa, sa), (qb, sb) = (_quantized(one, arch) for one in (a, b))
    if arch is None:
        made: torch.Tensor = torch._scaled_mm(
            qa, qb.t(), scale_a=sa, scale_b=sb, out_dtype=torch.bfloat16
        )
        return made
    out = a.new_empty(a.shape[0], b.shape[0])
    return gemm(qa, qb.t(), out, scale=sa * sb, arch=arch)


def _quantized(x: torch.Tensor, arch: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    kind = torch_dtype("fp8_e4m3", arch)
    if arch is None:
        return quantize.formula(x, kind, block=False)
    q, scale = torch.empty_like(x, dtype=kind), x.new_empty(1, dtype=torch.float32)
    return quantize.quantize_tensor(x, q, scale, arch=arch)


class Linear(torch.autograd.Function):
    """Differentiable x · Wᵀ of [..., K] and [N, K]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, arch: str | None) -> torch.Tensor:
        """[..., N]."""
        flat = as_rows("x", x).contiguous()
        check_tensor("x", flat, torch.bfloat16, (None, None))
        wanted = (None, flat.shape[1])
        check_tensor("weight", weight, x.dtype, wanted, x.device, inner=False)
        ctx.save_for_backward(flat, weight)
        ctx.arch = arch
        return product(flat, weight.contiguous(), arch).view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """dX = dY · W; dW = dYᵀ · X; those that are asked for."""
        x, weight = ctx.saved_tensors
        dy = grads[0].reshape(x.shape[0], weight.shape[0])
        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = product(dy.contiguous(), weight.t().contiguous(), ctx.arch)
            dx = dx.view(*grads[0].shape[:-1], x.shape[1])
        if ctx.needs_input_grad[1]:
            dweight = product(dy.t().contiguous(), x.t().contiguous(), ctx.arch)
        return dx, dweight, None


def linear(x: torch.Tensor, weight: torch.Tensor, *, arch: str | None = None) -> torch.Tensor:
    """Differentiable x · Wᵀ of x [..., K] and weight [N, K], both bf16, multiplied in fp8.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    return Linear.apply(x, weight, arch)  # type: ignore[no-untyped-call,no-any-return]
