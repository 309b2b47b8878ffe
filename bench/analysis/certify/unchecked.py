"""Checks of which no figure is compared: they pass where they ran, and nowhere else.

Silent corruption, a step over all nodes together: a run says of them that they held, or what went
wrong (`troubles`). Where one of them was skipped on some and not on all, was not reached, or gave
no figure that is a measurement, it said nothing, and that is no pass. Other work on the host
changes no such result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from ...records import DIGEST, STATUSES, Case, Header
from ...results import Columns
from ...rounds import schedule_for
from ...verdicts import Evidence
from ..graph import Bools, Ints
from ..joining import number_of, what
from ..summary import members, rows_by_case
from ..table import Table, units_of
from .coverage import why
from .values import measured

_OK = STATUSES.index("ok")
_SKIPPED = STATUSES.index("skipped")


def unchecked(
    header: Header, columns: Columns, found: Table, stages: Collection[str] | None = None
) -> tuple[list[tuple[int, Evidence]], list[str]]:
    """(node, evidence) of checks that did not run; and what nobody here can do, in sentences.

    Args:
        header: The run's header.
        columns: Its rows.
        found: Its rows of units: of metrics in it, `coverage.gaps` tells what is missing.
        stages: Only cases of these stages (None: all).
    """
    rows = rows_by_case(columns, len(header.cases))
    compared = {number for metric in found.metrics for number in metric.cases}
    jobs: dict[tuple[str, str, str, int], list[Case]] = {}
    for case in header.cases:
        wanted = stages is None or case.stage in stages
        if wanted and case.scope not in ("pair", "rank") and not number_of(case.stage):
            job = (case.stage, case.benchmark, str(case.axes), case.schedule)
            jobs.setdefault(job, []).append(case)
    evidence: list[tuple[int, Evidence]] = []
    notes: list[str] = []
    kinds, _ = found.kinds()
    units: dict[int, tuple[Ints, Ints]] = {}
    for cases in jobs.values():
        spec = cases[0].schedule
        if spec not in units:
            schedule = schedule_for(header.schedules[spec], found.inventory)
            units[spec] = units_of(schedule, found.inventory)
        groups, unit = units[spec]
        if compared.intersection(case.id for case in cases):
            groups, unit = groups[unit < 0], unit[unit < 0]
        if not groups.size:
            continue
        row, skipped, empty = _last(columns, groups, [(case, rows[case.id]) for case in cases])
        lacking = (row < 0) | skipped | empty
        kind = np.where(unit < 0, -1, kinds[unit])
        for one in np.unique(kind[lacking]).tolist():
            alike = kind == one
            here = np.flatnonzero(lacking & alike)
            if here.size == alike.sum() and skipped[here].all():
                said = why(columns, int(row[here[0]]))
                notes.append(f"{_name(header, cases[0])} is not covered: {said}")
                continue
            evidence.extend(_of(header, columns, found, cases[0], groups[here], row[here]))
    return evidence, list(dict.fromkeys(notes))


def _last(
    columns: Columns, groups: Ints, cases: list[tuple[Case, Ints]]
) -> tuple[Ints, Bools, Bools]:
    """The row that says most of each group, -1 without any: the last that was not skipped, and of
    these one with a figure; whether it was skipped; whether it is well and has no figure."""
    row = np.full(groups.size, -1, dtype=np.int64)
    was_skipped, was_empty = np.zeros((2, groups.size), dtype=bool)
    every = np.concatenate([rows for _, rows in cases]).astype(np.int64)
    empty = np.concatenate([_empty(columns, case, rows) for case, rows in cases])
    here = np.isin(columns.group[every], groups)
    every, empty = every[here], empty[here]
    skipped = columns.status[every] == _SKIPPED
    for some in (skipped, empty, ~skipped & ~empty):
        place = np.searchsorted(groups, columns.group[every[some]])
        row[place] = every[some]
        was_skipped[place], was_empty[place] = skipped[some], empty[some]
    return row, was_skipped, was_empty


def _empty(columns: Columns, case: Case, rows: Ints) -> Bools:
    """bool[rows]: rows that are well and whose value is no measurement."""
    value = columns.value[rows]
    digest = np.isfinite(value) & (case.unit == DIGEST)
    known = measured(value, case.better == "lower") | digest
    return np.asarray((columns.status[rows] == _OK) & ~known)


def _of(
    header: Header, columns: Columns, found: Table, case: Case, groups: Ints, rows: Ints
) -> Iterator[tuple[int, Evidence]]:
    schedule = schedule_for(header.schedules[case.schedule], found.inventory)
    for group, row in zip(groups.tolist(), rows.tolist(), strict=True):
        ranks = list(schedule.members(group))
        for node in np.unique(found.inventory.node_of(ranks)).tolist():
            yield (
                node,
                Evidence(
                    verdict="inconclusive",
                    against="coverage",
                    text=why(columns, row),
                    stage=case.stage,
                    metric=_name(header, case),
                    device=found.inventory.rank_name(ranks[0]) if len(ranks) == 1 else "",
                ),
            )


def _name(header: Header, case: Case) -> str:
    return f"{case.short()}{members(what(header.schedules[case.schedule]))}"
