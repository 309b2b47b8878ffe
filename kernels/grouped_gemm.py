"""Products of a mixture of experts: rows of x, sorted by expert, each times its expert's weights.

out[t] = x[t] · w[e] for offsets[e] ≤ t < offsets[e+1]. 2·T·N·K FLOPs whatever the split; x, the
weights and out are moved once. All experts' tiles are one launch, found on the device from the
offsets, so that the host never waits for the router (Gale et al., MegaBlocks, 2022). Gradients:
of x the same with the weights transposed, of w one product over each expert's rows.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from .arguments import check_apart, check_extent, check_tensor, check_written
from .launch import cdiv, describable, launch, power_of_2, processors, with_scratch
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
MOST = 65535
"""Experts: the second dimension of a grid."""


def forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    offsets: torch.Tensor,
    out: torch.Tensor,
    *,
    arch: str | None = None,
) -> torch.Tensor:
    """out[t] = x[t] · weight[expert of t] by the Triton kernel.

    Args:
        x: [tokens, K] in bf16, fp16 or fp32, inner stride 1; rows sorted by expert.
        weight: [experts, K, N]; K or N has stride 1.
        offsets: int32 [experts + 1], contiguous, ascending from 0 to tokens: the first row of
            each expert. Not read on the host, so not checked.
        out: [tokens, N], inner stride 1.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    tokens, k = x.shape
    check_tensor("weight", weight, x.dtype, (None, k, None), x.device, inner=False)
    experts, _, n = weight.shape
    check_extent("weight: experts", experts, 1 if tokens else 0, MOST)
    if min(k, n) > 1 and 1 not in weight.stride()[1:]:
        raise ValueError(f"weight: got strides {weight.stride()}, takes 1 in one of the last two")
    check_tensor("offsets", offsets, torch.int32, (experts + 1,), x.device, contiguous=True)
    check_tensor("out", out, x.dtype, (tokens, n), x.device)
    check_written(out=out)
    check_apart("out", out, x=x, weight=weight)
    if tokens == 0 or n == 0:
        return out
    size, aligned = tokens // max(experts, 1) * n, k > 0 and describable(x, weight)
    chosen = config(arch, "grouped_gemm", NAMES[x.dtype], size=size, aligned=int(aligned))
    rows = tokens // chosen["block_m"] + experts  # no split has more: each expert wastes under one
    tiles = rows * cdiv(n, chosen["block_n"])
    constants: dict[str, Any] = {
        "BLOCK_M": chosen["block_m"],
        "BLOCK_N": chosen["block_n"],
        "BLOCK_K": chosen["block_k"],
        "GROUP": chosen["group_m"],
        "EXPERTS": power_of_2(experts),
        "PRECISION": "ieee",
        **meta(chosen),
    }
    if chosen.get("tma") and aligned:
        from .jit.grouped_gemm_tma import grouped_tma_kernel

        with_scratch(x.device)
        turned = weight.stride(2) != 1
        launch(
            grouped_tma_kernel,
            (min(tiles, chosen.get("waves", tiles) * processors(x.device)),),
            x,
            weight,
            offsets,
            out,
            tokens,
            n,
            k,
            experts,
            x.stride(0),
            weight.stride(0),
            weight.stride(2 if turned else 1),
            out.stride(0),
            W_TURNED=turned,
            SUBTILE=bool(chosen.get("subtile")),
            FLATTEN=bool(chosen.get("flatten")),
            **constants,
        )
        return out
    from .jit.grouped_gemm import grouped_kernel

    launch(
        grouped_kernel,
        (tiles,),
        x,
        weight,
        offsets,
        out,
        tokens,
        n,
        k,
        experts,
        rows,
        x.stride(0),
        weight.stride(0),
        weight.stride(1),
        weight.stride(2),
        out.stride(0),
        EVEN_N=n % chosen["block_n"] == 0,
        EVEN_K=k % chosen["block_k"] == 0,
        **constants,
    )
    return out


def backward_weight(
    x: torch.Tensor,
    dy: torch.Tensor,
    offsets: torch.Tensor,
    dweight: torch.Tensor,
    *,
    arch: str | None = None,
) -> torch.Tensor:
    """dweight[e] = Σ x[t]ᵀ · dy[t] over the rows of expert e, by the Triton kernel.

    Args:
        x: [tokens, K]; dy: [tokens, N]; one dtype, inner stride 1.
        offsets, arch: As `forward`.
        dweight: [experts, K, N], contiguous.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    tokens, k = x.shape
    check_tensor("dy", dy, x.dtype, (tokens, None), x.device)
    n = dy.shape[1]
    check_tensor("dweight", dweight, x.dtype, (None, k, n), x.device, contiguous=True)
    experts = dweight.shape[0]
    check_extent("dweight: experts", experts, 0, MOST)
    check_apart("dweight", dweight, x=x, dy=dy)
    check_tensor("offsets", offsets, torch.int32, (experts + 1,), x.device, contiguous=True)
    aligned = tokens > 0 and describable(x, dy)
    chosen = config(arch, "grouped_gemm_weight", NAMES[x.dtype], size=k * n, aligned=int(aligned))
    by_tma = chosen.get("tma") and aligned
    if by_tma:
        from .jit.grouped_gemm_tma import weight_tma_kernel as kernel

        with_scratch(x.device)
    else:
        from .jit.grouped_gemm import weight_kernel as kernel
    launch(
        kernel,
        (cdiv(k, chosen["block_m"]) * cdiv(n, chosen["block_n"]), experts),
        x,
        dy,
        offsets,
        dweight,
        *([tokens] if by_tma else []),
        n,
        k,
        x.stride(0),
        dy.stride(0),
        BLOCK_T=chosen["block_k"],
        BLOCK_K=chosen["block_m"],
        BLOCK_N=chosen["block_n"],
        PRECISION="ieee",
        **meta(chosen),
    )
    return dweight


class GroupedGemm(torch.autograd.Function):
    """Differentiable products of sorted rows with their experts' weights."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, offsets: torch.Tensor, arch: str | None
    ) -> torch.Tensor:
        """[tokens, N]."""
        check_tensor("x", x, tuple(NAMES), (None, None))
        check_tensor("weight", weight, x.dtype, (None, x.shape[1], None), x.device, inner=False)
        ctx.save_for_backward(x, weight, offsets)
        ctx.arch = arch
        return forward(x, weight, offsets, x.new_empty(x.shape[0], weight.shape[2]), arch=arch)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of x and weight, those that are asked for."""
        x, weight, offsets = ctx.saved_tensors
        dy, dx, dweight = grads[0].contiguous(), None, None
        if ctx.needs_input_grad[0]:
            dx = forward(dy, weight.transpose(1, 2), offsets, torch.empty_like(x), arch=ctx.arch)
        if ctx.needs_input_grad[1]:
            dweight = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
            backward_weight(x, dy, offsets, dweight, arch=ctx.arch)
        return dx, dweight, None, None


def grouped_gemm(
    x: torch.Tensor, weight: torch.Tensor, offsets: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """Differentiable x[t] · weight[e]: x [tokens, K], weight [experts, K, N], offsets as `forward`.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    return GroupedGemm.apply(x, weight, offsets, arch)  # type: ignore[no-untyped-call,no-any-return]


def split(tokens: int, experts: int, skewed: bool) -> list[int]:
    """Offsets of an even split, or of one as a badly balanced router makes it.

    Skewed: expert i gets a share that falls like 1 / (i + 1), the last quarter gets nothing, and
    large and small ones alternate.
    """
    if skewed:
        busy = max(1, experts - experts // 4)
        shares = [1 / (rank + 1) for rank in range(busy)]
        sizes = [int(tokens * share / sum(shares)) for share in shares]
        sizes[0] += tokens - sum(sizes)
        sizes += [0] * (experts - busy)
        sizes = sizes[0::2] + sizes[1::2][::-1]
    else:
        sizes = [tokens * (i + 1) // experts - tokens * i // experts for i in range(experts)]
    found = [0]
    for size in sizes:
        found.append(found[-1] + size)
    return found


def formula(x: torch.Tensor, weight: torch.Tensor, bounds: list[int]) -> torch.Tensor:
    """The mathematics in plain torch: one product an expert."""
    return torch.cat([x[a:b] @ weight[e] for e, (a, b) in enumerate(_pairs(bounds))])


def _pairs(bounds: list[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(bounds))


def _bounds(case: Case) -> list[int]:
    return split(case.shape[1], case.shape[0], case.variant != "even")


def _inputs(case: Case, fill: Fill) -> Tensors:
    experts, tokens, n, k = case.shape
    bounds = torch.tensor(_bounds(case), dtype=torch.int32).to(fill.device)
    made = {"x": fill.normal(tokens, k, kind=case.kind), "offsets": bounds}
    if case.variant == "backward_weight":
        return {**made, "dy": fill.normal(tokens, n, kind=case.kind)}
    return {**made, "weight": fill.normal(experts, k, n, kind=case.kind)}


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    experts, tokens, n, k = case.shape
    x = inputs["x"]
    if case.variant == "backward_weight":
        return {"dweight": x.new_empty(experts, k, n)}
    return {"out": x.new_empty(tokens, n)}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    """The library's grouped product where it has one for this device and dtype, else a loop."""
    ends, x = inputs["offsets"][1:], inputs["x"]
    back = case.variant == "backward_weight"
    left, right = (x.t(), inputs["dy"]) if back else (x, inputs["weight"])
    name = "dweight" if back else "out"
    grouped = getattr(torch.nn.functional, "grouped_mm", None) or getattr(
        torch, "_grouped_mm", None
    )
    if grouped is not None:
        try:
            grouped(left, right, offs=ends)
        except (RuntimeError, NotImplementedError, ValueError):
            pass
        else:
            return lambda: {name: grouped(left, right, offs=ends)}
    pairs = _pairs(_bounds(case))
    if back:
        return lambda: {name: torch.stack([left[:, a:b] @ right[a:b] for a, b in pairs])}
    return lambda: {name: formula(x, right, _bounds(case))}


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    bounds = _bounds(case)
    if case.variant == "backward_weight":
        x, dy = inputs["x"], inputs["dy"]

        def weights(x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
            return torch.stack([x[a:b].t() @ dy[a:b] for a, b in _pairs(bounds)])

        backward = torch.compile(weights, dynamic=False)
        return lambda: {"dweight": backward(x, dy)}
    run = torch.compile(formula, dynamic=False)
    return lambda: {"out": run(inputs["x"], inputs["weight"], bounds)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, offsets, arch = inputs["x"], inputs["offsets"], case.arch
    if case.variant == "backward_weight":
        dy, dweight = inputs["dy"], outputs["dweight"]
        return lambda: {"dweight": backward_weight(x, dy, offsets, dweight, arch=arch)}
    return lambda: {"out": forward(x, inputs["weight"], offsets, outputs["out"], arch=arch)}


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """Random rows of the result with their experts; of dweight some rows of every expert."""
    x, bounds = before["x"], before["offsets"].tolist()
    if case.variant == "backward_weight":
        rows, dy = fill.pick(x.shape[1], 16), before["dy"]
        exact = [x[a:b][:, rows].double().t() @ dy[a:b].double() for a, b in _pairs(bounds)]
        return {"dweight": relative_error(results["dweight"][:, rows], torch.stack(exact))}
    rows = fill.pick(x.shape[0])
    experts = torch.searchsorted(before["offsets"][1:], rows.to(torch.int32), right=True)
    exact = [
        x[row].double() @ before["weight"][expert].double()
        for row, expert in zip(rows, experts, strict=True)
    ]
    return {"out": relative_error(results["out"][rows], torch.stack(exact))}


OP = Op(
    "grouped_gemm",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
