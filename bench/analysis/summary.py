"""Every case of a run in one line: how many rows of which status, and the spread over groups."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from ..records import PROVENANCES, STATUSES, Case, Header, Provenance, Status
from ..results import Columns, RunReader

_OK = STATUSES.index("ok")


class CaseSummary(msgspec.Struct, kw_only=True):
    """One case over all its groups; values are medians over repeats, in the case's unit.

    ``statuses`` counts rows by status. ``groups`` is how many groups have a value; ``median``,
    ``p5`` and ``p95`` are over these, ``worst`` is that of ``worst_group``; None without any.
    ``reason`` is the most frequent reason of rows that are not ok.
    """

    case: Case
    rows: int
    statuses: dict[Status, int]
    provenances: list[Provenance]
    groups: int
    median: float | None = None
    p5: float | None = None
    p95: float | None = None
    worst: float | None = None
    worst_group: int | None = None
    reason: str = ""


def summary(reader: RunReader) -> list[CaseSummary]:
    """Every case of a run in one line each, in the order of the header. Only ok values count."""
    return summarize(reader.header, reader.columns())


def summarize(header: Header, columns: Columns) -> list[CaseSummary]:
    """`summary` of columns that are read already."""
    reasons = _most_frequent_reasons(columns)
    found = []
    for case, rows in zip(header.cases, rows_by_case(columns, len(header.cases)), strict=True):
        counts = np.bincount(columns.status[rows], minlength=len(STATUSES)).tolist()
        used = np.unique(columns.provenance[rows]).tolist()
        groups, medians = group_medians(columns, rows)
        one = CaseSummary(
            case=case,
            rows=int(rows.size),
            statuses={s: n for s, n in zip(STATUSES, counts, strict=True) if n},
            provenances=[PROVENANCES[index] for index in used],
            groups=int(groups.size),
            reason=reasons.get(case.id, ""),
        )
        if groups.size:
            worst = int(medians.argmin() if case.better == "higher" else medians.argmax())
            one.p5, one.median, one.p95 = np.percentile(medians, (5, 50, 95)).tolist()
            one.worst, one.worst_group = float(medians[worst]), int(groups[worst])
        found.append(one)
    return found


def rows_by_case(columns: Columns, cases: int) -> list[npt.NDArray[np.intp]]:
    """For every case id below ``cases``: the indices of its rows, in the order written."""
    order = np.argsort(columns.case, kind="stable")
    return np.split(order, np.searchsorted(columns.case[order], np.arange(1, cases)))


def group_medians(
    columns: Columns, rows: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Medians over the repeats of every group with an ok value: (groups ascending, medians).

    ``rows`` are indices of the rows of one case.
    """
    good = rows[(columns.status[rows] == _OK) & ~np.isnan(columns.value[rows])]
    group, value = columns.group[good], columns.value[good]
    order = np.lexsort((value, group))
    group, value = group[order], value[order]
    groups, starts, counts = np.unique(group, return_index=True, return_counts=True)
    low, high = starts + (counts - 1) // 2, starts + counts // 2
    return groups, (value[low] + value[high]) / 2


def _most_frequent_reasons(columns: Columns) -> dict[int, str]:
    counts: dict[int, dict[str, int]] = {}
    for index, reason in columns.reasons.items():
        if columns.status[index] != _OK:
            said = counts.setdefault(int(columns.case[index]), {})
            said[reason] = said.get(reason, 0) + 1
    return {case: max(said, key=said.__getitem__) for case, said in counts.items()}
