"""Rows of a table by number, and the gradient of the table.

out[t] = table[ids[t]]: a row read and written a token. Backward: dtable[ids[t]] += dy[t], one
addition an element, in fp32. Ids are sorted first (stably), so that what belongs to a row of the
table stands together. Runs of equal ids are cut at fixed places into pieces of limited length,
which are added up side by side and joined in their order: the sums are the same bit by bit each
time, without atomics, and a batch of one single id is as fast as one of different ids.

An id that is not in the table cannot be refused without stalling the device: its row is zero, and
its gradient goes nowhere. Check ids where they are made.
"""

from __future__ import annotations

from typing import Any

import torch

from .arguments import check_apart, check_extent, check_is_tensor, check_tensor, check_written
from .dtypes import TORCH
from .launch import cdiv, launch, power_of_2, strides
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

PIECE = 32
"""Tokens that one program adds up at most."""
WIDEST = 1 << 24
"""Columns: the second dimension of a grid ends at 65535."""

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}


def forward(
    table: torch.Tensor, ids: torch.Tensor, out: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """out[t] = table[ids[t]] by the Triton kernel.

    Args:
        table: [vocab, width] in bf16, fp16 or fp32; rows may be apart.
        ids: int64 [tokens]; rows of ids outside of the table are zero.
        out: [tokens, width], in the dtype of the table; rows may be apart.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("table", table, tuple(NAMES), (None, None))
    vocab, width = table.shape
    check_extent("table: width", width, 1, WIDEST)
    check_tensor("ids", ids, torch.int64, (None,), table.device)
    tokens = ids.shape[0]
    check_tensor("out", out, table.dtype, (tokens, width), table.device)
    check_written(out=out)
    check_apart("out", out, table=table)
    chosen = config(arch, "embedding", NAMES[table.dtype], width=width)
    block = min(power_of_2(width), chosen["block"])
    rows = chosen["block"] // block
    from .jit.embedding import gather_kernel

    launch(
        gather_kernel,
        (cdiv(tokens, rows), cdiv(width, block)),
        table,
        ids,
        out,
        tokens,
        vocab,
        *strides(table, (0,)),
        *strides(out, (0,)),
        WIDTH=width,
        ROWS=rows,
        BLOCK=block,
        **meta(chosen),
    )
    return out


def backward(
    dy: torch.Tensor, ids: torch.Tensor, dtable: torch.Tensor, *, arch: str | None = None
) -> torch.Tensor:
    """dtable[ids[t]] += dy[t] by the Triton kernels, after a sort by torch.

    Args:
        dy: [tokens, width] in bf16, fp16 or fp32; rows may be apart.
        ids: int64 [tokens]; those outside of the table are left out.
        dtable: fp32 [vocab, width]: zeros, or a gradient that is to be added to.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("dy", dy, tuple(NAMES), (None, None))
    tokens, width = dy.shape
    check_extent("dy: width", width, 1, WIDEST)
    check_tensor("ids", ids, torch.int64, (tokens,), dy.device)
    check_tensor("dtable", dtable, torch.float32, (None, width), dy.device)
    check_written(dtable=dtable)
    check_apart("dtable", dtable, dy=dy)
    if tokens == 0:
        return dtable
    chosen = config(arch, "embedding_backward", NAMES[dy.dtype], width=width)
    block = min(power_of_2(width), chosen["block"])
    columns, pieces, vocab = cdiv(width, block), cdiv(tokens, PIECE), dtable.shape[0]
    in_order, order = torch.sort(ids, stable=True)
    # A run's first piece goes to the table at once, so that one piece alone leaves nothing here.
    partial = dtable.new_empty((pieces if pieces > 1 else 0, width))
    from .jit.embedding import join_kernel, piece_kernel

    launch(
        piece_kernel,
        (tokens, columns),
        dy,
        in_order,
        order,
        dtable,
        partial,
        tokens,
        vocab,
        *strides(dy, (0,)),
        *strides(dtable, (0,)),
        WIDTH=width,
        PIECE=PIECE,
        BLOCK=block,
        **meta(chosen),
    )
    block = min(block, 256)
    launch(
        join_kernel,
        (pieces - 1, cdiv(width, block)),
        in_order,
        dtable,
        partial,
        pieces,
        vocab,
        *strides(dtable, (0,)),
        WIDTH=width,
        PIECE=PIECE,
        ROWS=16,
        BLOCK=block,
        num_warps=4,
    )
    return dtable


class Embedding(torch.autograd.Function):
    """Differentiable rows of a table by number."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, ids: torch.Tensor, arch: str | None) -> torch.Tensor:
        """[..., width] for ids [...]."""
        flat = ids.reshape(-1).contiguous()
        out = table.new_empty(flat.shape[0], table.shape[1])
        ctx.save_for_backward(flat)
        ctx.vocab, ctx.dtype, ctx.arch = table.shape[0], table.dtype, arch
        return forward(table, flat, out, arch=arch).view(*ids.shape, table.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradient of the table, added up in fp32, in the table's dtype."""
        (ids,) = ctx.saved_tensors
        width = grads[0].shape[-1]
        dy = grads[0].reshape(ids.shape[0], width).contiguous()
        dtable = dy.new_zeros(ctx.vocab, width, dtype=torch.float32)
        return backward(dy, ids, dtable, arch=ctx.arch).to(ctx.dtype), None, None


def embedding(table: torch.Tensor, ids: torch.Tensor, *, arch: str | None = None) -> torch.Tensor:
    """Differentiable table[ids] of a table [vocab, width] and int64 ids of any shape.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("table", table, tuple(NAMES), (None, None))
    check_is_tensor("ids", ids)
    return Embedding.apply(table, ids, arch)  # type: ignore[no-untyped-call,no-any-return]


def formula(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The forward pass in plain torch, differentiable."""
    return table[ids]


def added(dy: torch.Tensor, ids: torch.Tensor, dtable: torch.Tensor) -> torch.Tensor:
    """The backward pass in plain torch: dtable plus the rows of dy, in the precision of dtable."""
    return dtable.index_add(0, ids, dy.to(dtable.dtype))


def _inputs(case: Case, fill: Fill) -> Tensors:
    tokens, vocab, width = case.shape
    ids = fill.integers(vocab, tokens)
    if case.variant == "backward":
        dtable = fill.normal(vocab, width, kind=torch.float32)
        return {"dy": fill.normal(tokens, width, kind=case.kind), "ids": ids, "dtable": dtable}
    return {"table": fill.normal(vocab, width, kind=case.kind), "ids": ids}


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    if case.variant == "backward":
        return {"dtable": inputs["dtable"]}
    tokens, _, width = case.shape
    return {"out": inputs["table"].new_empty(tokens, width)}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    if case.variant == "backward":
        dy, ids, dtable = inputs["dy"], inputs["ids"], outputs["dtable"]
        return lambda: {"dtable": backward(dy, ids, dtable, arch=case.arch)}
    table, ids, out = inputs["table"], inputs["ids"], outputs["out"]
    return lambda: {"out": forward(table, ids, out, arch=case.arch)}


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    if case.variant == "backward":
        dy, ids, dtable = inputs["dy"], inputs["ids"], outputs["dtable"]
        add = torch.ops.aten.embedding_dense_backward
        return lambda: {"dtable": dtable.add_(add(dy, ids, dtable.shape[0], -1, False))}
    table, ids = inputs["table"], inputs["ids"]
    return lambda: {"out": torch.nn.functional.embedding(ids, table)}


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    def add(dy: torch.Tensor, ids: torch.Tensor, dtable: torch.Tensor) -> None:
        dtable.copy_(added(dy, ids, dtable))

    if case.variant == "backward":
        run_add = torch.compile(add, dynamic=False)
        dy, ids, dtable = inputs["dy"], inputs["ids"], outputs["dtable"]

        def work() -> Tensors:
            run_add(dy, ids, dtable)
            return outputs

        return work
    run = torch.compile(formula, dynamic=False)
    return lambda: {"out": run(inputs["table"], inputs["ids"])}


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """Random tokens; backward the rows of random tokens and random rows of the table."""
    ids = before["ids"]
    tokens = fill.pick(ids.shape[0])
    if case.variant == "forward":
        wanted = formula(before["table"], ids[tokens]).double()
        return {"out": relative_error(results["out"][tokens], wanted)}
    dtable, dy = before["dtable"], before["dy"]
    rows = torch.unique(torch.cat((ids[tokens], fill.pick(dtable.shape[0]))))
    theirs = torch.isin(ids, rows)
    places = torch.searchsorted(rows, ids[theirs])
    wanted = added(dy[theirs].double(), places, dtable[rows].double())
    return {"dtable": relative_error(results["dtable"][rows], wanted)}


OP = Op(
    "embedding",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
