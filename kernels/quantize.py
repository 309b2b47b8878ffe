"""Quantisation to fp8 e4m3: q = round(x / scale), scale = max|x| / largest fp8 value.

``tensor``: one scale for all elements, which are read twice; ``block``: one for 128 columns of a
row, read once (Micikevicius et al., FP8 Formats for Deep Learning, 2022; blocks as in DeepSeek-V3,
2024). 3 FLOPs an element. A scale is 1 where all is zero, and else at least the smallest normal
number of fp32. Largest values are found in two steps, without atomic operations.
"""

from __future__ import annotations

import torch

from .arguments import check_apart, check_tensor, check_written
from .dtypes import TORCH, largest, torch_dtype
from .launch import cdiv, launch
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

GROUP = 128
"""Columns that share a scale."""
NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}
FP8 = (torch.float8_e4m3fn, torch.float8_e4m3fnuz)


def quantize_tensor(
    x: torch.Tensor, q: torch.Tensor, scale: torch.Tensor, *, arch: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """q · scale ≈ x with one scale, by the Triton kernels.

    Args:
        x: [rows, width] in bf16, fp16 or fp32; rows may lie apart.
        q: [rows, width] in fp8 e4m3 (with or without infinities), likewise.
        scale: fp32, one element.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    rows, width = _check(x, q)
    check_tensor("scale", scale, torch.float32, (1,), x.device)
    check_apart("scale", scale, x=x)
    total = rows * width
    if total == 0:
        scale.fill_(1.0)
        return q, scale
    chosen = config(arch, "quantize", NAMES[x.dtype], size=total)
    shares = cdiv(total, chosen["block"] * chosen["steps"])
    partial = torch.empty(shares, dtype=torch.float32, device=x.device)
    limit = largest(q.dtype)
    from .jit.quantize import largest_kernel, scale_kernel, tensor_kernel

    launch(
        largest_kernel,
        (shares,),
        x,
        partial,
        width,
        total,
        x.stride(0),
        BLOCK=chosen["block"],
        STEPS=chosen["steps"],
        **meta(chosen),
    )
    launch(scale_kernel, (1,), partial, scale, shares, limit, BLOCK=1024, num_warps=8)
    launch(
        tensor_kernel,
        (cdiv(total, chosen["block"]),),
        x,
        q,
        scale,
        width,
        total,
        limit,
        x.stride(0),
        q.stride(0),
        BLOCK=chosen["block"],
        **meta(chosen),
    )
    return q, scale


def quantize_block(
    x: torch.Tensor, q: torch.Tensor, scale: torch.Tensor, *, arch: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """q · scale ≈ x with a scale for every 128 columns of a row, by the Triton kernel.

    Args:
        x, q, arch: As `quantize_tensor`.
        scale: fp32 [rows, ⌈width / 128⌉], contiguous.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    rows, width = _check(x, q)
    groups = cdiv(width, GROUP)
    check_tensor("scale", scale, torch.float32, (rows, groups), x.device, contiguous=True)
    check_apart("scale", scale, x=x)
    chosen = config(arch, "quantize_block", NAMES[x.dtype], size=rows * width)
    from .jit.quantize import block_kernel

    launch(
        block_kernel,
        (cdiv(rows * groups, chosen["groups"]),),
        x,
        q,
        scale,
        rows,
        width,
        groups,
        largest(q.dtype),
        x.stride(0),
        q.stride(0),
        GROUP=GROUP,
        GROUPS=chosen["groups"],
        **meta(chosen),
    )
    return q, scale


def _check(x: torch.Tensor, q: torch.Tensor) -> tuple[int, int]:
    check_tensor("x", x, tuple(NAMES), (None, None))
    check_tensor("q", q, FP8, x.shape, x.device)
    check_written(q=q)
    check_apart("q", q, x=x)
    return x.shape[0], x.shape[1]


def formula(x: torch.Tensor, kind: torch.dtype, block: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(q, scale) in plain torch, in fp32."""
    limit, wide = largest(kind), x.float()
    rows, width = x.shape
    if block:
        wide = torch.nn.functional.pad(wide, (0, -width % GROUP)).view(rows, -1, GROUP)
        top = wide.abs().amax(-1, keepdim=True)
    else:
        top = wide.abs().amax().view(1)
    smallest = torch.finfo(torch.float32).tiny
    scale = torch.where(top > 0, (top / limit).clamp_min(smallest), 1.0)
    q = (wide / scale).clamp(-limit, limit)
    if block:
        q, scale = q.reshape(rows, -1)[:, :width], scale.squeeze(-1)
    return q.to(kind), scale


def dequantize(q: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """fp32 values of q [rows, width] under one scale, or one for every 128 columns."""
    if scale.dim() == 2:
        scale = scale.repeat_interleave(GROUP, 1)[:, : q.shape[1]]
    return q.float() * scale


def _inputs(case: Case, fill: Fill) -> Tensors:
    return {"x": fill.normal(*case.shape, kind=case.kind)}


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    rows, width = case.shape
    x, kind = inputs["x"], torch_dtype("fp8_e4m3", case.arch)
    shape = (rows, cdiv(width, GROUP)) if case.variant == "block" else (1,)
    return {
        "q": x.new_empty(rows, width, dtype=kind),
        "scale": x.new_empty(shape, dtype=torch.float32),
    }


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    kind, block = outputs["q"].dtype, case.variant == "block"
    return lambda: dict(zip(("q", "scale"), formula(inputs["x"], kind, block), strict=True))


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    kind, block = outputs["q"].dtype, case.variant == "block"
    return lambda: dict(zip(("q", "scale"), run(inputs["x"], kind, block), strict=True))


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = quantize_block if case.variant == "block" else quantize_tensor

    def work() -> Tensors:
        run(inputs["x"], outputs["q"], outputs["scale"], arch=case.arch)
        return outputs

    return work


_LOST = 2.0**-4
"""Half a unit of e4m3's last place, relative: what rounding to it may lose of a normal number."""


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """Scales against fp64; every q · scale within half a unit in the last place of x.

    The error of q is by how much the worst element exceeds that, relative to it, and zero for
    correct rounding: an ordinary relative error of 8-bit values would hide a wrong one.
    """
    x, q, scale = before["x"].double(), results["q"].double(), results["scale"]
    _, wanted = formula(before["x"], results["q"].dtype, case.variant == "block")
    factor = scale.double()
    if case.variant == "block":
        factor = factor.repeat_interleave(GROUP, 1)[:, : x.shape[1]]
    smallest = float(torch.finfo(results["q"].dtype).tiny)  # below it steps are equally wide
    allowed = _LOST * torch.maximum((x / factor).abs(), torch.full_like(x, smallest))
    excess = ((q - x / factor).abs() / allowed - 1.0 - 1e-6).clamp_min(0.0)
    return {"q": float(excess.max()), "scale": relative_error(scale, wanted)}


OP = Op(
    "quantize",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
