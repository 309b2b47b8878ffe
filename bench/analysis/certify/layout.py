"""Values put in order: groups of cells, cells of visits, visits of repeats."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..graph import Bools, Floats, Ints
from .cells import Cells


class Layout:
    """Cells sorted by (metric, kind), then unit; visits of a cell by session.

    A *group* is a metric of a kind of unit: all that is compared. A *visit* is a unit's values of
    one metric in one session, taken together by their mean.

    Attributes:
        groups: Number of groups. ``metrics``, ``kinds``: int64[groups].
        group, unit, proven: of every cell. ``bounds``: int64[groups + 1], where groups begin.
        repeats: int64[cells], values of every cell.
        sweep: float64[cells], the mean of the visit in session 0; NaN without one.
        first, visits: int64[cells], where the cell's visits begin, and how many there are.
        session, mean, count, error: of every visit. ``within``: sum of squares around its mean.
    """

    def __init__(self, cells: Cells) -> None:
        good = np.isfinite(cells.value)
        # A slice is no copy: at 5 million values that counts.
        take = slice(None) if good.all() else good
        metric, unit, kind, session = (
            np.asarray(column[take], dtype=np.int64)
            for column in (cells.metric, cells.unit, cells.kind, cells.session)
        )
        value, error, proven = cells.value[take], cells.error[take], cells.proven[take]
        self.dropped = int(good.size - np.count_nonzero(good))
        kinds = int(kind.max(initial=0)) + 1
        units = int(unit.max(initial=0)) + 1
        sessions = int(session.max(initial=0)) + 1
        self.sessions = sessions
        key = ((metric * kinds + kind) * units + unit) * sessions + session
        del metric, unit, kind, session
        if np.any(key[1:] < key[:-1]):
            order = np.argsort(key, kind="stable")
            key, value, error, proven = key[order], value[order], error[order], proven[order]
        starts = _starts(key)
        self.count = np.diff(np.append(starts, key.size))
        key = key[starts]
        self.session = key % sessions
        key //= sessions
        alone = starts.size == value.size
        if alone:
            self.mean, self.error = value, error
            self.within = np.zeros(0)
        else:
            self.mean = np.add.reduceat(value, starts) / self.count
            self.within = np.add.reduceat((value - np.repeat(self.mean, self.count)) ** 2, starts)
            self.error = np.sqrt(np.add.reduceat(error**2, starts) / self.count)
        self.first = _starts(key)
        self.visits = np.diff(np.append(self.first, key.size))
        key = key[self.first]
        self.unit = key % units
        key //= units
        self.proven: Bools = proven[starts][self.first]
        self.repeats: Ints = np.add.reduceat(self.count, self.first)
        starts = _starts(key)
        self.bounds: Ints = np.append(starts, key.size)
        self.groups = starts.size
        self.metrics, self.kinds = np.divmod(key[starts], kinds)
        self.group: Ints = np.repeat(np.arange(self.groups), np.diff(self.bounds))
        self.sweep: Floats = np.where(self.session[self.first] == 0, self.mean[self.first], np.nan)

    def slices(self) -> list[slice]:
        """Where the cells of every group are."""
        edges = self.bounds.tolist()
        return [slice(low, high) for low, high in pairwise(edges)]


def _starts(key: Ints) -> Ints:
    """Where runs of equal keys begin."""
    new = np.ones(key.size, dtype=bool)
    np.not_equal(key[1:], key[:-1], out=new[1:])
    return np.flatnonzero(new)
