"""The fastest layout that fits, among all that a model, a batch and a machine allow.

All chips are used. Tensor-parallel ranks stay inside of a node, whose links alone are fast enough
for what they exchange in every layer; all else may lie anywhere. Of what a layout could compute
again, the least that makes it fit is taken: more of it only costs time. State is shared
(ZeRO stage 1), and without a pipeline weights may be too (stage 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...errors import UsageError
from .memory import USABLE, Memory, memory
from .plan import ENDS, Plan, Recompute
from .rates import Rates
from .software import Software
from .step import Known, Step, step
from .workload import Decoder

TOKENS = 1 << 24
"""Of a step for which nobody gives a batch: about what Llama 3 405B had (Grattafiori et al., 2024,
table 4)."""
MICRO = (1, 2, 4, 8, 16)
CONTEXT = (1, 2, 4, 8, 16, 32, 64)
UNEVEN = 0.1
LEAST_TOKENS = 1024
"""Of a sequence on one of the ranks that share it: fewer leave nothing to compute beside."""


@dataclass(frozen=True)
class Candidate:
    """A layout with its step and its memory."""

    plan: Plan
    step: Step
    memory: Memory


@dataclass(frozen=True)
class Found:
    """The best layout, the best of those that are spread otherwise, how many were looked at, how
    many of these fit, and what the runner-up loses to the best, in sentences."""

    best: Candidate
    runner_up: Candidate | None
    looked_at: int
    fitting: int
    why: tuple[str, ...]


def search(
    model: Decoder, batch: int, rates: Rates, software: Software, *, chips: int | None = None
) -> Found:
    """Look at every layout.

    Raises:
        UsageError: none divides, or none fits; says then which comes nearest and what is short.
    """
    machine = rates.machine
    chips = machine.chips if chips is None else chips
    usable = machine.memory * USABLE
    known: Known = {}
    best: dict[tuple[int, ...], Candidate] = {}
    nearest: tuple[float, Plan] | None = None
    looked_at = fitting = 0
    for plan in plans(model, batch, chips, machine.levels[0].size):
        looked_at += 1
        fits, made = _fitting(model, plan, software, rates.width, usable)
        if made is None:
            total = memory(model, fits, software, wide=rates.width).total
            if nearest is None or total < nearest[0]:
                nearest = total, fits
            continue
        fitting += 1
        took = step(model, fits, rates, software, known)
        spread = (fits.tp, fits.pp, fits.cp, fits.ep, fits.dp, int(fits.sharding == "full"))
        other = best.get(spread)
        if other is None or took.seconds < other.step.seconds:
            best[spread] = Candidate(fits, took, made)
    if not best:
        raise _unfit(nearest, usable, chips, batch)
    ordered = sorted(best.values(), key=lambda one: one.step.seconds)
    second = ordered[1] if len(ordered) > 1 else None
    why = explain(ordered[0], second, usable) if second is not None else ()
    return Found(ordered[0], second, looked_at, fitting, why)


def usual_batch(model: Decoder, chips: int) -> int:
    """Sequences of a step of about `TOKENS` that many numbers of ranks divide."""
    odd = chips
    while odd % 2 == 0:
        odd //= 2
    wanted = max(1.0, TOKENS / model.shape.seq / odd)
    return odd * int(2 ** round(math.log2(wanted)))


def plans(model: Decoder, batch: int, chips: int, node: int) -> Iterator[Plan]:
    """Every layout over so many chips; what is computed again is left at ``none``."""
    shape = model.shape
    for tp in _divisors(math.gcd(node, shape.heads)):
        if chips % tp:
            continue
        for cp in CONTEXT:
            rest = chips // tp
            if rest % cp or shape.seq % (tp * cp) or (cp > 1 and shape.seq // cp < LEAST_TOKENS):
                continue
            for pp in _divisors(rest // cp):
                dp = rest // cp // pp
                if not _even(shape.layers, pp) or batch % dp:
                    continue
                base = Plan(batch, tp=tp, cp=cp, pp=pp, dp=dp)
                yield from _inside(model, base)


def _inside(model: Decoder, base: Plan) -> Iterator[Plan]:
    """Of one spread: experts, micro-batch, virtual stages, sharing."""
    shape = model.shape
    ranks = base.shards * base.tp
    experts = [e for e in _divisors(shape.experts) if ranks % e == 0] if shape.experts else [1]
    each = base.batch // base.dp
    parts = -(-shape.layers // base.pp)
    virtuals = [v for v in _divisors(parts) if _even(shape.layers, base.pp * v)]
    for micro in MICRO:
        if each % micro:
            continue
        for v in virtuals if base.pp > 1 else [1]:
            if v > 1 and each // micro % base.pp:
                continue
            for ep in experts:
                plan = replace(base, micro=micro, virtual=v, ep=ep)
                yield plan
                if base.pp == 1 and base.shards > 1:
                    yield replace(plan, sharding="full")


def _even(layers: int, parts: int) -> bool:
    """Whether parts are about equally full (`plan.stages`): a tenth of idle places at most, or the
    first and last one layer aside."""
    missing = parts * -(-layers // parts) - layers
    return missing <= max(ENDS, UNEVEN * layers) and parts <= layers + ENDS


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0] if number < 4096 else _large(number)


def _large(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def _fitting(
    model: Decoder, plan: Plan, software: Software, wide: int, usable: float
) -> tuple[Plan, Memory | None]:
    """The plan with the least recompute that fits; with most of it, and None, where none does."""
    again: tuple[Recompute, ...] = ("none", "selective", "full")
    for recompute in again:
        tried = replace(plan, recompute=recompute) if recompute != "none" else plan
        made = memory(model, tried, software, wide=wide)
        if made.total <= usable:
            return tried, made
    return tried, None


def _unfit(nearest: tuple[float, Plan] | None, usable: float, chips: int, batch: int) -> UsageError:
    if nearest is None:
        return UsageError(
            f"no layout divides {chips} chips, the model and a batch of {batch} sequences",
            hint="give a --batch that more numbers divide, or other nodes",
        )
    total, plan = nearest
    return UsageError(
        f"the model fits at no layout over {chips} chips: the nearest ({plan.said()}) needs "
        f"{total / 1e9:.1f} GB of memory a device, where {usable / 1e9:.1f} GB are usable; "
        f"{(total - usable) / 1e9:.1f} GB are short",
        hint="more devices, or more memory in each, would hold it",
    )


TOLD_APART = 0.02
"""Relative: published tables agree with themselves to 1-2 %."""
NAMES = {
    "compute": "computing",
    "tensor": "exchanges inside of layers",
    "bubble": "waiting for other stages",
    "stages": "sending between stages",
    "gradients": "gradients and weights",
    "optimizer": "the optimizer",
    "circuits": "changing circuits",
    "host": "the host",
    "waiting": "stragglers",
}
"""Parts of a step, in words."""


def explain(best: Candidate, other: Candidate, usable: float) -> tuple[str, ...]:
    """What the other layout spends more on, and less, largest first."""
    whole = best.step.seconds
    parts = {
        NAMES[name]: (getattr(other.step, name) - getattr(best.step, name)) / whole
        for name in NAMES
    }
    slower = other.step.seconds / whole - 1
    said = [f"{slower:.1%} slower"]
    if slower < TOLD_APART:
        said[0] += ", which is less than projections can tell apart"
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    more = [f"{name} +{part:.1%}" for name, part in ordered if part > 0.001]
    less = [f"{name} {part:.1%}" for name, part in reversed(ordered) if part < -0.001]
    if more:
        said.append("it spends more of the step on: " + ", ".join(more))
    if less:
        said.append("and less on: " + ", ".join(less))
    if other.plan.recompute != best.plan.recompute:
        said.append(
            f"it computes again: {other.plan.recompute}, the best: {best.plan.recompute}; memory "
            f"{other.memory.total / usable:.0%} and {best.memory.total / usable:.0%} of what is "
            "usable"
        )
    return tuple(said)
