"""The first half of a SwiGLU feed-forward in one kernel: h = silu(X · Wg) · (X · Wu).

Two matrix products that share X, and the activation before anything is written: 4·M·N·K FLOPs
and one array instead of three to memory (Shazeer, GLU Variants Improve Transformer, 2020). The
backward pass needs both products; with ``keep`` they are written too.
"""

from __future__ import annotations

from typing import Any

import torch

from . import gemm as products
from .arguments import as_rows, check_apart, check_is_tensor, check_tensor, check_written
from .gemm import FLOATS, NAMES
from .launch import cdiv, describable, launch, processors, with_scratch
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .swiglu import backward as swiglu_backward
from .tuning import config, meta

FARTHEST = 1 << 40
"""Bytes that a descriptor's stride stays below."""


def gate_up(
    x: torch.Tensor,
    gate: torch.Tensor,
    up: torch.Tensor,
    h: torch.Tensor,
    *,
    keep: tuple[torch.Tensor, torch.Tensor] | None = None,
    arch: str | None = None,
) -> torch.Tensor:
    """h = silu(x · gate) · (x · up) by the Triton kernel.

    Args:
        x: [M, K], inner stride 1, bf16 or fp16 (or fp32).
        gate, up: [K, N], equal strides, one of them 1.
        h: [M, N]; ``keep``: two more of its strides, which receive x · gate and x · up.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, FLOATS, (None, None))
    check_is_tensor("gate", gate)
    (m, k), n = x.shape, gate.shape[1] if gate.dim() == 2 else 0
    for name, one in (("gate", gate), ("up", up)):
        check_tensor(name, one, x.dtype, (k, n), x.device, inner=False)
        if one.stride() != gate.stride() or (min(one.shape) > 1 and 1 not in one.stride()):
            raise ValueError(f"{name}: got strides {one.stride()}, takes those of gate, one of 1")
    if keep is not None and len(keep) != 2:
        raise ValueError(f"keep: got {len(keep)} tensors, takes 2")
    for name, one in (("h", h), *zip(("keep[0]", "keep[1]"), keep or (), strict=False)):
        check_tensor(name, one, x.dtype, (m, n), x.device)
        if one.stride() != h.stride():
            raise ValueError(f"{name}: got strides {one.stride()}, takes those of h")
        check_apart(name, one, x=x, gate=gate, up=up)
    check_written(**{"h": h, **dict(zip(("keep[0]", "keep[1]"), keep or (), strict=False))})
    if m == 0 or n == 0:
        return h
    written = keep or (h, h)
    # Of one column the stride of 1 may be that of rows, which no descriptor takes.
    aligned = min(k, n) > 1 and describable(x, gate, up, h, *written)
    chosen = config(arch, "gate_up", NAMES[x.dtype], size=m * n, aligned=int(aligned))
    tiles = cdiv(m, chosen["block_m"]) * cdiv(n, chosen["block_n"])
    grid = (min(tiles, chosen.get("waves", tiles) * processors(x.device)),)
    constants: dict[str, Any] = {
        "BLOCK_M": chosen["block_m"],
        "BLOCK_N": chosen["block_n"],
        "BLOCK_K": chosen["block_k"],
        "GROUP": chosen["group_m"],
        "PRECISION": "ieee",
        "KEEP": keep is not None,
        **meta(chosen),
    }
    pointers = (x, gate, up, h, *written, m, n, k, x.stride(0))
    if chosen.get("tma") and aligned:
        with_scratch(x.device)
        constants["FLATTEN"] = bool(chosen.get("flatten"))
        turned = gate.stride(1) != 1
        apart = _apart(gate, up) if turned and chosen.get("paired") else 0
        if apart:
            from .jit.gate_up_paired import gate_up_paired_kernel

            launch(
                gate_up_paired_kernel,
                grid,
                x,
                gate if apart > 0 else up,
                h,
                *written,
                m,
                n,
                k,
                x.stride(0),
                abs(apart),
                gate.stride(1),
                h.stride(0),
                GATE_FIRST=apart > 0,
                **constants,
            )
            return h
        from .jit.gemm_tma import gate_up_tma_kernel

        launch(
            gate_up_tma_kernel,
            grid,
            *pointers,
            gate.stride(1 if turned else 0),
            h.stride(0),
            W_TURNED=turned,
            **constants,
        )
        return h
    from .jit.gemm import gate_up_kernel

    launch(
        gate_up_kernel,
        grid,
        *pointers,
        gate.stride(0),
        gate.stride(1),
        h.stride(0),
        EVEN_MN=m % chosen["block_m"] == 0 and n % chosen["block_n"] == 0,
        EVEN_K=k % chosen["block_k"] == 0,
        **constants,
    )
    return h


def _apart(gate: torch.Tensor, up: torch.Tensor) -> int:
    """Elements from ``gate`` to ``up``, where a descriptor can take both for one array; else 0."""
    away = up.data_ptr() - gate.data_ptr()
    return away // gate.element_size() if abs(away) < FARTHEST and away % 16 == 0 else 0


class GateUp(torch.autograd.Function):
    """Differentiable silu(x · Wgᵀ) · (x · Wuᵀ) with weights [N, K], as linear layers keep them."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        gate: torch.Tensor,
        up: torch.Tensor,
        graph: bool,
        arch: str | None,
    ) -> torch.Tensor:
        """[..., N]."""
        flat = as_rows("x", x).contiguous()
        for name, one in (("gate", gate), ("up", up)):
            wanted = (None, flat.shape[1]) if one is gate else gate.shape
            check_tensor(name, one, x.dtype, wanted, x.device, inner=False)
        h = flat.new_empty(flat.shape[0], gate.shape[0])
        keep = (torch.empty_like(h), torch.empty_like(h)) if graph else None
        gate_up(flat, gate.t(), up.t(), h, keep=keep, arch=arch)
        if keep is not None:
            ctx.save_for_backward(flat, gate, up, *keep)
        ctx.arch = arch
        return h.view(*x.shape[:-1], gate.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of x and both weights, those that are asked for: up to four products."""
        x, gate, up, g, u = ctx.saved_tensors
        dh = grads[0].reshape(g.shape).contiguous()
        dg, du = torch.empty_like(g), torch.empty_like(u)
        swiglu_backward(dh, g, u, dg, du, arch=ctx.arch)
        dx = dgate = dup = None
        if ctx.needs_input_grad[0]:
            dx = products.gemm(dg, gate, torch.empty_like(x), arch=ctx.arch)
            dx += products.gemm(du, up, torch.empty_like(x), arch=ctx.arch)
            dx = dx.view(*grads[0].shape[:-1], x.shape[1])
        if ctx.needs_input_grad[1]:
            dgate = products.gemm(dg.t(), x, gate.new_empty(gate.shape), arch=ctx.arch)
        if ctx.needs_input_grad[2]:
            dup = products.gemm(du.t(), x, up.new_empty(up.shape), arch=ctx.arch)
        return dx, dgate, dup, None, None


def feed_in(
    x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """Differentiable silu(x · gateᵀ) · (x · upᵀ) of x [..., K], weights [N, K].

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    graph = torch.is_grad_enabled()  # else nothing is kept for a backward pass
    return GateUp.apply(x, gate, up, graph, arch)  # type: ignore[no-untyped-call,no-any-return]


def formula(x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """The mathematics in plain torch."""
    return torch.nn.functional.silu(x @ gate) * (x @ up)


def _inputs(case: Case, fill: Fill) -> Tensors:
    m, n, k = case.shape
    # Products near one: silu is then neither linear nor flat.
    weights = {
        name: fill.normal(n, k, kind=case.kind, scale=k**-0.5).t() for name in ("gate", "up")
    }
    return {"x": fill.normal(m, k, kind=case.kind), **weights}


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    m, n, _ = case.shape
    return {"h": inputs["x"].new_empty(m, n)}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    return lambda: {"h": formula(**inputs)}


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    return lambda: {"h": run(**inputs)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, gate, up, h = inputs["x"], inputs["gate"], inputs["up"], outputs["h"]
    return lambda: {"h": gate_up(x, gate, up, h, arch=case.arch)}


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """A row of every 64."""
    rows = fill.pick(before["x"].shape[0], max(64, cdiv(before["x"].shape[0], 64)))
    weights = before["gate"].double(), before["up"].double()
    wanted = formula(before["x"][rows].double(), *weights)
    return {"h": relative_error(results["h"][rows], wanted)}


OP = Op(
    "gate_up",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
