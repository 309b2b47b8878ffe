"""Whether a call computes when it is made: on inputs that it was not given before, by a clock.

An implementation is bound to its inputs and timed on them again and again. One that computes while
it is bound, that keeps its results for as long as nothing changes, or that leaves undone what
nobody reads would pass any comparison of values, and take no time. So inputs are drawn anew behind
its back, its results are compared on those, and that call is timed by the host until they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch

from .op import Call, Case, Fill, Implementation, Op, Tensors, Work
from .op import bind as bind_implementation

Waits = Callable[[], Callable[[], float]]
"""Begins to count what this process waits for its cores while others have them; what it gives says
how many seconds that were up to now."""


def unseen() -> Callable[[], float]:
    """No waiting is known of."""
    return lambda: 0.0


class Clocked:
    """The work on one set of operands. ``seconds``: of the first call since they were renewed."""

    def __init__(
        self, inputs: Tensors, outputs: Tensors, work: Work, waits: Waits = unseen
    ) -> None:
        self.inputs, self.outputs, self.work = inputs, outputs, work
        self.waits = waits
        self.seconds: float | None = None

    def __call__(self) -> Tensors:
        """Do the work, on the host's clock until its results are read, but for what it waited."""
        _read([*self.inputs.values(), *self.outputs.values()])
        before = perf_counter()
        waited = self.waits()
        begun = perf_counter()
        results = self.work()
        _read(results.values())
        ended = perf_counter()
        if self.seconds is None:
            # Whoever counts the waits may wait as well: that was no time of the call either.
            lost = waited()
            outside = begun - before + perf_counter() - ended
            self.seconds = ended - begun - max(0.0, lost - outside)
        return results


@dataclass
class FreshCall(Call):
    """A `Call` whose inputs can be renewed. ``clocked``: by set of operands."""

    op: Op = field(kw_only=True)
    fill: Fill = field(kw_only=True)
    clocked: list[Clocked] = field(kw_only=True)

    def renew(self) -> None:
        """Draw the inputs of the first set of operands anew, in place.

        Indices stay as they are, for what follows from them is prepared. Of a backward pass only
        the gradients that it is given change: the forward pass before it is no part of a call.
        """
        inputs = self.clocked[0].inputs
        backward = "backward" in self.case.variant
        for name, drawn in self.op.inputs(self.case, self.fill).items():
            data = drawn.dtype.is_floating_point or drawn.dtype is torch.int8
            if data and (name.startswith("d") or not backward):
                inputs[name].copy_(drawn)
        self.clocked[0].seconds = None

    def fresh(self) -> float:
        """Seconds of the first call on the inputs as they are; infinite if there was none."""
        seconds = self.clocked[0].seconds
        return math.inf if seconds is None else seconds


def bind(
    op: Op,
    implementation: Implementation,
    case: Case,
    fill: Fill,
    waits: Waits = unseen,
    **more: Any,
) -> FreshCall:
    """As `op.bind`, whose arguments ``more`` are; what is timed is the bare work."""
    clocked: list[Clocked] = []

    def watched(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
        one = Clocked(inputs, outputs, implementation(case, inputs, outputs), waits)
        clocked.append(one)
        return one

    made = bind_implementation(op, watched, case, fill, **more)
    return FreshCall(
        case=made.case,
        tolerance=made.tolerance,
        works=[one.work for one in clocked],
        judge=made.judge,
        op=op,
        fill=fill,
        clocked=clocked,
    )


def _read(tensors: Iterable[torch.Tensor]) -> None:
    """Fetch an element of each: what computes it must be done by then, whoever waits for what."""
    for one in tensors:
        if one.numel():
            one[(-1,) * one.ndim].cpu()
