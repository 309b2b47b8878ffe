"""Softmax along rows: y[r, c] = exp(x[r, c] - max_c x) / Σ_c exp(x - max).

4 FLOPs an element. Forward two arrays moved, backward three: dx = y·(dy - Σ y·dy). Rows that a
program holds are read once; wider ones keep a running maximum and sum (Milakov and Gimelshein,
Online normalizer calculation for softmax, 2018) and are read a second time, from the cache.
"""

from __future__ import annotations

from typing import Any

import torch

from .arguments import as_rows, check_apart, check_tensor, check_written
from .dtypes import TORCH
from .launch import cdiv, launch, power_of_2
from .op import Case, Fill, Op, Tensors, Work, plain
from .tuning import config, meta

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def forward(x: torch.Tensor, y: torch.Tensor, *, arch: str | None = None) -> torch.Tensor:
    """y = softmax of every row of x by the Triton kernels.

    Args:
        x, y: [rows, width] in bf16, fp16 or fp32, one dtype; rows may lie apart. ``y`` may be x.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    check_tensor("y", y, x.dtype, x.shape, x.device)
    check_written(y=y)
    check_apart("y", y, x=x, same=True)
    from .jit.softmax import forward_kernel, forward_long_kernel

    _launch("softmax", (forward_kernel, forward_long_kernel), (x, y), arch)
    return y


def backward(
    dy: torch.Tensor, y: torch.Tensor, dx: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """dx = y · (dy - Σ y·dy) by the Triton kernels; all [rows, width] as in `forward`.

    ``dx`` may be dy or y.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("y", y, tuple(NAMES), (None, None))
    for name, one in (("dy", dy), ("dx", dx)):
        check_tensor(name, one, y.dtype, y.shape, y.device)
    check_written(dx=dx)
    check_apart("dx", dx, dy=dy, y=y, same=True)
    from .jit.softmax import backward_kernel, backward_long_kernel

    _launch("softmax_backward", (backward_kernel, backward_long_kernel), (dy, y, dx), arch)
    return dx


def _launch(
    key: str, kernels: tuple[Any, Any], tensors: tuple[torch.Tensor, ...], arch: str | None
) -> None:
    """Whole rows where the table gives ``rows``, else blocks of ``block`` columns."""
    rows, width = tensors[0].shape
    if rows == 0 or width == 0:
        return
    chosen = config(arch, key, NAMES[tensors[0].dtype], width=width)
    lines = tuple(one.stride(0) for one in tensors)
    if "rows" in chosen:
        launch(
            kernels[0],
            (cdiv(rows, chosen["rows"]),),
            *tensors,
            rows,
            width,
            *lines,
            BLOCK=power_of_2(width),
            ROWS=chosen["rows"],
            **meta(chosen),
        )
    else:
        launch(kernels[1], (rows,), *tensors, width, *lines, BLOCK=chosen["block"], **meta(chosen))


class Softmax(torch.autograd.Function):
    """Differentiable softmax along the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, arch: str | None) -> torch.Tensor:
        """As x, without gaps."""
        flat = as_rows("x", x)
        y = forward(flat, torch.empty(flat.shape, dtype=x.dtype, device=x.device), arch=arch)
        ctx.save_for_backward(y)
        ctx.arch = arch
        return y.view(x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradient of x."""
        (y,) = ctx.saved_tensors
        dy = grads[0].reshape(y.shape).contiguous()
        return backward(dy, y, torch.empty_like(y), arch=ctx.arch).view(grads[0].shape), None


def softmax(x: torch.Tensor, *, arch: str | None = None) -> torch.Tensor:
    """Differentiable softmax of [..., width] along the last dimension.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    return Softmax.apply(x, arch)  # type: ignore[no-untyped-call,no-any-return]


def formula(x: torch.Tensor) -> torch.Tensor:
    """The mathematics in plain torch."""
    wide = x if x.dtype == torch.float64 else x.float()
    p = (wide - wide.amax(-1, keepdim=True)).exp()
    return (p / p.sum(-1, keepdim=True)).to(x.dtype)


def _library(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, -1)


def _inputs(case: Case, fill: Fill) -> Tensors:
    rows, width = case.shape
    made = {"x": fill.normal(rows, width, kind=case.kind)}
    if case.variant == "backward":
        made["dy"] = fill.normal(rows, width, kind=case.kind)
    return made


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    name = "dx" if case.variant == "backward" else "y"
    return {name: inputs["x"].new_empty(case.shape)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, arch = inputs["x"], case.arch
    if case.variant == "backward":
        # fp64 on the way: what is kept of the forward pass is rounded once.
        y = x.double().softmax(-1).to(x.dtype)
        return lambda: {"dx": backward(inputs["dy"], y, outputs["dx"], arch=arch)}
    return lambda: {"y": forward(x, outputs["y"], arch=arch)}


def _expected(case: Case, inputs: Tensors) -> Tensors:
    """In the backward pass y is what the forward pass left, rounded to the case's dtype."""
    y = inputs["x"].softmax(-1)
    if case.variant == "forward":
        return {"y": y}
    y, dy = y.to(case.kind).double(), inputs["dy"]
    return {"dx": y * (dy - (y * dy).sum(-1, keepdim=True))}


OP = Op(
    "softmax",
    _inputs,
    _outputs,
    {
        "torch": plain(_library, ("y",), ("x",)),
        "triton": _triton,
        "compile": plain(formula, ("y",), ("x",), compiled=True),
    },
    expected=_expected,
)
