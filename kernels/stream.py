"""The STREAM operations (McCalpin, 1995), dot (BabelStream) and read: memory bandwidth.

copy: out = x; scale: out = s·x; add: out = x + y; triad: out = x + s·y; dot: Σ x·y; read: Σ x.
They move 2, 2, 3, 3, 2 and 1 arrays at no more than two FLOPs an element, so that memory is what
is measured. s = 3/8, which every format holds exactly. Sums take two steps: a share a program,
then the shares.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .arguments import check_apart, check_choice, check_is_tensor, check_tensor
from .dtypes import TORCH
from .launch import cdiv, launch, processors
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

OPS = ("copy", "scale", "add", "triad", "dot", "read")
SCALAR = 0.375
NAMES = {TORCH[name]: name for name in ("fp64", "fp32", "bf16", "fp16")}


def stream(
    op: str, x: torch.Tensor, y: torch.Tensor, out: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """One operation by the Triton kernels.

    Args:
        op: One of `OPS`.
        x, y: Vectors of one length, dtype and device. ``y`` may be ``x`` where it is not read.
        out: Like x, and may be x or y; for dot and read one element of fp32 (of fp64 for fp64
            input).
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_choice("op", op, OPS)
    check_is_tensor("x", x)
    count, sums = x.numel(), op in ("dot", "read")
    check_tensor("x", x, tuple(NAMES), (count,))
    check_tensor("y", y, x.dtype, (count,), x.device)
    kind = _sum_kind(x.dtype) if sums else x.dtype
    check_tensor("out", out, kind, (1 if sums else count,), x.device)
    if not sums:
        check_apart("out", out, x=x, same=True)
    if op in ("add", "triad"):
        check_apart("out", out, y=y, same=True)
    chosen = config(arch, "stream_sum" if sums else "stream", NAMES[x.dtype], size=count)
    if not sums:
        from .jit.stream import map_kernel

        programs, waves = cdiv(count, chosen["block"]), chosen.get("waves", 0)
        if waves:
            programs = min(programs, processors(x.device) * waves)
        launch(
            map_kernel,
            (programs,),
            x,
            y,
            out,
            count,
            SCALAR,
            OP=OPS.index(op),
            WIDE=x.dtype == torch.float64,
            BLOCK=chosen["block"],
            PERSISTENT=waves > 0,
            STAGES=chosen.get("num_stages", 1),
            LOADS=_eviction(chosen, "first_loads"),
            STORES=_eviction(chosen, "first_stores"),
            **meta(chosen),
        )
        return out
    if count == 0:
        return out.zero_()
    from .jit.stream import sum_kernel, total_kernel

    programs = cdiv(count, chosen["block"] * chosen["steps"])
    partial = torch.empty(programs, dtype=kind, device=x.device)
    launch(
        sum_kernel,
        (programs,),
        x,
        y,
        partial,
        count,
        DOT=op == "dot",
        BLOCK=chosen["block"],
        STEPS=chosen["steps"],
        WIDE=kind == torch.float64,
        **meta(chosen),
    )
    launch(total_kernel, (1,), partial, out, programs, BLOCK=1024, num_warps=8)
    return out


def _eviction(chosen: Mapping[str, int], switch: str) -> str:
    return "evict_first" if chosen.get(switch) else ""


def stream_torch(op: str, x: torch.Tensor, y: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """The same by one torch operator."""
    if op == "copy":
        return out.copy_(x)
    if op == "scale":
        return torch.mul(x, SCALAR, out=out)
    if op == "add":
        return torch.add(x, y, out=out)
    if op == "triad":
        return torch.add(x, y, alpha=SCALAR, out=out)
    if op == "dot":
        return torch.dot(x, y).view(1)
    return x.sum(dtype=out.dtype).view(1)


def formula(op: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mathematics in plain torch."""
    if op in ("dot", "read"):
        wide = _sum_kind(x.dtype)
        product = x.to(wide) * y.to(wide) if op == "dot" else x.to(wide)
        return product.sum().view(1)
    if op == "copy":
        return x.clone()
    return SCALAR * x if op == "scale" else x + (y if op == "add" else SCALAR * y)


def _sum_kind(kind: torch.dtype) -> torch.dtype:
    return torch.float64 if kind == torch.float64 else torch.float32


def _inputs(case: Case, fill: Fill) -> Tensors:
    (count,) = case.shape
    made = {"x": fill.normal(count, kind=case.kind)}
    if case.variant in ("add", "triad"):
        made["y"] = fill.normal(count, kind=case.kind)
    elif case.variant == "dot":
        # The sum is near one: a library that returns it in half precision cannot overflow, and y
        # goes with x, so that it does not vanish among the roundings of its terms either.
        made["x"] = fill.normal(count, kind=case.kind, scale=count**-0.5)
        made["y"] = made["x"] + fill.normal(count, kind=case.kind, scale=0.5 * count**-0.5)
    elif case.variant == "read":
        made["x"] = fill.uniform(count, kind=case.kind)
    return made


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    x = inputs["x"]
    if case.variant in ("dot", "read"):
        return {"out": x.new_empty(1, dtype=_sum_kind(x.dtype))}
    return {"out": torch.empty_like(x)}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, y, out = inputs["x"], inputs.get("y", inputs["x"]), outputs["out"]
    return lambda: {"out": stream_torch(case.variant, x, y, out)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, y, out = inputs["x"], inputs.get("y", inputs["x"]), outputs["out"]
    return lambda: {"out": stream(case.variant, x, y, out, arch=case.arch)}


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    x, y = inputs["x"], inputs.get("y", inputs["x"])
    return lambda: {"out": run(case.variant, x, y)}


_PART = 1 << 20
"""Elements compared at once."""


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """The worst part of the array; sums are compared whole."""
    x, out = before["x"], results["out"]
    y = before.get("y", x)
    parts = [slice(start, start + _PART) for start in range(0, x.numel(), _PART)]
    if case.variant in ("dot", "read"):
        sums = [formula(case.variant, x[part].double(), y[part].double()) for part in parts]
        return {"out": relative_error(out, torch.stack(sums).sum(0))}
    wanted = (formula(case.variant, x[part].double(), y[part].double()) for part in parts)
    errors = (relative_error(out[p], w) for p, w in zip(parts, wanted, strict=True))
    return {"out": max(errors, default=0.0)}


OP = Op(
    "stream",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
