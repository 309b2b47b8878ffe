"""How well a cell's visits agree with a healthy unit, and with a bad one.

A unit deviates from what is usual by x; a visit shows x with an error:

    value = usual + x + drift of the session + error,   error ~ scale * Student's t
    healthy:  x ~ spread * Student's t                  (units of a kind differ a little)
    bad:      -x = a drop of ln(1 / (1 - material)) or more, uniform in ln(drop), blurred by spread

The two marginal likelihoods are integrals over x by the trapezoid rule, on points that lie close
where the integrands are narrow. One value in ten million may be anything (`_STRAY`), so that of
two visits that contradict each other one may be wrong, rather than both half.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from ..graph import Bools, Floats
from .modes import log_peak

Singles: TypeAlias = npt.NDArray[np.float32]

LARGEST = 2.0
"""Largest drop that is expected, ln: a tenth of the usual value is left."""

_STRAY = 1e-7  # share of visits that may be anything
_CHUNK = 512
_SPREAD = np.linspace(-6, 6, 17, dtype=np.float32)
_NEAR = np.linspace(-6, 6, 25, dtype=np.float32)
_EDGE = np.linspace(-3, 3, 5, dtype=np.float32)
_WIDE = np.linspace(0, 1, 21, dtype=np.float32)


class Evidence(msgspec.Struct, kw_only=True):
    """float64[cells] each.

    Attributes:
        ratio: ln of the likelihood ratio, bad over healthy.
        effect: Median of x given the visits alone; ``low`` to ``high`` its 95 % interval.
    """

    ratio: Floats
    effect: Floats
    low: Floats
    high: Floats


def evidence(
    value: Floats,
    scale: Floats,
    spread: Floats,
    tail: Floats,
    shift: Floats,
    share: Floats,
    material: float,
) -> Evidence:
    """Weigh cells.

    Args:
        value: float64[cells, visits], deviations from what is usual, the session's drift taken
            out; NaN fills up.
        scale: float64[cells, visits], of the errors.
        spread, tail, shift, share: float64[cells], of the cell's group: spread between units, and
            the rest as in `population.Population`.
        material: Relative drop from which a unit is bad.
    """
    # In units of a cell's smallest error single precision is enough, and twice as fast.
    there = np.isfinite(value)
    unit = np.where(there, scale, np.inf).min(axis=1, initial=np.inf)
    y = np.where(there, value / unit[:, None], 0.0).astype(np.float32)
    s = np.where(there, scale / unit[:, None], 1.0).astype(np.float32)
    spread = np.maximum(spread / unit, 0.02).astype(np.float32)
    least = (-math.log1p(-material) / unit).astype(np.float32)
    distinct, which = np.unique(tail, return_inverse=True)
    peak = np.array([log_peak(one) for one in distinct.tolist()], np.float32)[which]
    columns = (spread, tail, peak, least, shift / unit, share)
    group = np.stack(columns, axis=1).astype(np.float32)
    found = np.zeros((4, unit.size))
    for start in range(0, unit.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        found[:, part] = _chunk(y[part], s[part], there[part], group[part])
    low, middle, high = found[1:] * unit
    return Evidence(
        ratio=found[0] - math.log(math.log(LARGEST / -math.log1p(-material))),
        effect=middle,
        low=low,
        high=high,
    )


def _chunk(y: Singles, s: Singles, there: Bools, group: Singles) -> Singles:
    """float32[4, cells]: ln of the ratio, and the quantiles of x."""
    spread, tail, peak, least, shift, share = (group[:, column, None] for column in range(6))
    power = -(tail + 1) / 2

    def seen(x: Singles) -> Singles:
        """ln of the likelihood of x, float32[cells, points]."""
        total = np.zeros_like(x)
        for visit in range(y.shape[1]):
            if not there[:, visit].any():
                continue
            t = y[:, visit, None] - x
            t /= s[:, visit, None]
            stray = _STRAY / (1 + np.abs(t))
            t *= t
            t /= tail
            one = np.exp(peak + power * np.log1p(t))
            one += stray
            np.log(one, out=one)
            total += np.where(there[:, visit, None], one, 0)
        return total

    precision = (there / (s * s)).sum(axis=1, keepdims=True)
    middle = (there * y / (s * s)).sum(axis=1, keepdims=True) / precision
    ends = np.concatenate([np.where(there, y, middle), middle], axis=1)
    best = np.take_along_axis(ends, np.argmax(seen(ends), axis=1)[:, None], axis=1)
    largest = 4 * np.where(there, s, 0).max(axis=1, keepdims=True)
    low = np.minimum(np.where(there, y, np.inf).min(axis=1, keepdims=True), 0) - largest
    high = np.maximum(np.where(there, y, -np.inf).max(axis=1, keepdims=True), 0) + largest
    points: tuple[Singles, ...] = (
        spread * _SPREAD,
        best + _NEAR / np.sqrt(precision),
        -least + spread * _EDGE,
        low + (high - low) * _WIDE,
    )
    two = bool(share.any())
    if two:
        points = (*points, shift + spread * _SPREAD, shift - least + spread * _EDGE)
    x = np.sort(np.concatenate(points, axis=1).astype(np.float32), axis=1)
    step = np.diff(x, axis=1) / 2
    width = np.zeros_like(x)
    width[:, 1:] += step
    width[:, :-1] += step
    likelihood = seen(x)
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True)) * width

    def usual(x: Singles) -> Singles:
        """Density of a healthy unit."""
        density: Singles = np.exp(peak + power * np.log1p((x / spread) ** 2 / tail)) / spread
        return density

    def slow(x: Singles) -> Singles:
        """Density of a bad unit, but for a factor that all cells share."""
        beyond = 1 / (1 + np.exp(np.clip(1.702 * (x + least) / spread, -80, 80)))
        density: Singles = beyond / np.maximum(-x, least)
        return density

    good, bad = usual(x), slow(x)
    if two:
        good = (1 - share) * good + share * usual(x - shift)
        bad = (1 - share) * bad + share * slow(x - shift)
    ratio = np.log(np.maximum((likelihood * bad).sum(axis=1), 1e-37))
    ratio -= np.log(np.maximum((likelihood * good).sum(axis=1), 1e-37))
    below = np.cumsum(likelihood, axis=1)
    below /= below[:, -1:]
    return np.stack([ratio, *(_quantile(x, below, share) for share in (0.025, 0.5, 0.975))])


def _quantile(x: Singles, below: Singles, share: float) -> Singles:
    """Where the cumulative share of every row passes ``share``, between two points."""
    after = np.clip((below < share).sum(axis=1), 1, x.shape[1] - 1)
    row = np.arange(x.shape[0])
    left, right = below[row, after - 1], below[row, after]
    part = np.clip((share - left) / np.maximum(right - left, 1e-30), 0, 1)
    # Half a cell back: the sum counts a point's own share on both sides of it.
    a, b = x[row, after - 1], x[row, after]
    found: Singles = a + part * (b - a)
    return found
