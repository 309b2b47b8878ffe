"""Scaled dot-product attention with an exact, running softmax, forward and backward.

O = softmax(Q·Kᵀ / √D) · V for every head; with ``causal`` a query sees the keys up to its own.
Scores never reach memory (Dao, FlashAttention-2, 2023). Several query heads may share a key head
(grouped queries, Ainslie et al., 2023). Forward 4·D FLOPs a query–key pair (two products),
backward 10·D (five; the scores are computed again and not counted). The backward pass has a
kernel for dK and dV and one for dQ, each of which writes its own rows: deterministic, at the
price of two products more than one pass with atomic additions, which an architecture may have as
a variant of its own (``one_pass``): never where PyTorch is asked for deterministic algorithms.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .arch import variant
from .arguments import (
    check_apart,
    check_choice,
    check_extent,
    check_is_tensor,
    check_tensor,
    check_written,
)
from .launch import cdiv, describable, launch, with_scratch
from .op import Case, Fill, Op, Tensors, Work, gradients
from .reference import relative_error
from .tuning import config, meta

HEAD_DIMS = (64, 128, 256)
NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
MOST = 65535
"""Heads of all sequences: the second dimension of a grid."""
FARTHEST = (1 << 23) - 1
"""Elements between rows of a head: places within a tile of up to 256 rows are 32-bit."""
_LOG2E = 1.4426950408889634


def forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    *,
    causal: bool,
    arch: str | None = None,
) -> torch.Tensor:
    """Attention by the Triton kernel.

    Args:
        q: [batch, heads, seq, head_dim], bf16 or fp16, inner stride 1; head_dim 64, 128 or 256.
        k, v: [batch, kv_heads, seq, head_dim]; kv_heads divides heads.
        out: As q, and may be q.
        lse: fp32 [batch, heads, seq], contiguous: receives ln Σ exp of the scaled scores.
        causal: Whether a query sees only keys up to its own place.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    _check(q, k, v, lse, out=out)
    check_written(out=out)
    check_apart("out", out, q=q, same=True)
    check_apart("out", out, k=k, v=v)
    batch, heads, seq, dim = q.shape
    chosen = config(arch, "attention", NAMES[q.dtype], head_dim=dim, causal=int(causal))
    aligned = describable(q, k, v, out)
    own = variant(arch, "attention") if chosen.get("arch_variant") and aligned else None
    if own is not None and own.takes(q, k, v, out):
        own.forward(q, k, v, out, lse, causal=causal, chosen=chosen)
        return out
    by_tma = bool(chosen.get("tma")) and aligned
    constants: dict[str, Any] = {}
    if by_tma:
        from .jit.attention_tma import forward_tma_kernel as kernel

        with_scratch(q.device)
        constants["SPECIALIZE"] = bool(chosen.get("specialize"))
    else:
        from .jit.attention import forward_kernel as kernel
    launch(
        kernel,
        (cdiv(seq, chosen["block_m"]), batch * heads),
        q,
        k,
        v,
        out,
        lse,
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        *out.stride()[:3],
        heads,
        heads // max(k.shape[1], 1),
        seq,
        _LOG2E / math.sqrt(dim),
        DIM=dim,
        BLOCK_M=chosen["block_m"],
        BLOCK_N=chosen["block_n"],
        CAUSAL=causal,
        **constants,
        **meta(chosen),
    )
    return out


def backward(
    do: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    dq: torch.Tensor,
    dk: torch.Tensor,
    dv: torch.Tensor,
    *,
    causal: bool,
    arch: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of q, k and v by the Triton kernels.

    Args:
        do: Gradient of ``out``, of its shape; inner stride 1.
        q, k, v, out, lse, causal, arch: As the forward pass took and left them.
        dq, dk, dv: Contiguous, of the shapes of q, k and v.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    _check(q, k, v, lse, out=out, do=do)
    for name, one, like in (("dq", dq, q), ("dk", dk, k), ("dv", dv, v)):
        check_tensor(name, one, q.dtype, like.shape, q.device, contiguous=True)
        check_apart(name, one, q=q, k=k, v=v, do=do)
    check_written(dq=dq, dk=dk, dv=dv)
    batch, heads, seq, dim = q.shape
    group, scale = heads // max(k.shape[1], 1), 1.0 / math.sqrt(dim)
    aligned = describable(q, k, v, do, dq, dk, dv)
    chosen = config(arch, "attention_key_value", NAMES[q.dtype], head_dim=dim, causal=int(causal))
    one_pass = chosen.get("one_pass") and not torch.are_deterministic_algorithms_enabled()
    if one_pass and chosen.get("arch_variant") and aligned:
        own = variant(arch, "attention_key_value")
        if own is not None and own.takes_whole(q, k, v, do, dk, dv):
            own.whole(q, k, v, do, out, lse, dq, dk, dv, causal=causal, chosen=chosen)
            return dq, dk, dv
    delta = torch.empty_like(lse)
    from .jit.attention import delta_kernel, key_value_kernel, query_kernel

    launch(
        delta_kernel,
        (cdiv(seq, 64), batch * heads),
        out,
        do,
        delta,
        *out.stride()[:3],
        *do.stride()[:3],
        heads,
        seq,
        DIM=dim,
        BLOCK_M=64,
        num_warps=8 if dim > 64 else 4,
    )
    strides = (*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *do.stride()[:3])
    for op, results, rows, lines in (
        ("attention_key_value", (dk, dv), "block_n", batch * k.shape[1]),
        ("attention_query", (dq,), "block_m", batch * heads),
    ):
        chosen = config(arch, op, NAMES[q.dtype], head_dim=dim, causal=int(causal))
        if op == "attention_key_value" and chosen["block_n"] % chosen["block_m"]:
            raise ValueError(f"configuration of {op}: block_n must be a multiple of block_m")
        own = variant(arch, op) if chosen.get("arch_variant") and aligned else None
        if own is not None and own.takes(q, k, v, do, *results):
            write = getattr(own, op.removeprefix("attention_"))
            write(q, k, v, do, lse, delta, *results, causal=causal, chosen=chosen)
            continue
        kernel = key_value_kernel if op == "attention_key_value" else query_kernel
        if chosen.get("tma") and aligned:
            from .jit import attention_tma

            with_scratch(q.device)
            kernel = getattr(attention_tma, kernel.__name__.replace("_kernel", "_tma_kernel"))
        launch(
            kernel,
            (cdiv(seq, chosen[rows]), lines),
            q,
            k,
            v,
            do,
            lse,
            delta,
            *results,
            *strides,
            heads,
            group,
            seq,
            scale * _LOG2E,
            scale,
            DIM=dim,
            BLOCK_M=chosen["block_m"],
            BLOCK_N=chosen["block_n"],
            CAUSAL=causal,
            EVEN=seq % chosen["block_m"] == 0 and seq % chosen["block_n"] == 0,
            **meta(chosen),
        )
    return dq, dk, dv


def _check(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lse: torch.Tensor, **like: torch.Tensor
) -> None:
    check_tensor("q", q, tuple(NAMES), (None,) * 4)
    batch, heads, seq, dim = q.shape
    check_extent("q: batch · heads", batch * heads, 0, MOST)
    check_choice("q: head_dim", dim, HEAD_DIMS)
    check_tensor("k", k, q.dtype, (batch, None, seq, dim), q.device)
    if k.shape[1] == 0 or heads % k.shape[1]:
        raise ValueError(f"k: got {k.shape[1]} heads, takes a divisor of {heads} (heads of q)")
    check_tensor("v", v, q.dtype, k.shape, q.device)
    check_tensor("lse", lse, torch.float32, (batch, heads, seq), q.device, contiguous=True)
    for name, one in like.items():
        check_tensor(name, one, q.dtype, q.shape, q.device)
    for name, one in {"q": q, "k": k, "v": v, **like}.items():
        check_extent(f"{name}: stride of seq", one.stride(2) if seq > 1 else 0, 0, FARTHEST)


class Attention(torch.autograd.Function):
    """Differentiable attention of [batch, heads, seq, head_dim]."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, arch: str | None
    ) -> torch.Tensor:
        """As q."""
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        lse = q.new_empty(q.shape[:3], dtype=torch.float32)
        forward(q, k, v, out, lse, causal=causal, arch=arch)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.causal, ctx.arch = causal, arch
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of q, k and v."""
        q, k, v, out, lse = ctx.saved_tensors
        do = grads[0] if grads[0].stride(-1) == 1 else grads[0].contiguous()
        made = [torch.empty(one.shape, dtype=one.dtype, device=one.device) for one in (q, k, v)]
        backward(do, q, k, v, out, lse, *made, causal=ctx.causal, arch=ctx.arch)
        return *made, None, None


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool = True,
    arch: str | None = None,
) -> torch.Tensor:
    """Differentiable attention; as `torch.nn.functional.scaled_dot_product_attention`.

    Args:
        q: [batch, heads, seq, head_dim]; k, v: [batch, kv_heads, seq, head_dim].
        causal: Whether a query sees only keys up to its own place.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_is_tensor("q", q)
    return Attention.apply(q, k, v, causal, arch)  # type: ignore[no-untyped-call,no-any-return]


def _library(causal: bool) -> Any:
    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1]
        )

    return run


def formula(causal: bool) -> Any:
    """The mathematics in plain torch: scores in memory, in fp32."""

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        group = q.shape[1] // k.shape[1]
        keys, values = (one.repeat_interleave(group, 1) for one in (k, v))
        scores = (q @ keys.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
        if causal:
            past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
            scores = scores.masked_fill(~past, float("-inf"))
        return scores.softmax(-1).to(q.dtype) @ values

    return run


def _inputs(case: Case, fill: Fill) -> Tensors:
    batch, heads, kv_heads, seq, dim = case.shape
    shapes = {"q": heads, "k": kv_heads, "v": kv_heads}
    if "backward" in case.variant:
        shapes["do"] = heads
    return {name: fill.normal(batch, n, seq, dim, kind=case.kind) for name, n in shapes.items()}


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    if "backward" in case.variant:
        return {f"d{name}": torch.empty(one.shape, dtype=one.dtype, device=one.device)
                for name, one in (("q", q), ("k", k), ("v", v))}  # fmt: skip
    return {"out": torch.empty(q.shape, dtype=q.dtype, device=q.device)}


def _by(make: Any, compiled: bool = False) -> Any:
    """An implementation from a differentiable function of q, k and v."""

    def implementation(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
        run = make("causal" in case.variant)
        run = torch.compile(run, dynamic=False) if compiled else run
        if "backward" in case.variant:
            return gradients(run, inputs, ["q", "k", "v"], ["do"], ["dq", "dk", "dv"])
        return lambda: {"out": run(**inputs)}

    return implementation


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    causal, arch = "causal" in case.variant, case.arch
    lse = q.new_empty(q.shape[:3], dtype=torch.float32)
    if "backward" not in case.variant:
        return lambda: {"out": forward(q, k, v, outputs["out"], lse, causal=causal, arch=arch)}
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    forward(q, k, v, out, lse, causal=causal, arch=arch)
    dq, dk, dv = outputs["dq"], outputs["dk"], outputs["dv"]

    def work() -> Tensors:
        backward(inputs["do"], q, k, v, out, lse, dq, dk, dv, causal=causal, arch=arch)
        return outputs

    return work


_ALL = 4
"""Key heads up to which all are checked; of more, as many random ones."""


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """Some key heads with their query heads, exactly, in fp64."""
    batch, heads, kv_heads, _, _ = case.shape
    group, causal = heads // kv_heads, "causal" in case.variant
    errors = dict.fromkeys(results, 0.0)
    for number in fill.pick(batch * kv_heads, _ALL).tolist():
        b, h = divmod(number, kv_heads)
        mine = slice(h * group, (h + 1) * group)
        part = {
            name: one[b, h] if name in ("k", "v") else one[b, mine] for name, one in before.items()
        }
        wanted = _one_group(part, causal)
        for name, one in results.items():
            found = one[b, h] if name in ("dk", "dv") else one[b, mine]
            errors[name] = max(errors[name], relative_error(found, wanted[name]))
    return errors


def _one_group(part: Tensors, causal: bool, rows: int = 1024) -> Tensors:
    """fp64 results of query heads [group, seq, dim] that share k, v [seq, dim], by parts."""
    q, k, v = part["q"].double(), part["k"].double(), part["v"].double()
    do = part["do"].double() if "do" in part else None
    out, dq, dk, dv = (torch.zeros_like(one) for one in (q, q, k, v))
    scale, places = q.shape[-1] ** -0.5, torch.arange(k.shape[0], device=k.device)
    for start in range(0, k.shape[0], rows):
        here = slice(start, min(start + rows, k.shape[0]))
        scores = q[:, here] @ k.t() * scale
        if causal:
            scores.masked_fill_(places[None, :] > places[here][:, None], float("-inf"))
        p = scores.softmax(-1)
        out[:, here] = p @ v
        if do is None:
            continue
        g = do[:, here]
        dv += torch.einsum("gmn,gmd->nd", p, g)
        ds = p * (g @ v.t() - (out[:, here] * g).sum(-1, keepdim=True)) * scale
        dq[:, here] = ds @ k
        dk += torch.einsum("gmn,gmd->nd", ds, q[:, here])
    return {"out": out, "dq": dq, "dk": dk, "dv": dv}


OP = Op(
    "attention",
    _inputs,
    _outputs,
    {"torch": _by(_library), "triton": _triton, "compile": _by(formula, compiled=True)},
    judge=_judge,
)
