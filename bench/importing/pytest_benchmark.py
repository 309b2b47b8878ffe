"""pytest-benchmark: times of tests, as ``--benchmark-json`` and ``--benchmark-save`` write them.

Written from the documentation and source of pytest-benchmark 5 (pytest_benchmark/stats.py,
``Metadata.as_dict``). A test is a benchmark ``pytest`` of the machine that it ran on; its time is
the median over rounds, as `bench.campaigns.pytest_side` takes it for a gate. Times of all rounds
are kept as samples where the file has them.
"""

from __future__ import annotations

import contextlib
import json
import math
from datetime import datetime, timezone
from typing import Any

import msgspec
import numpy as np

from ..errors import UsageError
from ..headers import UNDECODABLE
from ..stats import median_interval
from .found import INVALID, OK, Asked, Log, Part, Place, What
from .source import Source

EXPECTED = "the JSON of pytest-benchmark (--benchmark-json FILE, or files of .benchmarks)"
TAKES = ("node",)
"""Options that say what such a file may leave open."""
_KEPT = 100_000
"""Rounds that are kept as samples at most."""


class _Stats(msgspec.Struct):
    median: float | None = None
    rounds: int = 1
    iterations: int = 1
    data: list[float] = []


class _Test(msgspec.Struct):
    fullname: str
    stats: _Stats


class _Document(msgspec.Struct):
    benchmarks: list[msgspec.Raw]
    machine_info: dict[str, Any] = {}
    datetime: str = ""
    version: str = ""


def read(source: Source, asked: Asked) -> Log:
    """Read one file.

    Raises:
        UsageError: it is not what pytest-benchmark writes, or was cut off.
        InfraError: it cannot be read.
    """
    log = Log(source.name)
    text = source.whole()
    if not text.strip():
        return log
    try:
        found = msgspec.json.decode(_standard(text), type=_Document)
    except UNDECODABLE as error:
        raise UsageError(
            f"is not {EXPECTED}: {error}", where=source.name, hint="a file cut off cannot be read"
        ) from None
    place = _machine(log, found.machine_info, asked)
    log.when = _moment(found.datetime)
    if found.version:
        log.versions["pytest-benchmark"] = found.version
    for number, raw in enumerate(found.benchmarks, 1):
        try:
            test = msgspec.json.decode(raw, type=_Test)
        except UNDECODABLE as error:
            log.skip(f"benchmark {number}", str(error))
            continue
        _take(log, place, test)
        log.lines += 1
    log.end()
    return log


def _standard(text: str) -> bytes:
    """A document without the ``NaN`` and ``Infinity`` that Python's json writes, and nobody else
    reads: there is no number in their place."""
    if "NaN" in text or "Infinity" in text:
        with contextlib.suppress(ValueError, RecursionError):  # said of the text itself
            return msgspec.json.encode(json.loads(text, parse_constant=lambda _: None))
    return text.encode("utf-8", "replace")


def _machine(log: Log, info: dict[str, Any], asked: Asked) -> Place:
    """The machine that the tests ran on, as a node with its processor."""
    name = asked.nodes[0] if asked.nodes else str(info.get("node") or "")
    if not name:
        raise UsageError(
            "it does not say which machine it is of (machine_info.node)",
            where=log.name,
            hint="say it with --node NAME",
        )
    cpu = info.get("cpu")
    known = cpu.get("brand_raw") or cpu.get("brand") if isinstance(cpu, dict) else None
    place = Place(name, "0")
    log.devices[place] = Part(str(known or info.get("machine") or "processor"), 0)
    return place


def _take(log: Log, place: Place, test: _Test) -> None:
    stats = test.stats
    times = [one for one in stats.data if math.isfinite(one) and one > 0]
    value, interval, n = stats.median, (math.nan, math.nan), max(1, min(stats.rounds, 1 << 30))
    if times:
        middle, low, high = median_interval(np.asarray(times))
        value, n = middle if value is None else value, len(times)
        if low is not None and high is not None:
            interval = low, high
    good = value is not None and math.isfinite(value) and value > 0
    what = What("pytest", (("test", test.fullname),), "time", "s", "lower", "node")
    row = log.put(
        what,
        (place,),
        math.nan if value is None else value,
        status=OK if good else INVALID,
        reason="" if good else "the file has no median for it",
        interval=interval,
        n=n,
    )
    if times and good:
        log.samples.append((row, stats.iterations, times[:_KEPT]))


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (
            moment.astimezone(timezone.utc)
            if moment.tzinfo
            else moment.replace(tzinfo=timezone.utc)
        )
    except (ValueError, OverflowError):  # as the first day of year 1, east of Greenwich
        return None
