"""Whether values stay what they are: over devices, over steps, over time; and who answered."""

from __future__ import annotations

import numpy as np

from ...records import STATUSES, Status
from ...rounds import schedule_for
from ..estimates import least
from ..goodput import followed
from ..graph import Ints
from ..subject import Run, Subject
from ..summary import CaseSummary, group_medians, rows_by_case
from .value import Derived, Table, Value, absent, quotient, shared

_LOST: tuple[Status, ...] = ("failed", "missing", "invalid")


def _slowest(subject: Subject) -> Value:
    """The worst device over the median one, of the largest matrix product with most devices.

    The interval is of what the truly slowest does (`estimates.least`), over the median's, both
    erring in their worse way: it does not follow the least of many values that err. No device is
    above the median of which it is the slowest.
    """
    for run in subject.runs:
        found = [one for one in run.of("gemm", "flops") if one.groups > 1]
        if found:
            one = max(found, key=lambda case: (case.groups, case.case.expected or 0.0))
            assert one.worst is not None
            assert one.median
            low, high, values = _of_slowest(run, one)
            return Value(
                value=one.worst / one.median,
                low=low,
                high=high,
                values=values,
                coverage=one.groups / one.expected_groups,
                provenance=run.label,
                run=run.header.id,
                detail=f"{one.name}, {one.groups} device(s)",
            )
    return absent("no matrix product was measured on two devices or more")


def _of_slowest(run: Run, one: CaseSummary) -> tuple[float | None, float | None, int]:
    """(low, high) of the slowest over the median, and how many values they rest on."""
    rows = np.flatnonzero(run.columns.case == one.case.id)
    _, medians = group_medians(run.columns, rows)
    worst = least(run.columns, rows, medians)
    if worst is None or not one.low or one.high is None:
        return None, None, 0
    return worst[0] / one.high, min(worst[1] / one.low, 1.0), int(medians.size)


def _steps(subject: Subject) -> Value:
    """Median step over the 99th percentile of steps, of the largest training."""
    for run in subject.runs:
        typical = {_key(one): one for one in run.of("train", "step_p50")}
        late = {_key(one): one for one in run.of("train", "step_p99")}
        both = [(typical[key], late[key]) for key in typical if key in late and late[key].median]
        if both:
            one, tail = max(both, key=lambda pair: _ranks(run, pair[0]))
            value, low, high = quotient(one, tail)
            return Value(
                value=value,
                low=low,
                high=high,
                values=one.values,
                provenance=run.label,
                run=run.header.id,
                detail=f"{one.name}, step p50 over p99",
            )
    return absent("no training was measured")


def _key(one: CaseSummary) -> tuple[str, int, str]:
    return one.case.stage, one.case.schedule, one.case.label()


def _ranks(run: Run, one: CaseSummary) -> int:
    return schedule_for(run.header.schedules[one.case.schedule], run.inventory).width


def _streams(subject: Subject) -> Value:
    """Streams that never stood still, of those that were watched."""
    for run in subject.runs:
        watched = run.of("stability", "stalls")
        if not watched:
            continue
        rows = rows_by_case(run.columns, len(run.header.cases))
        still = total = 0
        for one in watched:
            _, stalls = group_medians(run.columns, rows[one.case.id])
            still += int((stalls > 0).sum())
            total += int(stalls.size)
        asked = sum(one.expected_groups for one in watched)
        return shared(
            total - still,
            total,
            total / asked if asked else 1.0,
            provenance=run.label,
            run=run.header.id,
            detail=f"{still} of {total} streams stood still",
        )
    return absent("no stream was watched for stalls")


def _answered(subject: Subject) -> Value:
    """Good values over those that should be: all but what cannot be measured, was disturbed, or was
    let fail (`followed`).

    A device or a group that is lost takes all its values with it, so that the interval rests on how
    many of these were met, not on their values.
    """
    good = lost = units = 0
    for run in subject.runs:
        largest: dict[int, CaseSummary] = {}
        meant = followed(run.header)
        for one in run.summaries:
            if one.case.id in meant:
                continue
            good += one.statuses.get("ok", 0)
            lost += sum(one.statuses.get(status, 0) for status in _LOST)
            held = largest.setdefault(one.case.schedule, one)
            largest[one.case.schedule] = max(held, one, key=lambda each: each.rows)
        for one in largest.values():
            units += np.unique(run.columns.group[run.columns.case == one.case.id]).size
    if not good + lost:
        return absent("no value was measured")
    run = subject.runs[0]
    return shared(
        good,
        good + lost,
        units=units,
        provenance=run.label,
        run=", ".join(run.header.id for run in subject.runs),
        detail=f"{lost} of {good + lost} values failed, are missing or invalid",
    )


def _available(subject: Subject) -> Value:
    """Devices that answered, of those of which that is known, and of those that others hold.

    A value that others disturbed does not count, but its device answered. What can only be skipped
    says nothing of a device.
    """
    choices = [run for run in subject.runs if _alone(run) and run.inventory.size]
    run = max(choices, key=lambda one: one.inventory.size, default=None)
    if run is None:
        return absent("no device was measured by itself")
    columns = run.columns
    mine = np.isin(columns.case, _alone(run))

    def having(statuses: tuple[Status, ...]) -> Ints:
        codes = [STATUSES.index(status) for status in statuses]
        found: Ints = np.unique(columns.group[mine & np.isin(columns.status, codes)])
        return found

    answered = having(("ok", "contended"))
    known = np.union1d(answered, having(_LOST)).size
    busy = sum(len(node.busy) for node in run.header.nodes)
    if not known + busy:
        return absent("no device was measured by itself")
    return shared(
        answered.size,
        known + busy,
        (known + busy) / (run.inventory.size + busy),
        provenance=run.label,
        run=run.header.id,
        detail=f"{answered.size} of {known + busy} devices",
    )


def _alone(run: Run) -> list[int]:
    """The cases that each device is measured on by itself."""
    return [case.id for case in run.header.cases if case.scope == "device"]


def _uncorrupted(subject: Subject) -> Value:
    """Repetitions whose result was the same bit by bit, of all of them.

    A repetition that was wrong makes its row invalid: here such rows are what is asked for.
    """
    wrong, total, used = 0.0, 0.0, []
    for run in subject.runs:
        rows = rows_by_case(run.columns, len(run.header.cases))
        told = np.isin(run.columns.status, [STATUSES.index("ok"), STATUSES.index("invalid")])
        for case in run.header.cases:
            if case.benchmark not in ("corruption", "collective_corruption"):
                continue
            mine = rows[case.id]
            amount = float(np.nansum(run.columns.value[mine[told[mine]]]))
            if case.metric == "wrong_repetitions":
                wrong += amount
            elif case.metric == "repetitions" and amount:
                total += amount
                used.append(run)
    if not total:
        return absent("no result was compared bit by bit")
    return shared(
        max(0.0, total - wrong),
        total,
        provenance=used[0].label,
        run=", ".join(dict.fromkeys(run.header.id for run in used)),
        detail=f"{wrong:g} of {total:g} repetitions were wrong",
    )


STEADY: Table = {
    ("stability", "slowest_device"): Derived(
        unit="ratio",
        about="FLOP/s of the slowest device over the median one",
        formula="least / median FLOP/s of the largest matrix product on several devices",
        find=_slowest,
    ),
    ("stability", "step_steadiness"): Derived(
        unit="ratio",
        about="median training step over the 99th percentile",
        formula="step_p50 / step_p99 of the largest training",
        find=_steps,
    ),
    ("stability", "steady_streams"): Derived(
        unit="ratio",
        about="share of streams that never stood still",
        formula="1 - streams with stalls / streams",
        find=_streams,
    ),
    ("reliability", "answered"): Derived(
        unit="ratio",
        about="good values over those that failed, are missing or are invalid, and they",
        find=_answered,
    ),
    ("reliability", "availability"): Derived(
        unit="ratio", about="share of devices that answered", find=_available
    ),
    ("reliability", "uncorrupted"): Derived(
        unit="ratio", about="share of repetitions with equal results, bit by bit", find=_uncorrupted
    ),
}
