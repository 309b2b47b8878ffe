"""Change points of one metric over many runs: where its level changed, and for how long.

The places are those of E-divisive (Matteson & James, JASA 109, 2014, §2.1-2.2): of x_1..x_n, the
logarithms of the values, the split that is farthest apart by

    Q = ab/(a+b) · (2·mean|x_i - y_j| - mean|x_i - x_k| - mean|y_j - y_l|)

(a values before, b after, means over pairs of two), then the same on either side. Like Hunter
(Fleming et al., ICPE 2023; Apache Otava) it is not asked by permutations whether a split is one but
by Student's t of the two segments' means: a permutation test of n runs knows no chance below about
2 / (n choose 2) for two runs at the end, 3 in 1,000 at n = 40, while t sees a step of five standard
deviations there at once, and needs no random numbers. What a t-test lacks is made up for:

- A split is the best of many: its chance is multiplied by all places that were looked at
  (Bonferroni), so that ``alpha`` is of the whole history. Hunter does not, and is wrong more often.
- Spikes: in the place of a value that is more than `REACH` standard deviations away from the
  median of the five around it (at the ends: of the three there), that median is taken (Hampel,
  JASA 69, 1974). So what lasts for one run is no change, nor is what went back after two; what
  still lasts is one from two runs on.
- Few runs that happen to be equal: the variance is never below that of the whole history, which
  is known by the distances of runs in succession: steps widen few of them.
- Runs in succession that share what disturbs them: their correlation widens the error of a mean.
- Stairs: several changes hide each other in the variance of the whole. So candidates are splits
  that are clear against the noise of single runs, in windows of `WINDOW` runs, each beginning in
  the middle of the one before; t is asked of each between its neighbours, the weakest going first.

What is left are spikes in both of the last two runs, which nothing tells from a change.
`tests/stats/test_gate_history.py` counts the errors: with 2 % of spikes, 0.2 to 0.5 % of
steady histories of 50 runs have a change point, 1.5 % where runs correlate by 0.5, 2 to 5 % where a
fifth or a tenth of them are 6 % slower and the others all equal.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

from ...stats import relative, student_quantile, student_tail
from ..graph import Floats

PERSISTENCE = 2
"""Runs that a level must last, or it is an outlier."""
ALPHA = 0.002
"""Probability that a steady history has any change point."""
LEAST = 0.03
"""Relative change below which it is none."""
FEWEST = 6
"""Runs below which nothing can be said."""
WINDOW = 128
LASTING = 3
"""Runs after which it is asked how small a change is found."""
REACH = 4.0
_TOLD = 10
"""Runs below which nobody can say whether they go together."""
_STEADIEST = 1e-4
"""Relative: no figure is repeated better, whatever a few equal ones say."""


class ChangePoint(msgspec.Struct, kw_only=True, frozen=True):
    """Where a level changed.

    ``index`` is the first run after it; ``before`` and ``after`` are the levels (geometric means
    without outliers, in the values' unit) of the segments on its two sides. ``change`` is
    after / before - 1 with its 95 % interval ``low`` to ``high``. ``chance`` is the probability
    that a steady history has one as clear anywhere.
    """

    index: int
    before: float
    after: float
    change: float
    low: float
    high: float
    chance: float


def change_points(
    values: npt.ArrayLike, *, least: float = LEAST, alpha: float = ALPHA
) -> list[ChangePoint]:
    """The change points of a history, in order of time.

    Args:
        values: float64[runs], one of each run, the oldest first; positive, in any unit.
        least: Relative change of the level that counts, 0 or more; as a ratio, either way.
        alpha: Probability that a steady history has any.

    Raises:
        ValueError: a value that is not positive and finite.
    """
    logs = logarithms(values)
    if logs.size < FEWEST:
        return []
    kept, noise = smoothed(logs)
    least = math.log1p(least)
    found, looked = _candidates(kept, noise, alpha)
    cuts = _pruned(kept, sorted(found), noise, least, alpha / looked)
    ends = [0, *cuts, kept.size]
    return [
        compared(kept, ends[i], ends[i + 1], ends[i + 1], ends[i + 2], noise, looked)
        for i in range(len(cuts))
    ]


def logarithms(values: npt.ArrayLike) -> Floats:
    """float64[runs]: ln of the values. Raises ValueError for one that has none."""
    array = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError("a value of a history is above 0 and finite")
    return np.log(array)


def smoothed(logs: Floats) -> tuple[Floats, float]:
    """The logarithms with medians in the places of outliers, and the standard deviation of one.

    Args:
        logs: float64[runs], three or more.
    """
    noise = max(_noise(logs), _STEADIEST)
    middle = np.empty_like(logs)
    middle[:2], middle[-2:] = np.median(logs[:3]), np.median(logs[-3:])
    if logs.size >= 5:
        around = np.lib.stride_tricks.sliding_window_view(logs, 5)
        middle[2:-2] = np.median(around, axis=1)
    return np.where(np.abs(logs - middle) > REACH * noise, middle, logs), noise


def _noise(logs: Floats) -> float:
    """The standard deviation of a run, by the distances of runs in succession.

    Their quantile of 0.8, and not their median: a metric that often takes one of two values has no
    outliers, but noise. Of few runs a step and an outlier, which make three distances, are more
    than a fifth, and a lower quantile is taken.
    """
    apart = np.abs(np.diff(logs))
    share = min(max((apart.size - 3) / (apart.size + 1), 0.5), 0.8)
    of_two = math.sqrt(2) * NormalDist().inv_cdf((1 + share) / 2)
    return float(np.quantile(apart, share)) / of_two


def compared(
    kept: Floats, begin: int, end: int, start: int, stop: int, noise: float, looked: int = 1
) -> ChangePoint:
    """The level of runs ``start`` to ``stop`` against that of ``begin`` to ``end``.

    Args:
        kept: float64[runs], as of `smoothed`; each range has a run or more, both three together.
        noise: As of `smoothed`.
        looked: Places at which a change was looked for.
    """
    shift, error, degrees = _shift(kept[begin:end], kept[start:stop], noise)
    reach = student_quantile(0.025, degrees) * error
    before = float(kept[begin:end].mean())
    return ChangePoint(
        index=start,
        before=math.exp(before),
        after=math.exp(before + shift),
        change=relative(shift),
        low=relative(shift - reach),
        high=relative(shift + reach),
        chance=min(1.0, looked * 2 * student_tail(abs(shift) / error, degrees)),
    )


def smallest(runs: int, steady: int, noise: float, least: float, alpha: float) -> float:
    """The relative change that is found about 95 times of 100 once it lasted `LASTING` runs.

    Args:
        runs: How many there are, `FEWEST` or more.
        steady: How many of them are since the last change point.
        noise: Standard deviation of a run, as of `smoothed`.
        least: As of `change_points`.
        alpha: As of `change_points`.
    """
    tail = alpha / _looked(_windows(runs + LASTING)) / 2
    degrees = float(steady + LASTING - 2)
    error = noise * math.sqrt(1 / LASTING + 1 / steady)
    missed = student_quantile(0.05, degrees) * error
    # Independent runs seem to go together now and then, and noise is not known exactly: of 2.2
    # standard errors of a correlation it was counted that they hold (`tests/stats`).
    apart = 2.2 / math.sqrt(steady + LASTING) if steady + LASTING >= _TOLD else 0.75
    wide = math.sqrt((1 + apart) / (1 - apart))
    needed = wide * student_quantile(tail, degrees) * error
    return relative(missed + max(needed, math.log1p(least)))


def _shift(one: Floats, other: Floats, noise: float) -> tuple[float, float, float]:
    """Difference of the means, its standard error and that one's degrees of freedom.

    The two share one variance, or a segment of two runs would have one degree only.
    """
    degrees = one.size + other.size - 2
    rest = np.concatenate([one - one.mean(), other - other.mean()])
    variance = max(float((rest**2).sum()) / degrees, noise**2) * _together(rest)
    error = math.sqrt(variance * (1 / one.size + 1 / other.size))
    return float(other.mean() - one.mean()), error, float(degrees)


def _together(rest: Floats) -> float:
    """By what runs that go with the one before widen the variance of a mean, 1 or more.

    (1 + r)/(1 - r) with r their correlation (Bartlett, 1946), of which a short series shows too
    little (Kendall, 1954).
    """
    squares = float((rest**2).sum())
    if rest.size < _TOLD or squares == 0:
        return 1.0
    r = float((rest[1:] * rest[:-1]).sum()) / squares
    r = min(max(r + (1 + 3 * r) / rest.size, 0.0), 0.9)
    return (1 + r) / (1 - r)


def _windows(runs: int) -> list[tuple[int, int]]:
    starts = range(0, max(runs - WINDOW // 2, 1), WINDOW // 2)
    return [(start, min(start + WINDOW, runs)) for start in starts]


def _looked(windows: list[tuple[int, int]]) -> int:
    """At how many places a change is looked for."""
    return sum(stop - start - 2 * PERSISTENCE + 1 for start, stop in windows)


def _candidates(kept: Floats, noise: float, alpha: float) -> tuple[set[int], int]:
    """Places that may be change points, and at how many it was looked."""
    spans = _windows(kept.size)
    looked = _looked(spans)
    found: set[int] = set()
    while spans:
        start, stop = spans.pop()
        if stop - start < 2 * PERSISTENCE:
            continue
        cut = start + farthest(kept[start:stop])
        if _clear(kept[start:cut], kept[cut:stop], noise, alpha / looked):
            found.add(cut)
            spans += [(start, cut), (cut, stop)]
    return found, looked


def _clear(one: Floats, other: Floats, noise: float, tail: float) -> bool:
    """Whether two neighbouring segments differ by more than the noise of single runs explains.

    Other changes inside them do not count as noise here: stairs have none that is alone.
    """
    error = noise * math.sqrt(1 / one.size + 1 / other.size)
    t = abs(float(other.mean() - one.mean())) / error
    return 2 * student_tail(t, float(one.size + other.size - 2)) <= tail


def _holds(
    one: Floats, other: Floats, noise: float, least: float, tail: float
) -> tuple[bool, float]:
    """Whether two neighbouring segments differ by ``least`` and beyond chance, and the t of it."""
    shift, error, degrees = _shift(one, other, noise)
    t = abs(shift) / error
    return abs(shift) >= least and 2 * student_tail(t, degrees) <= tail, t


def farthest(kept: Floats) -> int:
    """The split (index of the first value after it) at which Q is largest.

    Args:
        kept: float64[n], twice `PERSISTENCE` or more.
    """
    n = kept.size
    apart = np.abs(kept[:, None] - kept[None, :])
    # Of all pairs those before the split, those after it, and what is left between the two.
    rows = apart.cumsum(axis=1)
    before = np.concatenate([[0.0], np.diagonal(rows).cumsum()])
    whole = rows[:, -1].cumsum()
    a = np.arange(PERSISTENCE, n - PERSISTENCE + 1)
    inside = before[a]
    between = whole[a - 1] - 2 * inside
    after = before[n] - inside - between
    b = n - a
    q = a * b / n * (2 * between / (a * b) - 2 * inside / (a * (a - 1)) - 2 * after / (b * (b - 1)))
    return int(a[np.argmax(q)])


def _pruned(kept: Floats, cuts: list[int], noise: float, least: float, tail: float) -> list[int]:
    """Those that hold between their neighbours: two windows may say the same one differently."""
    known: dict[tuple[int, int, int], tuple[bool, float]] = {}
    while cuts:
        ends = [0, *cuts, kept.size]
        tested = []
        for i, cut in enumerate(cuts):
            key = ends[i], cut, ends[i + 2]
            if key not in known:
                enough = min(cut - key[0], key[2] - cut) >= PERSISTENCE
                sides = kept[key[0] : cut], kept[cut : key[2]]
                known[key] = _holds(*sides, noise, least, tail) if enough else (False, -1.0)
            tested.append(known[key])
        failing = [i for i, (holds, _) in enumerate(tested) if not holds]
        if not failing:
            break
        weakest = min(failing, key=lambda i: tested[i][1])
        cuts = cuts[:weakest] + cuts[weakest + 1 :]
    return cuts
