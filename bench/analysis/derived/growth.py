"""How well training scales, at the largest size that was measured."""

from __future__ import annotations

from ..scaling import Scaling
from ..subject import Run, Subject
from .value import Derived, Table, Value, absent, quotient


def _scaled(subject: Subject, kind: str) -> Value:
    """Efficiency at the largest size of the latest run; of several models the median one."""
    for run in subject.runs:
        found = [one for one in run.scalings if one.kind == kind and len(one.sizes) > 1]
        if found:
            found.sort(key=lambda one: one.sizes[-1].efficiency)
            one = found[(len(found) - 1) // 2]
            low, high = _spread(run, one)
            return Value(
                value=one.sizes[-1].efficiency,
                low=low,
                high=high,
                values=2 if low is not None else 0,
                provenance=run.label,
                run=run.header.id,
                detail=f"{one.name}, {one.sizes[-1].devices} device(s) against {one.base}",
            )
    return absent(f"no {kind} scaling was measured (suite `scaling`)")


def _spread(run: Run, one: Scaling) -> tuple[float | None, float | None]:
    """The interval of the largest size's efficiency: its step and the base's both err."""
    steps = {
        run.header.schedules[case.case.schedule].arguments.get("devices"): case
        for case in run.of("train", "step_p50")
        if case.case.short() == one.name
    }
    first, last = steps.get(one.base), steps.get(one.sizes[-1].devices)
    if first is None or last is None:
        return None, None
    value, low, high = quotient(first, last)
    if low is None or high is None:
        return None, None
    scale = one.sizes[-1].efficiency / value
    return low * scale, high * scale


GROWTH: Table = {
    ("scaling", "weak_efficiency"): Derived(
        unit="ratio",
        about="weak scaling at the largest size that was measured",
        formula="step of the smallest size / step of the largest, the batch of a rank fixed",
        find=lambda s: _scaled(s, "weak"),
    ),
    ("scaling", "strong_efficiency"): Derived(
        unit="ratio",
        about="strong scaling at the largest size that was measured",
        formula="t₀ · n₀ / (t · n), steps t and devices n of both sizes, the whole batch fixed",
        find=lambda s: _scaled(s, "strong"),
    ),
}
