"""Every derived figure of a run once more, from its raw samples and the benchmark's own formula.

A job is one benchmark with fixed axes on one group in one repeat: its samples stand under its
first case, and each of its metrics is a row. What `Benchmark.derived` says follows from samples
must be what the rows say: median, both ends of the interval, number of samples. What was measured
beside the samples (errors, latencies, counts) is declared; it must at least be coherent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .. import __version__
from ..configs import Chip, datasheet
from ..errors import HengsuanError
from ..groups import Schedule
from ..headers import RUN, UNDECODABLE
from ..inventory import Inventory
from ..records import STATUSES, Case, Header, Samples, ScheduleSpec
from ..results import ROWS, SAMPLES, Columns
from ..rounds import schedule_for
from ..workloads.base import Benchmark, Facts, make, registry, source_hash
from ..workloads.operations import Operation
from ..workloads.runner import Value, summarised
from ..workloads.stream import Stream
from .findings import Finding, Recomputed
from .manifest import version_of

TOLERANCE = 2e-6
"""Relative difference that the rounding of samples explains: they are written with seven digits,
so that each is wrong by 5e-7 at most, and where a round trip is taken off, by three times that."""
_HOSTILE = (HengsuanError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""What axes and arguments raise that no benchmark and no schedule of ours ever had."""
_MOST_ROUNDS = 100_000
_MOST_MIXED = 4096
"""Devices among which all pairs are gone through, where a schedule must know each."""
_OK = STATUSES.index("ok")

Key = tuple[int, int, int]
"""Case, group, repeat."""


class Job(msgspec.Struct, frozen=True):
    """Cases that are the metrics of one benchmark with fixed axes, by metric."""

    bench: Benchmark
    cases: dict[str, Case]
    first: int
    schedule: int


class Run(msgspec.Struct):
    """A run of a submission, ready to be judged.

    ``rows`` gives the index of a row in ``columns``; ``samples`` float64[n] by first case, group
    and repeat; ``schedules`` one for each of the header's, None where it cannot be made.
    """

    where: str
    header: Header
    columns: Columns
    rows: dict[Key, int]
    samples: dict[Key, Any]
    schedules: list[Schedule | None]
    jobs: list[Job]


def prepared(
    where: str, header: Header, columns: Columns, samples: Path
) -> tuple[Run, list[Finding]]:
    """A run with what its rows refer to, and what is wrong with that.

    Args:
        where: What findings call its folder.
        header: Of a run on devices, not of a simulated fleet.
        columns: Its rows.
        samples: The file of its samples.
    """
    findings: list[Finding] = []
    rows: dict[Key, int] = {}
    twice = 0
    keys = zip(columns.case.tolist(), columns.group.tolist(), columns.repeat.tolist(), strict=True)
    for index, key in enumerate(keys):
        twice += rows.setdefault(key, index) != index
    if twice:
        text = f"{twice} row(s) are of a case, group and repeat that has one already"
        findings.append(Finding(rule="R1", level="finding", text=text, where=f"{where}/{ROWS}"))
    conditions = columns.conditions
    if lost := int(((conditions < -1) | (conditions >= len(header.conditions))).sum()):
        text = f"{lost} row(s) are of conditions that are not there"
        findings.append(Finding(rule="R1", level="finding", text=text, where=f"{where}/{ROWS}"))
    found, wrong = _samples(samples, f"{where}/{SAMPLES}")
    schedules, unmade = _schedules(header, f"{where}/{RUN}")
    jobs, strange = _jobs(header, f"{where}/{RUN}")
    findings += [*wrong, *unmade, *strange]
    return Run(where, header, columns, rows, found, schedules, jobs), findings


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

    def finding(rule: str, name: str, text: str) -> Finding:
        what = f"{job.cases[name].short()} {name}, group {group}, repeat {repeat}"
        return Finding(rule=rule, level="finding", text=f"{what}: {text}", where=place)

    said = {name: _said(run, (case.id, group, repeat)) for name, case in job.cases.items()}
    facts = _facts(run, job, group, chips)
    values = {name: one.value for name, one in said.items() if one and one.value is not None}
    seconds = run.samples.get(key)
    try:
        again = _again(job, seconds, facts, values)
        # What kinds of metrics follow from samples, where there are none.
        timed = again or _again(job, np.ones(1), facts, values)
    except _HOSTILE as error:
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
        if one.value is not None and (problem := _above(job, name, one.value, facts)):
            yield finding("R6", name, problem)


def _again(job: Job, seconds: Any, facts: Facts, values: Mapping[str, float]) -> dict[str, Value]:
    if seconds is None:
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


def _above(job: Job, name: str, value: float, facts: Facts) -> str:
    """That a value is above what the datasheet says is possible; empty if it is not.

    Compared are products and the like with the peak of their dtype, and the memory's bandwidth
    with arrays beyond every cache: nothing else is bounded by one figure of a datasheet.
    """
    if facts.chip is None or not isinstance(job.bench, Operation):
        return ""
    peak, bandwidth = job.bench.ceilings(facts)
    unit = job.cases[name].unit
    limit = peak if unit == "FLOP/s" else bandwidth if isinstance(job.bench, Stream) else None
    if limit is None or value <= limit:
        return ""
    return f"{value:.4g} {unit} is above the datasheet of {facts.chip.name}, {limit:.4g} {unit}"


def _facts(run: Run, job: Job, group: int, chips: Mapping[str, Chip]) -> Facts:
    """The group's size, and the datasheet of its first rank's device."""
    schedule = run.schedules[job.schedule]
    if schedule is None:
        return Facts(chip=None, ranks=0)
    try:
        members = schedule.members(group)
        chip = datasheet(schedule.inventory.device(members[0]), chips)
    except _HOSTILE:
        return Facts(chip=None, ranks=0)
    return Facts(chip=chip, ranks=len(members))


def _samples(path: Path, where: str) -> tuple[dict[Key, Any], list[Finding]]:
    parts: dict[Key, list[Any]] = {}
    calls: dict[Key, int] = {}
    findings = []
    decoder = msgspec.json.Decoder(Samples)
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), 1):
        try:
            one = decoder.decode(line)
        except UNDECODABLE as error:
            text = f"this line holds no samples: {error}"
            findings.append(
                Finding(rule="R1", level="finding", text=text, where=f"{where}:{number}")
            )
            break
        key = (one.case, one.group, one.repeat)
        seconds = np.array(one.seconds, dtype=np.float64)
        if seconds.size == 0 or not np.all(seconds > 0) or one.calls < 1:
            text = "durations must be above 0, of at least one call each"
            findings.append(
                Finding(rule="R4", level="finding", text=text, where=f"{where}:{number}")
            )
            continue
        if calls.setdefault(key, one.calls) != one.calls:
            text = f"samples of {calls[key]} calls each go on as samples of {one.calls}"
            findings.append(
                Finding(rule="R4", level="finding", text=text, where=f"{where}:{number}")
            )
        parts.setdefault(key, []).append(seconds)
    return {key: np.concatenate(found) for key, found in parts.items()}, findings


def _schedules(header: Header, where: str) -> tuple[list[Schedule | None], list[Finding]]:
    made: list[Schedule | None] = []
    findings = []
    inventory = Inventory(header.nodes)
    for number, spec in enumerate(header.schedules):
        problem = ""
        schedule = None
        rounds = spec.arguments.get("matchings", 0)
        if not isinstance(rounds, int) or not 0 <= rounds <= _MOST_ROUNDS:
            problem = f"{rounds!r:.40} matchings"
        elif _all_pairs(spec) and inventory.size > _MOST_MIXED:
            problem = f"all pairs of {inventory.size} devices are too many to be gone through"
        else:
            try:
                schedule = schedule_for(spec, inventory)
                if spec.groups != schedule.size:
                    problem = f"it says {spec.groups} groups, its nodes give {schedule.size}"
            except _HOSTILE as error:
                problem = f"it gives no groups: {error}"
        if problem:
            text = f"schedule {number}: {problem}"
            findings.append(Finding(rule="R1", level="finding", text=text, where=where))
        made.append(schedule)
    return made, findings


def _all_pairs(spec: ScheduleSpec) -> bool:
    """Whether all pairs must be gone through, to know who is in them or which are mixed."""
    every = spec.arguments.get("schedule", "full") in ("full", "values")
    through = "on" in spec.arguments or spec.scope == "rank"
    return spec.kind in ("pairs", "node_pairs") and every and through


def _jobs(header: Header, where: str) -> tuple[list[Job], list[Finding]]:
    """Cases put together again to what one benchmark measured in one go."""
    known = registry()
    jobs: list[Job] = []
    findings: dict[str, Finding] = {}
    version = version_of(header)

    def found(level: str, text: str, rule: str = "R5") -> None:
        findings.setdefault(text, Finding(rule=rule, level=level, text=text, where=where))  # type: ignore[arg-type]

    before: object = None
    for case in header.cases:
        cls = known.get(case.benchmark)
        if cls is None:
            found("undecided", f"the benchmark {case.benchmark} is not known here")
            continue
        if source_hash(cls) != case.source:
            if version == __version__ and cls.__module__.startswith("bench."):
                found("finding", f"{case.benchmark} is not the code of hengsuan {version}")
            else:
                found(
                    "undecided",
                    f"{case.benchmark} was measured by hengsuan {version}, by other code than "
                    f"{__version__} has: verify with that version",
                )
            continue
        if any(_is_file(value) for value in case.axes.values()):
            found("undecided", f"{case.short()} is of a file that only its author has")
            continue
        try:
            bench = make(case.benchmark, case.axes)
            measures = {one.name: one for one in bench.reported()}
        except _HOSTILE as error:
            found("finding", f"case {case.id} cannot be: {error}", "R1")
            continue
        measure = measures.get(case.metric)
        if measure is None or (measure.unit, measure.better) != (case.unit, case.better):
            found("finding", f"{case.benchmark} has no metric {case.metric} in {case.unit!r}", "R1")
            continue
        job = (case.stage, case.schedule, case.benchmark, repr(case.axes))
        if job != before or case.metric in jobs[-1].cases:
            jobs.append(Job(bench, {}, case.id, case.schedule))
        jobs[-1].cases[case.metric] = case
        before = job
    return jobs, list(findings.values())


def _is_file(value: object) -> bool:
    """Whether the value of an axis names a file: none is opened because a submission says so."""
    return isinstance(value, str) and (
        value.startswith(("/", "~")) or ".." in value or value.endswith((".yaml", ".yml"))
    )
