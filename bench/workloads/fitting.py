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
    shared: bool = False,
    served: Callable[[Layout], None] = lambda how: None,
) -> str:
    """Why a step does not fit, with the smallest change that lets it, as a sentence; else empty.

    Changes are tried by what they cost: more microbatches (nothing but their number), activations
    that are computed again, weights that ranks share, matrices, sequences or experts that ranks
    share, and fewer sequences; then several of them at once.

    Args:
        shape, layout: The model, and how it is spread.
        ranks: Of the group, which the layout divides.
        batch: Sequences that a data-parallel rank sees in a step.
        dtype, again: As for `estimate`.
        memory: Bytes of a device.
        ops: What computes; where its memory is not `counted`, what counts is what any operations
            need: weights, moments and gradients.
        shared: Whether the group shares its sequences: where fewer ranks see different ones, each
            sees more.
        served: Raises ValueError for a layout that is not to be had for other reasons.
    """
    known = counted(ops)
    sharing = layout.over(ranks).data

    def taken(how: Layout, sequences: int, computed: str) -> Memory | None:
        try:
            spread = how.over(ranks)
            if shared:
                sequences = sequences * sharing // spread.data
            how.check(shape, sequences)
            served(how)
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
    return f"{said}; nothing over {ranks} devices lets it fit: take more, or fewer layers"


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
    fsdp = "" if layout.dp == "fsdp" else "dp: fsdp, "
    if fsdp:
        yield "dp: fsdp", shared, batch, again
    wider = [
        (f"{axis}: {degree}", {axis: degree})
        for axis in ("tp", "cp", "ep")
        for degree in (getattr(layout, axis) << power for power in range(1, 4))
    ]
    for said, degrees in wider:
        yield said, replace(layout, **degrees), batch, again
    # Fewer take less: the most that fit are found by halving, however many are asked for.
    part = layout.microbatches

    def most(how: Layout, computed: str) -> int:
        parts = range(1, (batch - 1) // how.microbatches + 1)
        return how.microbatches * bisect_left(
            parts, True, key=lambda n: not fits(how, n * how.microbatches, computed)
        )

    if fewer := most(layout, again):
        yield f"{fewer} sequence(s) a rank", layout, fewer, again
    last = max(more, default=part)
    ways = [("", layout), (fsdp, shared)] if fsdp else [("", layout)]
    for words, how in ways:
        for kind in deeper or (again,):
            yield (
                f"{words}recompute: {kind}, microbatches: {last}",
                replace(how, microbatches=last),
                batch,
                kind,
            )
    for said, degrees in wider:
        yield (
            f"{fsdp}{said}, recompute: full, microbatches: {last}",
            replace(shared, microbatches=last, **degrees),
            batch,
            "full",
        )
    # Sums of gradients take memory: the fewest parts, of as many sequences as then fit.
    fewest = part if layout.pp > 1 else 1
    ways += [(f"{fsdp}{said}, ", replace(shared, **degrees)) for said, degrees in wider]
    for words, how in ways:
        how = replace(how, microbatches=fewest)
        parts = "" if fewest == part else f"microbatches: {fewest}, "
        if fewer := most(how, "full"):
            yield f"{words}recompute: full, {parts}{fewer} sequence(s) a rank", how, fewer, "full"


def _divisors(number: int) -> list[int]:
    """All divisors of a positive number, rising."""
    low = [one for one in range(1, math.isqrt(number) + 1) if number % one == 0]
    return sorted({*low, *(number // one for one in low)})
