"""Every case of a run in one line: how many rows of which status, and the spread over groups."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import numpy.typing as npt

from ..records import (
    DIGEST,
    PROVENANCES,
    STATUS_MEANING,
    STATUSES,
    Case,
    Header,
    Provenance,
    ScheduleSpec,
    Status,
)
from ..results import Columns, RunReader
from .estimates import Estimate, over_groups
from .totals import totals

_OK = STATUSES.index("ok")
_OVER = {"nodes": "node", "all": "all", "rails": "rail", "node_pairs": "pair"}
"""What groups are over, as a suite writes it; of others it is the label."""
_TOGETHER: dict[bool | None, str] = {True: "together", False: "alone"}


class CaseSummary(msgspec.Struct, kw_only=True):
    """One case over all its groups; values are medians over repeats, in the case's unit.

    ``name`` is the case's title and, where several devices take part, which ones.
    ``statuses`` counts rows by status, ``reasons`` holds the most frequent reason of each status
    (of ok rows: what their reader must know). ``expected_groups`` is how many groups the schedule
    has (those with any row, where it was not counted), ``groups`` how many have a value;
    ``median``, ``p5`` and ``p95`` are over these, ``best`` and ``worst`` the extremes (the better
    direction first), ``worst_group`` who that was; None without any, and of digests, which have
    no order. ``low`` to ``high`` is the 95 % interval of the median (`estimates.over_groups`); None
    where a single value is known. ``values`` is how many it rests on. ``totals``: of pairs that
    were measured together, what they carried in all (`totals`).
    """

    case: Case
    name: str
    rows: int
    statuses: dict[Status, int]
    provenances: list[Provenance]
    expected_groups: int
    groups: int
    median: float | None = None
    p5: float | None = None
    p95: float | None = None
    best: float | None = None
    worst: float | None = None
    worst_group: int | None = None
    low: float | None = None
    high: float | None = None
    values: int = 0
    reasons: dict[Status, str] = {}
    totals: dict[str, float | None] = {}

    @property
    def known(self) -> Estimate:
        """The median with its interval. There is one."""
        assert self.median is not None
        return Estimate(value=self.median, low=self.low, high=self.high, values=self.values)


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
        declared = header.schedules[case.schedule].groups
        one = CaseSummary(
            case=case,
            name=f"{case.short()}{members(header.schedules[case.schedule])}",
            rows=int(rows.size),
            statuses={s: n for s, n in zip(STATUSES, counts, strict=True) if n},
            provenances=[PROVENANCES[index] for index in used],
            expected_groups=(
                int(np.unique(columns.group[rows]).size) if declared is None else declared
            ),
            groups=int(groups.size),
            reasons=reasons.get(case.id, {}),
        )
        if groups.size and case.unit != DIGEST:
            ends = int(medians.argmin()), int(medians.argmax())
            worst, best = ends if case.better == "higher" else ends[::-1]
            one.p5, one.median, one.p95 = np.percentile(medians, (5, 50, 95)).tolist()
            one.best = float(medians[best])
            one.worst, one.worst_group = float(medians[worst]), int(groups[worst])
            known = over_groups(columns, rows, medians)
            one.low, one.high, one.values = known.low, known.high, known.values
            one.totals = totals(header, case, groups, medians)
        found.append(one)
    return found


def members(spec: ScheduleSpec) -> str:
    """The same benchmark may be measured over each node and over all of them."""
    said = spec.arguments
    words = []
    if spec.scope == "pair":
        words.append(f"of {said.get('of', 'device')}s")
    if spec.scope in ("group", "rank"):
        grown = f"{said.get('devices')} devices" if spec.kind == "growing" else ""
        words.append(f"over {grown or _OVER.get(spec.kind) or said.get('key')}")
    words += [f"{way} {said[way]}" for way in ("within", "across") if said.get(way)]
    if on := said.get("on"):
        words.append(f"across {on}" if "+" in on else f"on {on}")
    words.append(_TOGETHER.get(said.get("together"), ""))
    return "".join(f" {word}" for word in words if word)


def lacking(one: CaseSummary) -> str:
    """Why groups of a case have no value, in words."""
    if not one.expected_groups:
        return "no group for it here"
    others = {status: count for status, count in one.statuses.items() if status != "ok"}
    if others:
        status = max(others, key=others.__getitem__)
        return f"{status}: {one.reasons.get(status) or STATUS_MEANING[status]}"
    if one.rows < one.expected_groups:
        return "not reached"
    return "measured, but it gave no value"


def rows_by_case(columns: Columns, cases: int) -> list[npt.NDArray[np.intp]]:
    """For every case id below ``cases``: the indices of its rows, in the order written."""
    order = np.argsort(columns.case, kind="stable")
    parts = np.split(order, np.searchsorted(columns.case[order], np.arange(1, cases)))
    return parts[:cases]  # of no case there is no part, not one that is empty


def group_medians(
    columns: Columns, rows: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Medians over the repeats of every group with an ok value: (groups ascending, medians).

    ``rows`` are indices of the rows of one case.
    """
    good = rows[(columns.status[rows] == _OK) & ~np.isnan(columns.value[rows])]
    return medians_by(columns.group[good], columns.value[good])


def medians_by(
    labels: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The distinct labels, ascending, and the median of the values of each."""
    order = np.argsort(labels, kind="stable")  # rows come by case and group: hardly any work
    labels, values = labels[order], values[order]
    starts = np.flatnonzero(np.diff(labels, prepend=labels[:1] - 1))
    counts = np.diff(starts, append=labels.size)
    medians = np.empty(starts.size)
    for count in np.unique(counts).tolist():
        those = counts == count
        each = np.sort(values[starts[those, None] + np.arange(count)], axis=1)
        medians[those] = (each[:, (count - 1) // 2] + each[:, count // 2]) / 2
    return labels[starts], medians


def _most_frequent_reasons(columns: Columns) -> dict[int, dict[Status, str]]:
    """Per case and status, the reason that most rows with one give, of equally many the first."""
    told = np.fromiter(columns.reasons, dtype=np.int64, count=len(columns.reasons))
    keys = columns.case[told].astype(np.int64) * len(STATUSES) + columns.status[told]
    # Millions of rows may have one, and few differ: they are counted in one pass.
    counts = Counter(zip(keys.tolist(), columns.reasons.values(), strict=True))
    most: dict[int, int] = {}
    found: dict[int, dict[Status, str]] = {}
    for (key, reason), count in counts.items():
        if count > most.get(key, 0):
            most[key] = count
            case, status = divmod(key, len(STATUSES))
            found.setdefault(case, {})[STATUSES[status]] = reason
    return found
