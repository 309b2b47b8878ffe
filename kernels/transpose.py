"""Transpose in memory: out[n, m] = x[m, n]. No FLOPs, two arrays moved.

Tiles pass through the chip, so that both reads and writes run along rows.
"""

from __future__ import annotations

import torch

from .arguments import check_apart, check_tensor, check_written
from .dtypes import TORCH
from .launch import cdiv, launch
from .op import Case, Fill, Op, Tensors, Work
from .tuning import config, meta

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def transpose(x: torch.Tensor, out: torch.Tensor, *, arch: str | None = None) -> torch.Tensor:
    """out = xᵀ by the Triton kernel.

    Args:
        x: [rows, columns] in bf16, fp16 or fp32; rows may lie apart.
        out: [columns, rows], likewise.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    rows, columns = x.shape
    check_tensor("out", out, x.dtype, (columns, rows), x.device)
    check_written(out=out)
    check_apart("out", out, x=x)
    chosen = config(arch, "transpose", NAMES[x.dtype], size=x.numel())
    blocks = cdiv(columns, chosen["block_n"])
    from .jit.transpose import transpose_kernel

    launch(
        transpose_kernel,
        (cdiv(rows, chosen["block_m"]) * blocks,),
        x,
        out,
        rows,
        columns,
        x.stride(0),
        out.stride(0),
        blocks,
        BLOCK_M=chosen["block_m"],
        BLOCK_N=chosen["block_n"],
        EVEN=rows % chosen["block_m"] == 0 and columns % chosen["block_n"] == 0,
        **meta(chosen),
    )
    return out


def formula(x: torch.Tensor) -> torch.Tensor:
    """The mathematics in plain torch."""
    return x.t().contiguous()


def _inputs(case: Case, fill: Fill) -> Tensors:
    return {"x": fill.normal(*case.shape, kind=case.kind)}


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    rows, columns = case.shape
    return {"out": inputs["x"].new_empty(columns, rows)}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    turned = inputs["x"].t()
    return lambda: {"out": outputs["out"].copy_(turned)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    return lambda: {"out": transpose(inputs["x"], outputs["out"], arch=case.arch)}


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    return lambda: {"out": run(inputs["x"])}


OP = Op(
    "transpose",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    expected=lambda case, inputs: {"out": inputs["x"].t()},
)
