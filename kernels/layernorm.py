"""Layer norm (Ba, Kiros and Hinton, 2016): y = (x - mean) / sqrt(variance + eps) · w + b.

Forward 4 FLOPs an element counted (as `rmsnorm`) and two arrays moved; backward 9 and three. The
variance is summed from centred values, in fp32, and the backward pass sums dw and db in two
steps: deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from . import long_norms
from .arguments import as_rows, check_apart, check_extent, check_number, check_tensor, check_written
from .launch import cdiv, launch, power_of_2, processors
from .op import Case, Fill, Op, Tensors, Work, plain
from .rmsnorm import NAMES, WIDEST, hints, sum_rows
from .tuning import config, meta

EPS = 1e-5


def forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    y: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    *,
    eps: float = EPS,
    arch: str | None = None,
) -> torch.Tensor:
    """y = layer norm of x by the Triton kernel.

    Args:
        x, y: [rows, width] in bf16, fp16 or fp32, one dtype; rows may lie apart. ``y`` may be x.
        weight, bias: [width].
        mean, scale: fp32 [rows], receive the mean and 1 / standard deviation.
        eps: Added to the variance.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    width = _check(x, weight, mean, scale, y=y)
    check_tensor("bias", bias, x.dtype, (width,), x.device)
    check_written(y=y)
    check_apart("y", y, x=x, same=True)
    check_apart("y", y, weight=weight, bias=bias)
    check_number("eps", eps)
    chosen = config(arch, "rmsnorm", NAMES[x.dtype], width=width, add=0)
    if "block" in chosen:
        long_norms.forward(x, weight, y, scale, chosen, eps, bias=bias, mean=mean)
        return y
    from .jit.layernorm import forward_kernel

    launch(
        forward_kernel,
        (cdiv(x.shape[0], chosen["rows"]),),
        x,
        weight,
        bias,
        y,
        mean,
        scale,
        x.shape[0],
        x.stride(0),
        y.stride(0),
        eps,
        WIDTH=width,
        BLOCK=power_of_2(width),
        ROWS=chosen["rows"],
        **hints(chosen),
        **meta(chosen),
    )
    return y


def backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
    dbias: torch.Tensor,
    *,
    arch: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of x, weight and bias by the Triton kernels.

    Args:
        dy, dx: [rows, width]; ``dx`` may be dy or x.
        x, weight, mean, scale: As the forward pass took and left them.
        dweight, dbias: [width], in the weight's dtype.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    width = _check(x, weight, mean, scale, dy=dy, dx=dx)
    for name, one in (("dweight", dweight), ("dbias", dbias)):
        check_tensor(name, one, x.dtype, (width,), x.device)
    check_written(dx=dx, dweight=dweight, dbias=dbias)
    check_apart("dx", dx, weight=weight)
    check_apart("dx", dx, dy=dy, x=x, same=True)
    rows = x.shape[0]
    if rows == 0:
        return dx, dweight.zero_(), dbias.zero_()
    chosen = config(arch, "rmsnorm_backward", NAMES[x.dtype], width=width)
    if "block" in chosen:
        partial = long_norms.backward(dy, x, weight, scale, dx, chosen, mean=mean)
    else:
        partial = _backward(dy, x, weight, mean, scale, dx, chosen)
    sum_rows(partial[:, :width], dweight)
    sum_rows(partial[:, width:], dbias)
    return dx, dweight, dbias


def _backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    dx: torch.Tensor,
    chosen: Mapping[str, int],
) -> torch.Tensor:
    rows, width = x.shape
    programs = min(cdiv(rows, chosen["rows"]), processors(x.device) * chosen["waves"])
    partial = torch.empty((programs, 2 * width), dtype=torch.float32, device=x.device)
    from .jit.layernorm import backward_kernel

    launch(
        backward_kernel,
        (programs,),
        dy,
        x,
        weight,
        mean,
        scale,
        dx,
        partial,
        rows,
        dy.stride(0),
        x.stride(0),
        dx.stride(0),
        WIDTH=width,
        BLOCK=power_of_2(width),
        ROWS=chosen["rows"],
        STAGES=chosen.get("num_stages", 1),
        **meta(chosen),
    )
    return partial


def _check(
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
    **like: torch.Tensor,
) -> int:
    check_tensor("x", x, tuple(NAMES), (None, None))
    rows, width = x.shape
    check_extent("x: width", width, 1, WIDEST)
    check_tensor("weight", weight, x.dtype, (width,), x.device)
    for name, one in (("mean", mean), ("scale", scale)):
        check_tensor(name, one, torch.float32, (rows,), x.device, contiguous=True)
    for name, one in like.items():
        check_tensor(name, one, x.dtype, x.shape, x.device)
    return width


class LayerNorm(torch.autograd.Function):
    """Differentiable layer norm of [..., width]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
        arch: str | None,
    ) -> torch.Tensor:
        """As x, without gaps."""
        flat = as_rows("x", x)
        y = torch.empty(flat.shape, dtype=x.dtype, device=x.device)
        mean, scale = (flat.new_empty(flat.shape[0], dtype=torch.float32) for _ in range(2))
        forward(flat, weight, bias, y, mean, scale, eps=eps, arch=arch)
        ctx.save_for_backward(flat, weight, mean, scale)
        ctx.arch = arch
        return y.view(x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of x, weight and bias."""
        x, weight, mean, scale = ctx.saved_tensors
        dy = grads[0].reshape(x.shape).contiguous()
        dx, dweight, dbias = (
            torch.empty_like(dy),
            torch.empty_like(weight),
            torch.empty_like(weight),
        )
        backward(dy, x, weight, mean, scale, dx, dweight, dbias, arch=ctx.arch)
        return dx.view(grads[0].shape), dweight, dbias, None, None


def layernorm(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    eps: float = EPS,
    arch: str | None = None,
) -> torch.Tensor:
    """Differentiable layer norm of [..., width].

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    return LayerNorm.apply(x, weight, bias, eps, arch)  # type: ignore[no-untyped-call,no-any-return]


def formula(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The mathematics in plain torch."""
    wide = x if x.dtype == torch.float64 else x.float()
    centred = wide - wide.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(-1, keepdim=True) + EPS)
    return (centred * scale * weight + bias).to(x.dtype)


def _library(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias, EPS)


def _inputs(case: Case, fill: Fill) -> Tensors:
    rows, width = case.shape
    made = {
        "x": fill.normal(rows, width, kind=case.kind),
        "weight": fill.uniform(width, kind=case.kind) + 0.5,
        "bias": fill.normal(width, kind=case.kind),
    }
    if case.variant == "backward":
        made["dy"] = fill.normal(rows, width, kind=case.kind)
    return made


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    x, weight = inputs["x"], inputs["weight"]
    if case.variant == "backward":
        sums = {name: torch.empty_like(weight) for name in ("dweight", "dbias")}
        return {"dx": x.new_empty(x.shape), **sums}
    return {"y": x.new_empty(x.shape)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, weight, arch = inputs["x"], inputs["weight"], case.arch
    if case.variant == "backward":
        wide = x.double()
        mean = wide.mean(-1).float()
        scale = torch.rsqrt(wide.var(-1, correction=0) + EPS).float()
        dx, dweight, dbias = (outputs[name] for name in ("dx", "dweight", "dbias"))

        def work() -> Tensors:
            backward(inputs["dy"], x, weight, mean, scale, dx, dweight, dbias, arch=arch)
            return outputs

        return work
    kept = [x.new_empty(x.shape[0], dtype=torch.float32) for _ in range(2)]
    return lambda: {"y": forward(x, weight, inputs["bias"], outputs["y"], *kept, arch=arch)}


_RESULTS, _WANTED = ("y",), ("x", "weight", "bias")
_formula = plain(formula, _RESULTS, _WANTED)

OP = Op(
    "layernorm",
    _inputs,
    _outputs,
    {
        "torch": plain(_library, _RESULTS, _WANTED),
        "triton": _triton,
        "compile": plain(formula, _RESULTS, _WANTED, compiled=True),
    },
    expected=lambda case, inputs: _formula(case, inputs, {})(),
)
