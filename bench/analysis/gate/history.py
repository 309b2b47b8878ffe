"""Many runs of one suite: which metrics are slower than they were, since which run, by how much.

Every series (`series`) has its change points (`change_points`). What is said of the newest run is
of its segment: *regressed* where it is worse than before the last change towards worse, and by the
least change at least, so that half a repair is none; *improved* where the last change was for the
better and undid that. A metric of which the newest run that was to measure it has no value is
*missing*, unless it had regressed before. Changes are towards worse, as everywhere in the gate:
0.05 is 5 % slower.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from ...errors import Exit
from ...headers import read_header
from ...records import Better
from ...stats import relative
from ..graph import Floats
from . import change_points as points
from .differences import differences
from .histories import Run, Series, read_series
from .wanted import Wanted

Verdict: TypeAlias = Literal["regressed", "missing", "too few runs", "improved", "steady"]
VERDICTS: tuple[Verdict, ...] = ("regressed", "missing", "too few runs", "improved", "steady")
"""Worst first."""
FAMILY = 0.01
"""Probability that any of all steady metrics has a change point."""


class Change(msgspec.Struct, kw_only=True, frozen=True):
    """One change of a metric's level, towards worse where it is above 0.

    ``last`` is the last run before it, ``first`` the first run after it, by id. ``change`` has the
    95 % interval ``low`` to ``high``; ``before`` and ``after`` are levels in the metric's unit,
    ``chance`` as of `ChangePoint`.
    """

    last: str
    first: str
    change: float
    low: float
    high: float
    before: float
    after: float
    chance: float


class MetricHistory(msgspec.Struct, kw_only=True, frozen=True):
    """One metric on one kind of chip.

    ``runs`` and ``values`` (in ``unit``) have one entry for each run that measured it, the oldest
    first; ``changes`` are all change points. ``now`` is what the verdict is by: the newest level
    against that before the change, None where it is steady or nothing can be said. ``pending`` is
    by how much the newest run alone is off (not yet persistent), None where it is not; ``caught``
    the smallest slowdown that is found 95 times of 100 once it lasted for three runs. ``differs``
    says what changed between the last run before ``now`` and the first after it; ``notes`` are
    sentences for the reader.
    """

    metric: str
    where: str
    provenance: str
    unit: str
    better: Better
    verdict: Verdict
    level: float
    runs: list[str]
    values: list[float]
    changes: list[Change] = []
    now: Change | None = None
    pending: float | None = None
    caught: float | None = None
    differs: list[str] = []
    notes: list[str] = []


class History(msgspec.Struct, kw_only=True, frozen=True):
    """All metrics of a folder of runs, worst first; ``runs`` are ids, the oldest first.

    ``began`` says when each of them did (UTC, ISO 8601). ``node``: of this node alone.
    """

    folder: str
    least: float
    runs: list[str]
    began: list[str] = []
    node: str = ""
    metrics: list[MetricHistory]
    notes: list[str] = []

    @property
    def exit(self) -> Exit:
        """1 where any metric regressed, 3 where one is missing or none has runs enough, else 0."""
        said = {one.verdict for one in self.metrics}
        if "regressed" in said:
            return Exit.FINDING
        if "missing" in said:
            return Exit.INCONCLUSIVE
        return Exit.OK if said - {"too few runs"} else Exit.INCONCLUSIVE


def history(
    folder: Path,
    *,
    last: int | None = None,
    least: float = points.LEAST,
    wanted: Wanted | None = None,
) -> History:
    """What a folder of runs says.

    Args:
        folder: Holds runs.
        last: Only so many, the newest.
        least: Relative change that counts.
        wanted: Only these metrics.

    Raises:
        UsageError: there is no such folder, or no run in it has what is wanted.
        InfraError: it cannot be read.
    """
    runs, series, notes = read_series(folder, last, wanted)
    alpha = min(points.ALPHA, FAMILY / max(len(series), 1))
    metrics = [_of(runs, one, least, alpha) for one in series]
    metrics.sort(key=_order)
    return History(
        folder=str(folder),
        least=least,
        runs=[run.id for run in runs],
        began=[_said(run.when) for run in runs],
        node=wanted.node if wanted is not None else "",
        metrics=metrics,
        notes=notes,
    )


def _said(when: float) -> str:
    return datetime.fromtimestamp(when, timezone.utc).isoformat(timespec="seconds")


def _order(one: MetricHistory) -> tuple[int, float, str, str, str]:
    worse = one.now.change if one.now is not None else one.pending or 0.0
    return VERDICTS.index(one.verdict), -worse, one.metric, one.where, one.provenance


def _of(runs: list[Run], series: Series, least: float, alpha: float) -> MetricHistory:
    sign = 1.0 if series.better == "lower" else -1.0
    ids = [runs[place].id for place in series.runs.tolist()]
    logs = points.logarithms(series.values)
    found = points.change_points(series.values, least=least, alpha=alpha)
    changes = [_change(ids, one, one.index, sign) for one in found]
    notes = list(series.notes)
    verdict: Verdict = "too few runs"
    now = pending = caught = None
    level = float(series.values[-1])
    if logs.size >= points.FEWEST:
        kept, noise = points.smoothed(logs)
        begin = found[-1].index if found else 0
        level = math.exp(float(kept[begin:].mean()))
        verdict, now = _verdict(ids, kept, noise, found, sign, least)
        caught = points.smallest(logs.size, logs.size - begin, noise, least, alpha)
        off = sign * (float(logs[-1]) - math.log(level))
        if abs(off) >= max(points.REACH * noise, math.log1p(least)):
            pending = relative(off)
            notes.append(
                f"its newest run alone, {ids[-1]}, is {abs(pending):.1%} "
                f"{'worse' if pending > 0 else 'better'}: not yet persistent, run again"
            )
    else:
        notes.append(f"{logs.size} run(s): at least {points.FEWEST} are needed")
    if series.lost and verdict != "regressed":
        verdict, now = "missing", None
    return MetricHistory(
        metric=series.metric,
        where=series.where,
        provenance=series.provenance,
        unit=series.unit,
        better=series.better,
        verdict=verdict,
        level=level,
        runs=ids,
        values=series.values.tolist(),
        changes=changes,
        now=now,
        pending=pending,
        caught=caught,
        differs=_differs(runs, now),
        notes=notes,
    )


def _verdict(
    ids: list[str],
    kept: Floats,
    noise: float,
    found: list[points.ChangePoint],
    sign: float,
    least: float,
) -> tuple[Verdict, Change | None]:
    ends = [0, *(one.index for one in found), kept.size]
    worse = [i for i, one in enumerate(found) if sign * one.change > 0]
    if worse:
        at = worse[-1]
        if at == len(found) - 1:
            return "regressed", _change(ids, found[at], found[at].index, sign)
        # Against the level before it: what was repaired since then counts.
        whole = points.compared(kept, ends[at], ends[at + 1], ends[-2], ends[-1], noise)
        now = _change(ids, whole, found[at].index, sign)
        if now.change >= least:
            return "regressed", now
    if found and sign * found[-1].change < 0:
        return "improved", _change(ids, found[-1], found[-1].index, sign)
    return "steady", None


def _change(ids: list[str], one: points.ChangePoint, index: int, sign: float) -> Change:
    """A change with its direction: 1 where more is worse, -1 where less is."""
    low, high = sorted(_worse(edge, sign) for edge in (one.low, one.high))
    return Change(
        last=ids[index - 1],
        first=ids[index],
        change=_worse(one.change, sign),
        low=low,
        high=high,
        before=one.before,
        after=one.after,
        chance=one.chance,
    )


def _worse(change: float, sign: float) -> float:
    """A relative change of a value, as one towards worse."""
    if change <= -1:
        return -1.0 if sign > 0 else math.inf
    return relative(sign * math.log1p(change))


def _differs(runs: list[Run], now: Change | None) -> list[str]:
    if now is None:
        return []
    paths = {run.id: run.path for run in runs}
    # Both were read a moment ago; headers of thousands of runs are not kept for two of them.
    return differences(read_header(paths[now.last]), read_header(paths[now.first]))
