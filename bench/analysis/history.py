"""A node against its own past: what earlier runs measured on the same hardware.

Hardware is known by identity (`bench.identity`): a renamed node has its past, one with a swapped
card begins anew, and a card takes its own past along. Only runs of one provenance are compared, and
only values of the same source.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from ..configs import Profile
from ..errors import InfraError, UsageError
from ..identity import identities
from ..records import PROVENANCES, STATUSES, Header, Provenance
from ..results import Columns, RunReader, check_whole
from ..runs import list_runs
from ..stats import student_quantile, student_tail
from ..units import format_value
from ..verdicts import Evidence, Word
from .graph import Bools, Floats, Ints
from .summary import medians_by
from .table import Metric, Table, table
from .trend import Trend, trend

MATERIAL = 0.02
"""Relative decline from which on it is one."""
RATE = 0.01
"""False ones among all declines that are told (Benjamini and Hochberg, 1995)."""
_DAY = 86400.0
_OK = STATUSES.index("ok")


class Past(msgspec.Struct, kw_only=True):
    """One metric through several runs, the one that is asked about last.

    ``units``: int64[units], as in the run's `Table`. ``runs``: their ids. ``days``: float64[runs],
    when they began, in days since 1970. ``values``: float64[runs, units], medians in the case's
    unit, NaN where a unit was not measured.
    """

    metric: Metric
    units: Ints
    runs: list[str]
    days: Floats
    values: Floats


class Decline(msgspec.Struct, kw_only=True, frozen=True):
    """A unit that is worse than its own past.

    ``effect`` is the relative deviation of ``value`` from ``expected`` towards worse with its 95 %
    interval, ``slope`` the relative change of 30 days towards worse (None below five runs). What
    all units share is in ``expected``. ``past`` counts earlier values, ``since`` is the day of the
    first run.
    """

    node: int
    device: str
    metric: Metric
    value: float
    expected: float
    effect: float
    low: float
    high: float
    slope: float | None
    past: int
    since: str
    chance: float

    def evidence(self, verdict: Word) -> Evidence:
        """As evidence, with the verdict that it is to carry."""
        case = self.metric.case
        falling = f"; {self.slope:.1%} worse in 30 days" if self.slope is not None else ""
        return self.metric.evidence(
            self.device,
            verdict,
            "history",
            f"{format_value(self.value, case.unit)}, {self.effect:.1%} worse than the "
            f"{format_value(self.expected, case.unit)} of its own past "
            f"(95 %: {self.low:.1%} to {self.high:.1%}; {self.past} runs since {self.since})"
            f"{falling}",
            value=self.value,
            expected=self.expected,
            effect=self.effect,
            low=self.low,
            high=self.high,
            repeats=self.past,
        )


def earlier_runs(folder: Path, header: Header, most: int = 12) -> list[Path]:
    """Folders of the newest ended runs before this one, of its provenance, the oldest first."""
    found = [
        Path(info.path)
        for info in list_runs(folder)
        if not info.problem
        and info.provenance == header.provenance
        and info.state not in ("", "running")
        and info.started < header.started
        and info.id != header.id
    ]
    return found[-most:]


def pasts(
    header: Header, columns: Columns, now: Table, profile: Profile, earlier: Sequence[Path]
) -> tuple[Iterator[Past], list[str]]:
    """Every metric of a run with what earlier runs measured of it on the same hardware.

    Args:
        header: The run's header.
        columns: Its rows.
        now: As of `table` with this profile.
        profile: Which metrics.
        earlier: Folders of earlier runs, the oldest first; those of another provenance are left
            out.

    Returns:
        Metrics with any past, and in sentences which runs could not be read.
    """
    keys = _keys(header)
    units = {key: unit for unit, key in enumerate(keys) if key}
    metrics = {metric.key: number for number, metric in enumerate(now.metrics)}
    notes: list[str] = []
    runs: list[tuple[str, float]] = []
    values: list[npt.NDArray[np.float32]] = []
    shape = len(metrics), len(keys)
    for path in earlier:
        try:
            reader = RunReader(path)
            if reader.header.provenance != header.provenance:
                continue
            then = reader.columns(("value", "status", "provenance"))
            check_whole(reader.header, len(then))
            found = table(reader.header, then, profile)
        except (UsageError, InfraError) as error:
            notes.append(f"{path} is left out of the history: {error.message}")
            continue
        # Mostly the same nodes: they need not be identified anew.
        same = (reader.header.fleet, reader.header.nodes) == (header.fleet, header.nodes)
        theirs = keys if same else _keys(reader.header)
        place = np.array([units.get(key, -1) for key in theirs], dtype=np.int64)
        which = np.array([metrics.get(one.key, -1) for one in found.metrics], dtype=np.int64)
        values.append(_grid(found, then, header.provenance, shape, which, place))
        runs.append((reader.header.id, _days(reader.header)))
    if not values:
        return iter(()), notes
    own = [np.arange(count) for count in shape]
    values.append(_grid(now, columns, header.provenance, shape, *own))
    runs.append((header.id, _days(header)))
    return _pasts(now, runs, values), notes


def _pasts(
    now: Table, runs: list[tuple[str, float]], values: list[npt.NDArray[np.float32]]
) -> Iterator[Past]:
    for number, metric in enumerate(now.metrics):
        of = np.stack([grid[number] for grid in values]).astype(np.float64)
        there = ~np.isnan(of)
        known = np.flatnonzero(there[-1] & there[:-1].any(axis=0))
        used = np.flatnonzero(there[:, known].any(axis=1))
        if known.size:
            yield Past(
                metric=metric,
                units=known,
                runs=[runs[run][0] for run in used],
                days=np.array([runs[run][1] for run in used]),
                values=of[np.ix_(used, known)],
            )


def _keys(header: Header) -> list[str]:
    """What identifies each unit: devices by rank, then nodes. Empty where nothing does, or two."""
    known = identities(header)
    devices = [one.device_key(index) for one in known for index in range(len(one.devices))]
    keys = [*devices, *(f"node {key}" if (key := one.key()) else "" for one in known)]
    count = Counter(keys)
    return [key if count[key] == 1 else "" for key in keys]


def _grid(
    found: Table,
    columns: Columns,
    provenance: Provenance,
    shape: tuple[int, int],
    which: Ints,
    place: Ints,
) -> npt.NDArray[np.float32]:
    """float32[metrics, units] of the run that is asked about: medians of a run's values.

    ``which`` and ``place`` tell its metrics and units as those of the run that is asked about; -1
    for none. In single precision, since there is a grid for every run.
    """
    grid = np.full(shape, np.nan, dtype=np.float32)
    value = columns.value[found.row]
    good = (columns.status[found.row] == _OK) & np.isfinite(value) & (value > 0)
    good &= columns.provenance[found.row] == PROVENANCES.index(provenance)
    metric, unit = which[found.metric], place[found.unit]
    good &= (metric >= 0) & (unit >= 0)
    cells, medians = medians_by(metric[good] * shape[1] + unit[good], value[good])
    grid.ravel()[cells] = medians
    return grid


def _days(header: Header) -> float:
    began = datetime.fromisoformat(header.started.replace("Z", "+00:00"))
    zoned = began if began.tzinfo is not None else began.replace(tzinfo=timezone.utc)
    return zoned.timestamp() / _DAY


def declines(
    known: Iterable[Past], now: Table, *, material: float = MATERIAL, rate: float = RATE
) -> tuple[list[Decline], list[str]]:
    """Units that are worse than their own past, worst first, and what a reader must know.

    A unit is told where its last value, or its slope over five or more runs, is worse by
    ``material`` and by more than chance: both questions are asked of every unit and metric, and of
    all that are told a share of ``rate`` may be false.
    """
    found: list[tuple[Past, Trend]] = []
    notes: list[str] = []
    asked = 0
    for past in known:
        worse = -1.0 if past.metric.case.better == "higher" else 1.0
        one = trend(past.days, worse * np.log(past.values))
        asked += past.units.size
        notes.extend(_shared(past, one, material))
        units = np.flatnonzero(np.logical_or(*_worse(one, material)))
        # Of tens of thousands of units hardly one is worse: what is known of the others can go.
        if units.size:
            found.append((_past_of(past, units), _trend_of(one, units)))
    count = sum(past.units.size for past, _ in found)
    # What is likelier than the most lenient of all steps below is not told, whatever it is.
    most = rate * count / max(asked, 1)
    told = [
        (chance, past, one, unit)
        for past, one in found
        for unit, chance in _chances(one, material, most)
    ]
    told.sort(key=lambda item: item[0])
    chances = np.array([item[0] for item in told])
    passed = np.flatnonzero(chances <= rate * np.arange(1, chances.size + 1) / max(asked, 1))
    told = told[: int(passed[-1]) + 1] if passed.size else []
    made = [_decline(past, now, one, unit, chance) for chance, past, one, unit in told]
    return sorted(made, key=lambda one: -one.effect), notes


def _worse(one: Trend, material: float) -> tuple[Bools, Bools]:
    """bool[units] each: the last value is materially below the past; values fall materially."""
    with np.errstate(invalid="ignore"):
        below = one.change >= material
        falling = (one.slope * one.span >= material) & (one.slope_low > 0)
    return np.asarray(below), np.asarray(falling)


def _past_of(past: Past, units: Ints) -> Past:
    """A past of some of its units only."""
    return msgspec.structs.replace(past, units=past.units[units], values=past.values[:, units])


def _trend_of(one: Trend, units: Ints) -> Trend:
    """A trend of some of its units only."""
    arrays = {
        name: value[units]
        for name, value in msgspec.structs.asdict(one).items()
        if isinstance(value, np.ndarray)
    }
    return msgspec.structs.replace(one, **arrays)


def _chances(one: Trend, material: float, most: float) -> Iterator[tuple[int, float]]:
    """(unit, chance) of every unit whose chance, by either question, is at most ``most``."""
    below, falling = _worse(one, material)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(below, one.change / one.error, np.nan)
    slope = np.where(falling, one.chance, np.nan)
    enough = np.full(t.size, np.nan)
    for degrees in np.unique(one.degrees[~np.isnan(t)]).tolist():
        # Just below the t of that chance: the tail itself decides.
        enough[one.degrees == degrees] = 0.999 * student_quantile(min(most / 2, 0.5), degrees)
    with np.errstate(invalid="ignore"):
        maybe = (t >= enough) | (2 * slope <= most)
    for unit in np.flatnonzero(maybe).tolist():
        chances = [float(slope[unit])] if falling[unit] else [1.0]
        if t[unit] > 0:
            degrees = float(one.degrees[unit])
            chances.append(0.0 if math.isinf(t[unit]) else student_tail(float(t[unit]), degrees))
        yield unit, min(1.0, 2 * min(chances))  # two questions were asked


def _decline(past: Past, now: Table, one: Trend, unit: int, chance: float) -> Decline:
    sign = 1.0 if past.metric.case.better == "higher" else -1.0
    value = float(past.values[-1, unit])
    change = float(one.change[unit])
    reach = student_quantile(0.025, float(one.degrees[unit])) * float(one.error[unit])
    ends = change, change - reach, change + reach
    effect, low, high = (-sign * math.expm1(-sign * each) for each in ends)
    slope = float(one.slope[unit])
    place = int(past.units[unit])
    first = past.days[np.flatnonzero(~np.isnan(past.values[:, unit]))[0]]
    return Decline(
        node=int(now.node(place)),
        device=now.device(place),
        metric=past.metric,
        value=value,
        expected=value * math.exp(sign * change),
        effect=effect,
        low=low,
        high=high,
        slope=-sign * math.expm1(-sign * 30 * slope) if math.isfinite(slope) else None,
        past=int(one.past[unit]),
        since=datetime.fromtimestamp(float(first) * _DAY, timezone.utc).date().isoformat(),
        chance=chance,
    )


def _shared(past: Past, one: Trend, material: float) -> Iterator[str]:
    """What changed for all units alike, which is no unit's decline."""
    if one.shared is not None and one.shared >= material:
        sign = 1.0 if past.metric.case.better == "higher" else -1.0
        yield (
            f"{past.metric.label}: all {past.units.size} units together are "
            f"{-sign * math.expm1(-sign * one.shared):.1%} worse than in earlier runs: look for "
            "what they share (driver, cooling, settings)"
        )
