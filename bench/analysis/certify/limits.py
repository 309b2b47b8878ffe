"""Absolute limits: what the profile, or the datasheet, asks of every unit whatever the fleet does.

A defect that all nodes of a fleet share is invisible among themselves; a limit sees it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...configs import ProfileMetric
from ...records import STATUSES, Case
from ...results import Columns
from ...units import format_value
from ...verdicts import Against, Evidence
from ..finding import ratio
from ..graph import Floats, Ints
from ..table import Metric, Table

_OK = STATUSES.index("ok")
TOLERANCE = 0.05
"""How far above what is possible a value may lie before that is said."""


def limit(line: ProfileMetric, case: Case) -> tuple[float | None, Against]:
    """The worst value that passes, in the case's unit (None: there is no limit); whose it is."""
    if line.target is not None and (line.required or line.least is not None):
        return _share(line.target, line.least or 1.0, case), "floor"
    if line.least is not None and line.reference == "datasheet" and case.expected is not None:
        return _share(case.expected, line.least, case), "datasheet"
    return None, "floor"


def _share(reference: float, least: float, case: Case) -> float:
    return reference * least if case.better == "higher" else reference / least


def beyond(
    found: Table, columns: Columns, stands_for: str = ""
) -> tuple[list[tuple[int, Evidence]], list[str]]:
    """(node, evidence) of units beyond a limit; and what no limit could be applied to, or is above
    what is possible, in sentences. ``stands_for``: the chip that the devices stand in for.
    """
    evidence: list[tuple[int, Evidence]] = []
    notes: list[str] = []
    for number, metric in enumerate(found.metrics):
        worst, against = limit(metric.line, metric.case)
        if worst is None and not _reaches(found, columns, number):
            median = np.empty(0)
        else:
            units, median, counts = medians(found, columns, number)
        if worst is not None:
            evidence.extend(_below(found, metric, worst, against, units, median, counts))
        elif metric.line.least is not None:
            notes.append(
                f"{metric.label} is held against no limit: no datasheet says what to expect"
            )
        notes.extend(_above(metric, median, stands_for))
    return evidence, notes


def _reaches(found: Table, columns: Columns, metric: int) -> bool:
    """Whether any single value is better than what is possible: without one, no median is."""
    case = found.metrics[metric].case
    row = found.row[found.metric == metric]
    value = columns.value[row][columns.status[row] == _OK]
    if case.expected is None or not value.size:
        return False
    best = np.nanmax(value) if case.better == "higher" else np.nanmin(value)
    return (ratio(float(best), case.expected, case) or 0.0) > 1 + TOLERANCE


def medians(found: Table, columns: Columns, metric: int) -> tuple[Ints, Floats, Ints]:
    """Units with a value that counts, the median of each unit's values, and how many there are."""
    mine = found.metric == metric
    row = found.row[mine]
    good = (columns.status[row] == _OK) & np.isfinite(columns.value[row])
    unit, value = found.unit[mine][good], columns.value[row][good]
    order = np.lexsort((value, unit))
    unit, value = unit[order], value[order]
    units, start, count = np.unique(unit, return_index=True, return_counts=True)
    middle: Floats = (value[start + (count - 1) // 2] + value[start + count // 2]) / 2
    return units, middle, count.astype(np.int64)


def _below(
    found: Table,
    metric: Metric,
    worst: float,
    against: Against,
    units: Ints,
    median: Floats,
    counts: Ints,
) -> Iterator[tuple[int, Evidence]]:
    case = metric.case
    bad = median < worst if case.better == "higher" else median > worst
    asks = "at least" if case.better == "higher" else "at most"
    whose = "the profile" if against == "floor" else "the datasheet's share in the profile"
    for place in np.flatnonzero(bad).tolist():
        unit, value = int(units[place]), float(median[place])
        yield (
            int(found.node(unit)),
            metric.evidence(
                found.device(unit),
                "reject",
                against,
                f"{format_value(value, case.unit)}; {whose} asks for {asks} "
                f"{format_value(worst, case.unit)}",
                value=value,
                expected=worst,
                effect=abs(value - worst) / worst if worst else None,
                repeats=int(counts[place]),
            ),
        )


def _above(metric: Metric, median: Floats, stands_for: str) -> Iterator[str]:
    """A value above what is possible: the datasheet or the measurement is wrong, or it is of a
    stand-in that is the faster chip."""
    case = metric.case
    if case.expected is None or not median.size:
        return
    best = float(median.max() if case.better == "higher" else median.min())
    above = ratio(best, case.expected, case)
    if above is not None and above > 1 + TOLERANCE:
        yield (
            f"{metric.label}: {format_value(best, case.unit)} is better than the "
            f"{format_value(case.expected, case.unit)} that datasheet and topology allow: "
            + (
                f"what stands in for {stands_for} is faster"
                if stands_for
                else "one of them is wrong"
            )
        )
