"""What surrounds the products of a mixture of experts: routing, permuting and combining rows.

``route``: the top-k experts of every token and their weights, softmax over the chosen logits
(Mixtral: Jiang et al., 2024). ``permute``: every token's row copied k times, sorted by expert,
as `grouped_gemm` takes them. ``unpermute``: the weighted sum of a token's k rows. Bytes: see
`costs`; only unpermute computes (2 FLOPs an element). `sort_by_expert` finds the order on the
device: the host never waits for the router.
"""

from __future__ import annotations

from typing import Any

import torch

from .arguments import check_apart, check_extent, check_is_tensor, check_tensor, check_written
from .dtypes import TORCH
from .launch import cdiv, launch, power_of_2
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def route(
    logits: torch.Tensor,
    weights: torch.Tensor,
    experts: torch.Tensor,
    *,
    arch: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logits of every token by the Triton kernel; of equal ones the first.

    Args:
        logits: [tokens, number of experts] in bf16, fp16 or fp32; rows may lie apart.
        weights: fp32 [tokens, top_k], contiguous: softmax over the chosen logits.
        experts: int32 [tokens, top_k], contiguous: the chosen, best first.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("logits", logits, tuple(NAMES), (None, None))
    tokens, count = logits.shape
    check_tensor("weights", weights, torch.float32, (tokens, None), logits.device, contiguous=True)
    top_k = weights.shape[1]
    check_extent("weights: top_k", top_k, 1, count)
    check_tensor("experts", experts, torch.int32, (tokens, top_k), logits.device, contiguous=True)
    check_apart("weights", weights, logits=logits)
    chosen = config(arch, "moe_route", NAMES[logits.dtype], width=count)
    from .jit.moe import route_kernel

    launch(
        route_kernel,
        (cdiv(tokens, chosen["rows"]),),
        logits,
        weights,
        experts,
        tokens,
        count,
        logits.stride(0),
        TOP_K=top_k,
        SLOTS=power_of_2(top_k),
        BLOCK=power_of_2(count),
        ROWS=chosen["rows"],
        **meta(chosen),
    )
    return weights, experts


def sort_by_expert(
    experts: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where every copy of a token goes.

    Args:
        experts: int32 or int64 [tokens, top_k].
        count: Number of experts.

    Returns:
        ``order`` int32 [tokens · top_k], the copy (token · top_k + slot) at each sorted row;
        ``place`` int32 [tokens, top_k], the sorted row of each copy; ``offsets`` int32
        [count + 1], the first row of each expert.
    """
    check_tensor("experts", experts, (torch.int32, torch.int64), (None, None), inner=False)
    flat = experts.reshape(-1)
    order = torch.argsort(flat, stable=True).to(torch.int32)
    place = torch.empty_like(order)
    place[order.long()] = torch.arange(flat.numel(), dtype=torch.int32, device=flat.device)
    every = torch.arange(count + 1, dtype=flat.dtype, device=flat.device)
    offsets = torch.searchsorted(flat[order.long()].contiguous(), every, out_int32=True)
    return order, place.view(experts.shape), offsets


def permute(
    x: torch.Tensor, order: torch.Tensor, out: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """out[i] = x[order[i] // top_k] by the Triton kernel.

    Args:
        x: [tokens, width] in bf16, fp16 or fp32; rows may lie apart.
        order: int32 [tokens · top_k], contiguous, as `sort_by_expert` gives it.
        out: [tokens · top_k, width], likewise.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    tokens, width = x.shape
    check_tensor("order", order, torch.int32, (None,), x.device, contiguous=True)
    copies = order.shape[0]
    if copies % max(tokens, 1) or (tokens == 0 and copies):
        raise ValueError(f"order: got {copies} entries, takes a multiple of {tokens} (rows of x)")
    check_tensor("out", out, x.dtype, (copies, width), x.device)
    check_written(out=out)
    check_apart("out", out, x=x)
    chosen = config(arch, "moe", NAMES[x.dtype], width=width)
    from .jit.moe import permute_kernel

    launch(
        permute_kernel,
        (copies,),
        x,
        order,
        out,
        width,
        x.stride(0),
        out.stride(0),
        TOP_K=copies // max(tokens, 1),
        BLOCK=min(chosen["block"], power_of_2(width)),
        **meta(chosen),
    )
    return out


def unpermute(
    y: torch.Tensor,
    place: torch.Tensor,
    weights: torch.Tensor | None,
    out: torch.Tensor,
    *,
    arch: str | None = None,
) -> torch.Tensor:
    """out[t] = Σ_j weights[t, j] · y[place[t, j]] by the Triton kernel, summed in fp32.

    Args:
        y: [tokens · top_k, width] in bf16, fp16 or fp32; rows may lie apart.
        place: int32 [tokens, top_k], contiguous, as `sort_by_expert` gives it.
        weights: fp32 [tokens, top_k], contiguous; None for ones.
        out: [tokens, width], likewise.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    tokens, top_k, width = _check_places(y, place, weights)
    check_tensor("out", out, y.dtype, (tokens, width), y.device)
    check_written(out=out)
    check_apart("out", out, y=y, weights=weights)
    chosen = config(arch, "moe", NAMES[y.dtype], width=width)
    from .jit.moe import unpermute_kernel

    launch(
        unpermute_kernel,
        (tokens,),
        y,
        place,
        place if weights is None else weights,
        out,
        width,
        y.stride(0),
        out.stride(0),
        TOP_K=top_k,
        BLOCK=min(chosen["block"], power_of_2(width)),
        WEIGHTED=weights is not None,
        **meta(chosen),
    )
    return out


def unpermute_backward(
    dout: torch.Tensor,
    y: torch.Tensor,
    place: torch.Tensor,
    weights: torch.Tensor,
    dy: torch.Tensor,
    dweights: torch.Tensor,
    *,
    arch: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of y and of the weights (fp32, like weights) by the Triton kernel.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    tokens, top_k, width = _check_places(y, place, weights)
    check_tensor("dout", dout, y.dtype, (tokens, width), y.device)
    check_tensor("dy", dy, y.dtype, y.shape, y.device)
    check_written(dy=dy)
    check_apart("dy", dy, y=y, same=True)
    check_apart("dy", dy, dout=dout, weights=weights)
    shape = (tokens, top_k)
    check_tensor("dweights", dweights, torch.float32, shape, y.device, contiguous=True)
    check_apart("dweights", dweights, y=y, dout=dout, dy=dy, weights=weights)
    chosen = config(arch, "moe", NAMES[y.dtype], width=width)
    from .jit.moe import unpermute_backward_kernel

    launch(
        unpermute_backward_kernel,
        (tokens * top_k,),
        dout,
        y,
        place,
        weights,
        dy,
        dweights,
        width,
        dout.stride(0),
        y.stride(0),
        dy.stride(0),
        TOP_K=top_k,
        BLOCK=min(chosen["block"], power_of_2(width)),
        **meta(chosen),
    )
    return dy, dweights


def _check_places(
    y: torch.Tensor, place: torch.Tensor, weights: torch.Tensor | None
) -> tuple[int, int, int]:
    check_tensor("y", y, tuple(NAMES), (None, None))
    check_tensor("place", place, torch.int32, (None, None), y.device, contiguous=True)
    tokens, top_k = place.shape
    if tokens * top_k != y.shape[0]:
        raise ValueError(
            f"place: got shape {tuple(place.shape)}, takes {y.shape[0]} entries in all"
        )
    if weights is not None:
        check_tensor("weights", weights, torch.float32, place.shape, y.device, contiguous=True)
    return tokens, top_k, y.shape[1]


class Route(torch.autograd.Function):
    """Differentiable `route`."""

    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, top_k: int, arch: str | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights fp32 and experts int32, [tokens, top_k]."""
        check_tensor("logits", logits, tuple(NAMES), (None, None))
        check_extent("top_k", top_k, 1, logits.shape[1])
        shape = (logits.shape[0], top_k)
        weights = logits.new_empty(shape, dtype=torch.float32)
        experts = logits.new_empty(shape, dtype=torch.int32)
        route(logits, weights, experts, arch=arch)
        ctx.save_for_backward(weights, experts)
        ctx.width, ctx.kind = logits.shape[1], logits.dtype
        ctx.mark_non_differentiable(experts)
        return weights, experts

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Of the softmax over the chosen; the others' logits have no gradient."""
        weights, experts = ctx.saved_tensors
        chosen = weights * (grads[0] - (weights * grads[0]).sum(-1, keepdim=True))
        dlogits = weights.new_zeros(weights.shape[0], ctx.width)
        return dlogits.scatter_(1, experts.long(), chosen).to(ctx.kind), None, None


def routed(
    logits: torch.Tensor, top_k: int, *, arch: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Differentiable `route` of logits [tokens, experts]: weights fp32, experts int32.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    return Route.apply(logits, top_k, arch)  # type: ignore[no-untyped-call,no-any-return]


class Permute(torch.autograd.Function):
    """Differentiable `permute`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, order: torch.Tensor, place: torch.Tensor, arch: str | None
    ) -> torch.Tensor:
        """[tokens · top_k, width]."""
        ctx.save_for_backward(place)
        ctx.arch = arch
        return permute(x, order, x.new_empty(order.shape[0], x.shape[1]), arch=arch)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """The sum of a token's copies."""
        (place,) = ctx.saved_tensors
        dy = grads[0].contiguous()
        dx = dy.new_empty(place.shape[0], dy.shape[1])
        return unpermute(dy, place, None, dx, arch=ctx.arch), None, None, None


class Unpermute(torch.autograd.Function):
    """Differentiable `unpermute`."""

    @staticmethod
    def forward(
        ctx: Any, y: torch.Tensor, place: torch.Tensor, weights: torch.Tensor, arch: str | None
    ) -> torch.Tensor:
        """[tokens, width]."""
        ctx.save_for_backward(y, place, weights)
        ctx.arch = arch
        return unpermute(y, place, weights, y.new_empty(place.shape[0], y.shape[1]), arch=arch)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of y and weights."""
        y, place, weights = ctx.saved_tensors
        dy, dweights = torch.empty_like(y), torch.empty_like(weights)
        dout = grads[0].contiguous()
        unpermute_backward(dout, y, place, weights, dy, dweights, arch=ctx.arch)
        return dy, None, dweights, None


def dispatch(
    x: torch.Tensor, order: torch.Tensor, place: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """Differentiable `permute` of x [tokens, width]; order and place from `sort_by_expert`."""
    check_is_tensor("x", x)
    check_is_tensor("order", order)
    check_tensor("place", place, torch.int32, (x.shape[0], None), x.device, contiguous=True)
    return Permute.apply(x, order, place, arch)  # type: ignore[no-untyped-call,no-any-return]


def combine(
    y: torch.Tensor, place: torch.Tensor, weights: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """Differentiable `unpermute` of y [tokens · top_k, width] with weights [tokens, top_k]."""
    check_is_tensor("y", y)
    check_is_tensor("place", place)
    check_is_tensor("weights", weights)
    return Unpermute.apply(y, place, weights, arch)  # type: ignore[no-untyped-call,no-any-return]


def formula(case: Case, inputs: Tensors) -> Tensors:
    """The mathematics of a variant in plain torch."""
    top_k = case.shape[3]
    if case.variant == "route":
        best, experts = torch.topk(inputs["logits"].float(), top_k, dim=-1)
        return {"weights": best.softmax(-1), "experts": experts.to(torch.int32)}
    if case.variant == "permute":
        return {"out": inputs["x"].index_select(0, inputs["order"] // top_k)}
    rows = inputs["y"].index_select(0, inputs["place"].reshape(-1))
    rows = rows.view(*inputs["place"].shape, -1)
    weighted = rows * inputs["weights"].unsqueeze(-1)  # fp32: the weights are
    return {"out": weighted.sum(1).to(rows.dtype)}


def _inputs(case: Case, fill: Fill) -> Tensors:
    tokens, experts, width, top_k = case.shape
    if top_k > experts:
        raise ValueError(f"shape: got top_k {top_k}, takes at most {experts} (experts)")
    if case.variant == "route":
        return {"logits": fill.normal(tokens, experts, kind=case.kind)}
    order = fill.permutation(tokens * top_k, kind=torch.int32)
    if case.variant == "permute":
        return {"x": fill.normal(tokens, width, kind=case.kind), "order": order}
    return {
        "y": fill.normal(tokens * top_k, width, kind=case.kind),
        "place": order.view(tokens, top_k),
        "weights": fill.uniform(tokens, top_k, kind=torch.float32),
    }


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    tokens, _, width, top_k = case.shape
    some = next(iter(inputs.values()))
    if case.variant == "route":
        return {
            "weights": some.new_empty(tokens, top_k, dtype=torch.float32),
            "experts": some.new_empty(tokens, top_k, dtype=torch.int32),
        }
    rows = tokens * top_k if case.variant == "permute" else tokens
    return {"out": some.new_empty(rows, width)}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    return lambda: formula(case, inputs)


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    return lambda: run(case, inputs)


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    def work() -> Tensors:
        if case.variant == "route":
            route(inputs["logits"], outputs["weights"], outputs["experts"], arch=case.arch)
        elif case.variant == "permute":
            permute(inputs["x"], inputs["order"], outputs["out"], arch=case.arch)
        else:
            place, weights = inputs["place"], inputs["weights"]
            unpermute(inputs["y"], place, weights, outputs["out"], arch=case.arch)
        return outputs

    return work


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """All rows. Of equal logits any may be chosen: the chosen logits are compared, not indices."""
    if case.variant != "route":
        wide = {k: v.double() if v.dtype.is_floating_point else v for k, v in before.items()}
        return {"out": relative_error(results["out"], formula(case, wide)["out"])}
    logits, experts = before["logits"].double(), results["experts"].long()
    good = bool(((experts >= 0) & (experts < logits.shape[1])).all())
    if not good:
        return {"weights": float("inf"), "experts": float("inf")}
    best, _ = torch.topk(logits, case.shape[3], dim=-1)
    twice = (experts.sort(-1).values.diff(dim=-1) == 0).any()
    found = float("inf") if bool(twice) else relative_error(logits.gather(1, experts), best)
    return {"weights": relative_error(results["weights"], best.softmax(-1)), "experts": found}


OP = Op(
    "moe",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
