"""From what comes in of a run to its picture, for its driver and for whoever else looks on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np

from ..groups import Schedule
from ..host.counters import is_error
from ..inventory import Inventory
from ..records import STATUSES, Case, Header, Row
from ..results import Columns
from ..rounds import schedule_for
from .amount import most, verbose
from .picture import Picture
from .screen import Screen
from .slowest import Slowest
from .terminal import WORST

_BAD = ("failed", "invalid", "missing")
_CODES = [STATUSES.index(status) for status in _BAD]


class Watched:
    """Keeps a `Picture` of a run and lets a `Screen` draw it.

    Args:
        screen: Where it is drawn.
        header: The run's; its cases may become more as the run goes on.
        inventory: Its nodes.
    """

    def __init__(self, screen: Screen, header: Header, inventory: Inventory) -> None:
        self.screen, self.header, self.inventory = screen, header, inventory
        self.picture = Picture()
        self._slowest = Slowest(lambda case: self.header.cases[case], self._called)
        self._schedules: dict[int, Schedule] = {}
        self._told: set[tuple[str, str, str]] = set()

    def stage(self, name: str, total: int) -> None:
        """A new stage: its jobs are counted from zero."""
        self.screen.end(self.picture)
        self.picture.begin(name, total)
        self._slowest.begin()
        self._told.clear()
        self.screen.stage(self.picture)

    def rows(self, rows: Sequence[Row]) -> None:
        """Rows have come in."""
        for status, number in Counter(map(attrgetter("status"), rows)).items():
            self.picture.count(status, number)
            if status in _BAD:
                for row in rows:
                    if row.status == status:
                        self._blame(row.case, row.group, status, row.reason)
        self._slowest.rows(rows)

    def columns(self, columns: Columns) -> None:
        """The same as arrays, of a simulated fleet."""
        for status, number in enumerate(np.bincount(columns.status, minlength=len(STATUSES))):
            self.picture.count(STATUSES[status], int(number))
        for row in np.flatnonzero(np.isin(columns.status, _CODES)).tolist():
            status, reason = STATUSES[columns.status[row]], columns.reasons.get(row, "")
            self._blame(int(columns.case[row]), int(columns.group[row]), status, reason)
        self._slowest.columns(columns)

    def event(self, kind: str, node: str, text: str, changes: Mapping[str, int]) -> None:
        """Something happened: said at once."""
        if kind == "counters" and not any(map(is_error, changes)) and not verbose():
            return  # a busy network has them: the record is enough
        said = f"{node}: {text}" if node else text
        self.screen.event(kind, said)
        if kind.endswith("-lost"):
            self.picture.lost.append(said)

    def show(self) -> None:
        """Let what has come in be drawn."""
        self.picture.rates, self.picture.slow = self._slowest.said()
        self.screen.update(self.picture)

    def _blame(self, number: int, group: int, status: str, reason: str) -> None:
        """Count a bad value against its node; of a group over several, nobody knows whose it is."""
        case = self.header.cases[number]
        if case.scope == "rank":
            return  # it shares the fate of its group
        ranks = self._schedule(case).members(group)
        nodes = set(self.inventory.node_of(ranks).tolist())
        node = self.inventory.name(nodes.pop()) if len(nodes) == 1 else ""
        if node:
            self.picture.blame(node)
        # A node that is gone misses all that was to come for one reason.
        if (status, node, reason) not in self._told and len(self._told) < most(WORST):
            self._told.add((status, node, reason))
            who = node or f"{len(nodes)} nodes"
            said = f"{who}: {case.short()}{f': {reason}' if reason else ''}"
            self.screen.event(status, said)

    def _schedule(self, case: Case) -> Schedule:
        number = case.schedule
        if number not in self._schedules:
            self._schedules[number] = schedule_for(self.header.schedules[number], self.inventory)
        return self._schedules[number]

    def _called(self, number: int, group: int) -> str:
        """Devices, pairs and nodes by name; a larger group has none."""
        case = self.header.cases[number]
        ranks = self._schedule(case).members(group)
        if case.scope == "node":
            return self.inventory.name(int(self.inventory.node_of(ranks[0])))
        return " – ".join(map(self.inventory.rank_name, ranks)) if len(ranks) <= 2 else ""
