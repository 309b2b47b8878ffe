"""The Hodges-Lehmann estimate and its exact limits, by the signed-rank test (Wilcoxon, 1945).

For differences that are symmetric about their centre and independent, the limits hold whatever
their distribution: no variance is estimated, and spikes in some of them move neither estimate nor
limits by much (Hodges & Lehmann, 1963; Hollander & Wolfe, Nonparametric Statistical Methods, §3.3).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A centre with the limits that it lies below, or above, with probability ``tail`` at most."""

    centre: float
    low: float
    high: float


def least_blocks(tail: float) -> int:
    """Fewest differences whose limits are finite: 2^-n must not exceed the tail."""
    return math.ceil(math.log2(1 / tail))


@functools.cache
def _cumulative(n: int) -> tuple[int, ...]:
    """How many of the 2^n signs give a rank sum of at most j, for j = 0, 1, ...; exact."""
    counts = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    sums, running = [], 0
    for count in counts:
        running += count
        sums.append(running)
    return tuple(sums)


@functools.cache
def limit_place(n: int, tail: float) -> int:
    """Which of the ordered Walsh averages, from 1, is the lower limit; 0: none is.

    It is the number of rank sums j with P(W+ <= j) <= tail, W+ the sum of the positive ranks of n
    differences without a centre but zero.
    """
    most = tail * 2.0**n
    return sum(1 for count in _cumulative(n) if count <= most)


def estimate(differences: npt.ArrayLike, tail: float) -> Estimate:
    """Median of all averages of two differences, and its one-sided limits.

    Args:
        differences: float64[n], at least one.
        tail: Probability that the centre lies below ``low``, and that it lies above ``high``.

    Returns:
        Limits that are infinite for fewer differences than `least_blocks`.
    """
    values = np.asarray(differences, dtype=np.float64)
    first, second = np.triu_indices(values.size)
    averages = np.sort((values[first] + values[second]) / 2)
    place = limit_place(values.size, tail)
    if not place:
        return Estimate(float(np.median(averages)), -math.inf, math.inf)
    return Estimate(float(np.median(averages)), float(averages[place - 1]), float(averages[-place]))
