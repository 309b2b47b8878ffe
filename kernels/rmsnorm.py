"""Root-mean-square norm (Zhang and Sennrich, 2019), alone or with the residual added first.

y[r, c] = x[r, c] / sqrt(mean_c(x²) + eps) · w[c]. Forward 4 FLOPs an element and two arrays moved;
backward 9 and three. ``add_*``: s = x + residual; y = norm(s): the two operations that stand
between any two blocks of a decoder, in one pass (four arrays instead of five). Sums are fp32.
The backward pass sums dw in two steps, so that it is deterministic (Hsu et al., Liger, 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from . import long_norms
from .arguments import (
    as_rows,
    check_apart,
    check_extent,
    check_number,
    check_shape,
    check_tensor,
    check_written,
)
from .dtypes import TORCH
from .launch import cdiv, launch, power_of_2, processors
from .op import Case, Fill, Op, Tensors, Work, plain
from .tuning import config, evictions, meta

EPS = 1e-6
WIDEST = 65536
"""Columns that kernels are made for: those of a few thousand are held by one program."""

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    y: torch.Tensor,
    scale: torch.Tensor,
    *,
    residual: torch.Tensor | None = None,
    total: torch.Tensor | None = None,
    eps: float = EPS,
    arch: str | None = None,
) -> torch.Tensor:
    """y = norm(x) · weight, or of total = x + residual, by the Triton kernel.

    Args:
        x, y, residual, total: [rows, width] in bf16, fp16 or fp32, one dtype; rows may
            lie apart. ``y`` may be x or the residual, ``total`` neither.
        weight: [width].
        scale: fp32 [rows], receives 1 / rms, which the backward pass needs.
        eps: Added to the mean square.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    width = _check(x, weight, scale, y=y)
    if (residual is None) != (total is None):
        raise ValueError("residual and total: got one of them, takes both or neither")
    for name, one in (("residual", residual), ("total", total)):
        if one is not None:
            check_tensor(name, one, x.dtype, x.shape, x.device)
    check_written(y=y, total=total)
    check_apart("y", y, x=x, residual=residual, same=True)
    check_apart("y", y, weight=weight)
    # Of long rows the sum is made twice.
    check_apart("total", total, x=x, residual=residual, weight=weight)
    check_number("eps", eps)
    added = int(residual is not None)
    chosen = config(arch, "rmsnorm", NAMES[x.dtype], width=width, add=added)
    if "block" in chosen:
        long_norms.forward(x, weight, y, scale, chosen, eps, residual=residual, total=total)
        return y
    from .jit.rmsnorm import forward_kernel

    launch(
        forward_kernel,
        (cdiv(x.shape[0], chosen["rows"]),),
        x,
        x if residual is None else residual,
        weight,
        x if total is None else total,
        y,
        scale,
        x.shape[0],
        x.stride(0),
        0 if residual is None else residual.stride(0),
        0 if total is None else total.stride(0),
        y.stride(0),
        eps,
        WIDTH=width,
        BLOCK=power_of_2(width),
        ROWS=chosen["rows"],
        ADD=residual is not None,
        **hints(chosen),
        **meta(chosen),
    )
    return y


def hints(chosen: Mapping[str, int]) -> dict[str, Any]:
    """Constants of a norm's forward kernel that a configuration may leave out: whether weights are
    asked for beside the row, and what the cache gives up first (`evictions`)."""
    return {"EARLY": bool(chosen.get("early")), **evictions(chosen)}


def backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
    *,
    extra: torch.Tensor | None = None,
    arch: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of ``x`` (what was normed) and ``weight`` by the Triton kernels.

    Args:
        dy, dx: [rows, width]; ``extra``, if given, is added to dx: the gradient of ``total``.
            ``dx`` may be dy, x or extra.
        x, weight, scale: As the forward pass took and left them.
        dweight: [width], in the weight's dtype.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    width = _check(x, weight, scale, dy=dy, dx=dx)
    check_tensor("dweight", dweight, x.dtype, (width,), x.device)
    if extra is not None:
        check_tensor("extra", extra, x.dtype, x.shape, x.device)
    check_written(dx=dx, dweight=dweight)
    check_apart("dx", dx, weight=weight)
    check_apart("dx", dx, dy=dy, x=x, extra=extra, same=True)
    rows = x.shape[0]
    if rows == 0:
        return dx, dweight.zero_()
    chosen = config(arch, "rmsnorm_backward", NAMES[x.dtype], width=width)
    if "block" in chosen:
        sum_rows(long_norms.backward(dy, x, weight, scale, dx, chosen, extra=extra), dweight)
        return dx, dweight
    programs = min(cdiv(rows, chosen["rows"]), processors(x.device) * chosen["waves"])
    partial = torch.empty((programs, width), dtype=torch.float32, device=x.device)
    from .jit.rmsnorm import backward_kernel

    launch(
        backward_kernel,
        (programs,),
        dy,
        x,
        weight,
        scale,
        dy if extra is None else extra,
        dx,
        partial,
        rows,
        dy.stride(0),
        x.stride(0),
        0 if extra is None else extra.stride(0),
        dx.stride(0),
        WIDTH=width,
        BLOCK=power_of_2(width),
        ROWS=chosen["rows"],
        STAGES=chosen.get("num_stages", 1),
        ADD=extra is not None,
        **meta(chosen),
    )
    sum_rows(partial, dweight)
    return dx, dweight


def sum_rows(partial: torch.Tensor, out: torch.Tensor) -> None:
    """out[c] = Σ_r partial[r, c]: fp32 [rows, width] to [width], in an order that is fixed.

    So many short rows of programs, and as much of a column in each as registers hold, that one
    round trip to the cache fetches what a few hundred programs of the first step left.
    """
    rows, width = partial.shape
    from .jit.rmsnorm import columns_kernel

    block = 32
    launch(
        columns_kernel,
        (cdiv(width, block),),
        partial,
        out,
        rows,
        partial.stride(0),
        WIDTH=width,
        ROWS=min(512, power_of_2(rows)),
        BLOCK=block,
        num_warps=16,
    )


def _check(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, **like: torch.Tensor) -> int:
    check_tensor("x", x, tuple(NAMES), (None, None))
    rows, width = x.shape
    check_extent("x: width", width, 1, WIDEST)
    check_tensor("weight", weight, x.dtype, (width,), x.device)
    check_tensor("scale", scale, torch.float32, (rows,), x.device, contiguous=True)
    for name, one in like.items():
        check_tensor(name, one, x.dtype, x.shape, x.device)
    return width


class RMSNorm(torch.autograd.Function):
    """Differentiable ``rmsnorm(x, weight)`` and ``rmsnorm(x, weight, residual)``."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        residual: torch.Tensor | None,
        eps: float,
        arch: str | None,
    ) -> Any:
        """y, or (y, x + residual). Any leading dimensions."""
        flat = as_rows("x", x)
        if residual is not None:
            check_shape("residual", residual, x.shape)
        y, scale = torch.empty_like(flat), flat.new_empty(flat.shape[0], dtype=torch.float32)
        other = None if residual is None else residual.reshape(flat.shape)
        total = None if residual is None else torch.empty_like(flat)
        forward(flat, weight, y, scale, residual=other, total=total, eps=eps, arch=arch)
        ctx.save_for_backward(flat if total is None else total, weight, scale)
        ctx.arch = arch
        return y.view(x.shape) if total is None else (y.view(x.shape), total.view(x.shape))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        """Gradients of x, weight and residual."""
        x, weight, scale = ctx.saved_tensors
        dy, extra = grads[0], grads[1] if len(grads) > 1 else None
        shape = dy.shape  # type: ignore[union-attr]
        dx, dweight = torch.empty_like(x), torch.empty_like(weight)
        backward(
            dy.reshape(x.shape).contiguous(),  # type: ignore[union-attr]
            x,
            weight,
            scale,
            dx,
            dweight,
            extra=None if extra is None else extra.reshape(x.shape).contiguous(),
            arch=ctx.arch,
        )
        dx = dx.view(shape)
        return dx, dweight, dx if len(grads) > 1 else None, None, None


def rmsnorm(
    x: torch.Tensor,
    weight: torch.Tensor,
    residual: torch.Tensor | None = None,
    *,
    eps: float = EPS,
    arch: str | None = None,
) -> Any:
    """Differentiable norm of [..., width]; with ``residual`` the pair (norm(s), s = x + residual).

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    return RMSNorm.apply(x, weight, residual, eps, arch)  # type: ignore[no-untyped-call]


def formula(
    x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The mathematics in plain torch, differentiable, in the precision of its inputs."""
    total = x if residual is None else x + residual
    wide = total if total.dtype == torch.float64 else total.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)
    y = (wide * scale * weight).to(x.dtype)
    return y if residual is None else (y, total)


def _library(
    x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    total = x if residual is None else x + residual
    y = torch.nn.functional.rms_norm(total, (x.shape[-1],), weight, EPS)
    return y if residual is None else (y, total)


def _inputs(case: Case, fill: Fill) -> Tensors:
    rows, width = case.shape
    made = {
        "x": fill.normal(rows, width, kind=case.kind),
        "weight": fill.uniform(width, kind=case.kind) + 0.5,
    }
    if case.variant.startswith("add"):
        made["residual"] = fill.normal(rows, width, kind=case.kind)
    if case.variant.endswith("backward"):
        made["dy"] = fill.normal(rows, width, kind=case.kind)
        if case.variant.startswith("add"):
            made["dtotal"] = fill.normal(rows, width, kind=case.kind)
    return made


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    x, weight = inputs["x"], inputs["weight"]
    if case.variant.endswith("backward"):
        return {"dx": torch.empty_like(x), "dweight": torch.empty_like(weight)}
    made = {"y": torch.empty_like(x)}
    return {**made, "total": torch.empty_like(x)} if case.variant.startswith("add") else made


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, weight, arch = inputs["x"], inputs["weight"], case.arch
    residual = inputs.get("residual")
    if case.variant.endswith("backward"):
        normed = x if residual is None else x + residual
        saved = torch.rsqrt(normed.double().square().mean(-1) + EPS).float()
        dy, dx, dweight = inputs["dy"], outputs["dx"], outputs["dweight"]
        extra = inputs.get("dtotal")

        def backwards() -> Tensors:
            backward(dy, normed, weight, saved, dx, dweight, extra=extra, arch=arch)
            return outputs

        return backwards
    scale = x.new_empty(x.shape[0], dtype=torch.float32)

    def forwards() -> Tensors:
        total = outputs.get("total")
        forward(x, weight, outputs["y"], scale, residual=residual, total=total, arch=arch)
        return outputs

    return forwards


_RESULTS, _WANTED = ("y", "total"), ("x", "weight")
_formula = plain(formula, _RESULTS, _WANTED)

OP = Op(
    "rmsnorm",
    _inputs,
    _outputs,
    {
        "torch": plain(_library, _RESULTS, _WANTED),
        "triton": _triton,
        "compile": plain(formula, _RESULTS, _WANTED, compiled=True),
    },
    expected=lambda case, inputs: _formula(case, inputs, {})(),
)
