"""The sum of several buffers on one device: what an all-reduce does once the data are there.

out[i] = Σ_b x[b, i]: one addition an element and buffer, every buffer read once and the sum
written once. Sums are fp32 and in the order of the buffers, so that every bit is the same each
time. A library sum over the first dimension does the same; adding buffer by buffer would move
3·(n-1) arrays instead of n + 1.
"""

from __future__ import annotations

import torch

from .arguments import check_apart, check_extent, check_tensor
from .dtypes import TORCH
from .launch import cdiv, launch, strides
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

MOST = 64
"""Buffers: the kernel is unrolled over them."""

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def local_reduce(x: torch.Tensor, out: torch.Tensor, *, arch: str | None = None) -> torch.Tensor:
    """out[i] = Σ_b x[b, i] by the Triton kernel.

    Args:
        x: [buffers, elements] in bf16, fp16 or fp32; buffers may be apart.
        out: [elements], in the dtype of x. It may be one of the buffers.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    buffers, count = x.shape
    check_extent("x: buffers", buffers, 1, MOST)
    check_tensor("out", out, x.dtype, (count,), x.device)
    check_apart("out", out, x=x, same=True)
    chosen = config(arch, "local_reduce", NAMES[x.dtype], size=count, buffers=buffers)
    from .jit.local_reduce import sum_kernel

    launch(
        sum_kernel,
        (cdiv(count, chosen["block"]),),
        x,
        out,
        count,
        *strides(x, (0,)),
        BUFFERS=buffers,
        BLOCK=chosen["block"],
        **meta(chosen),
    )
    return out


def formula(x: torch.Tensor) -> torch.Tensor:
    """The mathematics in plain torch."""
    wide = x if x.dtype == torch.float64 else x.float()
    return wide.sum(0).to(x.dtype)


def _inputs(case: Case, fill: Fill) -> Tensors:
    return {"x": fill.normal(*case.shape, kind=case.kind)}


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    return {"out": inputs["x"].new_empty(case.shape[1])}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    return lambda: {"out": torch.sum(inputs["x"], 0, out=outputs["out"])}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    return lambda: {"out": local_reduce(inputs["x"], outputs["out"], arch=case.arch)}


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    return lambda: {"out": run(inputs["x"])}


_PART = 1 << 22
"""Elements compared at once: all buffers in fp64 would not fit."""


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """The worst part of the sum."""
    worst = 0.0
    for start in range(0, before["x"].shape[1], _PART):
        part = slice(start, start + _PART)
        wanted = before["x"][:, part].double().sum(0)
        worst = max(worst, relative_error(results["out"][part], wanted))
    return {"out": worst}


OP = Op(
    "local_reduce",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
