"""What gets slower while it is kept at work: the repeats of a stage, in the order of time.

A device that is as fast as all others after a minute and slower after an hour is found here,
against itself: by the slope over the repeats (`bench.analysis.trend`), what all share left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...records import STATUSES
from ...results import Columns
from ...units import format_duration, format_value
from ...verdicts import Evidence
from ..graph import Floats, Ints
from ..table import Metric, Table
from ..trend import FEWEST_RUNS, trend

_OK = STATUSES.index("ok")
MATERIAL = 0.02
"""Relative loss from the first repeat to the last below which nothing is said."""
FAMILY = 0.01
"""Share of healthy fleets in which anything is said (Bonferroni over units and metrics)."""


def fading(found: Table, columns: Columns) -> Iterator[tuple[int, Evidence]]:
    """(node, evidence) of units whose values fall from repeat to repeat of a stage."""
    if columns.repeat.max(initial=0) + 1 < FEWEST_RUNS:
        return
    series = [
        (metric, *of)
        for number, metric in enumerate(found.metrics)
        if (of := _series(found, columns, number)) is not None
    ]
    asked = sum(units.size for _, units, _, _ in series)
    for metric, units, hours, value in series:
        worse = -1.0 if metric.case.better == "higher" else 1.0
        known = trend(hours, worse * np.log(value))
        loss = known.slope * known.span
        with np.errstate(invalid="ignore"):
            falls = (loss >= MATERIAL) & (known.slope_low > 0) & (known.chance * asked < FAMILY)
        for place in np.flatnonzero(falls).tolist():
            unit = int(units[place])
            span = float(known.span[place])
            steep = known.slope[place], known.slope_low[place], known.slope_high[place]
            # Of the first value: a rate that falls by a logarithm of 0.2 is 18 % worse, a time 22.
            share, low, high = (float(worse * np.expm1(worse * span * one)) for one in steep)
            yield (
                int(found.node(unit)),
                _evidence(
                    found,
                    metric,
                    unit,
                    value[:, place],
                    share,
                    (low, high),
                    3600 * span,
                ),
            )


def _series(found: Table, columns: Columns, metric: int) -> tuple[Ints, Floats, Floats] | None:
    """Units, when each repeat was (hours), and float64[repeats, units]; None: too few repeats."""
    mine = np.flatnonzero((found.metric == metric) & (found.session == 0))
    row = found.row[mine]
    good = (columns.status[row] == _OK) & (columns.value[row] > 0)
    mine, row = mine[good], row[good]
    if not row.size or int(columns.repeat[row].max()) + 1 < FEWEST_RUNS:
        return None
    units, place = np.unique(found.unit[mine], return_inverse=True)
    repeats, when = np.unique(columns.repeat[row], return_inverse=True)
    value = np.full((repeats.size, units.size), np.nan)
    value[when, place] = columns.value[row]
    hours = np.array([np.median(columns.time[row[when == one]]) for one in range(repeats.size)])
    return units, hours / 3600, value


def _evidence(
    found: Table,
    metric: Metric,
    unit: int,
    value: Floats,
    loss: float,
    interval: tuple[float, float],
    seconds: float,
) -> Evidence:
    case = metric.case
    seen = value[~np.isnan(value)]
    return metric.evidence(
        found.device(unit),
        "reject",
        "history",
        f"{loss:.1%} worse after {format_duration(seconds)} at work, from "
        f"{format_value(float(seen[0]), case.unit)} to {format_value(float(seen[-1]), case.unit)} "
        f"(95 %: {interval[0]:.1%} to {interval[1]:.1%}), beyond what all share",
        value=float(seen[-1]),
        expected=float(seen[0]),
        effect=loss,
        low=interval[0],
        high=interval[1],
        repeats=int(seen.size),
    )
