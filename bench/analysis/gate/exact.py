"""Counts: what the same code gives again to the last digit, compared without statistics.

Registers, spills, bytes moved, launches, operations: a single value of each side decides, so a gate
of these needs no accelerator, no second block and no selftest. A change for the worse above the
margin, which is 0 unless the gate file says more, is REGRESSED; any for the better is IMPROVED.
A count that differs between two measurements of one side is none, and INVALID. Of several baselines
the newest that has a device says what it counted there.
"""

from __future__ import annotations

import math

from ...gates import Judged, State
from ...stats import relative
from ...units import format_count
from .comparing import Comparison, log_ratio
from .series import Series


def judged_exactly(one: Comparison, after: Series) -> Judged:
    """A count's state: of several groups that of the one which changed most towards worse.

    Args:
        one: What is compared; it has no problem.
        after: The candidate's.
    """
    for side, series in (("candidate", after), *(("baseline", old) for old in one.before)):
        for group, values in series.by_group().items():
            if len(set(values)) > 1:
                said = " and ".join(format_count(each, series.unit) for each in sorted(set(values)))
                where = f" on {place}" if (place := series.where([group])) else ""
                return one.stated(
                    "INVALID",
                    f"a count is compared exactly, and the {side} gives {said}{where}",
                )
    old = {group: values[0] for each in one.before for group, values in each.by_group().items()}
    new = {group: values[0] for group, values in after.by_group().items()}
    if lost := [group for group in old if group not in new]:
        of = one.before[0].where(lost) or "any device that the baseline counted on"
        return one.stated("MISSING", f"the candidate has no count of {of}")
    worst = max(old, key=lambda group: _worse(old[group], new[group], one.sign))
    before, now = old[worst], new[worst]
    # From or to nothing there is no ratio, and of nothing no share that could be accepted.
    known = before == now or before * now > 0
    change = relative(log_ratio(before, now, one.sign)) if known else None
    moved = f"from {format_count(before, after.unit)} to {format_count(now, after.unit)}"
    state: State = "PASS"
    where = ""
    if one.sign * (now - before) < 0:
        state = "IMPROVED"
    elif before == now:
        moved = ""
    elif not _within(change, one.margin):
        state = "REGRESSED"
        where = after.where([group for group in old if one.sign * (new[group] - old[group]) > 0])
    return one.stated(
        state,
        moved,
        where=where,
        change=change,
        low=change,
        high=change,
        blocks=1,
        baseline=before,
        candidate=now,
    )


def _within(change: float | None, margin: float) -> bool:
    """Whether a rise is accepted; with a margin of nothing none is, however small."""
    if change is None or margin == 0:
        return False
    return change <= margin or math.isclose(change, margin, rel_tol=1e-9)


def _worse(before: float, now: float, sign: float) -> tuple[float, float]:
    """Orders changes: what rose from nothing is the worst, what fell to nothing the best."""
    ratio, moved = log_ratio(before, now, sign), sign * (now - before)
    return math.copysign(ratio, moved), moved
