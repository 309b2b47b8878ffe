"""Timing contenders call by call: in an order that is random in every round, on a cold cache."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from figures import FURTHER
from machine import Machine
from rivals import Prepared

from bench.stats import relative_half_width

ROUNDS = (8, 200)
"""Calls of every contender: at least, at most."""
FEWEST = 3
"""Calls of every contender where they take far longer than timing should."""
BLOCK = 4
"""Rounds that are given to the device at once, so that it need not wait for the host."""
PRECISION = 0.005
"""Relative half-width of the interval of every median at which timing ends early."""
LEAD = 16
"""Sweeps before a block of calls: while they run, the host gets ahead of the device, so that no
call waits for its launch."""


def interleaved(
    prepared: Mapping[str, Prepared],
    restore: Callable[[], None],
    machine: Machine,
    undecided: Callable[[Mapping[str, list[float]]], bool] = lambda found: False,
) -> dict[str, list[float]]:
    """Seconds of single calls, taken in an order that is random in every round.

    Where this would be enough, but leaves undecided what is asked, up to `FURTHER` times as long.
    """
    found: dict[str, list[float]] = {name: [] for name in prepared}
    names, draw, (least, most) = list(prepared), random.Random(1), ROUNDS
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        _spans(names, prepared, restore, machine)  # warm-up
        slow = time.perf_counter() - start > machine.seconds
        block = 1 if slow else BLOCK
        _spans([] if slow else names, prepared, restore, machine)
        start = time.perf_counter()
        while True:
            order = [name for _ in range(block) for name in draw.sample(names, len(names))]
            for name, span in _spans(order, prepared, restore, machine):
                found[name].append(span)
            rounds, spent = len(found[names[0]]), time.perf_counter() - start
            known = max(relative_half_width(seconds) for seconds in found.values())
            enough = (
                rounds >= most
                or (rounds >= least and spent >= machine.seconds)
                or (rounds >= FEWEST and spent >= 4 * machine.seconds)
                or (rounds >= 3 * least and known <= PRECISION)
            )
            if enough and (spent >= FURTHER * machine.seconds or not undecided(found)):
                return found
    finally:
        if collecting:
            gc.enable()


def _spans(
    order: list[str],
    prepared: Mapping[str, Prepared],
    restore: Callable[[], None],
    machine: Machine,
) -> list[tuple[str, float]]:
    """Seconds of the calls in this order; device events where there are any."""
    marks: list[tuple[str, Any, Any]] = []
    event = machine.backend.event
    timed = event() is not None
    for _ in range(LEAD if timed else 0):
        machine.sweep()
    for name in order:
        restore()
        prepared[name].restore()
        machine.sweep()
        if timed:
            begin, end = event(), event()
            begin.record()
            prepared[name].run()
            end.record()
        else:
            machine.synchronize()
            begin = time.perf_counter()
            prepared[name].run()
            machine.synchronize()
            end = time.perf_counter()
        marks.append((name, begin, end))
    machine.synchronize()
    return [
        (name, begin.elapsed_time(end) * 1e-3 if timed else end - begin)
        for name, begin, end in marks
    ]
