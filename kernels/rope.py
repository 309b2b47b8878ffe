"""Rotary position embedding (Su et al., RoFormer, 2021) of queries and keys in one launch.

Pairs (i, i + D/2) of every head turn by the token's angle: y_i = x_i·cos - x_{i+D/2}·sin, and
y_{i+D/2} = x_{i+D/2}·cos + x_i·sin. 3 FLOPs an element; queries and keys are read and written
once, the fp32 table of angles once for all heads. The gradient is the turn the other way.
"""

from __future__ import annotations

from typing import Any

import torch

from .arguments import check_apart, check_constant, check_is_tensor, check_tensor, check_written
from .dtypes import TORCH
from .launch import launch, power_of_2, strides
from .op import Case, Fill, Op, Tensors, Work, plain
from .tuning import config, meta

BASE = 10_000.0
NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def rotate(
    q: torch.Tensor,
    k: torch.Tensor,
    table: torch.Tensor,
    q_out: torch.Tensor,
    k_out: torch.Tensor,
    *,
    backward: bool = False,
    arch: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn q and k by the Triton kernel.

    Args:
        q, q_out: [tokens, heads, head_dim] in bf16, fp16 or fp32; head_dim even, inner stride 1.
        k, k_out: [tokens, kv_heads, head_dim]. q_out may be q, and k_out k.
        table: fp32 [2, tokens, head_dim / 2], contiguous: cosines, then sines.
        backward: Turn the other way: the gradients of the inputs from those of the outputs.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("q", q, tuple(NAMES), (None, None, None))
    tokens, heads, dim = q.shape
    if dim == 0 or dim % 2:
        raise ValueError(f"q: got head_dim {dim}, takes an even one")
    check_tensor("k", k, q.dtype, (tokens, None, dim), q.device)
    check_tensor("table", table, torch.float32, (2, tokens, dim // 2), q.device, contiguous=True)
    check_tensor("q_out", q_out, q.dtype, q.shape, q.device)
    check_tensor("k_out", k_out, q.dtype, k.shape, q.device)
    check_written(q_out=q_out, k_out=k_out)
    check_apart("q_out", q_out, q=q, same=True)
    check_apart("q_out", q_out, k=k, table=table)
    check_apart("k_out", k_out, k=k, same=True)
    check_apart("k_out", k_out, q=q, table=table)
    chosen = config(arch, "rope", NAMES[q.dtype], head_dim=dim)
    from .jit.rope import rope_kernel

    launch(
        rope_kernel,
        (tokens,),
        q,
        k,
        table,
        q_out,
        k_out,
        heads,
        k.shape[1],
        *strides(q, (0, 1)),
        *strides(k, (0, 1)),
        *strides(q_out, (0, 1)),
        *strides(k_out, (0, 1)),
        HALF=dim // 2,
        BLOCK=power_of_2(dim // 2),
        HEADS=min(chosen["heads"], power_of_2(heads)),
        KV_HEADS=min(chosen["heads"], power_of_2(k.shape[1])),
        BACKWARD=backward,
        **meta(chosen),
    )
    return q_out, k_out


class RoPE(torch.autograd.Function):
    """Differentiable turn of queries and keys."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, table: torch.Tensor, arch: str | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As q and k, without gaps."""
        ctx.save_for_backward(table)
        ctx.arch = arch
        out = [torch.empty(one.shape, dtype=one.dtype, device=one.device) for one in (q, k)]
        return rotate(q, k, table, *out, arch=arch)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of q and k."""
        (table,) = ctx.saved_tensors
        dq, dk = (one.contiguous() for one in grads)
        out = [torch.empty_like(one) for one in (dq, dk)]
        return (*rotate(dq, dk, table, *out, backward=True, arch=ctx.arch), None, None)


def rope(
    q: torch.Tensor, k: torch.Tensor, table: torch.Tensor, *, arch: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Differentiable turn of q [tokens, heads, head_dim] and k [tokens, kv_heads, head_dim].

    ``table``: fp32 [2, tokens, head_dim / 2], cosines and sines of the tokens' angles.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_is_tensor("q", q)
    check_is_tensor("k", k)
    check_constant(table=table)
    return RoPE.apply(q, k, table, arch)  # type: ignore[no-untyped-call,no-any-return]


def angles(tokens: int, head_dim: int, device: torch.device) -> torch.Tensor:
    """fp32 [2, tokens, head_dim / 2]: cosines and sines of token · base^(-2i / head_dim)."""
    half = head_dim // 2
    rates = BASE ** (-torch.arange(half, dtype=torch.float32, device=device) / half)
    turns = torch.arange(tokens, dtype=torch.float32, device=device)[:, None] * rates
    return torch.stack([turns.cos(), turns.sin()])


def formula(
    q: torch.Tensor, k: torch.Tensor, table: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mathematics in plain torch."""
    cosine, sine = table[:, :, None, :]

    def turned(x: torch.Tensor) -> torch.Tensor:
        first, second = (x if x.dtype == torch.float64 else x.float()).chunk(2, -1)
        both = [first * cosine - second * sine, second * cosine + first * sine]
        return torch.cat(both, -1).to(x.dtype)

    return turned(q), turned(k)


def _inputs(case: Case, fill: Fill) -> Tensors:
    tokens, heads, kv_heads, dim = case.shape
    made = {
        "q": fill.normal(tokens, heads, dim, kind=case.kind),
        "k": fill.normal(tokens, kv_heads, dim, kind=case.kind),
        "table": angles(tokens, dim, fill.device),
    }
    if case.variant == "backward":
        made["dq_out"] = fill.normal(tokens, heads, dim, kind=case.kind)
        made["dk_out"] = fill.normal(tokens, kv_heads, dim, kind=case.kind)
    return made


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    names = ("dq", "dk") if case.variant == "backward" else ("q_out", "k_out")
    q, k = inputs["q"], inputs["k"]
    return {name: one.new_empty(one.shape) for name, one in zip(names, (q, k), strict=True)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    back = case.variant == "backward"
    q, k = (inputs[f"d{name}_out" if back else name] for name in ("q", "k"))
    q_out, k_out = outputs.values()

    def work() -> Tensors:
        rotate(q, k, inputs["table"], q_out, k_out, backward=back, arch=case.arch)
        return outputs

    return work


_RESULTS, _WANTED = ("q_out", "k_out"), ("q", "k")
_formula = plain(formula, _RESULTS, _WANTED)

OP = Op(
    "rope",
    _inputs,
    _outputs,
    {
        "torch": _formula,  # torch has no operator of its own for this
        "triton": _triton,
        "compile": plain(formula, _RESULTS, _WANTED, compiled=True),
    },
    expected=lambda case, inputs: _formula(case, inputs, {})(),
)
