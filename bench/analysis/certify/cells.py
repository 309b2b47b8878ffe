"""What the decision takes and gives: cells, rules, a judgement, a request for more.

A *cell* is one metric of one *unit*: a device, a node or a link. Everything is on the log scale
and turned so that more is better: -0.05 is five per cent worse.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from ..graph import Bools, Floats, Ints

States: TypeAlias = npt.NDArray[np.int8]

ACCEPT, REJECT, SUSPECT, INCONCLUSIVE = range(4)
STATES = ("accept", "reject", "suspect", "inconclusive")
"""Names of the states, by number."""


class Cells(msgspec.Struct, kw_only=True):
    """Measured values in long format, one entry a value; all arrays are of one length.

    Attributes:
        metric: Index of the metric.
        unit: What is judged; unique over all kinds of unit.
        kind: Units of one kind (scope, chip, link class) are compared with each other.
        value: ln of the value, its sign turned so that more is better.
        error: Standard error of ``value`` from the row's own interval; NaN where unknown.
        session: 0 is the sweep, k re-test k. Values of a metric and kind that are of one session
            share whatever drifted since the sweep; several of one unit are its repeats.
        proven: Units of a baseline: they inform what is usual and are never judged.
    """

    metric: Ints
    unit: Ints
    kind: Ints
    value: Floats
    error: Floats
    session: Ints
    proven: Bools


class Rules(msgspec.Struct, kw_only=True, frozen=True):
    """How to judge. Shares are between 0 and 1.

    Attributes:
        material: Relative drop from which a unit is bad: what surely dropped less is not rejected.
        fdr: Expected share of wrong ones among rejected cells.
        sure: No single cell is rejected whose own chance of being good is above this.
        suspect: A cell whose chance of being bad is above this is no longer accepted.
        retest: Measurements of re-tests, controls counted, over the sweep's.
        looks: Re-tests at most.
        faults: Bad cells expected before anything was seen, in the whole fleet.
    """

    material: float = 0.04
    fdr: float = 0.01
    sure: float = 0.3
    suspect: float = 0.01
    retest: float = 0.1
    looks: int = 8
    faults: float = 0.5


class Judgement(msgspec.Struct, kw_only=True):
    """One entry a distinct (unit, metric), sorted by metric, kind, unit.

    Where a unit is the only one of its kind, it is inconclusive, and what compares is NaN.

    Attributes:
        metric, unit, kind: int64, as in `Cells`.
        state: int8, an index into `STATES`. A suspect that nothing is left to measure for is
            inconclusive: the caller knows when (`retest` gives None).
        effect: Deviation of the unit from what is usual, ln; ``low`` to ``high`` its 95 % interval.
        usual: What is usual for the metric and kind, ln of the value, sign turned like it.
        second: Where the units of a kind are two populations (bins of a chip): nearer to the
            smaller one, whose usual value and deviation are given.
        percentile: Share of the compared units that are worse or equal in the sweep, 0 to 100.
        chance: Probability that the cell is good, given all that was measured (the local false
            discovery rate of rejecting it).
        noise: Standard deviation that one more measurement counts for, ln: large where units
            themselves differ, and it would tell little.
        drift: Standard deviation of what a session's values share, over that of the sweep's
            values; NaN before a re-test.
        peers: Units compared with, itself included.
        repeats: Values that it rests on.
        proven: Those of a baseline; they are accepted.
        notes: What a reader must know, in sentences.
    """

    metric: Ints
    unit: Ints
    kind: Ints
    state: States
    effect: Floats
    low: Floats
    high: Floats
    usual: Floats
    second: Bools
    percentile: Floats
    chance: Floats
    noise: Floats
    drift: Floats
    peers: Ints
    repeats: Ints
    proven: Bools
    notes: list[str]


class Request(msgspec.Struct, kw_only=True):
    """What to measure again, together, as the next session.

    Attributes:
        metric, unit: int64, the cells.
        repeats: int64, how often each is measured in this session.
        control: Those that serve to see the session's drift.
        cost: Measurements in all, controls counted.
    """

    metric: Ints
    unit: Ints
    repeats: Ints
    control: Bools

    @property
    def cost(self) -> int:
        """Measurements in all, controls counted."""
        return int(np.sum(self.repeats))
