"""Whether runs are what their edition requires: all of it, on every group, by a strict rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from ..configs import suite_from_text
from ..errors import UsageError
from ..headers import RUN
from ..inventory import Inventory
from ..records import STATUSES, ScheduleSpec
from ..timing import Rule
from ..workloads.base import axis_fields, title_of
from .edition import Edition, Requirement, allowed, laxer, optional, requirements, rule_of
from .findings import Finding
from .prepared import Job, Run

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
    nodes = [node for run in runs for node in run.header.nodes]
    weak = any(device.weak for node in nodes for device in node.devices)
    needed = list(requirements(edition, weak=weak))
    there = [
        _Place(run, job, own.get(job.bench.name, []))
        for run, (own, _) in zip(runs, rules, strict=True)
        for job in run.jobs
        if run.header.schedules[job.schedule].scope != "rank"  # a rank's own part of another job
    ]
    fitting = [[one for one in there if not _changed(edition, what, one)] for what in needed]
    taken = {id(one) for found in fitting for one in found}
    others = [one for one in there if id(one) not in taken]
    kinds = list(dict.fromkeys(kind for run in runs for kind in _kinds(run)))
    for required, found in zip(needed, fitting, strict=True):
        for kind, mine in _by_kind(required, found, kinds):
            if mine:
                # Whatever fits best counts: what has no findings is what was required.
                judged = [list(_measured(edition, required, one)) for one in mine]
                yield from min(judged, key=lambda one: sum(x.level == "finding" for x in one))
            else:
                yield _absent(edition, required, others, kind)


class _Place(msgspec.Struct, frozen=True):
    """Something that was measured, in which run, and the stopping rules of its benchmark there."""

    run: Run
    job: Job
    rules: list[Rule]

    def kinds(self) -> list[str]:
        """The kinds of chip that it was measured on."""
        on = self.run.header.schedules[self.job.schedule].arguments.get("on")
        return _kinds(self.run) if on is None else [str(on)]


def _kinds(run: Run) -> list[str]:
    return Inventory(run.header.nodes).kinds()[1]


def _by_kind(
    required: Requirement, found: list[_Place], kinds: list[str]
) -> Iterator[tuple[str, list[_Place]]]:
    """What was measured for a requirement on each kind of chip that must meet it.

    Every device does what a single one can; which kinds meet each other depends on their nodes.
    """
    if required.bench.scope != "device" or len(kinds) <= 1:
        yield "", found
        return
    for kind in kinds:
        yield kind, [one for one in found if kind in one.kinds()]


def _absent(edition: Edition, required: Requirement, others: list[_Place], kind: str) -> Finding:
    """That something is not there, or is there with one change too many."""
    what = title_of(required.bench) + (f" on {kind}" if kind else "")
    near = [changed for one in others if len(changed := _changed(edition, required, one)) == 1]
    if near:
        text = f"{what}: measured {near[0][0]}, which edition {edition.name} does not allow"
        return Finding(rule="E7", level="finding", text=text)
    text = f"{what} was not measured {_where(required.spec)}"
    return Finding(rule="E2", level="finding", text=text)


def _measured(edition: Edition, required: Requirement, place: _Place) -> Iterator[Finding]:
    run, job, rules = place.run, place.job, place.rules
    what, where = title_of(job.bench), f"{run.where}/{RUN}"

    def finding(rule: str, text: str, level: Any = "finding") -> Finding:
        return Finding(rule=rule, level=level, text=f"{what}: {text}", where=where)

    lead = next(iter(job.bench.reported())).name
    schedule = run.schedules[job.schedule]
    groups = schedule.count if schedule is not None else 0
    if lead not in job.cases or not groups:
        yield finding("E2", f"nothing of it was measured {_where(required.spec)}")
        return
    columns, own = run.columns, _own(run, job)
    pairs = _rows(run, job.cases[lead].id, required.repeats)
    statuses = [int(columns.status[index]) for index in pairs.values()]
    if statuses and all(one == _SKIPPED for one in statuses):
        index = next(iter(pairs.values()))
        skipped = columns.reasons.get(index, "no reason given")
        if why := optional(edition, required.bench):
            yield finding("E4", f"skipped, which may be ({why}): {skipped}", "note")
        else:
            yield finding("E4", f"skipped, which edition {edition.name} does not allow: {skipped}")
        return
    dropped = [one.name for one in job.bench.reported() if one.name not in own]
    if dropped:
        yield finding("E2", f"its {', '.join(dropped)} was left out")
    of = f"{groups} group(s) in {required.repeats} repeat(s)"
    if missing := groups * required.repeats - len(pairs):
        yield finding("E3", f"{missing} measurement(s) are not there, of {of}")
    for name, (case, size) in own.items():
        there = _rows(run, case, required.repeats)
        if name != lead and (missing := size * required.repeats - len(there)):
            yield finding("E3", f"{missing} value(s) of {name} are not there, of {of}")
    bad, few, remarks = [], [], []
    for (group, repeat), index in sorted(pairs.items()):
        which = f"group {group}, repeat {repeat}"
        if columns.status[index] != _OK:
            why = columns.reasons.get(index, "no reason given")
            bad.append(f"{which} is {STATUSES[columns.status[index]]}: {why}")
        elif why := columns.reasons.get(index, ""):
            remarks.append(f"{which}: {why}")
        seconds = run.samples.get((job.first, group, repeat))
        if seconds is not None and seconds.size < edition.samples:
            few.append(f"{which} has {seconds.size}")
    if bad:
        text = f"{len(bad)} of {len(pairs)} measurement(s) do not count, for example {bad[0]}"
        yield finding("E4", text)
    if remarks:
        text = f"{len(remarks)} of {len(pairs)} measurement(s) count with a remark, for example "
        yield finding("E4", text + remarks[0], "note")
    if few:
        asked = f"edition {edition.name} asks for {edition.samples} samples"
        yield finding("E5", f"{asked}, {len(few)} measurement(s) have fewer: {few[0]}")
    for said in dict.fromkeys(text for rule in rules for text in laxer(rule, required.rule)):
        yield finding("E6", f"its stopping rule is laxer than the edition's: {said}")


def _own(run: Run, job: Job) -> dict[str, tuple[int, int]]:
    """By metric its case and on how many groups it is measured; each rank's own come behind."""
    found: dict[str, tuple[int, int]] = {}
    for one in run.jobs:
        schedule, spec = run.schedules[one.schedule], run.header.schedules[one.schedule]
        follows = one.first == job.first + len(job.cases) and spec.scope == "rank"
        if one is job or (follows and one.bench == job.bench):
            size = schedule.count if schedule is not None else 0
            found |= {name: (case.id, size) for name, case in one.cases.items()}
    return found


def _rows(run: Run, case: int, repeats: int) -> dict[tuple[int, int], int]:
    """The index of a case's row by group and repeat, of as many repeats as are asked for."""
    own = np.flatnonzero(run.columns.case == case)
    groups, several = run.columns.group[own].tolist(), run.columns.repeat[own].tolist()
    found = zip(groups, several, own.tolist(), strict=True)
    return {(group, repeat): index for group, repeat, index in found if 0 <= repeat < repeats}


def _changed(edition: Edition, required: Requirement, one: _Place) -> list[str]:
    """In what a measurement differs from the required one beyond what is allowed."""
    bench, measured = required.bench, one.job.bench
    if measured.name != bench.name:
        return [f"{measured.name} instead of {bench.name}", "all of it"]
    changed = [
        f"with {axis} {getattr(measured, axis)} instead of {getattr(bench, axis)}"
        for axis in axis_fields(type(bench))
        if not allowed(edition, bench, axis, getattr(measured, axis))
    ]
    spec = one.run.header.schedules[one.job.schedule]
    # Of several kinds of chip (``on``) each counts.
    arguments = {key: value for key, value in spec.arguments.items() if key != "on"}
    if (spec.kind, arguments) != (required.spec.kind, required.spec.arguments):
        changed.append(f"{_where(spec)} instead of {_where(required.spec)}")
    return changed


def _where(spec: ScheduleSpec) -> str:
    """``over nodes``, and what else says which groups."""
    more = ", ".join(f"{key} {value}" for key, value in spec.arguments.items() if value is not None)
    return f"over {spec.kind}" + (f" ({more})" if more else "")


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
