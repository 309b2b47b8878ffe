"""Fleets of cells that never were, with bad cells at known places, and their re-tests."""

from __future__ import annotations

import numpy as np

from bench.analysis.certify import Cells, Rules, judge, retest

RULES = Rules()
NOISES = (0.002, 0.005, 0.01, 0.02, 0.03)


class Fleet:
    """``noise``: relative standard deviation of a measurement, one a metric or drawn of NOISES.

    ``bad`` units have one metric down by ``drop`` (uniform). ``tails``: degrees of freedom of the
    noise. ``spread``: share of the variance that is of the units. ``drift``: standard deviation of
    a session's common deviation, in units of the metric's noise. ``bins``: (share of units,
    relative drop, share of metrics): a second kind of chip that nobody declared.
    """

    def __init__(
        self,
        seed,
        units=512,
        metrics=200,
        bad=0,
        drop=(0.04, 0.25),
        tails=None,
        spread=0.0,
        drift=0.0,
        bins=None,
        noises=NOISES,
    ):
        self.g = g = np.random.default_rng(seed)
        self.units, self.metrics, self.tails, self.drift = units, metrics, tails, drift
        self.noise = g.choice(noises, metrics)
        self.truth = np.zeros((metrics, units))
        self.bad = np.zeros((metrics, units), bool)
        who = g.choice(units, bad, replace=False)
        which = g.integers(0, metrics, bad)
        self.bad[which, who] = True
        self.truth[which, who] = np.log1p(-g.uniform(*drop, bad))
        self.spread = spread
        if spread:
            self.truth += np.sqrt(spread) * self.noise[:, None] * self.draw((metrics, units))
        if bins:
            share, down, part = bins
            slow = g.choice(units, round(share * units), replace=False)
            shown = g.choice(metrics, max(round(part * metrics), 1), replace=False)
            self.truth[np.ix_(shown, slow)] += np.log1p(-down)
        self.level = g.normal(10, 3, metrics)
        self.sessions = 0
        metric, unit = np.divmod(np.arange(metrics * units), units)
        self.cells = self.measure(metric, unit, 0)

    def draw(self, shape):
        if self.tails is None:
            return self.g.normal(size=shape)
        return self.g.standard_t(self.tails, shape) * np.sqrt((self.tails - 2) / self.tails)

    def measure(self, metric, unit, session):
        drift = self.g.normal(size=self.metrics) * self.drift * self.noise * (session > 0)
        error = np.sqrt(1 - self.spread) * self.noise[metric] * self.draw(metric.size)
        value = self.level[metric] + self.truth[metric, unit] + drift[metric] + error
        same = np.zeros(metric.size, np.int64)
        return Cells(
            metric=metric,
            unit=unit,
            kind=same,
            value=value,
            error=np.full(metric.size, np.nan),
            session=same + session,
            proven=np.zeros(metric.size, bool),
        )

    def certify(self, rules=RULES, trace=None):
        """Judge, and measure again until nothing is asked for; the judgement and what it cost."""
        cells, spent = self.cells, 0
        for session in range(1, rules.looks + 2):
            found = judge(cells, rules)
            more = retest(found, cells, rules, spent)
            if trace:
                trace(self, found, more)
            if more is None:
                return found, spent
            spent += more.cost
            metric, unit = np.repeat(more.metric, more.repeats), np.repeat(more.unit, more.repeats)
            fresh = self.measure(metric, unit, session)
            cells = Cells(
                **{
                    name: np.concatenate([getattr(cells, name), getattr(fresh, name)])
                    for name in Cells.__struct_fields__
                }
            )

        raise AssertionError("asked for more looks than the rules allow")

    def score(self, found):
        """(bad cells found, wrongly rejected, bad cells)."""
        said = found.state == 1
        right = self.bad[found.metric, found.unit]
        return int((said & right).sum()), int((said & ~right).sum()), int(self.bad.sum())
