"""How well a case's value is known: 95 % intervals of its median, of the best and of the worst.

A case has a value of each of its groups, the median over their repeats. What the intervals take
for chance is

- over six groups or more, which of them were met and what each erred: order statistics
  (`stats.median_interval`), which ask for no distribution;
- over fewer, what each group erred alone, for these few are all that is spoken of: six repeats or
  more by order statistics, of fewer by Student's t of the deviations of repeats from their groups,
  pooled over the groups, on the logarithmic scale where values are positive; and of the samples of
  a measurement the interval that its row has. The widest counts, from the lowest end of any group
  to the highest, so that two systems of a few groups that differ are not told apart by one of them.

Where nothing of a group is known but one value, its error is taken from how the groups differ. Of
one value nobody knows it. What changes between measurements is in no interval of a single one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from ..records import STATUSES
from ..results import Columns
from ..stats import median_interval, normal_quantile, student_quantile

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
ENOUGH = 6
"""Values from which the order statistics of a median reach 95 %."""
TAIL = 0.025
"""What lies beyond each end of an interval."""
_OK = STATUSES.index("ok")


class Estimate(msgspec.Struct, kw_only=True, frozen=True):
    """A value with its 95 % interval; ``low`` and ``high`` are None where it is not known.

    ``values`` is how many the interval rests on.
    """

    value: float
    low: float | None = None
    high: float | None = None
    values: int = 0

    def times(self, factor: float) -> Estimate:
        """The same in another unit; ``factor`` is above 0."""
        ends = (None if end is None else end * factor for end in (self.low, self.high))
        low, high = ends
        return Estimate(value=self.value * factor, low=low, high=high, values=self.values)


def over_groups(columns: Columns, rows: Rows, medians: Floats) -> Estimate:
    """The median over groups, with its interval.

    Args:
        columns: The run's.
        rows: Indices of the case's rows, those of other statuses among them.
        medians: float64[groups], one or more: their medians over repeats.
    """
    if medians.size >= ENOUGH:
        value, low, high = median_interval(medians)
        return Estimate(value=value, low=low, high=high, values=int(medians.size))
    value = float(np.median(medians))
    good = _good(columns, rows)
    values = int(columns.n[good].sum()) if columns.n is not None else 0
    ends = _ends(columns, good)
    if ends is None:
        return Estimate(value=value, values=values)
    return Estimate(value=value, low=ends[0], high=ends[1], values=max(values, int(good.size)))


def over(one: Estimate, other: Estimate) -> Estimate:
    """The ratio of two positive values: as if both erred, each in its worse way.

    Its error is at most the sum of theirs, on the logarithmic scale, so that it covers at least as
    often as they do, whatever both have in common.
    """
    values = min(one.values, other.values)
    if one.low is None or one.high is None or not other.low or not other.high:
        return Estimate(value=one.value / other.value, values=values)
    low, high = one.low / other.high, one.high / other.low
    return Estimate(value=one.value / other.value, low=low, high=high, values=values)


def largest(found: Sequence[Estimate]) -> Estimate:
    """The largest of one or more values: of what is truly largest, whichever seemed to be.

    The best of several that err alike seems better than any is. The true largest is at most as
    likely above the highest of all upper ends as its own value is above its own. It is below the
    highest of the lower ends only where one of these is above its own value, so that each of m
    lower ends is one of 1 - 0.025/m (Bonferroni): a normal error's, on the logarithmic scale. An
    interval that is not known is of no width, but that of the largest is asked for.
    """
    best = max(found, key=lambda one: one.value)
    if best.low is None or best.high is None:
        return best
    wider = normal_quantile(1 - TAIL / len(found)) / normal_quantile(1 - TAIL)
    lows = [_stretched(one, wider) for one in found]
    highs = [one.value if one.high is None else one.high for one in found]
    return msgspec.structs.replace(best, low=max(lows), high=max(highs))


def _stretched(one: Estimate, wider: float) -> float:
    if one.low is None:
        return 0.0
    if one.value <= 0 or one.low <= 0:
        return min(one.low, one.value - wider * (one.value - one.low))
    return one.value * float((one.low / one.value) ** wider)


def least(columns: Columns, rows: Rows, medians: Floats) -> tuple[float, float] | None:
    """(low, high) of the least of the groups' true values, positive; None where no error is known.

    The least of n values that err lies below the least true one, the further the more there are:
    an interval about it would be one of a selection. Whichever group is truly least, it is below
    none of the lower ends with more than 2.5 % probability: the lowest of these is the lower end.
    And it is at most what any group is: the lowest of the upper ends, each of 1 - 0.025/n
    (Bonferroni), for one too low is enough. A group's error is its own or that of all, whichever is
    larger: from repeats, pooled, with Student's t, and from the samples of a measurement.

    Args:
        columns, rows, medians: As of `over_groups`, all groups with one or more repeats.
    """
    good = _good(columns, rows)
    _, which, repeats = np.unique(columns.group[good], return_inverse=True, return_counts=True)
    if np.any(columns.value[good] <= 0):
        return None
    error, degrees = _of_samples(columns, good, which, medians), math.inf
    pooled = _of_repeats(np.log(columns.value[good]), which, repeats)
    if pooled is not None:
        deviation, degrees = pooled
        between = deviation * _of_median(repeats)
        error = between if error is None else np.maximum(error, between)
    if error is None:
        return None
    logs = np.log(medians)
    down, up = (_quantile(tail, degrees) for tail in (TAIL, TAIL / medians.size))
    return float(np.exp((logs - down * error).min())), float(np.exp((logs + up * error).min()))


def _good(columns: Columns, rows: Rows) -> Rows:
    found: Rows = rows[(columns.status[rows] == _OK) & ~np.isnan(columns.value[rows])]
    return found


def _ends(columns: Columns, good: Rows) -> tuple[float, float] | None:
    """The lowest and the highest end of few groups; None: not known."""
    groups, which, repeats = np.unique(columns.group[good], return_inverse=True, return_counts=True)
    value = columns.value[good]
    logs = bool(np.all(value > 0))
    scaled = np.log(value) if logs else value
    medians = [np.median(value[which == group]) for group in range(groups.size)]
    middles = np.log(medians) if logs else np.array(medians)
    down, up = np.zeros(groups.size), np.zeros(groups.size)
    sure = np.zeros(groups.size, dtype=bool)
    lows, highs = _own(columns, good)
    ends = [(np.nonzero(np.isfinite(lows))[0], lows, highs)]
    for group in np.flatnonzero(repeats >= ENOUGH).tolist():
        _, low, high = median_interval(value[which == group])
        first = np.flatnonzero(which == group)[:1]
        ends.append((first, np.full(good.size, low), np.full(good.size, high)))
    for those, least_, most in ends:
        for row in those.tolist():
            group = which[row]
            sure[group] = True
            low, high = (_scaled(end[row], logs) for end in (least_, most))
            down[group] = max(down[group], middles[group] - low)
            up[group] = max(up[group], high - middles[group])
    pooled = _of_repeats(scaled, which, repeats)
    if pooled is not None:
        half = _quantile(TAIL, pooled[1]) * pooled[0] * _of_median(repeats)
        half[repeats >= ENOUGH] = 0.0
        down, up = np.maximum(down, half), np.maximum(up, half)
    elif not sure.all():
        if groups.size < 2:
            return None
        # Nothing is known of an error but that the groups' values differ.
        half = student_quantile(TAIL, groups.size - 1) * middles.std(ddof=1)
        half *= float(_of_median(np.array([groups.size]))[0])
        down, up = np.maximum(down, half), np.maximum(up, half)
    with np.errstate(over="ignore"):
        found = [np.exp(one) if logs else one for one in (middles - down, middles + up)]
    return float(found[0].min()), float(found[1].max())


def _scaled(end: float, logs: bool) -> float:
    """On the logarithmic scale, if that is asked for; what is none there lies at its beginning."""
    if not logs:
        return end
    return math.log(end) if end > 0 else -math.inf


def _own(columns: Columns, good: Rows) -> tuple[Floats, Floats]:
    """The ends that rows have of their own samples, NaN where these are too few for one."""
    if columns.low is None or columns.high is None or columns.n is None:
        nothing = np.full(good.size, np.nan)
        return nothing, nothing
    low, high = columns.low[good], columns.high[good]
    known = (columns.n[good] >= ENOUGH) & np.isfinite(low) & np.isfinite(high)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _of_repeats(
    values: Floats, which: npt.NDArray[np.intp], repeats: npt.NDArray[np.intp]
) -> tuple[float, int] | None:
    """(standard deviation, degrees of freedom) of repeats about their group's mean."""
    degrees = int((repeats - 1).sum())
    if degrees < 1:
        return None
    means = np.bincount(which, values) / repeats
    return math.sqrt(float(((values - means[which]) ** 2).sum()) / degrees), degrees


def _of_samples(
    columns: Columns, good: Rows, which: npt.NDArray[np.intp], medians: Floats
) -> Floats | None:
    """float64[groups]: relative standard errors by the intervals of rows; at least that of all."""
    low, high = _own(columns, good)
    half = (high - low) / 2 / columns.value[good] / normal_quantile(1 - TAIL)
    known = np.isfinite(half)
    if not known.any() or np.bincount(which[known], minlength=medians.size).min() == 0:
        return None
    own = np.sqrt(
        np.bincount(which[known], half[known] ** 2, minlength=medians.size)
        / np.bincount(which[known], minlength=medians.size)
    )
    return np.maximum(own, math.sqrt(float((own**2).mean())))


def _of_median(repeats: npt.NDArray[np.intp]) -> Floats:
    """Standard errors of medians of so many normal values, over their standard deviation.

    √(π / (2k + π - 2)): 1 of one, and of many that of large samples; within 11 % between.
    """
    found: Floats = np.sqrt(math.pi / (2 * repeats + math.pi - 2))
    return found


def _quantile(tail: float, degrees: float) -> float:
    if degrees > 1000:
        return normal_quantile(1 - tail)
    return student_quantile(tail, degrees)
