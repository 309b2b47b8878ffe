"""Rows that count, as the cells that the decision is made on; those of a baseline beside them."""

from __future__ import annotations

import numpy as np

from ...records import STATUSES
from ...results import Columns
from ..graph import Bools, Floats, Ints
from ..table import Table
from .cells import Cells

_OK = STATUSES.index("ok")
_WIDEST = 100.0
"""Standard errors of ln value are no larger."""
_REACH = 1.959964
"""Half the width of a 95 % interval, in standard errors."""


def usable(found: Table, columns: Columns) -> Bools:
    """bool[rows of the table]: whether the value counts: ok, and a measurement."""
    lower = np.array([one.case.better == "lower" for one in found.metrics], dtype=bool)
    least = lower[found.metric] if lower.size else np.empty(0, dtype=bool)
    good: Bools = (columns.status[found.row] == _OK) & measured(columns.value[found.row], least)
    return good


def measured(value: Floats, lower: Bools | bool) -> Bools:
    """bool[values]: whether they are numbers, and not of the wrong sign.

    A rate of nothing is no measurement; where ``lower`` is better, a time or an error of nothing is
    as good as there is.
    """
    return np.asarray(np.isfinite(value) & ((value > 0) | (lower & (value == 0))))


def cells(found: Table, columns: Columns, baseline: tuple[Table, Columns] | None = None) -> Cells:
    """All values that count, in logarithms, turned so that more is better.

    Args:
        found: The run's rows of units.
        columns: Its columns.
        baseline: Those of an already proven run. Its units are numbered behind the run's own; it
            counts where it has the same metrics, of the same kinds of unit.
    """
    kinds, names = found.kinds()
    own = _cells(found, columns, kinds)
    if baseline is None:
        return own
    other, before = baseline
    metrics = {metric.key: number for number, metric in enumerate(found.metrics)}
    codes = {name: code for code, name in enumerate(names)}
    theirs, their_names = other.kinds()
    known = np.array([codes.get(name, -1) for name in their_names], dtype=np.int64)
    proven = _cells(other, before, known[theirs])
    same = np.array([metrics.get(metric.key, -1) for metric in other.metrics], dtype=np.int64)
    proven.metric = same[proven.metric] if same.size else proven.metric
    kept = (proven.metric >= 0) & (proven.kind >= 0)
    return Cells(
        metric=np.concatenate([own.metric, proven.metric[kept]]),
        unit=np.concatenate([own.unit, kinds.size + proven.unit[kept]]),
        kind=np.concatenate([own.kind, proven.kind[kept]]),
        value=np.concatenate([own.value, proven.value[kept]]),
        error=np.concatenate([own.error, proven.error[kept]]),
        session=np.concatenate([own.session, np.zeros(int(kept.sum()), dtype=np.int64)]),
        proven=np.concatenate([own.proven, np.ones(int(kept.sum()), dtype=bool)]),
    )


def _cells(found: Table, columns: Columns, kinds: Ints) -> Cells:
    value = columns.value[found.row]
    # What is no positive number (a skew of nothing, say) has no ratio to anything.
    good = usable(found, columns) & (value > 0)
    sign = np.array(
        [1.0 if one.case.better == "higher" else -1.0 for one in found.metrics], dtype=np.float64
    )
    metric, unit, row = found.metric[good], found.unit[good], found.row[good]
    return Cells(
        metric=metric,
        unit=unit,
        kind=kinds[unit],
        value=(sign[metric] * np.log(value[good])) if metric.size else np.empty(0),
        error=_errors(columns, row),
        session=found.session[good],
        proven=np.zeros(metric.size, dtype=bool),
    )


def _errors(columns: Columns, row: Ints) -> Floats:
    """Standard errors of ln value, from the rows' 95 % intervals; NaN where there is none.

    A single sample is written as an interval of no width: it says nothing of its error.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        width = (columns.high[row] - columns.low[row]) / columns.value[row]
    told = (columns.n[row] > 1) & (width >= 0)
    # What is as wide tells nothing, and single precision holds no more beside what is narrow.
    error: Floats = np.where(told, np.minimum(width / (2 * _REACH), _WIDEST), np.nan)
    return error
