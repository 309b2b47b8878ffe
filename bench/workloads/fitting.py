"""Whether a model fits into the memory of a group's devices, and what would let it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace

from ..kernels.layout import Layout
from ..kernels.model_costs import ModelShape
from ..kernels.model_memory import Memory, counted, estimate
from ..units import format_value

_AGAIN = ("none", "selective", "full")
PARTS = 4096
"""Microbatches that are tried at most: a pipeline is walked through all of them."""


def shortage(
    shape: ModelShape,
    layout: Layout,
    ranks: int,
    *,
    batch: int,
    dtype: str,
    again: str,
    memory: int,
    ops: str = "torch",
) -> str:
    """Why a step does not fit, with the smallest change that lets it, as a sentence; else empty.

    Changes are tried by what they cost: more microbatches (nothing but their number), activations
    that are computed again, weights that ranks share, matrices that ranks share, and fewer
    sequences; then several of them at once.

    Args:
        shape, layout: The model, and how it is spread.
        ranks: Of the group, which the layout divides.
        batch: Sequences that a data-parallel rank sees in a step.
        dtype, again: As for `estimate`.
        memory: Bytes of a device.
        ops: What computes; where its memory is not `counted`, what counts is what any operations
            need: weights, moments and gradients.
    """
    known = counted(ops)

    def taken(how: Layout, sequences: int, computed: str) -> Memory | None:
        try:
            how.check(shape, sequences)
            spread = how.over(ranks)
        except ValueError:
            return None
        # What it takes at least: a device whose norms are several kernels keeps more.
        found = estimate(
            shape,
            spread,
            batch=sequences,
            dtype=dtype,
            again=computed,
            fused=True,
            ops=ops if known else "torch",
        )
        return found if known else replace(found, activations=0, logits=0, buffers=0)

    now = taken(layout, batch, again)
    if now is None or now.total <= memory:
        return ""
    parts = ", ".join(
        f"{name} {format_value(value, 'B')}" for name, value in vars(now).items() if value
    )
    about = "about" if known else "at least"
    said = (
        f"a rank of {ranks} takes {about} {format_value(now.total, 'B')} ({parts}), and a device "
        f"has {format_value(memory, 'B')}"
    )

    def fits(how: Layout, sequences: int, computed: str) -> bool:
        then = taken(how, sequences, computed)
        return then is not None and then.total <= memory

    for words, how, sequences, computed in _changes(layout, batch, again, fits):
        then = taken(how, sequences, computed)
        if then is not None and then.total <= memory:
            return f"{said}; with {words} it would take {format_value(then.total, 'B')}"
    return f"{said}; no layout over {ranks} devices lets it fit: take more, or fewer layers"


def _changes(
    layout: Layout, batch: int, again: str, fits: Callable[[Layout, int, str], bool]
) -> Iterator[tuple[str, Layout, int, str]]:
    """(in words, layout, sequences, what is computed again), the smallest change first."""
    more = [count for count in _divisors(batch) if layout.microbatches < count <= PARTS]
    deeper = _AGAIN[_AGAIN.index(again) + 1 :]
    for count in more:
        yield f"microbatches: {count}", replace(layout, microbatches=count), batch, again
    for kind in deeper:
        yield f"recompute: {kind}", layout, batch, kind
    shared = replace(layout, dp="fsdp", replicas=1)
    if shared != layout:
        yield "dp: fsdp", shared, batch, again
    wider = [layout.tp << power for power in range(1, 4)]
    for tp in wider:
        yield f"tp: {tp}", replace(layout, tp=tp), batch, again
    # Fewer take less: the most that fit are found by halving, however many are asked for.
    part = layout.microbatches
    parts = range(1, (batch - 1) // part + 1)
    fewer = part * bisect_left(parts, True, key=lambda n: not fits(layout, n * part, again))
    if fewer:
        yield f"{fewer} sequence(s) a rank", layout, fewer, again
    last = max(more, default=layout.microbatches)
    for how, words in ((layout, ""), (shared, "dp: fsdp, ")):
        for kind in deeper or (again,):
            yield (
                f"{words}recompute: {kind}, microbatches: {last}",
                replace(how, microbatches=last),
                batch,
                kind,
            )
    for tp in wider:
        yield (
            f"dp: fsdp, tp: {tp}, recompute: full, microbatches: {last}",
            replace(shared, tp=tp, microbatches=last),
            batch,
            "full",
        )


def _divisors(number: int) -> list[int]:
    """All divisors of a positive number, rising."""
    low = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    return sorted({*low, *(number // one for one in low)})
