"""Every derived figure of a run once more, from its raw samples and the benchmark's own formula.

A job is one benchmark with fixed axes on one group in one repeat: its samples stand under its
first case, and each of its metrics is a row. What `Benchmark.derived` says follows from samples
must be what the rows say: median, both ends of the interval, number of samples. What was measured
beside the samples (errors, latencies, counts) is declared; it must at least be coherent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..configs import Chip, datasheet
from ..records import STATUSES
from ..results import ROWS, SAMPLES
from ..workloads.base import Facts
from ..workloads.runner import Value, summarised
from .findings import Finding, Level, Recomputed
from .plausible import above
from .prepared import HOSTILE, Job, Key, Run

TOLERANCE = 2e-6
"""Relative difference that the rounding of samples explains: they are written with seven digits,
so that each is wrong by 5e-7 at most, and where a round trip is taken off, by three times that."""
_OK = STATUSES.index("ok")


def recompute(run: Run, chips: Mapping[str, Chip], counts: Recomputed) -> Iterator[Finding]:
    """What of a run's figures does not follow from its samples.

    Args:
        run: Of `prepared`.
        chips: Datasheets by name.
        counts: Grows by what was computed again, and by what could not be.
    """
    place = f"{run.where}/{ROWS}"
    groups = _by_job(run)
    claimed: set[Key] = set()
    for job in run.jobs:
        for group, repeat in sorted(groups.get(job.first, ())):
            key = (job.first, group, repeat)
            claimed.add(key)
            yield from _judged(run, job, key, chips, counts, place)
    judged = {case for job in run.jobs for case in (one.id for one in job.cases.values())}
    left = set(range(len(run.header.cases))) - judged  # of these `prepared` has said why
    for key in sorted(run.samples.keys() - claimed):
        if key[0] in left:
            continue
        text = f"samples of case {key[0]}, group {key[1]}, repeat {key[2]}, of which no row is"
        yield Finding(rule="R3", level="finding", text=text, where=f"{run.where}/{SAMPLES}")


def _by_job(run: Run) -> dict[int, set[tuple[int, int]]]:
    """Groups and repeats that have rows, by the first case of their job."""
    first = {case.id: job.first for job in run.jobs for case in job.cases.values()}
    found: dict[int, set[tuple[int, int]]] = {}
    for case, group, repeat in run.rows:
        if case in first:
            found.setdefault(first[case], set()).add((group, repeat))
    return found


def _judged(
    run: Run, job: Job, key: Key, chips: Mapping[str, Chip], counts: Recomputed, place: str
) -> Iterator[Finding]:
    _, group, repeat = key

    def finding(rule: str, name: str, text: str, level: Level = "finding") -> Finding:
        what = f"{job.cases[name].short()} {name}, group {group}, repeat {repeat}"
        return Finding(rule=rule, level=level, text=f"{what}: {text}", where=place)

    said = {name: _said(run, (case.id, group, repeat)) for name, case in job.cases.items()}
    facts = _facts(run, job, group, chips)
    values = {name: one.value for name, one in said.items() if one and one.value is not None}
    seconds = run.samples.get(key)
    try:
        again = _again(job, seconds, facts, values)
        # What kinds of metrics follow from samples, where there are none.
        timed = again or _again(job, np.ones(1), facts, values)
    except HOSTILE as error:
        yield finding("R3", next(iter(job.cases)), f"cannot be computed again: {error}")
        return
    for name, one in said.items():
        if one is None:
            continue
        if name in again:
            if problem := _differs(one, again[name]):
                yield finding("R3", name, problem)
            else:
                counts.again += 1
        elif problem := _incoherent(one, run, (job.cases[name].id, group, repeat)):
            yield finding("R4", name, problem)
        elif name not in timed:
            counts.beside += one.value is not None
        elif one.value is not None:
            yield finding("R2", name, "it has no samples")
        if one.value is not None and (problem := above(job, name, one.value, facts)):
            # What stands in for a chip may well be faster.
            yield finding("R6", name, problem, "note" if run.header.stands_for else "finding")


def _again(job: Job, seconds: Any, facts: Facts, values: Mapping[str, float]) -> dict[str, Value]:
    # What each rank says of itself does not follow from the group's samples.
    if seconds is None or all(case.scope == "rank" for case in job.cases.values()):
        return {}
    with np.errstate(all="ignore"):
        found = [summarised(one) for one in job.bench.derived(seconds, facts, values)]
    return {one.metric: one for one in found}


def _said(run: Run, key: Key) -> Value | None:
    """What the row says; None where there is none."""
    index = run.rows.get(key)
    if index is None:
        return None
    columns = run.columns
    value, low, high = (
        None if math.isnan(one) else float(one)
        for one in (columns.value[index], columns.low[index], columns.high[index])
    )
    return Value("", value, low, high, int(columns.n[index]))


def _incoherent(one: Value, run: Run, key: Key) -> str:
    """What of a row contradicts itself, whatever was measured."""
    good = run.columns.status[run.rows[key]] == _OK
    if one.value is None:
        if good:
            return "it is called ok and has no value"
        return "" if one.low is None and one.high is None else "an interval without a value"
    if one.n < 1:
        return f"a value of {one.n} samples"
    if (one.low is None) != (one.high is None):
        return "half an interval"
    if one.low is not None and one.high is not None and not one.low <= one.value <= one.high:
        return f"{one.value:g} lies outside its interval, {one.low:g} to {one.high:g}"
    return ""


def _differs(said: Value, again: Value) -> str:
    """How a row differs from its samples; empty if it does not."""
    if said.value is None:
        return f"it has no value, and its samples give {again.value:.7g}"
    if said.n != again.n:
        return f"it is of {said.n} samples, and there are {again.n}"
    for name in ("value", "low", "high"):
        one, other = getattr(said, name), getattr(again, name)
        same = one is None and other is None
        if one is not None and other is not None:
            same = abs(one - other) <= TOLERANCE * max(abs(one), abs(other))
        if not same:
            written = ["none" if each is None else f"{each:.7g}" for each in (one, other)]
            return f"its {name} is {written[0]}, and its samples give {written[1]}"
    return ""


def _facts(run: Run, job: Job, group: int, chips: Mapping[str, Chip]) -> Facts:
    """The group's size, and the datasheet of its first rank's device."""
    schedule, members = run.schedules[job.schedule], run.members(job, group)
    if schedule is None or not members:
        return Facts(chip=None, ranks=0)
    try:
        chip = datasheet(schedule.inventory.device(members[0]), chips)
    except HOSTILE:
        return Facts(chip=None, ranks=0)
    return Facts(chip=chip, ranks=len(members))
