"""Links that stand still and receivers that are shared unevenly, by name.

From the rows of `stability` and `incast`; a pure function of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from ..inventory import Inventory
from ..records import STATUSES, Header
from ..results import Columns
from ..rounds import schedule_for
from ..units import format_value
from .summary import CaseSummary, group_medians, rows_by_case

_OK = STATUSES.index("ok")
UNEVEN = 0.8
"""Jain's index of fairness below which a receiver is shared unevenly: of ten senders, as if two
got nothing and the others all the same (Jain, Chiu and Hawe, 1984)."""
NAMED = 5
"""Groups that are named, the worst first; of all others their number is said."""


class Unsteady(msgspec.Struct, kw_only=True, frozen=True):
    """One case's groups that were not steady. ``name`` is the case's, ``text`` names groups.

    ``stall``: a stream stood still for several of its usual steps. ``uneven``: senders to one
    receiver got very different shares of it.
    """

    kind: Literal["stall", "uneven"]
    name: str
    text: str


def unsteady(header: Header, columns: Columns, summaries: list[CaseSummary]) -> list[Unsteady]:
    """Every case with groups that stalled or were shared unevenly. Only values that count, count.

    Raises:
        UsageError: the header has a schedule that its nodes cannot give.
    """
    wanted = ("stability", "stalls"), ("incast", "fairness")
    if not any((one.case.benchmark, one.case.metric) in wanted for one in summaries if one.groups):
        return []
    run = _Run(header, columns, summaries)
    return [*run.stalls(), *run.uneven()]


class _Run:
    def __init__(self, header: Header, columns: Columns, summaries: list[CaseSummary]) -> None:
        self.header, self.columns, self.summaries = header, columns, summaries
        self.inventory = Inventory(header.nodes, header.fleet)
        self.rows = rows_by_case(columns, len(header.cases))

    def stalls(self) -> Iterator[Unsteady]:
        for one in self._of("stability", "stalls"):
            counts, gaps = self._worst(one), self._worst(self._beside(one, "longest_gap"))
            hit = [group for group, count in counts.items() if count > 0]
            hit.sort(key=lambda group: -gaps.get(group, 0.0))
            if hit:
                said = [
                    f"{who} for {format_value(gaps.get(group), 's')}"
                    for group, who in self._names(one, hit[:NAMED])
                ]
                text = f"{len(hit)} of {len(counts)} streams stood still: {_some(said, len(hit))}"
                yield Unsteady(kind="stall", name=one.name, text=text)

    def uneven(self) -> Iterator[Unsteady]:
        for one in self._of("incast", "fairness"):
            groups, medians = group_medians(self.columns, self.rows[one.case.id])
            fairness = dict(zip(groups.tolist(), medians.tolist(), strict=True))
            hit = sorted((g for g in fairness if fairness[g] < UNEVEN), key=fairness.__getitem__)
            if hit:
                named = self._names(one, hit[:NAMED])
                said = [f"{who} at {fairness[group]:.2f}" for group, who in named]
                text = (
                    f"in {len(hit)} of {len(fairness)} groups senders share a receiver unevenly "
                    f"(1 is even): {_some(said, len(hit))}"
                )
                yield Unsteady(kind="uneven", name=one.name, text=text)

    def _of(self, benchmark: str, metric: str) -> list[CaseSummary]:
        wanted = (benchmark, metric)
        return [s for s in self.summaries if (s.case.benchmark, s.case.metric) == wanted]

    def _worst(self, one: CaseSummary | None) -> dict[int, float]:
        """The largest value that counts of every group: one repeat with a stall is enough."""
        found: dict[int, float] = {}
        if one is not None:
            rows = self.rows[one.case.id]
            good = rows[self.columns.status[rows] == _OK]
            values = self.columns.value[good].tolist()
            for group, value in zip(self.columns.group[good].tolist(), values, strict=True):
                found[group] = max(value, found.get(group, 0.0))
        return found

    def _beside(self, one: CaseSummary, metric: str) -> CaseSummary | None:
        """Another metric of the same measurements."""
        wanted = (one.name, one.case.stage, one.case.schedule, metric)
        for other in self.summaries:
            case = other.case
            if (other.name, case.stage, case.schedule, case.metric) == wanted:
                return other
        return None

    def _names(self, one: CaseSummary, groups: list[int]) -> Iterator[tuple[int, str]]:
        schedule = schedule_for(self.header.schedules[one.case.schedule], self.inventory)
        for group in groups:
            names = [self.inventory.rank_name(rank) for rank in schedule.members(group)]
            yield group, " – ".join(names if len(names) < 3 else (names[0], "…", names[-1]))


def _some(said: list[str], count: int) -> str:
    return ", ".join(said) + (f" and {count - len(said)} more" if count > len(said) else "")
