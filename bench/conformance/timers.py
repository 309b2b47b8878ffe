"""Time: waiting means waiting, events tell the truth, a second stream keeps its order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .checks import Subject, check
from .outcome import Fail, NotSupported

LONG = 0.3
"""Seconds that the long operation takes at least: what is late shows beside any host's noise."""
LARGEST = 8192
"""Rows of the largest matrices that are multiplied: fp32 of three takes 805 MB."""
LATE = 0.2
"""Share of its time that a device may still be busy after synchronize()."""
SMALL = 64
"""Small operations whose durations must not all look alike."""
TRIES = 3
"""Attempts of which the best counts: this process loses its core now and then."""


@check("synchronise")
def synchronise(subject: Subject) -> str:
    """synchronize() returns when the device is done, and not before."""
    work, first = _long(subject)
    late = min(_lateness(subject, work, first) for _ in range(TRIES))
    if late > LATE:
        raise Fail(
            f"{late:.0%} of a long operation's time passed after synchronize() had returned",
            "synchronize(device) must wait for all work given to the device, on every stream",
        )
    return f"nothing of {LONG:g} s was left to wait for"


def _lateness(subject: Subject, work: Callable[[], Any], result: Callable[[], float]) -> float:
    """The share of a long operation that only reading its result waits for."""
    subject.synchronize()
    result()
    start = time.perf_counter()
    work()
    subject.synchronize()
    waited = time.perf_counter()
    result()
    end = time.perf_counter()
    return (end - waited) / (end - start)


@check("timers")
def timers(subject: Subject) -> str:
    """Timing events are monotone, finer than what they time, and agree with the host's clock."""
    backend = subject.backend
    _ = subject.device
    if backend.event() is None:
        raise NotSupported("event() is None: the host's clock times this device")
    _resolved(subject)
    work, result = _long(subject)
    best = min((_timed(subject, work, result) for _ in range(TRIES)), key=_off)
    if _off(best) > LATE:
        raise Fail(
            f"events say {best.events:.3g} s, the host's clock {best.host:.3g} s",
            "elapsed_time gives milliseconds on the device's own clock; record() belongs to the "
            "current stream, and synchronize(device) waits for it",
        )
    return f"events agree with the host within {_off(best):.1%}; empty spans {best.empty:.2g} s"


def _resolved(subject: Subject) -> None:
    """Raise `Fail` where many small operations leave no trace between events."""
    import torch

    small = torch.zeros(1024, device=subject.device)
    marks: list[Any] = [subject.backend.event() for _ in range(SMALL)]
    for mark in marks:
        mark.record()
        small.add_(1.0)
    subject.synchronize()
    spans = {float(one.elapsed_time(other)) for one, other in itertools.pairwise(marks)}
    if len(spans) < 3:
        raise Fail(
            f"{SMALL} small operations in a row took {', '.join(f'{one:g}' for one in spans)} ms",
            "elapsed_time() must tell microseconds: give fractions of a millisecond",
        )


class _Timed(NamedTuple):
    events: float
    host: float
    empty: float


def _off(timed: _Timed) -> float:
    return abs(timed.events / timed.host - 1)


def _timed(subject: Subject, work: Callable[[], Any], result: Callable[[], float]) -> _Timed:
    """A long operation, twice, by events and by the host, which reads the result at the end."""
    subject.synchronize()
    marks: list[Any] = [subject.backend.event() for _ in range(4)]
    start = time.perf_counter()
    marks[0].record()
    marks[1].record()
    work()
    marks[2].record()
    work()
    marks[3].record()
    subject.synchronize()
    result()
    host = time.perf_counter() - start
    empty, one, both = (
        float(marks[0].elapsed_time(marks[1])),
        float(marks[0].elapsed_time(marks[2])),
        float(marks[0].elapsed_time(marks[3])),
    )
    if not 0 <= empty <= one <= both:
        raise Fail(
            f"events are not in order: {empty:g}, {one:g} and {both:g} ms after the first",
            "elapsed_time(end) is from self to end, in ms, and never negative",
        )
    return _Timed(both * 1e-3, host, empty * 1e-3)


@check("streams")
def streams(subject: Subject) -> str:
    """A second stream follows the current one and is waited for: no value is read too early."""
    import torch

    device = subject.device
    side = subject.backend.side(device)
    if side is None:
        raise NotSupported("side() is None: all work of this device is done in one stream")
    work, _ = _long(subject)
    for turn in range(1, TRIES + 1):
        values = torch.zeros(1 << 20, device=device)
        subject.synchronize()
        work()
        values.add_(turn)  # late: behind the long operation
        side.follow()
        doubled = side.run(partial(_doubled, work, values))
        side.join()
        total = float((doubled + 1).double().sum())
        subject.synchronize()
        if total != (2 * turn + 1) * values.numel():
            raise Fail(
                f"work of two streams came in the wrong order: {total:g} instead of "
                f"{(2 * turn + 1) * values.numel():g}",
                "wait_stream of torch.<device_type>.Stream must make one stream wait for the other",
            )
    return "in order"


def _doubled(work: Callable[[], Any], values: Any) -> Any:
    """Late as well: whoever does not wait for this stream finds nothing yet."""
    work()
    return values * 2


def _long(subject: Subject) -> tuple[Callable[[], Any], Callable[[], float]]:
    """Work that takes this device `LONG` seconds or more, and a way to read its result.

    Matrices grow until one product takes milliseconds, so that launching it is fast beside it.
    """
    import torch

    device, size = subject.device, 256
    while True:
        left = torch.rand(size, size, device=device)
        right = torch.rand(size, size, device=device)
        out = torch.empty_like(left)

        def work(calls: int = 1, left: Any = left, right: Any = right, out: Any = out) -> None:
            for _ in range(calls):
                torch.mm(left, right, out=out)

        def result(out: Any = out) -> float:
            return float(out[-1, -1])

        work()
        result()
        start = time.perf_counter()
        work(4)
        result()
        one = (time.perf_counter() - start) / 4
        if one > 0.005 or size == LARGEST:
            break
        size *= 2
    calls = max(4, int(LONG / one) + 1)
    return (lambda: work(calls)), result
