"""What devices say of themselves: types, ranges and units."""

from __future__ import annotations

import statistics
import time

from ..backends.base import Telemetry
from .checks import Subject, check
from .outcome import Fail, NotSupported

RANGES = {
    "clock": (10.0, 20_000.0, "MHz"),
    "clock_max": (10.0, 20_000.0, "MHz"),
    "temperature": (-40.0, 150.0, "°C"),
    "power": (0.0, 5_000.0, "W"),
    "utilisation": (0.0, 1.0, "of the time"),
}
"""Beyond what any chip has, and a factor of a thousand in either direction is beyond that."""
CHEAP = 2.0
"""Seconds that one reading may take: it is asked between blocks of samples."""


@check("telemetry")
def telemetry(subject: Subject) -> str:
    """Clocks, temperature, power and memory have the right types and units, before and at work."""
    backend, index = subject.backend, subject.mine.index
    _sane(backend.telemetry(index), subject)  # as in the agent: nothing is loaded yet
    _ = subject.device
    spans = []
    for _turn in range(3):
        start = time.perf_counter()
        found = backend.telemetry(index)
        spans.append(time.perf_counter() - start)
        _sane(found, subject)
    if statistics.median(spans) > CHEAP:
        raise Fail(
            f"telemetry() takes {statistics.median(spans):.2g} s, and is asked between samples",
            "read a library or a file, or keep the tool's last answer for a moment",
        )
    said = [name for name in found.__struct_fields__ if getattr(found, name) is not None]
    if not said:
        raise NotSupported("telemetry() says nothing")
    silent = "" if found.throttled is not None else "; whether it throttles stays unknown"
    return f"says {', '.join(said)}{silent}"


def _sane(found: Telemetry, subject: Subject) -> None:
    for name, (low, high, unit) in RANGES.items():
        value = getattr(found, name)
        if value is None:
            continue
        if not low <= value <= high:
            raise Fail(f"{name} is {value:g} {unit}, which no chip has", f"is it in {unit}?")
    if found.clock and found.clock_max and found.clock > 1.1 * found.clock_max:
        raise Fail(
            f"clock {found.clock:g} MHz is above clock_max {found.clock_max:g} MHz",
            "clock_max is the highest clock that the chip would run",
        )
    used = found.memory_used
    if used is not None and not 0 <= used <= subject.mine.memory:
        raise Fail(
            f"memory_used is {used} on a device of {subject.mine.memory} B", "is it in bytes?"
        )


@check("health", ranks=0)
def health(subject: Subject) -> str:
    """Counted errors are whole numbers that never fall, by names without spaces."""
    readings = [subject.backend.health(subject.mine.index) for _ in range(2)]
    for found in readings:
        for name, number in found.errors.items():
            if not name or " " in name:
                raise Fail(f"health() counts {name!r}", "give names without spaces")
            if number < 0:
                raise Fail(f"health() counts {number} of {name}", "give whole numbers from 0")
    first, second = readings
    fell = [name for name in first.errors if second.errors.get(name, 0) < first.errors[name]]
    if fell:
        raise Fail(f"health(): {fell[0]} fell between two readings", "count since boot or for life")
    if first.problem:
        raise Fail(f"health() says that the device needs care: {first.problem}", "look at the card")
    if not first.errors:
        raise NotSupported("health() counts nothing")
    return ", ".join(f"{name} {number}" for name, number in second.errors.items())


@check("links", ranks=0)
def links(subject: Subject) -> str:
    """Links join different devices of this node, each pair once, with bandwidths in B/s."""
    indices = {device.index for device in subject.devices}
    found = subject.backend.links()
    pairs = set()
    for link in found:
        pair = frozenset((link.a, link.b))
        if len(pair) < 2 or not pair <= indices:
            raise Fail(
                f"links() joins {link.a} and {link.b}; devices are {sorted(indices)}",
                "a and b are indices of two devices of this node",
            )
        if pair in pairs:
            raise Fail(f"links() has {link.a} and {link.b} twice", "give each pair once")
        pairs.add(pair)
        if not link.kind:
            raise Fail(f"the link of {link.a} and {link.b} has no kind", "give the vendor's word")
        if link.bandwidth is not None and not 1e8 <= link.bandwidth <= 1e13:
            raise Fail(
                f"a link of {link.bandwidth:g} B/s", "give bytes a second of one direction, or None"
            )
    if not found:
        raise NotSupported("links() is empty: how devices reach each other is not known")
    return f"{len(found)} link(s): {', '.join(sorted({link.kind for link in found}))}"
