"""What no measurement gives: more than the chip can, the same samples twice, more time than passed.

Samples alone cannot be proved to be true. These are the lies that contradict something else in the
archive.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..results import ROWS, SAMPLES
from ..workloads.base import Facts
from ..workloads.operations import Operation
from ..workloads.stream import Stream
from ..workloads.train import Train
from ..workloads.transfer import Transfer
from .findings import Finding
from .prepared import Job, Key, Run

CHANCE = 1e-9
"""How likely two honest measurements may come out alike before they are taken for copies."""
CLOCKS = 1.01, 0.01
"""Ratio and seconds by which a device's clock and the host's may differ over one measurement."""


def above(job: Job, name: str, value: float, facts: Facts) -> str:
    """That a value is above what the datasheet says is possible; empty if it is not.

    Compared are products and training steps with the peak of their dtype, copies with the host's
    link, and the memory's bandwidth with arrays beyond every cache: nothing else is bounded by one
    figure of a datasheet.
    """
    case, bench = job.cases[name], job.bench
    if facts.chip is None or case.better != "higher":
        return ""
    limit = None
    if isinstance(bench, Operation):
        peak, bandwidth = bench.ceilings(facts)
        limit = peak if case.unit == "FLOP/s" else bandwidth if isinstance(bench, Stream) else None
    elif isinstance(bench, (Train, Transfer)):
        limit = bench.expected(facts).get(name)
    if limit is None or value <= limit:
        return ""
    told, most = (f"{one:.4g} {case.unit}".rstrip() for one in (value, limit))
    return f"{told} is above the datasheet of {facts.chip.name}, {most}"


def copied(run: Run) -> Iterator[Finding]:
    """Measurements that have the samples of another one, one by one."""
    seen: dict[bytes, Key] = {}
    for key in sorted(run.samples):
        seconds = run.samples[key]
        if _by_chance(seconds) > CHANCE:
            continue
        first = seen.setdefault(hashlib.sha256(seconds.tobytes()).digest(), key)
        if first != key:
            text = f"the samples of {_named(key)} are those of {_named(first)}, one by one"
            yield Finding(rule="R7", level="finding", text=text, where=f"{run.where}/{SAMPLES}")


def _by_chance(seconds: Any) -> float:
    """How likely another measurement of this distribution has the same samples in the same order.

    A coarse timer tells few values apart: with shares p of n samples it is (sum of p²)ⁿ.
    """
    _, counts = np.unique(seconds, return_counts=True)
    same = float(((counts / seconds.size) ** 2).sum())
    return math.exp(seconds.size * math.log(same))


def outside(run: Run) -> Iterator[Finding]:
    """Rows from another time than that of the run's stages, by the clock of its driver."""
    ends: list[float] = []
    for stage in run.header.stages:
        told: list[Any] = [stage.get("began"), stage.get("seconds")]
        if all(isinstance(one, (int, float)) and 0 <= one < 1e12 for one in told):
            ends.append(sum(told))
    times = run.columns.time
    ratio, slack = CLOCKS
    late = (times < 0) | (times > ratio * max(ends, default=0) + slack)
    if count := int(late.sum()):
        text = f"{count} row(s) are from before the run or after the end of its stages"
        yield Finding(rule="R7", level="finding", text=text, where=f"{run.where}/{ROWS}")


def overfull(run: Run) -> Iterator[Finding]:
    """Measurements whose samples took longer than the time since their leader's last one.

    The rank that leads a group measures one thing at a time, and says when it has.
    """
    ends: dict[int, list[tuple[float, Key]]] = {}
    jobs = {job.first: job for job in run.jobs}
    for key in run.samples:
        job = jobs.get(key[0])
        index = run.row(job, key) if job is not None else None
        members = run.members(job, key[1]) if job is not None else ()
        if index is not None and members:
            ends.setdefault(members[0], []).append((float(run.columns.time[index]), key))
    ratio, slack = CLOCKS
    for told in ends.values():
        before = 0.0
        for time, key in sorted(told):
            took = run.spans[key]
            if took > ratio * (time - before) + slack:
                text = (
                    f"the samples of {_named(key)} took {took:.4g} s, and {time - before:.4g} s "
                    "passed since what was measured before"
                )
                yield Finding(rule="R7", level="finding", text=text, where=f"{run.where}/{ROWS}")
            before = time


def _named(key: Key) -> str:
    return f"case {key[0]}, group {key[1]}, repeat {key[2]}"
