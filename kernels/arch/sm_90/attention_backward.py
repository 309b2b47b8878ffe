"""The backward pass of `attention` on Hopper, by the means of the forward pass beside it.

As in `attention.backward`, a kernel for dQ (three products, 6·D FLOPs a query–key pair) and one for
dK and dV (four, 8·D): each writes its own rows, so that results never depend on an order. A warp
loads tiles ahead of two warpgroups, each of which has products running while it computes.

Or, with ``one_pass``, one kernel for all of them (`whole`): five products, 10·D, which are all that
are credited. Two kernels whose products ran at the full rate would reach five sevenths of it, and
where they were measured they do as well as the forward pass does. The price of one: programs add
to dQ in whatever order they run, so that its last bits differ from run to run. Where PyTorch is
asked for deterministic algorithms, `attention.backward` takes the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from ...launch import cdiv, launch
from .. import problem
from . import tiles

_LOG2E = 1.4426950408889634
_ROWS = 64
"""Queries of a tile of `whole`."""


def takes(*tensors: torch.Tensor) -> bool:
    """As `tiles.takes`; head dimensions up to 128, of which registers hold the sums."""
    return tensors[0].shape[-1] <= 128 and tiles.takes(*tensors)


def query(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    lse: torch.Tensor,
    delta: torch.Tensor,
    dq: torch.Tensor,
    *,
    causal: bool,
    chosen: Mapping[str, int],
) -> None:
    """Write ``dq``; arguments as `attention.backward` checked them, and `takes`.

    Args:
        chosen: Constants: ``block_m`` queries a program, ``block_n`` keys a tile, ``num_warps``
            that compute, ``num_stages`` pairs of tiles held at once (3; or as many tiles as fit),
            ``waves``: see `tiles.grid`.

    Raises:
        ValueError: constants that the kernel is not written for.
    """
    from .jit.attention_query import query_gluon_kernel

    wrong = problem("sm_90", "attention_query", chosen)
    if wrong:
        raise ValueError(wrong)
    batch, heads, seq, dim = q.shape
    block, keys = chosen["block_m"], chosen["block_n"]
    group, blocks, lines = heads // k.shape[1], cdiv(seq, block), batch * heads
    one, scale = dim * q.element_size(), 1.0 / math.sqrt(dim)
    room = tiles.SHARED // one
    slots = min(2 * max(2, chosen.get("num_stages", 3)), (room - 2 * block) // keys)
    launch(
        query_gluon_kernel,
        tiles.grid(blocks * lines, q.device, chosen),
        tiles.descriptor(q, block // 2),
        tiles.descriptor(do, block // 2),
        tiles.descriptor(k, keys),
        tiles.descriptor(v, keys),
        tiles.descriptor(dq, block // 2),
        lse,
        delta,
        heads,
        group,
        blocks,
        lines,
        tiles.together(group, 2 * seq * one),
        seq,
        scale * _LOG2E,
        scale,
        DIM=dim,
        BLOCK_N=keys,
        SLOTS=slots,
        CAUSAL=causal,
        APART=slots * keys + 3 * block <= room,
        # Those of the first partition; the kernel says how many the others have.
        num_warps=4,
    )


def key_value(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    lse: torch.Tensor,
    delta: torch.Tensor,
    dk: torch.Tensor,
    dv: torch.Tensor,
    *,
    causal: bool,
    chosen: Mapping[str, int],
) -> None:
    """Write ``dk`` and ``dv``; arguments as `attention.backward` checked them, and `takes`.

    Args:
        chosen: Constants: ``block_n`` keys a program, ``block_m`` queries a tile, ``num_warps``
            that compute, ``num_stages`` pairs of tiles held at once (3; or as many tiles as fit),
            ``waves``: see `tiles.grid`.

    Raises:
        ValueError: constants that the kernel is not written for.
    """
    from .jit.attention_key_value import key_value_gluon_kernel

    wrong = problem("sm_90", "attention_key_value", chosen)
    if wrong:
        raise ValueError(wrong)
    batch, kv_heads, seq, dim = k.shape
    block, rows = chosen["block_n"], chosen["block_m"]
    group, blocks, lines = q.shape[1] // kv_heads, cdiv(seq, block), batch * kv_heads
    one, scale = dim * q.element_size(), 1.0 / math.sqrt(dim)
    room = tiles.SHARED // one
    slots = min(2 * max(2, chosen.get("num_stages", 3)), (room - 2 * block) // rows)
    launch(
        key_value_gluon_kernel,
        tiles.grid(blocks * lines, q.device, chosen),
        tiles.descriptor(q, rows),
        tiles.descriptor(do, rows),
        tiles.descriptor(k, block // 2),
        tiles.descriptor(v, block // 2),
        tiles.descriptor(dk, block // 2),
        tiles.descriptor(dv, block // 2),
        lse,
        delta,
        kv_heads,
        group,
        blocks,
        lines,
        tiles.together(1, 2 * group * seq * one),
        seq,
        scale * _LOG2E,
        scale,
        DIM=dim,
        BLOCK_M=rows,
        SLOTS=slots,
        CAUSAL=causal,
        APART=slots * rows + 4 * block <= room,
        # Those of the first partition; the kernel says how many the others have.
        num_warps=4,
    )


def takes_whole(q: torch.Tensor, *others: torch.Tensor) -> bool:
    """Whether `whole` runs here and can hold these tensors: head dimension 128, of which each of
    two warpgroups sums half, and as many rows as a copy's place can count."""
    batch, heads, seq, dim = q.shape
    tiles_ = batch * heads * cdiv(seq, _ROWS)
    return dim == 128 and 2 * _ROWS * tiles_ < 1 << 31 and takes(q, *others)


def whole(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    dq: torch.Tensor,
    dk: torch.Tensor,
    dv: torch.Tensor,
    *,
    causal: bool,
    chosen: Mapping[str, int],
) -> None:
    """Write ``dq``, ``dk`` and ``dv``; arguments as `attention.backward` checked them, and
    `takes_whole`. Takes 4 bytes an element of q for sums, and gives them back.

    Args:
        chosen: Constants, as of `key_value`.

    Raises:
        ValueError: constants that the kernel is not written for.
    """
    from .jit.attention_around import finish_kernel, prepare_kernel
    from .jit.attention_whole import whole_gluon_kernel

    wrong = problem("sm_90", "attention_key_value", chosen)
    if wrong:
        raise ValueError(wrong)
    batch, heads, seq, dim = q.shape
    kv_heads, block = k.shape[1], chosen["block_n"]
    group, blocks, lines = heads // kv_heads, cdiv(seq, block), batch * kv_heads
    one, scale = dim * q.element_size(), 1.0 / math.sqrt(dim)
    grid = (cdiv(seq, _ROWS), batch * heads)
    rows = torch.empty((*lse.shape[:2], grid[0], 2, _ROWS), dtype=torch.float32, device=q.device)
    sums = torch.empty((*lse.shape[:2], grid[0], _ROWS, dim), dtype=torch.float32, device=q.device)
    strides = (*out.stride()[:3], *do.stride()[:3])
    launch(
        prepare_kernel, grid, out, do, lse, rows, sums, *strides, heads, seq,
        DIM=dim, BLOCK_M=_ROWS, num_warps=8,
    )  # fmt: skip
    # Keys, values and what warpgroups exchange stay for a block, two tiles each.
    room = tiles.SHARED // one - 3 * block
    launch(
        whole_gluon_kernel,
        tiles.grid(blocks * lines, q.device, chosen),
        tiles.descriptor(q, _ROWS),
        tiles.descriptor(do, _ROWS),
        tiles.descriptor(k, block // 2),
        tiles.descriptor(v, block // 2),
        tiles.descriptor(dk, block // 2),
        tiles.descriptor(dv, block // 2),
        tiles.figures(rows, _ROWS),
        sums,
        kv_heads,
        group,
        blocks,
        lines,
        tiles.together(1, (2 * one + 4 * dim) * group * seq),
        seq,
        scale * _LOG2E,
        scale,
        DIM=dim,
        BLOCK_M=_ROWS,
        SLOTS=min(2 * max(2, chosen.get("num_stages", 3)), room // _ROWS),
        CAUSAL=causal,
        RAGGED=seq % block != 0,
        # Those of the first partition; the kernel says how many the others have.
        num_warps=4,
    )
    launch(finish_kernel, grid, sums, dq, seq, scale, DIM=dim, BLOCK_M=_ROWS, PARTS=2, num_warps=8)
