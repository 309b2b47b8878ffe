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

import msgspec
import numpy as np

from ..graph import Floats
from .population import log_student_peak

LARGEST = 2.0
"""Largest drop that is expected, ln: a tenth of the usual value is left."""

_STRAY = 1e-7
_CHUNK = 2048
_SPREAD = np.linspace(-6, 6, 25)
_NEAR = np.linspace(-7, 7, 41)
_EDGE = np.linspace(-3, 3, 7)
_WIDE = np.linspace(0, 1, 33)


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
    value: Floats, scale: Floats, spread: Floats, tail: Floats, material: float
) -> Evidence:
    """Weigh cells.

    Args:
        value: float64[cells, visits], deviations from what is usual, the session's drift taken
            out; NaN fills up.
        scale: float64[cells, visits], of the errors.
        spread, tail: float64[cells], of the cell's group.
        material: Relative drop from which a unit is bad.
    """
    parts = [
        _chunk(value[part], scale[part], spread[part], tail[part], -math.log1p(-material))
        for part in (slice(start, start + _CHUNK) for start in range(0, value.shape[0], _CHUNK))
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] or [np.zeros(0)] * 4
    return Evidence(ratio=columns[0], effect=columns[1], low=columns[2], high=columns[3])


def _chunk(
    value: Floats, scale: Floats, spread: Floats, tail: Floats, least: float
) -> tuple[Floats, Floats, Floats, Floats]:
    there = np.isfinite(value)
    y, s = np.where(there, value, 0.0), np.where(there, scale, 1.0)
    smallest = np.where(there, scale, np.inf).min(axis=1)
    largest = np.where(there, scale, 0.0).max(axis=1)
    spread = np.maximum(spread, 0.02 * smallest)[:, None]
    degrees = tail[:, None]
    peak = log_student_peak(tail)[:, None]

    def seen(x: Floats) -> Floats:
        """ln of the likelihood of x, float64[cells, points]."""
        total = np.zeros_like(x)
        for visit in range(y.shape[1]):
            if not there[:, visit].any():
                continue
            t = (y[:, visit, None] - x) / s[:, visit, None]
            one = np.exp(peak - (degrees + 1) / 2 * np.log1p(t * t / degrees))
            one += _STRAY / (1 + np.abs(t))
            total += np.where(there[:, visit, None], np.log(one), 0.0)
        return total

    precision = (there / (s * s)).sum(axis=1)
    middle = (there * y / (s * s)).sum(axis=1) / precision
    ends = np.column_stack([np.where(there, value, middle[:, None]), middle])
    best = ends[np.arange(ends.shape[0]), np.argmax(seen(ends), axis=1)][:, None]
    low = np.minimum(np.where(there, y, np.inf).min(axis=1), 0) - 4 * largest
    high = np.maximum(np.where(there, y, -np.inf).max(axis=1), 0) + 4 * largest
    x = np.concatenate(
        [
            spread * _SPREAD,
            best + _NEAR / np.sqrt(precision)[:, None],
            -least + spread * _EDGE,
            low[:, None] + (high - low)[:, None] * _WIDE,
        ],
        axis=1,
    )
    x.sort(axis=1)
    step = np.diff(x, axis=1)
    width = np.zeros_like(x)
    width[:, 1:] += step / 2
    width[:, :-1] += step / 2
    likelihood = seen(x)
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True)) * width
    u = x / spread
    usual = np.exp(peak - (degrees + 1) / 2 * np.log1p(u * u / degrees)) / spread
    drop = np.maximum(-x, least)
    beyond = 1 / (1 + np.exp(np.clip(-1.702 * (-x - least) / spread, -700, 700)))
    bad = beyond / (drop * math.log(LARGEST / least))
    ratio = np.log(np.maximum((likelihood * bad).sum(axis=1), 1e-300))
    ratio -= np.log(np.maximum((likelihood * usual).sum(axis=1), 1e-300))
    below = np.cumsum(likelihood, axis=1)
    below /= below[:, -1:]
    found = [_quantile(x, below, share) for share in (0.5, 0.025, 0.975)]
    return ratio, found[0], found[1], found[2]


def _quantile(x: Floats, below: Floats, share: float) -> Floats:
    """Where the cumulative share of every row passes ``share``, between two points."""
    after = np.clip((below < share).sum(axis=1), 1, x.shape[1] - 1)
    row = np.arange(x.shape[0])
    left, right = below[row, after - 1], below[row, after]
    part = np.clip((share - left) / np.maximum(right - left, 1e-300), 0, 1)
    # Half a cell back: the sum counts a point's own share on both sides of it.
    a, b = x[row, after - 1], x[row, after]
    found: Floats = a + part * (b - a)
    return found
