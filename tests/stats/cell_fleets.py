"""Fleets of cells that never were, with bad cells at known places, and their certification."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from bench.analysis.certify import Cells, Judgement, Rules, judge, retest
from bench.analysis.certify.cells import REJECT, SUSPECT

RULES = Rules()
NOISES = (0.002, 0.005, 0.01, 0.02, 0.03)
"""Relative standard deviations that a metric's noise is drawn from."""


class Bins(NamedTuple):
    """A second kind of chip that nobody declared: its share of the units, how much slower it is,
    and in which share of the metrics."""

    share: float
    drop: float = 0.05
    metrics: float = 1.0


class Outcome(NamedTuple):
    """``found`` and ``wrong`` of the ``bad`` and the good cells were rejected, ``left`` are
    suspects; re-tests took ``extra`` of the sweep's measurements."""

    found: int
    wrong: int
    bad: int
    left: int
    extra: float


class Fleet:
    """A fleet, and measurements of it.

    ``bad`` units have one metric down by ``drop`` (uniform). ``noises``: relative standard
    deviation of a measurement, of which a metric draws one, with ``tails`` degrees of freedom
    (None: normal). ``spread``: share of that variance that is of the units and comes back when they
    are measured again. ``drift``: standard deviation of what all values of a metric in one re-test
    share, in units of its noise.
    """

    def __init__(
        self,
        seed,
        units=512,
        metrics=200,
        *,
        bad=0,
        drop=(0.04, 0.25),
        tails=None,
        spread=0.0,
        drift=0.0,
        bins=None,
        noises=NOISES,
    ):
        self.g = g = np.random.default_rng(seed)
        self.tails, self.spread, self.drift = tails, spread, drift
        self.noise = g.choice(noises, metrics)
        self.level = g.normal(10, 3, metrics)
        self.bad = np.zeros((metrics, units), dtype=bool)
        who, which = g.choice(units, bad, replace=False), g.integers(0, metrics, bad)
        self.bad[which, who] = True
        self.truth = np.sqrt(spread) * self.noise[:, None] * self.draw((metrics, units))
        self.truth[which, who] += np.log1p(-g.uniform(*drop, bad))
        if bins is not None:
            slow = g.choice(units, round(bins.share * units), replace=False)
            shown = g.choice(metrics, max(round(bins.metrics * metrics), 1), replace=False)
            self.truth[np.ix_(shown, slow)] += np.log1p(-bins.drop)
        metric, unit = np.divmod(np.arange(metrics * units), units)
        self.cells = self.measure(metric, unit, 0)

    def draw(self, shape):
        """Of variance one."""
        if self.tails is None:
            return self.g.normal(size=shape)
        return self.g.standard_t(self.tails, shape) * np.sqrt((self.tails - 2) / self.tails)

    def measure(self, metric, unit, session):
        """Each of the cells once."""
        drift = self.g.normal(size=self.noise.size) * self.drift * self.noise * (session > 0)
        error = np.sqrt(1 - self.spread) * self.noise[metric] * self.draw(metric.size)
        same = np.zeros(metric.size, dtype=np.int64)
        return Cells(
            metric=metric,
            unit=unit,
            kind=same,
            value=self.level[metric] + self.truth[metric, unit] + drift[metric] + error,
            error=np.full(metric.size, np.nan),
            session=same + session,
            proven=np.zeros(metric.size, dtype=bool),
        )

    def certify(self, rules=RULES) -> tuple[Judgement, int]:
        """Judge, and measure again until nothing is asked for: the judgement, and what it cost."""
        cells, spent = self.cells, 0
        for session in range(1, rules.looks + 2):
            found = judge(cells, rules)
            more = retest(found, cells, rules, spent)
            if more is None:
                return found, spent
            spent += more.cost
            fresh = self.measure(
                np.repeat(more.metric, more.repeats), np.repeat(more.unit, more.repeats), session
            )
            cells = joined(cells, fresh)
        raise AssertionError("asked for more looks than the rules allow")

    def outcome(self, rules=RULES) -> Outcome:
        """What comes of certifying it."""
        found, spent = self.certify(rules)
        said, bad = found.state == REJECT, self.bad[found.metric, found.unit]
        return Outcome(
            found=int(np.count_nonzero(said & bad)),
            wrong=int(np.count_nonzero(said & ~bad)),
            bad=int(np.count_nonzero(bad)),
            left=int(np.count_nonzero(found.state == SUSPECT)),
            extra=spent / self.bad.size,
        )


def joined(*parts: Cells) -> Cells:
    """All values in one."""
    names = Cells.__struct_fields__
    return Cells(**{name: np.concatenate([getattr(one, name) for one in parts]) for name in names})


def cells(value, *, session=0, kind=0, error=None, proven=False, units=None, metrics=None) -> Cells:
    """float[metrics, units] as cells; NaN are left in."""
    value = np.atleast_2d(np.asarray(value, dtype=np.float64))
    metric, unit = np.divmod(np.arange(value.size), value.shape[1])
    return Cells(
        metric=metric if metrics is None else np.asarray(metrics)[metric],
        unit=unit if units is None else np.asarray(units)[unit],
        kind=np.zeros(value.size, np.int64) + kind,
        value=value.ravel(),
        error=np.full(value.size, np.nan) if error is None else np.ravel(error),
        session=np.full(value.size, session),
        proven=np.full(value.size, proven),
    )


def with_rules(**changes) -> Rules:
    """The rules but for these."""
    return msgspec.structs.replace(RULES, **changes)
