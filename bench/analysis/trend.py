"""Whether series of a few values go down: each against itself, and not what all of them share.

Each unit (a device, a node) has a value from some of the runs; two questions are asked of it.

*Is the last value below its past?* y is ln of the values, turned so that more is worse; the last is
held against the median of the n before it. The variance of a value, s², is that around a line
through these n, which a slow drift does not inflate; it has n − 2 degrees of freedom. With n near 3
that says little, so where there are units enough it is drawn towards what is usual among them: s²
is a sample of scaled inverse χ² with s0² and d0, estimated from the moments of ln s² (Smyth, 2004,
*Linear models and empirical Bayes methods*, §6). t then has d0 more degrees of freedom; a median of
n has π/2 times the variance of a mean. d0 is estimated on the low side, by two standard errors of
the variance of ln s²: few values cannot show that all units are equally steady.

*Does it go down from run to run?* The median of all slopes between two runs with its interval from
Kendall's S (Theil, 1950; Sen, 1968), and the exact chance of an S as large.

What all units of a run share (a driver, the room's temperature, another version of the harness) is
no unit's decline: where there are units enough, a run's median deviation is taken out of it, and
told apart.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from ..stats import digamma, trigamma
from .graph import Bools, Floats, Ints

FEWEST_UNITS = 8
"""Units below which nothing can be said of what they share, neither changes nor spread."""
FEWEST_PAST = 3
"""Values before the last one, below which it is held against nothing."""
FEWEST_RUNS = 5
"""Values below which no slope is fitted."""
_MEDIAN = np.pi / 2
_PRIOR = 1e6
"""Degrees of freedom that stand for infinitely many: all units have one spread."""
_REACH = 1.959964


class Trend(msgspec.Struct, kw_only=True):
    """What is known of every unit, as arrays over units; y as above, NaN where it is unknown.

    ``before`` is the median of the past and ``change`` the last value's distance from it, above 0
    for worse, with its standard ``error`` and ``degrees`` of freedom; ``past`` counts the values
    before the last. ``slope`` (y per day) lies between ``slope_low`` and ``slope_high`` with 95 %;
    ``chance`` is that of slopes so steep without a trend (one-sided), ``span`` the days from first
    to last value. ``shared`` is by how much the last run changed for all units, None where they are
    too few to say.
    """

    before: Floats
    change: Floats
    error: Floats
    degrees: Floats
    past: Ints
    slope: Floats
    slope_low: Floats
    slope_high: Floats
    chance: Floats
    span: Floats
    shared: float | None


def trend(days: Floats, y: Floats) -> Trend:
    """Ask both questions.

    Args:
        days: float64[runs], when each run was, ascending; the last one is asked about.
        y: float64[runs, units], ln of values, more is worse; NaN where there is none.
    """
    y, shared = _apart(y)
    past = y[:-1]
    n = (~np.isnan(past)).sum(axis=0)
    asked = (n >= FEWEST_PAST) & ~np.isnan(y[-1])
    before = np.full(n.shape, np.nan)
    before[asked] = _medians(past[:, asked])
    variance, degrees = _spread(days[:-1], past, asked)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(variance * (1 + _MEDIAN / n))
    slope, low, high, chance, span = _slopes(days, y)
    return Trend(
        before=before,
        change=y[-1] - before,
        error=error,
        degrees=degrees,
        past=n.astype(np.int64),
        slope=slope,
        slope_low=low,
        slope_high=high,
        chance=chance,
        span=span,
        shared=shared,
    )


def _apart(y: Floats) -> tuple[Floats, float | None]:
    """y without what all units of a run share, and by how much that changed in the last run."""
    both = ~np.isnan(y[-1]) & (~np.isnan(y[:-1])).any(axis=0)
    if both.sum() < FEWEST_UNITS:
        return y, None
    # A run of other units says nothing about what these share.
    thin = (~np.isnan(y[:, both])).sum(axis=1) < FEWEST_UNITS
    y = np.where(thin[:, None], np.nan, y)
    off = y[:, both] - _medians(y[:, both])
    usual = np.zeros(len(y))
    usual[~thin] = [np.nanmedian(of) for of in off[~thin]]
    kept = usual[:-1][~thin[:-1]]
    shared = float(usual[-1] - np.median(kept)) if kept.size else 0.0
    return y - usual[:, None], shared


def _medians(y: Floats) -> Floats:
    """float64[columns]: the median of each column without its NaN; NaN where nothing is left.

    numpy's own goes by masked arrays, and takes twenty times as long for few rows.
    """
    return _middle(np.sort(y, axis=0), (~np.isnan(y)).sum(axis=0))


def _middle(ordered: Floats, count: Ints) -> Floats:
    """The median of each column, of which the first ``count`` values count, in their order."""
    column = np.arange(ordered.shape[1])
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(ordered) - 1)
    middle: Floats = (ordered[low, column] + ordered[high, column]) / 2
    return middle


def _spread(days: Floats, past: Floats, asked: Bools) -> tuple[Floats, Floats]:
    """Variance of a value of each unit around its own line, and its degrees of freedom."""
    there = ~np.isnan(past)
    n = there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(there, days[:, None], 0.0)
        t = np.where(there, days[:, None] - t.sum(axis=0) / n, 0.0)
        y = np.where(there, past, 0.0)
        y = np.where(there, past - y.sum(axis=0) / n, 0.0)
        long = (t * t).sum(axis=0)
        # Of runs at one time (imported ones have those of their files) there is no slope.
        line = (t * y).sum(axis=0) / np.where(long > 0, long, 1.0)
        degrees = np.where(asked, n - 1.0 - (long > 0), np.nan)
        variance = np.where(asked, ((y - line * t) ** 2).sum(axis=0) / degrees, np.nan)
    if asked.sum() >= FEWEST_UNITS:
        usual, prior = _prior(variance[asked], degrees[asked])
        variance = (prior * usual + degrees * variance) / (prior + degrees)
        degrees = degrees + prior
    return variance, degrees


def _prior(variance: Floats, degrees: Floats) -> tuple[float, float]:
    """(s0², d0) of the distribution that the units' variances are samples of."""
    middle = float(np.median(variance))
    if middle <= 0:
        return 0.0, 0.0
    kinds, which = np.unique(degrees, return_inverse=True)
    offset = np.array([digamma(d / 2) - np.log(d / 2) for d in kinds.tolist()])[which]
    noise = np.array([trigamma(d / 2) for d in kinds.tolist()])[which]
    # Two equal values are no proof of no spread.
    e = np.log(np.maximum(variance, 1e-5 * middle)) - offset
    squares = (e - e.mean()) ** 2 * e.size / (e.size - 1)
    left = float(np.mean(squares - noise) + 2 * np.std(squares) / np.sqrt(e.size))
    prior = min(2 * _inverse_trigamma(left), _PRIOR) if left > 0 else _PRIOR
    usual = float(np.exp(e.mean() + digamma(prior / 2) - np.log(prior / 2)))
    return usual, prior


def _inverse_trigamma(value: float) -> float:
    """x with ψ'(x) = value > 0; ψ' falls."""
    low, high = 1e-6, _PRIOR
    for _ in range(100):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > value else (low, middle)
    return float(low)


def _slopes(days: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Slope, its interval, the chance of one so steep, and the days that it spans."""
    runs, units = y.shape
    n = (~np.isnan(y)).sum(axis=0)
    found = [np.full(units, np.nan) for _ in range(5)]
    chosen = np.flatnonzero((n >= FEWEST_RUNS) & ~np.isnan(y[-1]))
    first, second = np.triu_indices(runs, 1)
    apart = days[second] - days[first]
    first, second, apart = first[apart > 0], second[apart > 0], apart[apart > 0]
    for part in np.array_split(chosen, max(1, chosen.size * apart.size // (1 << 20))):
        if part.size and apart.size:
            values = _slopes_of(days, y[:, part], first, second, apart)
            for array, one in zip(found, values, strict=True):
                array[part] = one
    return found[0], found[1], found[2], found[3], found[4]


def _slopes_of(
    days: Floats, y: Floats, first: Ints, second: Ints, apart: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    there = ~np.isnan(y)
    n = there.sum(axis=0)
    slopes = np.sort((y[second] - y[first]) / apart[:, None], axis=0)  # NaN comes last
    count = (~np.isnan(slopes)).sum(axis=0)
    reach = _REACH * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    edge = np.maximum(np.floor((count - reach) / 2).astype(np.int64) - 1, 0)
    unit = np.arange(y.shape[1])
    rising = (slopes > 0).sum(axis=0) + (slopes == 0).sum(axis=0) // 2
    pairs = first.size + 1
    kinds, which = np.unique(n * pairs + rising, return_inverse=True)
    chance = np.array([kendall_tail(*divmod(kind, pairs)) for kind in kinds.tolist()])[which]
    begun = days[np.argmax(there, axis=0)]
    return (
        _middle(slopes, count),
        slopes[edge, unit],
        slopes[count - 1 - edge, unit],
        chance,
        days[-1] - begun,
    )


@lru_cache(maxsize=4096)
def kendall_tail(n: int, rising: int) -> float:
    """P(at least ``rising`` of the n(n−1)/2 pairs rise) where any order of n values is as likely.

    Exact: the numbers of permutations by inversions (Kendall, 1938).
    """
    counts = np.ones(1)
    for size in range(2, n + 1):
        counts = np.convolve(counts, np.full(size, 1 / size))
    return float(counts[rising:].sum()) if rising < counts.size else 0.0
