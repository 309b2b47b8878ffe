"""What one more unit of each resource would bring: the step again with a tenth more of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ...errors import UsageError
from .machine import Machine
from .plan import Plan
from .rates import Rates
from .search import search
from .software import Software
from .step import step
from .workload import Decoder

MORE = 0.10


@dataclass(frozen=True)
class Gain:
    """``gain``: how much shorter a step is, relative, with `MORE` of a resource (of a latency:
    with so much less). ``plan`` is said where another layout is then the best."""

    resource: str
    gain: float
    plan: str = ""


def bottleneck(
    model: Decoder, plan: Plan, rates: Rates, software: Software, *, more: float = MORE
) -> list[Gain]:
    """Every resource, the most worth first.

    The layout stays as it is but for memory, which changes nothing else than which layouts fit.
    """
    now = step(model, plan, rates, software).seconds
    found = []
    for name, changed in _changes(rates.machine, more):
        other = replace(rates, machine=changed, _known={})
        found.append(Gain(name, 1 - step(model, plan, other, software).seconds / now))
    found.append(_room(model, plan, rates, software, more))
    return sorted(found, key=lambda one: -one.gain)


def _room(model: Decoder, plan: Plan, rates: Rates, software: Software, more: float) -> Gain:
    """Of memory: the best layout with more of it against the best there is now."""
    machine = rates.machine
    roomy = replace(rates, machine=replace(machine, memory=machine.memory * (1 + more)))
    try:
        then = search(model, plan.batch, roomy, software, chips=plan.chips).best
        now = search(model, plan.batch, rates, software, chips=plan.chips).best
    except UsageError:  # nothing fits, now or even then
        return Gain("memory", 0.0)
    gain = max(0.0, 1 - then.step.seconds / now.step.seconds)
    return Gain("memory", gain, then.plan.said() if gain else "")


def _changes(machine: Machine, more: float) -> Iterator[tuple[str, Machine]]:
    """(resource, the machine with more of it)."""
    faster = replace(machine, flops=machine.flops * (1 + more))
    yield "FLOPS", replace(faster, attention=machine.attention * (1 + more))
    yield "memory bandwidth", replace(machine, bandwidth=machine.bandwidth * (1 + more))
    near: list[tuple[str, Callable[[int], bool]]] = [
        ("bandwidth inside a node", lambda index: index == 0),
        ("bandwidth between nodes", lambda index: index > 0),
    ]
    for name, chosen in near:
        levels = tuple(
            replace(level, bandwidth=level.bandwidth * (1 + more)) if chosen(index) else level
            for index, level in enumerate(machine.levels)
        )
        yield name, replace(machine, levels=levels)
    quicker = tuple(
        replace(
            one, latency=one.latency / (1 + more), reconfiguration=one.reconfiguration / (1 + more)
        )
        for one in machine.levels
    )
    yield "latency", replace(machine, levels=quicker)
