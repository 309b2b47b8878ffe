"""Kernels of other libraries as rivals: Liger and FlagGems. Neither is ever required.

A maker takes a case and inputs of its own, and returns the work or None where the library has none
for the variant. What a library changed since is reported as a rival that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from bench.kernels import cross_entropy, layernorm, rmsnorm
from bench.kernels.op import Case, Tensors, Work, gradients

Maker = Callable[[Case, Tensors], Work | None]


def _differentiable(
    make: Callable[[Tensors], Any], results: tuple[str, ...], wanted: tuple[str, ...]
) -> Maker:
    """A maker from a differentiable function of the inputs, forward and backward; what it needs
    besides is made of them once, before any call."""

    def maker(case: Case, inputs: Tensors) -> Work | None:
        run = make(inputs)
        if case.variant.endswith("backward"):
            seeds = [name for name in inputs if name.startswith("d")]
            return gradients(run, inputs, wanted, seeds, [f"d{name}" for name in wanted])

        def work() -> Tensors:
            found = run(**inputs)
            return dict(zip(results, found if isinstance(found, tuple) else (found,), strict=False))

        return work

    return maker


def _liger(name: str) -> Any:
    from liger_kernel.transformers import functional

    return getattr(functional, f"liger_{name}")


def _liger_rmsnorm(inputs: Tensors) -> Any:
    run, run_added = _liger("rms_norm"), _liger("fused_add_rms_norm")

    def normed(x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None) -> Any:
        if residual is None:
            return run(x, weight, rmsnorm.EPS)
        return run_added(x, residual, weight, rmsnorm.EPS)

    return normed


def _liger_layernorm(inputs: Tensors) -> Any:
    run = _liger("layer_norm")
    return lambda x, weight, bias: run(x, weight, bias, layernorm.EPS)


def _liger_swiglu(inputs: Tensors) -> Any:
    run = _liger("swiglu")
    return lambda gate, up: run(gate, up)


def _liger_softmax(inputs: Tensors) -> Any:
    run = _liger("softmax")
    return lambda x: run(x)


def _liger_rope(inputs: Tensors) -> Any:
    run = _liger("rope")
    angles = torch.cat((inputs["table"], inputs["table"]), -1).unsqueeze(1)

    def turned(q: torch.Tensor, k: torch.Tensor, table: torch.Tensor) -> Any:
        # [tokens, heads, dim] seen as [1, heads, tokens, dim], which is how it lies in memory.
        views = (one.unsqueeze(0).transpose(1, 2) for one in (q, k))
        both = run(*views, *angles)
        return tuple(one.transpose(1, 2).squeeze(0) for one in both)

    return turned


def _liger_cross_entropy(case: Case, inputs: Tensors) -> Work:
    from liger_kernel.ops.cross_entropy import cross_entropy_forward

    logits, labels = inputs["logits"].requires_grad_(), inputs["labels"]

    def work() -> Tensors:
        with torch.no_grad():
            found = cross_entropy_forward(
                logits, labels, None, cross_entropy.IGNORE, 0.0, 0.0, "none", None, False
            )
        return {"losses": found[0], "gradient": found[-1].detach()}

    return work


def _gems_gemm(case: Case, inputs: Tensors) -> Work | None:
    import flag_gems

    if case.variant not in ("nn", "nt", "tn") or case.dtype not in ("bf16", "fp16"):
        return None
    return lambda: {"out": flag_gems.mm(inputs["a"], inputs["b"])}


def _gems_rmsnorm(case: Case, inputs: Tensors) -> Work | None:
    import flag_gems

    if case.variant != "forward":
        return None
    x, weight = inputs["x"], inputs["weight"]
    return lambda: {"y": flag_gems.rms_norm(x, [x.shape[1]], weight, rmsnorm.EPS)}


def _gems_swiglu(case: Case, inputs: Tensors) -> Work | None:
    import flag_gems

    if case.variant != "forward":
        return None
    return lambda: {"h": flag_gems.silu_and_mul(inputs["gate"], inputs["up"])}


def _gems_softmax(case: Case, inputs: Tensors) -> Work | None:
    import flag_gems

    if case.variant != "forward":
        return None
    return lambda: {"y": flag_gems.softmax(inputs["x"], -1)}


LIBRARIES: Mapping[str, Mapping[str, Maker]] = {
    "liger_kernel": {
        "rmsnorm": _differentiable(_liger_rmsnorm, ("y", "total"), ("x", "weight")),
        "layernorm": _differentiable(_liger_layernorm, ("y",), ("x", "weight", "bias")),
        "swiglu": _differentiable(_liger_swiglu, ("h",), ("gate", "up")),
        "softmax": _differentiable(_liger_softmax, ("y",), ("x",)),
        "rope": _differentiable(_liger_rope, ("q_out", "k_out"), ("q", "k")),
        "cross_entropy": _liger_cross_entropy,
    },
    "flag_gems": {
        "gemm": _gems_gemm,
        "rmsnorm": _gems_rmsnorm,
        "swiglu": _gems_swiglu,
        "softmax": _gems_softmax,
    },
}
"""Module, operation, maker."""
