"""Values with their intervals, a line each, above a common axis: drawn by style sheets alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .page import Custom, Tone

RISES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0, 1000.0)
FALLS = (-0.001, -0.002, -0.005, -0.01, -0.02, -0.05, -0.1, -0.2, -0.5, -0.75, -0.9, -0.99, -0.999)
"""Changes at which the axis of changes may have a mark."""
APART = 0.18
"""Of the axis's width: marks that are nearer would run into each other on a phone."""


class Mark(NamedTuple):
    """A value on a line. ``series`` chooses its colour, where a line has several.

    Without ``low`` and ``high`` nothing is known of its interval; an infinite end lies beyond the
    axis. ``says`` is what a reader who points at it is told.
    """

    value: float
    low: float | None = None
    high: float | None = None
    tone: Tone = ""
    series: int = -1
    says: str = ""


class Line(NamedTuple):
    """``label`` to the left, its marks, ``text`` to the right; ``limit``: what must not be passed.

    ``about`` stands smaller beside the label.
    """

    label: str
    marks: Sequence[Mark]
    text: str = ""
    limit: float | None = None
    about: str = ""


def changes(lines: Sequence[Line], says: str) -> Custom:
    """Relative changes towards worse, above -1, on the logarithmic axis of ratios.

    There doubling and halving are equally far from no change.
    """
    ends = [0.0]
    for line in lines:
        ends += [line.limit or 0.0]
        for mark in line.marks:
            ends += [mark.value, *(one for one in (mark.low, mark.high) if one is not None)]
    known = [math.log1p(one) for one in ends if math.isfinite(one) and one > -1]
    room = max(0.02, 0.05 * (max(known) - min(known)))
    low, high = min(known) - room, max(known) + room
    at = [0.0]
    for side in (RISES, FALLS):
        last = 0.0
        for share in side:
            place = math.log1p(share)
            if low <= place <= high and abs(place - last) >= APART * (high - low):
                at.append(share)
                last = place
    marks = [(share, f"{share * 100:+g} %" if share else "0") for share in sorted(at)]
    return _drawn(lines, (low, high), marks, math.log1p, says)


def shares(
    lines: Sequence[Line],
    says: str,
    *,
    whole: float = 1.0,
    unit: str = "%",
    series: Sequence[str] = (),
) -> Custom:
    """Shares of a whole (1: an efficiency, 100: a score), on an axis from nothing to all of it.

    ``series`` names what the colours of marks stand for, in their order.
    """
    values = [mark.value for line in lines for mark in line.marks]
    ends = [mark.high for line in lines for mark in line.marks if mark.high is not None]
    most = max([whole, *(one for one in (*values, *ends) if math.isfinite(one))])
    marks = [(whole * n / 4, f"{25 * n} {unit}".strip()) for n in range(5)]
    return _drawn(lines, (0.0, 1.02 * most), marks, lambda value: value, says, series)


def _drawn(
    lines: Sequence[Line],
    ends: tuple[float, float],
    marks: Sequence[tuple[float, str]],
    scale: Callable[[float], float],
    says: str,
    series: Sequence[str] = (),
) -> Custom:
    low, high = ends

    def at(value: float) -> float:
        """Percent of the axis's width."""
        if value == math.inf:
            return 100.0
        if value == -math.inf or (scale is math.log1p and value <= -1):
            return 0.0
        return round(min(max((scale(value) - low) / (high - low), 0.0), 1.0) * 100, 2)

    drawn = [
        {
            "label": line.label,
            "about": line.about,
            "text": line.text,
            "limit": None if line.limit is None else at(line.limit),
            "lanes": max(1, len({mark.series for mark in line.marks})),
            "marks": [
                {
                    "lane": max(0, mark.series),
                    "at": at(mark.value),
                    "low": None if mark.low is None else at(mark.low),
                    "high": None if mark.high is None else at(mark.high),
                    "look": f"s{mark.series % 8}" if mark.series >= 0 else mark.tone,
                    "says": mark.says,
                }
                for mark in line.marks
            ],
        }
        for line in lines
    ]
    axis = [{"at": at(value), "text": text, "zero": value == 0} for value, text in marks]
    legend = [{"look": f"s{index % 8}", "text": text} for index, text in enumerate(series)]
    data = {"lines": drawn, "axis": axis, "says": says, "legend": legend}
    return Custom("intervals.html.j2", data)
