"""The cases of an imported run, and the schedules of the groups that they are of.

Groups of equal extent share a schedule: each device, each node, all devices, or the groups listed
one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..cluster.expectation import facts_of
from ..configs import Chip, datasheet
from ..records import Case, ScheduleSpec, Scope
from ..rounds import schedule_for
from ..units import format_size
from ..workloads.base import Benchmark, Facts, axes_of, make, title_of
from .found import Ints, What
from .layout import Layout

Groups = dict[tuple[int, ...], int]
"""Groups by their ranks, and a number of each."""


class Cases:
    """Cases as they are met: a figure's meaning, on groups of one schedule."""

    def __init__(
        self,
        layout: Layout,
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
        self._kinds = sorted({*scopes})
        self._scope = np.array([self._kinds.index(one) for one in scopes], dtype=np.int64)
        shape = len(self._kinds), len(self._groups)
        self._met = np.zeros(shape, dtype=bool)
        self._spec, self._id = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        self._cases: dict[tuple[int, int], int] = {}

    def meet(self, what: Ints, group: Ints) -> None:
        """Rows by what they are of and the number of their group: these need a schedule."""
        self._met[self._scope[what], group] = True

    def settle(self) -> None:
        """All rows have been met: which schedules there are."""
        for number, scope in enumerate(self._kinds):
            met = np.flatnonzero(self._met[number]).tolist()
            wanted = {self._groups[place]: place for place in met}
            for spec, members in _schedules(self._layout, scope, list(wanted)):
                self.specs.append(spec)
                for ranks, group in members.items():
                    self._spec[number, wanted[ranks]] = len(self.specs) - 1
                    self._id[number, wanted[ranks]] = group
        # A case is numbered when the first of its rows asks.
        self._numbers = np.full((len(self._whats), len(self.specs)), -1, dtype=np.int64)

    def of(self, what: Ints, group: Ints) -> tuple[Ints, Ints]:
        """(case, group) of rows by what they are of and the number of their group."""
        scope = self._scope[what]
        spec = self._spec[scope, group]
        new = np.flatnonzero(self._numbers[what, spec] < 0)
        for pair in dict.fromkeys(zip(what[new].tolist(), spec[new].tolist(), strict=True)):
            self._numbers[pair] = self._cases[pair] = len(self._cases)
        return self._numbers[what, spec], self._id[scope, group]

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
    layout: Layout, scope: Scope, wanted: Sequence[tuple[int, ...]]
) -> Iterator[tuple[ScheduleSpec, Groups]]:
    """Schedules that together have these groups, where each lies, and under which id."""
    inventory = layout.inventory
    counts = np.diff(inventory.starts)
    if scope == "device":
        alone: Groups = {ranks: ranks[0] for ranks in wanted if len(ranks) == 1}
        if alone:
            yield ScheduleSpec(kind="devices", scope=scope, groups=inventory.size), alone
        return
    extents: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for ranks in wanted:
        extents.setdefault(layout.extent(ranks), []).append(ranks)
    for (size, nodes), alike in sorted(extents.items()):
        found: Groups
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
