"""From logs to a run: its nodes and devices, its cases, the groups that they are of, its rows.

A node is what logs call it; nothing identifies its hardware, so that an imported run certifies
nobody by certificate and is held against no node's own past. Cases of our own benchmarks have the
axes, titles and expectations that a measured run has. Groups of equal extent share a schedule: each
node, all devices, or the groups listed one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np

from ..backends.registry import match_chip
from ..cluster.expectation import facts_of
from ..configs import Chip, datasheet
from ..inventory import Inventory
from ..records import PROVENANCES, Case, Device, Header, Node, ScheduleSpec, Scope
from ..results import Columns
from ..rounds import schedule_for
from ..units import format_size
from ..workloads.base import Benchmark, Facts, axes_of, make, title_of
from .found import Ints, Log, Part, Place, Rows, What

_IMPORTED = PROVENANCES.index("imported")
_DIGITS = re.compile(r"(\d+)")


class Made(NamedTuple):
    """A run that has not been written: ``samples`` are (case, group, repeat, calls, seconds)."""

    header: Header
    columns: Columns
    samples: list[tuple[int, int, int, int, list[float]]]


def together(logs: Sequence[Log], times: Mapping[str, datetime], each: bool) -> list[list[Log]]:
    """Logs that become one run: those of one day (UTC), the oldest first; or each by itself.

    Args:
        logs: All of one format.
        times: By file: when it was measured.
        each: A run a file.
    """
    ordered = sorted(logs, key=lambda log: times[log.name])
    if each:
        return [[log] for log in ordered]
    days: dict[object, list[Log]] = {}
    for log in ordered:
        moment = times[log.name].astimezone(timezone.utc)
        days.setdefault(moment.date(), []).append(log)
    return list(days.values())


def assemble(
    logs: Sequence[Log],
    *,
    tool: str,
    suite: str,
    times: Mapping[str, datetime],
    chips: Mapping[str, Chip],
    command: list[str],
    environment: dict[str, Any],
) -> Made:
    """The run that these logs are of.

    Args:
        logs: With a figure at least.
        tool: The format; what defines its figures is the tool that printed them.
        suite: What the run is called after.
        times: By file: when it was measured.
        chips: Datasheets by name.
        command: The command line, for the record.
        environment: For the record: files, versions.
    """
    layout = _Layout(logs, chips)
    began = min(times[log.name] for log in logs)
    ended = max(times[log.name] for log in logs)
    which: dict[What, int] = {}
    parts = []
    for log in logs:
        numbers = np.array(
            [which.setdefault(what, len(which)) for what in log.whats], dtype=np.int64
        )
        parts += [(log, numbers, layout.groups(log, rows), rows) for rows in log.rows]
    whats = list(which)
    cases = _Cases(layout, whats, tool, chips)
    case, group, first = [], [], 0
    reasons: dict[int, str] = {}
    for _, numbers, groups, rows in parts:
        of, ids = cases.of(numbers[rows.what], groups)
        case.append(of)
        group.append(ids)
        reasons.update((first + place, why) for place, why in rows.reasons.items())
        first += rows.value.size
    made = cases.made()
    of, ids = np.concatenate(case), np.concatenate(group)
    repeat = _repeats(of, ids)
    since = [(times[log.name] - began).total_seconds() for log, *_ in parts]
    sizes = [rows.value.size for *_, rows in parts]
    header = Header(
        id=f"{began.astimezone(timezone.utc):%Y%m%d-%H%M%S}-{suite}",
        suite=suite,
        started=began.astimezone(timezone.utc).isoformat(timespec="seconds"),
        finished=ended.astimezone(timezone.utc).isoformat(timespec="seconds"),
        state="complete",
        executor="import",
        command=command,
        provenance="imported",
        environment=environment,
        nodes=layout.inventory.nodes,
        cases=made,
        schedules=cases.specs,
        stages=[
            {"name": stage, "began": 0.0, "seconds": (ended - began).total_seconds()}
            for stage in dict.fromkeys(one.stage for one in made)
        ],
        events=[
            {"time": 0.0, "kind": "warning", "text": note, "node": ""} for note in _notes(logs)
        ],
    )
    columns = _columns([rows for *_, rows in parts], of, ids, repeat, np.repeat(since, sizes))
    columns.reasons = reasons
    return Made(header, columns, _samples(parts, of, ids, repeat))


def _notes(logs: Sequence[Log]) -> list[str]:
    """What whoever reads the run must know."""
    found = [note for log in logs for note in log.notes]
    if undated := [log.name for log in logs if not log.dated]:
        files = undated[0] if len(undated) == 1 else f"{len(undated)} files"
        found.append(f"{files}: when it was measured is the file's own time; --time says another")
    return found


def _columns(parts: list[Rows], case: Ints, group: Ints, repeat: Ints, time: Any) -> Columns:
    def joined(name: str, dtype: type) -> Any:
        return np.concatenate([getattr(part, name) for part in parts]).astype(dtype, copy=False)

    return Columns(
        case=case.astype(np.int32),
        group=group,
        repeat=repeat.astype(np.int32),
        time=time,
        value=joined("value", np.float64),
        low=joined("low", np.float64),
        high=joined("high", np.float64),
        n=joined("n", np.int32),
        status=joined("status", np.int8),
        conditions=np.full(case.size, -1, dtype=np.int32),
        provenance=np.full(case.size, _IMPORTED, dtype=np.int8),
    )


def _repeats(case: Ints, group: Ints) -> Ints:
    """int64[rows]: how often the same case was there on the same group before."""
    key = case * (int(group.max(initial=0)) + 1) + group
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    lengths = np.diff(starts, append=key.size)
    repeat = np.empty(key.size, dtype=np.int64)
    repeat[order] = np.arange(key.size) - np.repeat(starts, lengths)
    return repeat


def _samples(
    parts: Sequence[tuple[Log, Ints, Ints, Rows]], case: Ints, group: Ints, repeat: Ints
) -> list[tuple[int, int, int, int, list[float]]]:
    """What tools kept; only those keep something whose figures are one part."""
    found, first = [], 0
    for log, _, _, rows in parts:
        for place, calls, seconds in log.samples:
            row = first + place
            found.append((int(case[row]), int(group[row]), int(repeat[row]), calls, seconds))
        first += rows.value.size
    return found


class _Layout:
    """The nodes of some logs, and their groups as ranks."""

    def __init__(self, logs: Sequence[Log], chips: Mapping[str, Chip]) -> None:
        devices: dict[str, dict[str, Part]] = {}
        for log in logs:
            for place, part in log.devices.items():
                devices.setdefault(place.node, {}).setdefault(place.device, part)
        nodes = [_node(name, devices[name], chips) for name in sorted(devices, key=_natural)]
        self.inventory = Inventory(nodes)
        self._ranks: dict[Place, int] = {}
        for node in nodes:
            for device, _ in _ordered(devices[node.name]):
                self._ranks[Place(node.name, device)] = len(self._ranks)
        self.members: dict[tuple[int, ...], int] = {}
        """Groups by their ranks, ascending."""
        self._known: dict[int, Ints] = {}

    def groups(self, log: Log, rows: Rows) -> Ints:
        """int64[rows]: the number of each row's group."""
        known = self._known.get(id(log))
        if known is None:
            found = [tuple(sorted(self._ranks[place] for place in group)) for group in log.groups]
            known = np.array(
                [self.members.setdefault(ranks, len(self.members)) for ranks in found],
                dtype=np.int64,
            )
            self._known[id(log)] = known
        return np.asarray(known[rows.group])

    def extent(self, ranks: Sequence[int]) -> tuple[int, int]:
        """(ranks, nodes) of a group."""
        return len(ranks), len(set(self.inventory.node_of(list(ranks)).tolist()))


class _Cases:
    """Cases as they are met: a figure's meaning, on groups of one schedule."""

    def __init__(
        self,
        layout: _Layout,
        whats: Sequence[What],
        tool: str,
        chips: Mapping[str, Chip],
    ) -> None:
        self._layout, self._whats, self._tool, self._chips = layout, whats, tool, chips
        self._made: dict[tuple[Any, ...], Benchmark] = {}
        self._facts: dict[int, Facts | None] = {}
        self._scopes = scopes = [
            what.scope if what.unit else self._bench(what).scope for what in whats
        ]
        self.specs: list[ScheduleSpec] = []
        self._groups: list[tuple[int, ...]] = list(layout.members)
        self._extents = [layout.extent(ranks) for ranks in self._groups]
        kinds = sorted({*scopes})
        self._scope = np.array([kinds.index(one) for one in scopes], dtype=np.int64)
        self._spec = np.full((len(kinds), len(self._groups)), -1, dtype=np.int64)
        self._id = np.zeros((len(kinds), len(self._groups)), dtype=np.int64)
        for number, scope in enumerate(kinds):
            wanted = {ranks: place for place, ranks in enumerate(self._groups)}
            for spec, members in _schedules(layout, scope, wanted):
                self.specs.append(spec)
                for ranks, group in members.items():
                    self._spec[number, wanted[ranks]] = len(self.specs) - 1
                    self._id[number, wanted[ranks]] = group
        self._cases: dict[tuple[int, int], int] = {}

    def of(self, what: Ints, group: Ints) -> tuple[Ints, Ints]:
        """(case, group) of rows by what they are of and the number of their group."""
        scope = self._scope[what]
        spec = self._spec[scope, group]
        key = what * max(1, len(self.specs)) + spec
        used, which = np.unique(key, return_inverse=True)
        numbers = [
            self._cases.setdefault(divmod(one, max(1, len(self.specs))), len(self._cases))
            for one in used.tolist()
        ]
        return np.array(numbers, dtype=np.int64)[which.reshape(-1)], self._id[scope, group]

    def made(self) -> list[Case]:
        """All of them, in the order in which they were met."""
        return [
            self._case(number, self._whats[what], self._scopes[what], spec)
            for (what, spec), number in self._cases.items()
        ]

    def _case(self, number: int, what: What, scope: Scope, schedule: int) -> Case:
        stage = what.stage or self._tool
        common: dict[str, Any] = {
            "id": number,
            "stage": stage,
            "metric": what.metric,
            "scope": scope,
            "benchmark": what.benchmark,
            "source": self._tool,
            "schedule": schedule,
        }
        if what.unit:
            axes = {key: format_size(value) if key == "size" else value for key, value in what.axes}
            said = " ".join(str(value) for value in axes.values())
            title = f"{what.benchmark} {said}".strip()
            return Case(**common, axes=axes, unit=what.unit, better=what.better, title=title)
        bench = self._bench(what)
        measure = next(one for one in bench.measures if one.name == what.metric)
        return Case(
            **common,
            axes=axes_of(bench),
            unit=measure.unit,
            better=measure.better,
            expected=self._expected(bench, schedule).get(what.metric),
            title=title_of(bench),
        )

    def _bench(self, what: What) -> Benchmark:
        """Our benchmark that a figure is of."""
        key = what.benchmark, what.axes
        if key not in self._made:
            self._made[key] = make(what.benchmark, dict(what.axes))
        return self._made[key]

    def _expected(self, bench: Benchmark, schedule: int) -> dict[str, float]:
        """What datasheet and topology predict; all groups of a schedule are alike."""
        if schedule not in self._facts:
            self._facts[schedule] = self._known(self.specs[schedule])
        facts = self._facts[schedule]
        return bench.expected(facts) if facts is not None else {}

    def _known(self, spec: ScheduleSpec) -> Facts | None:
        inventory = self._layout.inventory
        if len(inventory.kinds()[1]) > 1:
            return None  # no single datasheet
        walked = schedule_for(spec, inventory)
        first = walked.first()
        ranks, nodes = self._layout.extent(first)
        chip = datasheet(inventory.device(first[0]), self._chips)
        return facts_of(spec, walked, inventory, chip, ranks=ranks, nodes=nodes)


def _schedules(
    layout: _Layout, scope: Scope, wanted: Iterable[tuple[int, ...]]
) -> Iterable[tuple[ScheduleSpec, dict[tuple[int, ...], int]]]:
    """Schedules that together have these groups, where each lies, and under which id."""
    inventory = layout.inventory
    groups = list(wanted)
    counts = np.diff(inventory.starts)
    if scope == "device":
        alone: dict[tuple[int, ...], int] = {ranks: ranks[0] for ranks in groups if len(ranks) == 1}
        if alone:
            yield ScheduleSpec(kind="devices", scope=scope, groups=inventory.size), alone
        return
    extents: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for ranks in groups:
        extents.setdefault(layout.extent(ranks), []).append(ranks)
    for (size, nodes), alike in sorted(extents.items()):
        found: dict[tuple[int, ...], int]
        firsts = [int(inventory.node_of(ranks[0])) for ranks in alike]
        whole = all(len(ranks) == counts[node] for ranks, node in zip(alike, firsts, strict=True))
        if scope != "pair" and nodes == 1 and whole and (counts == size).all():
            found = dict(zip(alike, firsts, strict=True))
            spec = ScheduleSpec(kind="nodes", scope=scope, groups=inventory.node_count)
        elif scope == "group" and size == inventory.size:
            found = {alike[0]: 0}
            spec = ScheduleSpec(kind="all", scope=scope, groups=1)
        else:
            found = {ranks: place for place, ranks in enumerate(alike)}
            spec = _listed(scope, size, nodes, alike)
        yield spec, found


def _listed(scope: Scope, size: int, nodes: int, groups: Sequence[tuple[int, ...]]) -> ScheduleSpec:
    """Groups that no rule yields, one by one; all of one extent."""
    arguments: dict[str, Any] = {"groups": [list(ranks) for ranks in groups]}
    if scope == "pair":
        arguments |= {"of": "device", "within" if nodes == 1 else "across": "node"}
    else:
        where = "one node" if nodes == 1 else f"{nodes} nodes"
        arguments["key"] = f"{size} device{'s'[: size > 1]} of {where}"
    return ScheduleSpec(kind="listed", scope=scope, arguments=arguments, groups=len(groups))


def _node(name: str, devices: Mapping[str, Part], chips: Mapping[str, Chip]) -> Node:
    """A node with its devices in the order of their indices, then of their bus ids."""
    ordered = _ordered(devices)
    indices = [part.number for _, part in ordered]
    own = len(set(indices)) == len(indices)
    made = []
    for place, (_, part) in enumerate(ordered):
        chip = match_chip(part.name, chips.values()) if part.name else None
        # Without a datasheet devices are of one kind that call themselves alike.
        backend = "imported" if chip is not None else part.name or "unknown"
        made.append(
            Device(
                index=part.number if own else place,
                backend=backend,
                name=part.name or "unknown",
                chip=chip.name if chip is not None else None,
            )
        )
    return Node(id=name, name=name, devices=tuple(made))


def _ordered(devices: Mapping[str, Part]) -> list[tuple[str, Part]]:
    return sorted(devices.items(), key=lambda one: (one[1].number, _natural(one[0])))


def _natural(text: str) -> list[tuple[int, str]]:
    """Orders ``gpu-2`` before ``gpu-10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(text)]
