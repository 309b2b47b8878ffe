"""Cross-entropy of logits with labels; the gradient takes the place of the logits.

loss[r] = log Σ_c exp(x[r, c]) - x[r, label[r]] and x[r, c] ← (softmax(x)[r, c] - [c = label[r]])·s:
6 FLOPs an element, the logits read once and their gradient written once (as Hsu et al., Liger,
2024, do it). Sum and maximum are found in one pass (Milakov and Gimelshein, 2018). A row that does
not fit the registers is read again at once, while it is still in the cache.

Rows whose label is the ignored one have no loss and no gradient. A label that is neither that nor
a class cannot be refused without stalling the device: its loss is NaN.
"""

from __future__ import annotations

from typing import Any

import torch

from .arch import variant
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
from .dtypes import TORCH
from .launch import cdiv, launch, power_of_2, processors
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

IGNORE = -100
WIDEST = 1 << 30
"""Columns whose numbers, a block further, are still 32-bit integers."""

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def in_place(
    logits: torch.Tensor,
    labels: torch.Tensor,
    losses: torch.Tensor,
    *,
    scale: float | torch.Tensor = 1.0,
    ignore: int = IGNORE,
    gradient: bool = True,
    arch: str | None = None,
) -> torch.Tensor:
    """Losses of rows of logits, which their gradient overwrites, by the Triton kernels.

    Args:
        logits: [rows, vocab] in bf16, fp16 or fp32; rows may be apart.
        labels: int64 [rows].
        losses: fp32 [rows], not scaled.
        scale: Of the gradient; a tensor (fp32, one element) is read on the device.
        ignore: The label of rows that do not count.
        gradient: False leaves the logits as they are.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("logits", logits, tuple(NAMES), (None, None))
    rows, vocab = logits.shape
    check_extent("logits: vocab", vocab, 1, WIDEST)
    if rows > 1 and logits.stride(0) < vocab:
        raise ValueError(f"logits: got row stride {logits.stride(0)}, takes {vocab} or more")
    check_tensor("labels", labels, torch.int64, (rows,), logits.device)
    check_tensor("losses", losses, torch.float32, (rows,), logits.device)
    check_apart("losses", losses, logits=logits, labels=labels)
    given = isinstance(scale, torch.Tensor)
    if isinstance(scale, torch.Tensor):
        check_tensor("scale", scale, torch.float32, (1,), logits.device)
    chosen = config(arch, "cross_entropy", NAMES[logits.dtype], width=vocab)
    held = chosen["block"] >= vocab
    wanted = chosen.get("arch_variant") and gradient and not held
    own = variant(arch, "cross_entropy") if wanted else None
    if own is not None and own.takes(logits, chosen):
        own.in_place(logits, labels, losses, scale, ignore, chosen)
        return losses
    from .jit.cross_entropy import held_kernel, looped_kernel

    arguments = (
        logits,
        labels,
        losses,
        scale if given else losses,
        1.0 if given else float(scale),
        logits.stride(0),
        ignore,
    )
    constants = {"VOCAB": vocab, "GRADIENT": gradient, "SCALED": given, **meta(chosen)}
    if held:
        launch(held_kernel, (rows,), *arguments, BLOCK=power_of_2(vocab), **constants)
        return losses
    programs = min(rows, chosen["waves"] * processors(logits.device)) if "waves" in chosen else rows
    launch(
        looped_kernel,
        (programs,),
        *arguments,
        rows,
        BLOCK=chosen["block"],
        STAGES=chosen.get("num_stages", 1),
        **constants,
    )
    return losses


def rescale(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """x *= factor in place, of [rows, width] and one fp32 element, which is read on the device.

    Where it is one, as it is at the end of most training steps, nothing is read or written.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("x", x, tuple(NAMES), (None, None))
    check_tensor("factor", factor, torch.float32, (1,), x.device)
    check_written(x=x)
    block, (rows, width) = 4096, x.shape
    check_extent("x: width", width, 0, 65535 * block)
    from .jit.cross_entropy import rescale_kernel

    grid = (rows, cdiv(width, block))
    launch(rescale_kernel, grid, x, factor, x.stride(0), WIDTH=width, BLOCK=block, num_warps=8)
    return x


def shares(labels: torch.Tensor, ignore: int) -> torch.Tensor:
    """One over the number of labels that count (one where none does: the mean is then zero).

    fp32, one element; the host does not look at it.
    """
    return (labels != ignore).sum().clamp(min=1).reshape(1).float().reciprocal()


class CrossEntropy(torch.autograd.Function):
    """Differentiable mean loss; destroys the logits, of which autograd is told."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        labels: torch.Tensor,
        ignore: int,
        graph: bool,
        arch: str | None,
    ) -> torch.Tensor:
        """The mean of the losses of the rows that count, fp32."""
        flat, wanted = as_rows("logits", logits.detach()), labels.reshape(-1).contiguous()
        losses = flat.new_empty(flat.shape[0], dtype=torch.float32)
        share, needed = shares(wanted, ignore), graph and ctx.needs_input_grad[0]
        # fp16 has no room for the gradient of a mean over many rows before the loss scale that
        # comes with the backward pass: there the division waits for it.
        late = flat.dtype == torch.float16
        scale: float | torch.Tensor = 1.0 if late else share
        in_place(flat, wanted, losses, scale=scale, ignore=ignore, gradient=needed, arch=arch)
        if needed:
            # Whoever saved the logits for a backward pass of its own gets an error, not nonsense.
            torch.autograd.graph.increment_version(flat)
            ctx.save_for_backward(flat, share)
            ctx.late, ctx.shape = late, logits.shape
        return losses.sum() * share[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """The gradient that the forward pass left, times what comes from above."""
        gradient, share = ctx.saved_tensors
        above = grads[0].float().reshape(1)
        rescale(gradient, above * share if ctx.late else above)
        torch.autograd.graph.increment_version(gradient)  # a second backward pass is an error
        return gradient.view(ctx.shape), None, None, None, None


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, *, ignore: int = IGNORE, arch: str | None = None
) -> torch.Tensor:
    """Differentiable mean cross-entropy of logits [..., vocab] with int64 labels [...].

    The logits are overwritten by their gradient where one is needed.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_is_tensor("logits", logits)
    check_number("ignore", ignore)
    check_shape("labels", labels, logits.shape[:-1])
    # Operands need their gradients whatever the mode is; whether a backward pass can follow, only
    # the mode says, and inside of the function it is off.
    graph = torch.is_grad_enabled()
    return CrossEntropy.apply(logits, labels, ignore, graph, arch)  # type: ignore[no-untyped-call,no-any-return]


def formula(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Losses of all rows in plain torch, differentiable, in fp32 or the logits' fp64."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    safe = labels.clamp(min=0)[:, None]
    loss = torch.logsumexp(wide, 1) - wide.gather(1, safe)[:, 0]
    return torch.where(labels == IGNORE, 0.0, loss)


def drawn_labels(fill: Fill, rows: int, vocab: int) -> torch.Tensor:
    """Random labels, one of them (where there are two or more) the ignored one."""
    labels = fill.integers(vocab, rows)
    labels[1:2] = IGNORE
    return labels


def _inputs(case: Case, fill: Fill) -> Tensors:
    rows, vocab = case.shape
    return {
        "logits": fill.normal(rows, vocab, kind=case.kind),
        "labels": drawn_labels(fill, rows, vocab),
    }


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    logits = inputs["logits"]
    losses = logits.new_empty(logits.shape[0], dtype=torch.float32)
    return {"losses": losses, "gradient": logits}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    def work() -> Tensors:
        in_place(outputs["gradient"], inputs["labels"], outputs["losses"], arch=case.arch)
        return outputs

    return work


def _both(function: Any, logits: torch.Tensor, labels: torch.Tensor) -> Tensors:
    """Losses and the gradient of their sum: of a mean, fp16 would keep next to nothing."""
    leaf = logits.detach().requires_grad_()
    losses = function(leaf, labels)
    (gradient,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
    return {"losses": losses.detach(), "gradient": gradient}


def _library(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    return lambda: _both(_library, inputs["logits"], inputs["labels"])


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    run = torch.compile(formula, dynamic=False)
    return lambda: _both(run, inputs["logits"], inputs["labels"])


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """Random rows."""
    rows = fill.pick(before["logits"].shape[0])
    wanted = _both(formula, before["logits"][rows].double(), before["labels"][rows])
    return {name: relative_error(results[name][rows], one) for name, one in wanted.items()}


OP = Op(
    "cross_entropy",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
