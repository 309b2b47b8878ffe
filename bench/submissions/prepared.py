"""What a run of a submission consists of, once what its rows and samples refer to is found.

Whatever refers to something that there is not, or is not as it says, becomes a finding here; what
is left can be judged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .. import __version__
from ..errors import HengsuanError
from ..groups import Schedule
from ..headers import RUN, UNDECODABLE
from ..inventory import Inventory
from ..records import Case, Header, Samples, ScheduleSpec
from ..results import ROWS, SAMPLES, Columns
from ..rounds import schedule_for
from ..workloads.base import Benchmark, make, registry, source_hash
from .findings import Finding
from .manifest import version_of

HOSTILE = (HengsuanError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError)
"""What axes and arguments raise that no benchmark and no schedule of ours ever had."""
_MOST_ROUNDS = 100_000
_MOST_CALLS = 1 << 40
_MOST_MIXED = 4096
"""Devices among which all pairs are gone through, where a schedule must know each."""

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
    and repeat, which took ``spans`` seconds in all; ``schedules`` one for each of the header's,
    None where it cannot be made.
    """

    where: str
    header: Header
    columns: Columns
    rows: dict[Key, int]
    samples: dict[Key, Any]
    spans: dict[Key, float]
    schedules: list[Schedule | None]
    jobs: list[Job]

    def row(self, job: Job, key: Key) -> int | None:
        """The index of a row of a job in a group and repeat; None where there is none."""
        found = (self.rows.get((case.id, *key[1:])) for case in job.cases.values())
        return next((index for index in found if index is not None), None)

    def members(self, job: Job, group: int) -> tuple[int, ...]:
        """The ranks of a group; none where its schedule cannot say."""
        schedule = self.schedules[job.schedule]
        try:
            return schedule.members(group) if schedule is not None else ()
        except HOSTILE:
            return ()


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
    found, spans, wrong = _samples(samples, f"{where}/{SAMPLES}")
    schedules, unmade = _schedules(header, f"{where}/{RUN}")
    jobs, strange = _jobs(header, f"{where}/{RUN}")
    findings += [*wrong, *unmade, *strange]
    return Run(where, header, columns, rows, found, spans, schedules, jobs), findings


def _samples(path: Path, where: str) -> tuple[dict[Key, Any], dict[Key, float], list[Finding]]:
    """Samples, the seconds that they took in all, and what is wrong with them."""
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
        if seconds.size == 0 or not np.all(seconds > 0) or not 1 <= one.calls <= _MOST_CALLS:
            text = "durations must be above 0, each of 1 to 2^40 calls"
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
    found = {key: np.concatenate(several) for key, several in parts.items()}
    spans = {key: float(seconds.sum()) * calls[key] for key, seconds in found.items()}
    return found, spans, findings


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
                if spec.groups != schedule.count:
                    problem = f"it says {spec.groups} groups, its nodes give {schedule.count}"
            except HOSTILE as error:
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
        except HOSTILE as error:
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
