"""Whether runs are what their edition requires: all of it, on every group, by a strict rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from ..configs import suite_from_text
from ..errors import UsageError
from ..records import STATUSES, ScheduleSpec
from ..results import RUN
from ..timing import Rule
from ..workloads.base import Benchmark, axis_fields, title_of
from .edition import Edition, Requirement, allowed, laxer, optional, requirements, rule_of
from .findings import Finding
from .recompute import Job, Run

_OK, _SKIPPED = STATUSES.index("ok"), STATUSES.index("skipped")


def check_edition(edition: Edition, runs: Sequence[Run], provenance: str) -> Iterator[Finding]:
    """What an edition requires and these runs do not have.

    Args:
        edition: Whose rules hold.
        runs: All of the submission; together they must have everything.
        provenance: Of all of them.
    """
    if provenance not in edition.provenance:
        known = ", ".join(edition.provenance)
        text = f"edition {edition.name} takes what is {known}; this is {provenance}"
        yield Finding(rule="E8", level="finding", text=text)
    rules = [_rules(run) for run in runs]
    for run, (_, problem) in zip(runs, rules, strict=True):
        if problem:
            text = f"the suite that it says it measured cannot be read: {problem}"
            yield Finding(rule="E6", level="finding", text=text, where=f"{run.where}/{RUN}")
    for required in requirements(edition, stand_in=provenance == "stand-in"):
        places = [
            (run, job, own)
            for run, (own, _) in zip(runs, rules, strict=True)
            for job in run.jobs
            if job.bench.name == required.bench.name
            and _same_place(run.header.schedules[job.schedule], required.spec)
        ]
        yield from _check(edition, required, places)


def _check(
    edition: Edition, required: Requirement, places: list[tuple[Run, Job, dict[str, list[Rule]]]]
) -> Iterator[Finding]:
    """The findings of whatever fits best: what has none is what was required."""
    changes = [_changed(edition, required.bench, job.bench) for _, job, _ in places]
    fitting = [place for place, changed in zip(places, changes, strict=True) if not changed]
    what = title_of(required.bench)
    if not fitting:
        near = [one for one in changes if len(one) == 1]
        if near:
            text = (
                f"{what}: measured with {near[0][0]}, which edition {edition.name} does not allow"
            )
            yield Finding(rule="E7", level="finding", text=text)
        else:
            text = f"{what} was not measured {_where(required.spec)}"
            yield Finding(rule="E2", level="finding", text=text)
        return
    judged = [
        list(_measured(edition, required, run, job, rules.get(job.bench.name, [])))
        for run, job, rules in fitting
    ]
    yield from min(judged, key=lambda found: sum(one.level == "finding" for one in found))


def _measured(
    edition: Edition, required: Requirement, run: Run, job: Job, rules: list[Rule]
) -> Iterator[Finding]:
    what, where = title_of(job.bench), f"{run.where}/{RUN}"

    def finding(rule: str, text: str, level: Any = "finding") -> Finding:
        return Finding(rule=rule, level=level, text=f"{what}: {text}", where=where)

    lead = next(iter(job.bench.reported())).name
    schedule = run.schedules[job.schedule]
    groups = schedule.size if schedule is not None else 0
    if lead not in job.cases or not groups:
        yield finding("E2", f"nothing of it was measured {_where(required.spec)}")
        return
    own = np.flatnonzero(run.columns.case == job.cases[lead].id)
    columns = run.columns
    pairs = {
        (int(group), int(repeat)): int(index)
        for group, repeat, index in zip(columns.group[own], columns.repeat[own], own, strict=True)
        if 0 <= repeat < required.repeats
    }
    statuses = [int(columns.status[index]) for index in pairs.values()]
    if statuses and all(one == _SKIPPED for one in statuses):
        index = next(iter(pairs.values()))
        skipped = columns.reasons.get(index, "no reason given")
        if why := optional(edition, required.bench):
            yield finding("E4", f"skipped, which may be ({why}): {skipped}", "note")
        else:
            yield finding("E4", f"skipped, which edition {edition.name} does not allow: {skipped}")
        return
    if missing := groups * required.repeats - len(pairs):
        of = f"{groups} group(s) in {required.repeats} repeat(s)"
        yield finding("E3", f"{missing} measurement(s) are not there, of {of}")
    for (group, repeat), index in sorted(pairs.items()):
        place = f"group {group}, repeat {repeat}"
        if columns.status[index] != _OK:
            why = f"{STATUSES[columns.status[index]]}: {columns.reasons.get(index, '')}"
            yield finding("E4", f"{place} does not count: {why}")
        seconds = run.samples.get((job.first, group, repeat))
        if seconds is not None and seconds.size < edition.samples:
            few = f"{seconds.size} samples, edition {edition.name} asks for {edition.samples}"
            yield finding("E5", f"{place}: {few}")
    for said in dict.fromkeys(text for rule in rules for text in laxer(rule, required.rule)):
        yield finding("E6", f"its stopping rule is laxer than the edition's: {said}")


def _changed(edition: Edition, required: Benchmark, measured: Benchmark) -> list[str]:
    """The axes in which a measurement differs beyond what is allowed."""
    return [
        f"{axis} {getattr(measured, axis)} instead of {getattr(required, axis)}"
        for axis in axis_fields(type(required))
        if not allowed(edition, required, axis, getattr(measured, axis))
    ]


def _same_place(measured: ScheduleSpec, required: ScheduleSpec) -> bool:
    """Whether groups come about by the same rule; of several kinds of chip each counts (``on``)."""
    arguments = {key: value for key, value in measured.arguments.items() if key != "on"}
    return (measured.kind, measured.scope, arguments) == (
        required.kind,
        required.scope,
        required.arguments,
    )


def _where(spec: ScheduleSpec) -> str:
    return f"over {spec.kind}" if spec.scope == "group" else f"of every {spec.scope}"


def _rules(run: Run) -> tuple[dict[str, list[Rule]], str]:
    """By benchmark the stopping rules of a run's suite, or why it cannot be read."""
    found: dict[str, list[Rule]] = {}
    try:
        suite = suite_from_text(run.header.suite_text, "suite")
        for stage in suite.stages:
            for entry in stage.entries:
                found.setdefault(entry.benchmark, []).append(rule_of(suite, entry.rule))
    except (UsageError, msgspec.ValidationError) as error:
        return {}, str(error).splitlines()[0]
    missing = {job.bench.name for job in run.jobs} - found.keys()
    return found, f"it has no {min(missing)}" if missing else ""
