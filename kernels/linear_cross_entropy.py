"""The last layer and its loss together: cross-entropy of x · weightᵀ, whose logits are never whole.

logits = x · weightᵀ; losses as in `cross_entropy`; dx = g · weight, dweight = gᵀ · x, where g is
the gradient of the logits: three products, 6·R·V·D FLOPs. Rows go through in chunks (Hsu et al.,
Liger, 2024): a chunk's logits are computed, turned into their gradient in place, used twice and
forgotten. Liger's rule gives a chunk the share D / V of the rows, so that its logits take as much
memory as x does. Each chunk reads and writes all of dweight's fp32 sum, however: 8 bytes for every
2·rows FLOPs, which takes longer than the product itself where rows are few. A table therefore names
a least number of rows, which holds as long as the logits of a chunk do not outgrow that sum.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from . import cross_entropy as loss
from .arguments import (
    as_rows,
    check_apart,
    check_extent,
    check_is_tensor,
    check_number,
    check_shape,
    check_tensor,
    check_written,
)
from .cross_entropy import IGNORE, NAMES
from .launch import cdiv, power_of_2
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config


def linear_cross_entropy_chunks(
    x: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    losses: torch.Tensor,
    dx: torch.Tensor | None = None,
    dweight: torch.Tensor | None = None,
    *,
    scale: float | torch.Tensor = 1.0,
    ignore: int = IGNORE,
    arch: str | None = None,
) -> torch.Tensor:
    """Losses and gradients: products by torch, what is between them by the Triton kernel.

    Args:
        x: [rows, width] in bf16, fp16 or fp32.
        weight: [vocab, width].
        labels: int64 [rows].
        losses: fp32 [rows], not scaled.
        dx: Like x; None where nobody wants it.
        dweight: Like weight; None where nobody wants it. Summed in fp32.
        scale: Of the gradients; a tensor (fp32, one element) is read on the device.
        ignore: The label of rows that do not count.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    rows, width = x.shape
    check_extent("x: width", width, 1, loss.WIDEST)
    check_tensor("weight", weight, x.dtype, (None, width), x.device)
    vocab = weight.shape[0]
    check_extent("weight: vocab", vocab, 1, loss.WIDEST)
    check_tensor("labels", labels, torch.int64, (rows,), x.device)
    check_tensor("losses", losses, torch.float32, (rows,), x.device)
    if dx is not None:
        check_tensor("dx", dx, x.dtype, x.shape, x.device)
    if dweight is not None:
        check_tensor("dweight", dweight, x.dtype, weight.shape, x.device)
    check_written(losses=losses, dx=dx, dweight=dweight)
    check_apart("losses", losses, x=x, weight=weight)
    check_apart("dweight", dweight, x=x, weight=weight)
    check_apart("dx", dx, weight=weight)
    if dweight is not None:
        check_apart("dx", dx, x=x)
    if rows == 0:
        if dweight is not None:
            dweight.zero_()
        return losses
    x, weight = x.detach(), weight.detach()  # products into a given place take nothing else
    step = _chunk(rows, vocab, width, config(arch, "linear_cross_entropy", NAMES[x.dtype])["rows"])
    logits = x.new_empty(step, vocab)
    total = dweight
    if dweight is not None and step < rows and x.dtype != torch.float32:
        total = torch.empty_like(dweight, dtype=torch.float32)
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        here = logits[: part.stop - start]
        torch.mm(x[part], weight.t(), out=here)
        loss.in_place(
            here,
            labels[part],
            losses[part],
            scale=scale,
            ignore=ignore,
            gradient=dx is not None or dweight is not None,
            arch=arch,
        )
        if dx is not None:
            torch.mm(here, weight, out=dx[part])
        if total is not None:
            _add_product(total, here.t(), x[part], start == 0)
    if dweight is not None and total is not None and total is not dweight:
        dweight.copy_(total)
    return losses


def _chunk(rows: int, vocab: int, width: int, least: int) -> int:
    """Rows at a time: a power of two, or all of them."""
    fair = power_of_2(cdiv(rows, cdiv(vocab, width)))
    return min(rows, max(fair, min(least, 2 * power_of_2(width))))


def _add_product(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor, first: bool) -> None:
    """total += a · b, or = where it is the first; total may be fp32 where a and b are not."""
    beta = 0 if first else 1  # with 0, torch does not look at what was there
    if total.dtype == a.dtype:
        total.addmm_(a, b, beta=beta)
    elif _widens(a.device, a.dtype):
        torch.addmm(total, a, b, beta=beta, out_dtype=total.dtype, out=total)
    elif first:
        total.copy_(torch.mm(a, b))
    else:
        total.add_(torch.mm(a, b))


@functools.cache
def _widens(device: torch.device, kind: torch.dtype) -> bool:
    """Whether the device's products add to fp32 what they compute from ``kind``."""
    one = torch.ones(16, 16, dtype=kind, device=device)
    total = torch.zeros(16, 16, device=device)
    try:
        torch.addmm(total, one, one, out_dtype=total.dtype, out=total)
    except (NotImplementedError, RuntimeError, TypeError):  # TypeError: a torch that is too old
        return False
    return True


class LinearCrossEntropy(torch.autograd.Function):
    """Differentiable mean loss; the forward pass computes the gradients too."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        ignore: int,
        graph: bool,
        arch: str | None,
    ) -> torch.Tensor:
        """The mean of the losses of the rows that count, fp32."""
        flat, wanted = as_rows("x", x), labels.reshape(-1).contiguous()
        losses = flat.new_empty(flat.shape[0], dtype=torch.float32)
        dx = torch.empty_like(flat) if graph and ctx.needs_input_grad[0] else None
        dweight = torch.empty_like(weight) if graph and ctx.needs_input_grad[1] else None
        share = loss.shares(wanted, ignore)
        # As in `cross_entropy`: in fp16 the division waits for the loss scale.
        late = x.dtype == torch.float16
        scale: float | torch.Tensor = 1.0 if late else share
        linear_cross_entropy_chunks(
            flat, weight, wanted, losses, dx, dweight, scale=scale, ignore=ignore, arch=arch
        )
        ctx.save_for_backward(dx, dweight, share)
        ctx.late, ctx.shape = late, x.shape
        return losses.sum() * share[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """The gradients that the forward pass left, times what comes from above."""
        dx, dweight, share = ctx.saved_tensors
        above = grads[0].float().reshape(1)
        factor = above * share if ctx.late else above
        for one in (dx, dweight):
            if one is not None:
                loss.rescale(one, factor)
                torch.autograd.graph.increment_version(one)  # a second pass is an error
        return None if dx is None else dx.view(ctx.shape), dweight, None, None, None, None


def linear_cross_entropy(
    x: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    *,
    ignore: int = IGNORE,
    arch: str | None = None,
) -> torch.Tensor:
    """Differentiable mean cross-entropy of x [..., width] · weightᵀ [width, vocab] with labels.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_is_tensor("x", x)
    check_number("ignore", ignore)
    check_is_tensor("weight", weight)
    check_shape("labels", labels, x.shape[:-1])
    graph = torch.is_grad_enabled()  # as in `cross_entropy`
    return LinearCrossEntropy.apply(x, weight, labels, ignore, graph, arch)  # type: ignore[no-untyped-call,no-any-return]


def formula(x: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Losses of all rows in plain torch, differentiable."""
    return loss.formula(x @ weight.t(), labels)


def _inputs(case: Case, fill: Fill) -> Tensors:
    rows, vocab, width = case.shape
    return {
        "x": fill.normal(rows, width, kind=case.kind),
        # Logits are then near one, as those of a model that has just been initialised are.
        "weight": fill.normal(vocab, width, kind=case.kind, scale=width**-0.5),
        "labels": loss.drawn_labels(fill, rows, vocab),
    }


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    x, weight = inputs["x"], inputs["weight"]
    losses = x.new_empty(x.shape[0], dtype=torch.float32)
    return {"losses": losses, "dx": torch.empty_like(x), "dweight": torch.empty_like(weight)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    x, weight, labels = inputs["x"], inputs["weight"], inputs["labels"]
    losses, dx, dweight = outputs["losses"], outputs["dx"], outputs["dweight"]

    def work() -> Tensors:
        linear_cross_entropy_chunks(x, weight, labels, losses, dx, dweight, arch=case.arch)
        return outputs

    return work


def _all(function: Any, x: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> Tensors:
    """Losses and the gradients of their sum: of a mean, fp16 would keep next to nothing."""
    leaves = x.detach().requires_grad_(), weight.detach().requires_grad_()
    losses = function(*leaves, labels)
    dx, dweight = torch.autograd.grad(losses, leaves, torch.ones_like(losses))
    return {"losses": losses.detach(), "dx": dx, "dweight": dweight}


def _library(x: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = torch.nn.functional.linear(x, weight)
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    return lambda: _all(_library, **inputs)


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    return lambda: _all(run, **inputs)


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """All losses, dx of random rows, dweight of random classes and of those rows' labels."""
    x, weight, labels = before["x"].double(), before["weight"].double(), before["labels"]
    logs = torch.cat([torch.logsumexp(part @ weight.t(), 1) for part in torch.split(x, 1024)])
    safe, counts = labels.clamp(min=0), (labels != IGNORE).double()
    losses = counts * (logs - (x * weight[safe]).sum(1))
    rows = fill.pick(x.shape[0])
    classes = torch.unique(torch.cat((fill.pick(weight.shape[0]), safe[rows])))

    def gradient(some: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        power = torch.exp(x[some] @ weight[of].t() - logs[some, None])
        return (power - (safe[some, None] == of).double()) * counts[some, None]

    every = torch.arange(max(weight.shape[0], x.shape[0]), device=x.device)
    dx = gradient(rows, every[: weight.shape[0]]) @ weight
    dweight = gradient(every[: x.shape[0]], classes).t() @ x
    return {
        "losses": relative_error(results["losses"], losses),
        "dx": relative_error(results["dx"][rows], dx),
        "dweight": relative_error(results["dweight"][classes], dweight),
    }


OP = Op(
    "linear_cross_entropy",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
