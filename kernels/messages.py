"""What a collective operation moves: whole elements, parts, bus factors. Imports no torch.

Definitions are those of nccl-tests: doc/PERFORMANCE.md, and for scatter and gather, which that
page leaves out, the ``GetBw`` functions of src/scatter.cu and src/gather.cu. S is the size in
bytes of the whole array and n the number of ranks: algbw = S / t, busbw = algbw × k.
"""

from __future__ import annotations

import math

PARTED = frozenset(
    ("all_gather", "reduce_scatter", "all_to_all", "all_to_all_skewed", "scatter", "gather")
)
"""Operations in which some rank holds one of n parts of the array; S is what the parts add up to.

In all_to_all every rank holds S bytes, in n parts, and sends one part to each rank.
"""
SUMS = frozenset(("all_reduce", "reduce", "reduce_scatter"))
"""Operations that add up."""
ITEMSIZE = {"fp32": 4, "bf16": 2, "fp16": 2, "int32": 4, "int64": 8, "uint8": 1}
"""Bytes of an element of each dtype that is exchanged."""


def bus_factor(op: str, ranks: int) -> float:
    """k in busbw = algbw × k: what each rank's link carries, over the size of the array.

    2(n-1)/n for all_reduce, (n-1)/n for operations in parts, 1 for broadcast, reduce and
    send_recv. A skewed all_to_all has the factor of the even one: what it moves in all is equal.
    """
    if op == "all_reduce":
        return 2 * (ranks - 1) / ranks
    return (ranks - 1) / ranks if op in PARTED else 1.0


def elements(op: str, size: int, itemsize: int, ranks: int) -> int:
    """Whole elements of an array of about ``size`` bytes, in equal parts where there are parts.

    At least one element a part, so that the array can be larger than asked for; 0 for barrier.
    """
    if op == "barrier":
        return 0
    parts = ranks if op in PARTED else 1
    return max(1, size // itemsize // parts) * parts


def skewed_edges(count: int, ranks: int) -> list[int]:
    """Where the n shares of a skewed all_to_all begin, and ``count``, in elements.

    Rank q receives from every rank a share in proportion to q + 1: the last rank 2n/(n+1) times
    the mean, the first 2/(n+1) of it, as with experts of unequal popularity.
    """
    whole = ranks * (ranks + 1)
    return [count * q * (q + 1) // whole for q in range(ranks + 1)]


def steps(op: str, ranks: int) -> int:
    """Messages that follow one another: of a ring, of a root to each rank, of a dissemination.

    2(n-1) for all_reduce, 1 for send_recv, ⌈log2 n⌉ for barrier (Hensgen, Finkel and Manber,
    1988), n-1 for all others.
    """
    if op == "barrier":
        return math.ceil(math.log2(max(ranks, 1)))
    return {"all_reduce": 2 * (ranks - 1), "send_recv": 1}.get(op, ranks - 1)
