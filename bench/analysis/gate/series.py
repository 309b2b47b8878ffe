"""A run's metrics as series: for each, the values of its groups in every stage that measured it."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import msgspec
import numpy as np

from ...records import STATUSES, Better, Case, Header
from ...results import Columns
from ..summary import members, rows_by_case

_OK, _CONTENDED = STATUSES.index("ok"), STATUSES.index("contended")
Values: TypeAlias = dict[tuple[int, int], float]
"""(group, repeat) → median of the rows of it, in the metric's unit."""


class Series(msgspec.Struct, kw_only=True):
    """One metric of a run.

    ``name`` is its label, equal in all runs of the same; ``source`` the hash of the code that
    defines it. ``stages``: stage → its values that count. ``why``: the most frequent reason of
    those that do not, with the status. ``beside``: share of those that count which were measured
    beside other work on their cores.
    """

    name: str
    unit: str
    better: Better
    source: str
    stages: dict[str, Values]
    why: str = ""
    beside: float = 0.0

    def value(self) -> float | None:
        """The median over groups and repeats of all stages; None without any."""
        values = [value for stage in self.stages.values() for value in stage.values()]
        return float(np.median(values)) if values else None


def series(header: Header, columns: Columns, *, contended: bool = False) -> dict[str, Series]:
    """Every metric of a run by its label, in the order of the header.

    Only rows count that are ok and a number; ``contended`` ones too, if asked for. Cases of several
    stages that measure the same are one metric: their stages tell them apart.
    """
    found: dict[str, Series] = {}
    bad: dict[str, Counter[str]] = {}
    beside_of: dict[str, list[int]] = {}
    for case, rows in zip(header.cases, rows_by_case(columns, len(header.cases)), strict=True):
        name = label(header, case)
        one = found.setdefault(
            name,
            Series(name=name, unit=case.unit, better=case.better, source=case.source, stages={}),
        )
        if case.source != one.source:
            one.source = ""  # changed while it ran: equal to nothing
        status = columns.status[rows]
        counts = (status == _OK) | (contended & (status == _CONTENDED))
        good = counts & np.isfinite(columns.value[rows])
        values = one.stages.setdefault(case.stage, {})
        for row in rows[good].tolist():
            values[int(columns.group[row]), int(columns.repeat[row])] = float(columns.value[row])
        beside = beside_of.setdefault(name, [0, 0])
        beside[0] += int(np.count_nonzero(good & (status == _CONTENDED)))
        beside[1] += int(np.count_nonzero(good))
        reasons = bad.setdefault(name, Counter())
        for row in rows[~good].tolist():
            reasons[_why(columns, row)] += 1
    for name, (busy, whole) in beside_of.items():
        found[name].beside = busy / whole if whole else 0.0
    for name, reasons in bad.items():
        if reasons:
            found[name].why = reasons.most_common(1)[0][0]
    return found


def label(header: Header, case: Case) -> str:
    """``gemm 512x512x512 fp32 torch flops``, and over which devices."""
    return f"{case.short()}{members(header.schedules[case.schedule])} {case.metric}"


def _why(columns: Columns, row: int) -> str:
    status = STATUSES[int(columns.status[row])]
    if status == "ok":
        return "invalid: its value is no number"
    reason = columns.reasons.get(row, "")
    return f"{status}: {reason}" if reason else status
