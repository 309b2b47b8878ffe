"""Attention of the newest tokens to keys and values in a cache: what decoding text asks for.

O = softmax(Q·Kᵀ / √D) · V with a query, or a few (speculative decoding), a sequence: the last
``queries`` of its tokens, each of which sees the keys up to its own. The cache is in pages that lie
anywhere, found by a table (Kwon et al., PagedAttention, 2023), and is read where it lies; or in one
piece a sequence. The query heads that share a key head (grouped queries, Ainslie et al., 2023) are
the rows of one product, so that every key is read once for all of them. So few queries give few
programs: the keys of a sequence are split over several, and what those found is joined by the
weight of each (Dao et al., Flash-Decoding, 2023). 4·D FLOPs a query–key pair: in bf16 one a byte of
keys and values for every row of a product, so memory limits. Bytes: keys and values of all tokens
once, queries and results. Nothing here is differentiable.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch

from .arguments import (
    check_apart,
    check_choice,
    check_constant,
    check_extent,
    check_is_tensor,
    check_tensor,
    check_written,
)
from .attention import HEAD_DIMS
from .costs import decode_lengths
from .dtypes import TORCH
from .launch import cdiv, launch, processors
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .space import decoded_rows
from .tuning import config, meta

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}
SPLITS = 128
"""Parts of a sequence, at most."""
LONGEST = 1 << 30
"""Tokens of a sequence, at most: their numbers are 32-bit."""
_FULL, _NEAR = 0.8, 0.85
_LOG2E = 1.4426950408889634


@functools.lru_cache(maxsize=4096)
def splits(slots: int, lines: int, tiles: int, most: int = SPLITS) -> int:
    """Over how many programs the keys of a sequence are split.

    One where ``lines`` nearly fill the device; else the least number that leaves the last wave
    nearly as full as any other number would (`num_splits_heuristic` of FlashAttention 2.5).

    Args:
        slots: Programs that run side by side.
        lines: Programs without a split.
        tiles: Tiles of keys of the longest sequence; no program has less than one.
        most: The largest number.
    """
    if lines >= _FULL * slots or tiles <= 1:
        return 1

    def full(count: int) -> float:
        waves = lines * count / slots
        return waves / math.ceil(waves)

    # Of numbers that give the busiest program as many tiles, the smallest.
    counts = sorted({cdiv(tiles, cdiv(tiles, n)) for n in range(1, min(most, tiles) + 1)})
    best = max(map(full, counts))
    return next(count for count in counts if full(count) >= _NEAR * best)


def forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    *,
    table: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    longest: int | None = None,
    arch: str | None = None,
) -> torch.Tensor:
    """Attention of the newest tokens by the Triton kernels.

    Args:
        q: [batch, heads, queries, head_dim] in bf16, fp16 or fp32, inner stride 1; head_dim 64,
            128 or 256. The last query is a sequence's newest token, which is in the cache already.
        k, v: [pages, page, kv_heads, head_dim], one dtype; kv_heads divides heads. What lies behind
            the end of a sequence is never used, whatever it is.
        out: As q, and may be q; zero for a query that sees no key.
        table: int32 [batch, n]: the pages of each sequence, in order. Pages that there are not
            cannot be refused without asking the device: they are read. None: sequence b is page b.
        lengths: int32 [batch], contiguous: tokens of each sequence; more than ``longest`` count as
            so many. None: all have ``longest``.
        longest: Tokens of the longest sequence; None: as many as there is room for.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    longest = _check(q, k, v, out, table, lengths, longest)
    batch, heads, queries, dim = q.shape
    kv_heads = k.shape[2]
    group = heads // max(kv_heads, 1)
    rows = group * queries
    chosen = config(arch, "decode_attention", NAMES[q.dtype], head_dim=dim, rows=rows)
    block_m = decoded_rows(chosen["block_m"], rows)
    blocks, tiles = cdiv(rows, block_m), max(1, cdiv(longest, chosen["block_n"]))
    lines = batch * kv_heads * blocks
    count = splits(processors(q.device) * chosen["waves"], lines, tiles)
    share = cdiv(tiles, count) * chosen["block_n"]
    parts, lse = out, out
    if count > 1:
        parts = q.new_empty((batch * heads * queries, count, dim), dtype=torch.float32)
        lse = q.new_empty(parts.shape[:2], dtype=torch.float32)
    from .jit.decode_attention import join_kernel, share_kernel

    known = q if lengths is None else lengths
    ragged = lengths is not None
    launch(
        share_kernel,
        (lines, count),
        q,
        k,
        v,
        q if table is None else table,
        known,
        parts,
        lse,
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        0 if table is None else table.stride(0),
        *out.stride()[:3],
        kv_heads,
        group,
        queries,
        blocks,
        longest,
        share,
        _LOG2E / math.sqrt(dim),
        DIM=dim,
        BLOCK_M=block_m,
        BLOCK_N=chosen["block_n"],
        PAGE=0 if table is None else k.shape[1],
        RAGGED=ragged,
        SPLIT=count > 1,
        PRECISION="ieee",
        **meta(chosen),
    )
    if count > 1:
        launch(
            join_kernel,
            (batch * heads * queries,),
            parts,
            lse,
            known,
            out,
            *out.stride()[:3],
            heads,
            queries,
            longest,
            share,
            count,
            DIM=dim,
            BLOCK=16,
            RAGGED=ragged,
            num_warps=4,
        )
    return out


def _check(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    table: torch.Tensor | None,
    lengths: torch.Tensor | None,
    longest: int | None,
) -> int:
    """Tokens of the longest sequence."""
    check_tensor("q", q, tuple(NAMES), (None,) * 4)
    batch, heads, queries, dim = q.shape
    check_choice("q: head_dim", dim, HEAD_DIMS)
    check_extent("q: batch · heads · queries", batch * heads * queries, 0, (1 << 31) - 1)
    check_tensor("k", k, q.dtype, (batch if table is None else None, None, None, dim), q.device)
    if k.shape[2] == 0 or heads % k.shape[2]:
        raise ValueError(f"k: got {k.shape[2]} heads, takes a divisor of {heads} (heads of q)")
    check_tensor("v", v, q.dtype, k.shape, q.device)
    check_tensor("out", out, q.dtype, q.shape, q.device)
    check_written(out=out)
    check_apart("out", out, q=q, same=True)
    check_apart("out", out, k=k, v=v)
    if lengths is not None:
        check_tensor("lengths", lengths, torch.int32, (batch,), q.device, contiguous=True)
    room = k.shape[1]
    if table is not None:
        check_tensor("table", table, torch.int32, (batch, None), q.device)
        room *= table.shape[1] if k.shape[0] else 0
    most = min(room, LONGEST)
    longest = most if longest is None else longest
    check_extent("longest", longest, 0, most)
    return longest


def decode_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    table: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    longest: int | None = None,
    arch: str | None = None,
) -> torch.Tensor:
    """Attention of the newest tokens, [batch, heads, queries, head_dim], as `forward` takes them.

    Raises:
        ValueError: names the argument, what it got and what it takes; a gradient is asked for.
    """
    check_is_tensor("q", q)
    check_constant(q=q, k=k, v=v)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    return forward(q, k, v, out, table=table, lengths=lengths, longest=longest, arch=arch)


def library(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    table: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    longest: int | None = None,
) -> torch.Tensor:
    """The same by PyTorch's attention, of arguments as `forward` takes them.

    It has none that follows a table: the pages are collected first. Of several queries, or
    sequences that are not equally long, it gets a mask, and no sequence may be without a key then.
    """
    batch, _, queries, dim = q.shape
    room = k.shape[1] * (1 if table is None else table.shape[1])
    longest = room if longest is None else longest
    k, v = (_collected(one, table, longest) for one in (k, v))
    # Heads that share keys stand in the place of queries, so that no key is copied for each.
    together = q.reshape(batch, k.shape[1], -1, dim)
    mask = None
    if lengths is not None or queries > 1:
        mask = _mask(q, lengths, longest).repeat(1, together.shape[2] // queries, 1).unsqueeze(1)
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(together, k, v, attn_mask=mask).view(q.shape)


def _collected(pages: torch.Tensor, table: torch.Tensor | None, longest: int) -> torch.Tensor:
    """[batch, kv_heads, longest, head_dim] of [pages, page, kv_heads, head_dim]."""
    if table is None:
        return pages[:, :longest].transpose(1, 2)
    used = table[:, : cdiv(longest, pages.shape[1])]
    one = pages.index_select(0, used.flatten()).view(len(table), -1, *pages.shape[2:])
    return one[:, :longest].transpose(1, 2)


def _mask(q: torch.Tensor, lengths: torch.Tensor | None, longest: int) -> torch.Tensor:
    """Whether a query sees a key: [batch or 1, queries, longest]."""
    queries = q.shape[2]
    ends = torch.arange(1 - queries, 1, device=q.device)
    ends = ends + (longest if lengths is None else lengths[:, None])
    return torch.arange(longest, device=q.device) < ends.view(-1, queries, 1)


def formula(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    table: torch.Tensor | None = None,
    lengths: torch.Tensor | None = None,
    longest: int | None = None,
) -> torch.Tensor:
    """The mathematics in plain torch: scores in memory, in fp32; every query sees a key."""
    room = k.shape[1] * (1 if table is None else table.shape[1])
    longest = room if longest is None else longest
    keys, values = (_collected(one, table, longest).unsqueeze(2) for one in (k, v))
    grouped = q.reshape(len(q), keys.shape[1], -1, *q.shape[2:])
    scores = (grouped @ keys.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    hidden = ~_mask(q, lengths, longest)[:, None, None]
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1).to(q.dtype)
    mixed: torch.Tensor = (weights @ values).flatten(1, 2)
    return mixed


def _inputs(case: Case, fill: Fill) -> Tensors:
    """A cache that holds what its sequences have, in pages in random order."""
    batch, queries, heads, kv_heads, context, page, dim = case.shape
    pieces, ragged = page >= context, case.variant == "ragged"
    lengths = decode_lengths(case.shape, case.variant)
    # Long and short ones in random order.
    tokens = torch.tensor(lengths, dtype=torch.int32, device=fill.device)[fill.permutation(batch)]
    each = (tokens + page - 1) // page
    count = batch if pieces else sum(cdiv(one, page) for one in lengths)
    made = {"q": fill.normal(batch, heads, queries, dim, kind=case.kind)}
    for name in ("k", "v"):
        made[name] = fill.normal(count, min(page, context), kv_heads, dim, kind=case.kind)
    if not pieces:
        numbers = torch.arange(cdiv(context, page), device=fill.device)
        # Behind a sequence's own pages stand others': tables are not cleared.
        places = (each.cumsum(0) - each)[:, None] + numbers
        order = fill.permutation(count, torch.int32)
        made["table"] = order[places.clamp(max=count - 1)]
    if ragged:
        made["lengths"] = tokens
    return made


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    q = inputs["q"]
    return {"out": torch.empty(q.shape, dtype=q.dtype, device=q.device)}


def _by(run: Any, compiled: bool = False) -> Any:
    """An implementation from a function of the inputs."""

    def implementation(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
        made = torch.compile(run, dynamic=False) if compiled else run
        return lambda: {"out": made(**inputs, longest=case.shape[4])}

    return implementation


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    given = {**inputs, "out": outputs["out"]}
    return lambda: {"out": forward(**given, longest=case.shape[4], arch=case.arch)}


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """Some key heads of some sequences with all their queries, exactly, in fp64."""
    batch, queries, heads, kv_heads, context, _, dim = case.shape
    group, q, table = heads // kv_heads, before["q"], before.get("table")
    worst = 0.0
    for number in fill.pick(batch * kv_heads).tolist():
        b, h = divmod(number, kv_heads)
        length = int(before["lengths"][b]) if "lengths" in before else context
        k, v = (
            (one[b, :length, h] if table is None else one[table[b].long(), :, h].flatten(0, 1))
            .narrow(0, 0, length)
            .double()
            for one in (before["k"], before["v"])
        )
        mine = slice(h * group, (h + 1) * group)
        wanted = torch.zeros(group, queries, dim, dtype=torch.float64, device=q.device)
        for place in range(queries):
            seen = length - queries + 1 + place
            if seen > 0:
                weights = (q[b, mine, place].double() @ k[:seen].t() * dim**-0.5).softmax(-1)
                wanted[:, place] = weights @ v[:seen]
        worst = max(worst, relative_error(results["out"][b, mine], wanted))
    return {"out": worst}


OP = Op(
    "decode_attention",
    _inputs,
    _outputs,
    {"torch": _by(library), "triton": _triton, "compile": _by(formula, compiled=True)},
    judge=_judge,
)
