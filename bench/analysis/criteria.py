"""What values make of a run's exit code: who misses a target that the profile requires, by how
much, and what nobody can say, of a target or of a whole benchmark, because no value counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..configs import ProfileMetric
from ..errors import Exit
from ..inventory import Inventory
from ..records import STATUS_MEANING, Header
from ..rounds import schedule_for
from ..units import format_value
from .finding import Finding, misses
from .summary import CaseSummary, lacking

NO_TOTAL = "no round of pairs that ran together has a value of each"
SHOWN = 4
"""Members of a group that are named."""


def criteria(
    line: ProfileMetric, found: Sequence[CaseSummary], header: Header
) -> Iterator[Finding]:
    """Findings of each case of a required line: the target is missed, or was not measured.

    Every group must reach it, so the worst one is judged; of totals each is. What has no value
    did not reach it, and is told as ``undecided``.
    """
    if not line.required or line.target is None:
        return
    for one in found:
        asked = f"{_required(line.target, one)} is required"
        if one.worst is None or one.worst_group is None:
            yield _undecided(one, f"{one.case.metric} {asked}: {lacking(one)}")
        elif line.statistic == "total":
            for name, total in (one.totals or {"all": None}).items():
                if total is None:
                    text = f"{one.case.metric} {asked} ({name} in all): {NO_TOTAL}"
                    yield _undecided(one, text)
                else:
                    yield from _missed(line.target, one, total, f"{asked} ({name} in all)")
        else:
            yield from _missed(line.target, one, one.worst, f"{asked} ({_names(header, one)})")
            if without := one.expected_groups - one.groups:
                who = f"{without} of {one.expected_groups} groups have no value"
                yield _undecided(one, f"{one.case.metric} {asked}, and {who}: {lacking(one)}")


def unmeasured(line: ProfileMetric, name: str, why: str) -> Iterator[Finding]:
    """The finding that a required line's benchmark was not measured at all."""
    if line.required:
        yield Finding(
            kind="undecided", name=name, text=f"{line.metric} is required to reach a target: {why}"
        )


def without_value(header: Header, summaries: Sequence[CaseSummary]) -> Iterator[Finding]:
    """Benchmarks of which no value counts because all were contended; or the run, if it has none.

    Some contended rows are said and cost nothing: the rest of their benchmark has been measured.
    Where all are, nothing is known of it, and a run must not pass for that. What is skipped cannot
    be measured here, which is no doubt about it, unless nothing else is left of the run. What
    failed, is missing or invalid is worse, and is judged where it is counted.
    """
    by_name: dict[str, list[CaseSummary]] = {}
    for one in summaries:
        by_name.setdefault(one.case.benchmark, []).append(one)
    for name, cases in by_name.items():
        contended = [one for one in cases if "contended" in one.statuses]
        if contended and not any("ok" in one.statuses for one in cases):
            why = contended[0].reasons.get("contended") or STATUS_MEANING["contended"]
            what = "all" if len(contended) == len(_tried(cases)) else "those that have any"
            text = f"no value of any of its cases counts, {what} were contended: {why}"
            yield Finding(kind="undecided", name=name, text=text)
    judged = any("ok" in one.statuses or "contended" in one.statuses for one in summaries)
    if header.state == "complete" and not judged:
        why = f": {lacking(summaries[0])}" if summaries else ""
        yield Finding(kind="undecided", name=header.id, text=f"no value counts{why}")


def _tried(cases: Sequence[CaseSummary]) -> list[CaseSummary]:
    """Cases without those of which every row says that it cannot be measured here."""
    return [one for one in cases if set(one.statuses) != {"skipped"}]


def judgement(findings: Sequence[Finding]) -> Exit:
    """What these findings make of a run: a finding, inconclusive, or all is well."""
    kinds = {one.kind for one in findings}
    if "criterion" in kinds:
        return Exit.FINDING
    return Exit.INCONCLUSIVE if "undecided" in kinds else Exit.OK


def _required(target: float, one: CaseSummary) -> str:
    least = "at least" if one.case.better == "higher" else "at most"
    return f"{least} {format_value(target, one.case.unit)}"


def _missed(target: float, one: CaseSummary, value: float, asked: str) -> Iterator[Finding]:
    if misses(value, target, one.case.better):
        text = f"{one.case.metric} {format_value(value, one.case.unit)}, {asked}"
        yield Finding(kind="criterion", name=one.name, text=text)


def _undecided(one: CaseSummary, text: str) -> Finding:
    return Finding(kind="undecided", name=one.name, text=text)


def _names(header: Header, one: CaseSummary) -> str:
    """The devices of the worst group."""
    inventory = Inventory(header.nodes, header.fleet)
    schedule = schedule_for(header.schedules[one.case.schedule], inventory)
    assert one.worst_group is not None
    ranks = schedule.members(one.worst_group)
    more = f" and {len(ranks) - SHOWN} more" if len(ranks) > SHOWN else ""
    return " - ".join(inventory.rank_name(rank) for rank in ranks[:SHOWN]) + more
