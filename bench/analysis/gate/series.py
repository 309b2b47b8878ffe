"""A run's metrics as series: for each, the values of its groups in every stage that measured it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from functools import cache, cached_property, partial
from typing import TypeAlias

import msgspec
import numpy as np

from ...groups import Schedule
from ...inventory import Inventory
from ...records import STATUSES, THROTTLED, Better, Case, Header
from ...results import Columns
from ...rounds import schedule_for
from ..summary import members, rows_by_case

_OK, _CONTENDED = STATUSES.index("ok"), STATUSES.index("contended")
_INVALID, _FAILED = STATUSES.index("invalid"), STATUSES.index("failed")
Values: TypeAlias = dict[tuple[int, int], float]
"""(group, repeat) → median of the rows of it, in the metric's unit."""
NAMED = 4
"""Groups that are named where something is not so on all."""


class Series(msgspec.Struct, kw_only=True):
    """One metric of a run.

    ``name`` is its label, equal in all runs of the same; ``source`` the hash of the code that
    defines it. ``stages``: stage → its values that count. ``why``: the most frequent reason of
    those that do not, with the status. ``wrong``: what is wrong with one that was invalid or
    failed, however many were good; empty where none was, and of what a throttled device merely did
    not give. ``beside``: share of those that count which were measured beside other work on their
    cores. ``exact``: a count without noise, see `records.Measure`. ``width``: ranks of a group.
    ``asked`` is how many groups there are, None where nobody counted; ``answered`` are those that
    have given a value, beside other work or not. ``place`` says of a group on which node and
    device it is.
    """

    name: str
    unit: str
    better: Better
    source: str
    stages: dict[str, Values]
    why: str = ""
    wrong: str = ""
    beside: float = 0.0
    exact: bool = False
    width: int = 1
    asked: int | None = None
    answered: set[int] = msgspec.field(default_factory=set)
    place: Callable[[int], str] = "group {}".format

    def value(self) -> float | None:
        """The median over groups and repeats of all stages; None without any."""
        values = [value for stage in self.stages.values() for value in stage.values()]
        return float(np.median(values)) if values else None

    def share(self) -> float:
        """Of its groups, how many have given a value."""
        return len(self.answered) / self.asked if self.asked else 1.0

    def by_group(self) -> dict[int, list[float]]:
        """By group all its values, of all stages and repeats."""
        found: dict[int, list[float]] = {}
        for stage in self.stages.values():
            for (group, _), value in stage.items():
                found.setdefault(group, []).append(value)
        return found

    def where(self, groups: Collection[int]) -> str:
        """Some of its groups by node and device; empty where they are all that it has."""
        if len(groups) == len(self.by_group()):
            return ""
        named = [self.place(group) for group in list(groups)[:NAMED]]
        rest = f" and {len(groups) - NAMED} more" if len(groups) > NAMED else ""
        return ", ".join(named) + rest


def series(header: Header, columns: Columns, *, contended: bool = False) -> dict[str, Series]:
    """Every metric of a run by its label, in the order of the header.

    Only rows count that are ok and a number; ``contended`` ones too, if asked for. Cases of several
    stages that measure the same are one metric: their stages tell them apart.
    """
    found: dict[str, Series] = {}
    places = _Places(header)
    bad: dict[str, Counter[str]] = {}
    beside_of: dict[str, list[int]] = {}
    for case, rows in zip(header.cases, rows_by_case(columns, len(header.cases)), strict=True):
        name = label(header, case)
        one = found.setdefault(
            name,
            Series(
                name=name,
                unit=case.unit,
                better=case.better,
                source=case.source,
                stages={},
                exact=case.exact,
                width=places.width(case.schedule),
                asked=header.schedules[case.schedule].groups,
                place=partial(places.of, case.schedule),
            ),
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
        answered = (status == _OK) | (status == _CONTENDED)
        answered &= np.isfinite(columns.value[rows])
        one.answered.update(columns.group[rows[answered]].tolist())
        wrong = (status == _INVALID) | (status == _FAILED) | (counts & ~good)
        for row in rows[wrong].tolist():
            if not one.wrong and THROTTLED not in columns.reasons.get(row, ""):
                one.wrong = f"{_why(columns, row)} ({one.place(int(columns.group[row]))})"
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


class _Places:
    """Where groups of a run's schedules are; nothing is laid out that nobody asks for."""

    def __init__(self, header: Header) -> None:
        self._header, self._made = header, cache(self._schedule)

    def of(self, schedule: int, group: int) -> str:
        """``device 3 of node-a``; of groups of more than two, their nodes."""
        ranks = self._made(schedule).members(group)
        names = [self._names[rank] for rank in ranks]
        if len(ranks) <= 2 and self._header.schedules[schedule].scope != "node":
            return " and ".join(f"device {index} of {node}" for node, index in names)
        nodes = list(dict.fromkeys(node for node, _ in names))
        return " and ".join(nodes) if len(nodes) <= 2 else f"{len(nodes)} nodes from {nodes[0]} on"

    def width(self, schedule: int) -> int:
        """Ranks of a group; of single ranks, of the group that each is in."""
        spec = self._header.schedules[schedule]
        if spec.scope == "rank":
            whole = msgspec.structs.replace(spec, scope="group")
            return schedule_for(whole, self._inventory).width
        return self._made(schedule).width

    def _schedule(self, number: int) -> Schedule:
        return schedule_for(self._header.schedules[number], self._inventory)

    @cached_property
    def _inventory(self) -> Inventory:
        return Inventory(self._header.nodes, self._header.fleet)

    @cached_property
    def _names(self) -> list[tuple[str, int]]:
        fleet, nodes = self._header.fleet, self._header.nodes
        if fleet is not None:
            return [(fleet.name(n), d) for n in range(fleet.count) for d in range(fleet.devices)]
        return [(node.name, one.index) for node in nodes for one in node.devices]


def _why(columns: Columns, row: int) -> str:
    status = STATUSES[int(columns.status[row])]
    if status == "ok":
        return "invalid: its value is no number"
    reason = columns.reasons.get(row, "")
    return f"{status}: {reason}" if reason else status
