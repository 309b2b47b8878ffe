"""Targets that a profile requires: who misses them, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..configs import ProfileMetric
from ..inventory import Inventory
from ..records import Header
from ..rounds import schedule_for
from ..units import format_value
from .finding import Finding, ratio
from .summary import CaseSummary

SHOWN = 4
"""Members of a group that are named."""


def criteria(
    line: ProfileMetric, found: Sequence[CaseSummary], header: Header
) -> Iterator[Finding]:
    """A finding for each case of a required line that misses the target.

    Every group must reach it, so the worst one is judged; of totals each is.
    """
    if not line.required or line.target is None:
        return
    for one in found:
        if line.statistic == "total":
            for name, value in one.totals.items():
                yield from _judged(line.target, one, value, f"{name} in all")
        elif one.worst is not None and one.worst_group is not None:
            yield from _judged(line.target, one, one.worst, _names(header, one))


def _judged(target: float, one: CaseSummary, value: float, who: str) -> Iterator[Finding]:
    case = one.case
    reached = ratio(value, target, case)
    if reached is None or reached < 1:
        least = "at least" if case.better == "higher" else "at most"
        said = format_value(value, case.unit)
        text = (
            f"{case.metric} {said}, {least} {format_value(target, case.unit)} is required ({who})"
        )
        yield Finding(kind="criterion", name=one.name, text=text)


def _names(header: Header, one: CaseSummary) -> str:
    """The devices of the worst group."""
    inventory = Inventory(header.nodes, header.fleet)
    schedule = schedule_for(header.schedules[one.case.schedule], inventory)
    assert one.worst_group is not None
    ranks = schedule.members(one.worst_group)
    more = f" and {len(ranks) - SHOWN} more" if len(ranks) > SHOWN else ""
    return " - ".join(inventory.rank_name(rank) for rank in ranks[:SHOWN]) + more
