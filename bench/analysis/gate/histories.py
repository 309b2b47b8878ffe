"""From a folder of runs to series: what each run measured of a metric, in order of time.

A series is of one metric on one kind of chip, in groups of one size, of one provenance, and of one
source: figures of another source are never compared (`bench.records.Case`). Only ``ok`` rows count;
a run's value is the median over its groups of the medians over repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from ...errors import InfraError, UsageError, unknown
from ...headers import RUN
from ...inventory import Inventory
from ...records import DIGEST, PROVENANCES, Better, Case, Header
from ...results import RunReader, check_whole
from ...rounds import schedule_for
from ...runs import began, list_runs
from ..graph import Floats, Ints
from ..joining import what
from ..summary import group_medians, members, rows_by_case
from ..table import key_of
from .wanted import Wanted, Where

_SHOWN = 3
"""Metrics that one sentence names, and runs that have one of their own."""


class Run(msgspec.Struct, kw_only=True, frozen=True):
    """One run that was read, and no other of the folder has its ``id``; ``when`` is its start in
    seconds since 1970."""

    id: str
    path: Path
    when: float


class Series(msgspec.Struct, kw_only=True):
    """One metric through the runs.

    ``metric`` is its label (``gemm 8192x8192x8192 bf16 flops``), ``chips`` the kinds of chip,
    ``where`` these with the size of a group (``8 x acme-1``), ``provenance`` as reports print it.
    ``runs``: int64[n], places in the list of runs, rising. ``values``: float64[n] in ``unit``,
    positive. ``absent`` is how many newer runs of its suite on such chips have no value, ``lost``
    whether any of these was to measure it. ``notes`` are sentences.
    """

    metric: str
    where: str
    chips: tuple[str, ...]
    provenance: str
    unit: str
    better: Better
    runs: Ints
    values: Floats
    absent: int = 0
    lost: bool = False
    notes: list[str] = []


class _Measured(NamedTuple):
    """What a run could have measured on, and what it was to measure: metrics and widths, as of
    `_Key`."""

    suite: str
    provenance: str
    chips: set[str]
    metrics: set[tuple[bytes, int]]


class _Key(NamedTuple):
    """What is compared: ``metric`` as of `key_of` without its source, groups of so many ranks of
    these kinds of chip, the provenance."""

    metric: bytes
    width: int
    chips: tuple[str, ...]
    provenance: str


class _Found(msgspec.Struct, kw_only=True):
    """What one run has of one series."""

    key: _Key
    metric: str
    case: Case
    value: float


def read_series(
    folder: Path, last: int | None = None, wanted: Wanted | None = None
) -> tuple[list[Run], list[Series], list[str]]:
    """All runs in a folder that can be read, by time, their series, and in sentences the others.

    Args:
        folder: Holds runs.
        last: Only so many, the newest.
        wanted: Only these series; of a node, only what lies in it.

    Raises:
        UsageError: there is no such folder, or no run in it has what is wanted.
        InfraError: it cannot be read.
    """
    wanted = wanted or Wanted()
    if not folder.is_dir():
        raise UsageError("no such folder", where=str(folder), hint="give the folder of the runs")
    listed, notes = _listed(folder)
    runs: list[Run] = []
    every: list[list[_Found]] = []
    headers: list[_Measured] = []
    without: Counter[str] = Counter()
    known: set[str] = set()
    same: dict[bytes, bytes] = {}
    chosen = listed[-last:] if last else listed
    if len(chosen) < len(listed):
        notes.append(f"of {len(listed)} runs, the newest {len(chosen)} are looked at (--last)")
    where = Where(wanted, [run.path for run in chosen])
    for run in chosen:
        try:
            reader = RunReader(run.path)
            asked = list(range(len(reader.header.cases)))
            if wanted.metric:
                every_label = [_label(reader.header, case) for case in reader.header.cases]
                known.update(every_label)
                asked = [case for case in asked if wanted.fits(every_label[case])]
            found, labels = _found(reader, asked, where) if asked else ([], set())
        except (UsageError, InfraError) as error:
            notes.append(f"{run.path} is left out: {error.message}")
            continue
        runs.append(run)
        every.append(found)
        header = reader.header
        due = {(same.setdefault(key, key), width) for key, width in _asked(header)}
        headers.append(_Measured(header.suite, header.label, {*_chips(header)}, due))
        without.update(sorted(labels))
    if without:
        most = [f"{label} in {count} run(s)" for label, count in without.most_common(_SHOWN)]
        more = f" and {len(without) - _SHOWN} more metrics" if len(without) > _SHOWN else ""
        notes.append(
            "values of 0 or below are left out, no change is relative to them: "
            f"{', '.join(most)}{more}"
        )
    series = [one for one in _series(runs, every, headers) if wanted.is_on(one.chips)]
    if not series and wanted.metric and not any(map(wanted.fits, known)):
        raise unknown("metric", wanted.metric, known)
    if not series and wanted.chip:
        raise unknown("chip", wanted.chip, {chip for one in headers for chip in one.chips})
    return runs, series, [*notes, *where.notes]


def _listed(folder: Path) -> tuple[list[Run], list[str]]:
    """Runs by time, not by name: clocks write their zones differently."""
    notes = [
        f"{path} is left out: it holds no {RUN}"
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".") and not (path / RUN).is_file()
    ]
    found: dict[str, Run] = {}
    going: list[str] = []
    every = list_runs(folder)
    same: dict[str, set[tuple[str, ...]]] = {}
    for info in every:
        same.setdefault(info.id, set()).add((info.started, info.suite, info.nodes))
    for info in every:
        when = began(info)
        # Clusters that begin on the hour share ids; their folders have names of their own.
        name = info.id if len(same[info.id]) == 1 else Path(info.path).name
        problem = info.problem
        if not problem and when is None:
            problem = f"{info.started!r} is no time at which it began"
        if not problem and info.state == "running":
            going.append(info.path)
            continue
        if not problem and name in found:
            problem = f"it is a copy of {found[name].path}"
        if problem or when is None:
            notes.append(f"{info.path} is left out: {problem}")
            continue
        found[name] = Run(id=name, path=Path(info.path), when=when)
    if len(going) > _SHOWN:
        notes.append(f"{len(going)} runs have not ended and are left out, the newest {going[-1]}")
    else:
        notes += [f"{path} is left out: it has not ended" for path in going]
    return sorted(found.values(), key=lambda run: (run.when, run.id)), notes


def _found(reader: RunReader, asked: list[int], where: Where) -> tuple[list[_Found], set[str]]:
    """What a run has of these cases' series, and the metrics whose values have no place in one."""
    header = reader.header
    there = where.of(header)
    if there is not None and not there.nodes:
        return [], set()
    columns = reader.columns(("value", "status", "provenance"))
    check_whole(header, len(columns))
    kinds = _Kinds(header)
    good = columns.provenance == PROVENANCES.index(header.provenance)
    parts: dict[_Key, list[Floats]] = {}
    first: dict[_Key, Case] = {}
    without: set[str] = set()
    every = rows_by_case(columns, len(header.cases))
    for case, rows in ((header.cases[one], every[one]) for one in asked):
        if case.unit == DIGEST:
            continue
        groups, medians = group_medians(columns, rows[good[rows]])
        if there is not None:
            inside = np.isin(groups, there.groups(case.schedule))
            groups, medians = groups[inside], medians[inside]
        positive = np.isfinite(medians) & (medians > 0)
        if not positive.all():
            without.add(_label(header, case))
        key = _metric(header, case)
        for width, chips, mine in kinds.split(case.schedule, groups[positive]):
            whole = _Key(key, width, chips, header.label)
            parts.setdefault(whole, []).append(medians[positive][mine])
            first.setdefault(whole, case)
    found = [
        _Found(
            key=key,
            metric=_label(header, first[key]),
            case=first[key],
            value=float(np.median(np.concatenate(values))),
        )
        for key, values in parts.items()
    ]
    return found, without


def _asked(header: Header) -> Iterator[tuple[bytes, int]]:
    kinds = _Kinds(header)
    for case in header.cases:
        yield _metric(header, case), kinds.width(case.schedule)


def _metric(header: Header, case: Case) -> bytes:
    # A source is compared where runs are joined, not here: a changed one is to be said.
    return key_of(header, msgspec.structs.replace(case, source=""))


def _label(header: Header, case: Case) -> str:
    return f"{case.short()}{members(what(header.schedules[case.schedule]))} {case.metric}"


class _Kinds:
    """Which kind of chip the groups of a run's schedules are of."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.inventory = Inventory(header.nodes, header.fleet)
        self.chips = _chips(header)
        self.names = sorted(set(self.chips))
        self._widths: dict[int, int] = {}
        self._known: dict[int, tuple[int, dict[int, tuple[str, ...]]]] = {}

    def split(self, schedule: int, groups: Ints) -> Iterator[tuple[int, tuple[str, ...], Ints]]:
        """(ranks in a group, kinds, places in ``groups``) of all kinds that have any of them."""
        if not groups.size:
            return
        if schedule not in self._known:
            self._known[schedule] = self._of(schedule)
        width, known = self._known[schedule]
        if len(self.names) < 2:
            yield width, tuple(self.names), np.arange(groups.size)
            return
        of = [known.get(group, ()) for group in groups.tolist()]
        for chips in sorted(set(of)):
            yield width, chips, np.flatnonzero([one == chips for one in of])

    def width(self, schedule: int) -> int:
        """Ranks in a group; of single ranks, of the group that each is in."""
        if schedule not in self._widths:
            spec = self.header.schedules[schedule]
            whole = spec if spec.scope != "rank" else msgspec.structs.replace(spec, scope="group")
            self._widths[schedule] = schedule_for(whole, self.inventory).width
        return self._widths[schedule]

    def _of(self, schedule: int) -> tuple[int, dict[int, tuple[str, ...]]]:
        """Ranks in a group; where there are several kinds, those of every group."""
        spec, width = self.header.schedules[schedule], self.width(schedule)
        if len(self.names) < 2:
            return width, {}
        return width, {
            group: tuple(sorted({self.chips[rank] for rank in ranks}))
            for batches in schedule_for(spec, self.inventory).rounds()
            for batch in batches
            for group, ranks in zip(batch.ids.tolist(), batch.ranks.tolist(), strict=True)
        }


def _chips(header: Header) -> list[str]:
    """By rank, the kind of chip; one kind of a fleet stands for all. What was stood in for is said
    by the provenance."""
    if header.fleet is not None:
        return [header.fleet.chip]
    return [d.chip or d.name or d.backend for node in header.nodes for d in node.devices]


def _series(runs: list[Run], every: list[list[_Found]], headers: list[_Measured]) -> list[Series]:
    of: dict[_Key, list[tuple[int, _Found]]] = {}
    for place, found in enumerate(every):
        for one in found:
            of.setdefault(one.key, []).append((place, one))
    return [_one(runs, key, points, headers) for key, points in of.items()]


def _one(
    runs: list[Run], key: _Key, points: list[tuple[int, _Found]], headers: list[_Measured]
) -> Series:
    last, newest = points[-1]
    case = newest.case
    defined = case.source, case.unit, case.better
    kept = [
        (place, one)
        for place, one in points
        if (one.case.source, one.case.unit, one.case.better) == defined
    ]
    notes = []
    if others := len(points) - len(kept):
        notes.append(
            f"its code changed: {others} run(s) of another source are not compared, its history "
            f"begins with {runs[kept[0][0]].id}"
        )
    without = [
        one
        for one in headers[last + 1 :]
        if (one.suite, one.provenance) == (headers[last].suite, key.provenance)
        and one.chips.issuperset(key.chips)
    ]
    if absent := len(without):
        notes.append(f"not measured in the newest {absent} run(s), last in {runs[last].id}")
    many = f"{key.width} x " if key.width > 1 else ""
    return Series(
        metric=newest.metric,
        where=f"{many}{' + '.join(key.chips) or 'unknown chip'}",
        chips=key.chips,
        provenance=key.provenance,
        unit=case.unit,
        better=case.better,
        runs=np.array([place for place, _ in kept], dtype=np.int64),
        values=np.array([one.value for _, one in kept]),
        absent=absent,
        lost=any((key.metric, key.width) in one.metrics for one in without),
        notes=notes,
    )
