"""What healthy units of a group look like: location, scale and tail of one visit's values.

Every group's values are counted into bins of z = (value - median) / (1.4826 MAD), and for each of
a few tails (Student's t) location and scale are fitted to the counts by maximum likelihood (EM;
Lange, Little & Taylor, "Robust statistical modeling using the t distribution", JASA 84, 1989). Few
slow values may belong to a broad component on the slow side: they pull at nothing. The fast side
has none, so that outliers there make the tail heavier: errors are taken to be as often fast as
slow. How common each tail is is learned from all groups together (empirical Bayes; the weights of
a mixture over a grid, by EM), and of the tails that a group's own values leave plausible the
heaviest counts.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from ..graph import Floats, Ints
from .layout import Layout

TAILS = (1e6, 30.0, 15.0, 10.0, 7.0, 5.0, 4.0, 3.0, 2.0)
"""Degrees of freedom that are tried; the first is the normal distribution."""
FLOOR = 1e-5
"""Least relative scale: clocks and counters are not read more finely."""

_CORE, _STEP, _BINS = 0.25, 0.08, 240
_BROAD, _SLOW = 0.06, 2e-3
_PLAUSIBLE = 0.02
_ROUNDS = 20


class Population(msgspec.Struct, kw_only=True):
    """float64[groups] each, of a single visit in the sweep.

    Attributes:
        usual: Location. ``scale``: scale of Student's t with ``tail`` degrees of freedom.
        tail: Those of the errors and of not knowing the scale better together.
        count: int64, units in the sweep. ``judged``: units that inform location and scale.
    """

    usual: Floats
    scale: Floats
    tail: Floats
    count: Ints


def log_student(t: Floats, degrees: Floats) -> Floats:
    """ln of the density of Student's t."""
    return log_student_peak(degrees) - (degrees + 1) / 2 * np.log1p(t * t / degrees)


def log_student_peak(degrees: Floats) -> Floats:
    """ln of the density of Student's t at 0."""
    flat = np.asarray(degrees, dtype=np.float64)
    distinct, back = np.unique(flat, return_inverse=True)
    peak = [
        math.lgamma((d + 1) / 2) - math.lgamma(d / 2) - 0.5 * math.log(math.pi * d)
        for d in distinct.tolist()
    ]
    return np.array(peak)[back].reshape(flat.shape)


def population(layout: Layout) -> Population:
    """Fit every group."""
    informs = np.isfinite(layout.sweep)
    usual = np.full(layout.groups, np.nan)
    scale = np.full(layout.groups, np.nan)
    count = np.zeros(layout.groups, np.int64)
    size = np.zeros(layout.groups, np.int64)
    histogram = np.zeros((layout.groups, 2 * _BINS))
    for group, cells in enumerate(layout.slices()):
        here = informs[cells]
        values = layout.sweep[cells][here]
        count[group] = values.size
        proven = layout.proven[cells][here]
        if np.count_nonzero(proven) >= 2:
            values = values[proven]
        if values.size == 0:
            continue
        size[group] = values.size
        usual[group] = np.median(values)
        deviation = values - usual[group]
        scale[group] = max(1.4826 * float(np.median(np.abs(deviation))), FLOOR)
        place = np.arcsinh(deviation / (scale[group] * _CORE)) / _STEP
        histogram[group] = np.bincount(
            np.clip(np.floor(place).astype(np.int64) + _BINS, 0, 2 * _BINS - 1),
            minlength=2 * _BINS,
        )
    shift, stretch, tail = _fit(histogram)
    few = np.maximum(size - 1.0, 0.1)
    return Population(
        usual=usual + shift * scale,
        scale=np.maximum(scale * stretch, FLOOR) * np.sqrt(1 + 1 / np.maximum(size, 1)),
        tail=1 / (1 / tail + 1 / few),
        count=count,
    )


def _fit(histogram: Floats) -> tuple[Floats, Floats, Floats]:
    """Location and scale in units of z, and degrees of freedom, of every group."""
    filled = np.flatnonzero(histogram.any(axis=0))
    if filled.size == 0:
        nothing = np.zeros(histogram.shape[0])
        return nothing, nothing + 1, nothing + TAILS[-1]
    low, high = filled[0], filled[-1] + 1
    counts = histogram[:, low:high]
    z = _CORE * np.sinh(_STEP * (np.arange(low, high) - _BINS + 0.5))
    broad = np.where(z < 0, _SLOW * _BROAD / (1 + np.abs(z)), 1e-300)
    groups = histogram.shape[0]
    shift, stretch = np.zeros((len(TAILS), groups)), np.ones((len(TAILS), groups))
    likelihood = np.zeros((groups, len(TAILS)))
    own = counts.sum(axis=1)
    for number, degrees in enumerate(TAILS):
        mu, sigma = np.zeros(groups), np.ones(groups)
        if number:
            mu, sigma = shift[number - 1], stretch[number - 1] * 0.97
        for turn in range(_ROUNDS):
            t = (z - mu[:, None]) / sigma[:, None]
            dense = np.exp(log_student(t, np.float64(degrees))) / sigma[:, None]
            both = dense + broad
            if turn == _ROUNDS - 1:
                break
            healthy = counts * (dense / both)
            weight = healthy * (degrees + 1) / (degrees + t * t)
            total = np.maximum(weight.sum(axis=1), 1e-9)
            mu = weight @ z / total
            sigma = np.sqrt(
                np.einsum("gb,gb->g", weight, (z - mu[:, None]) ** 2)
                / np.maximum(healthy.sum(axis=1), 1e-9)
            )
            sigma = np.clip(sigma, 0.05, 20.0)
        likelihood[:, number] = np.einsum("gb,gb->g", counts, np.log(both))
        shift[number], stretch[number] = mu, sigma
    chosen = _plausible(likelihood)
    every = np.arange(groups)
    mu, sigma = shift[chosen, every], stretch[chosen, every]
    # The maximum-likelihood scale of n values is short of one degree of freedom.
    sigma = sigma * np.sqrt(own / np.maximum(own - 1, 1))
    return mu, np.where(own > 1, sigma, 1.0), np.array(TAILS)[chosen]


def _plausible(likelihood: Floats) -> Ints:
    """Of every group, the heaviest tail that its values and all groups together leave plausible."""
    relative = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    share = np.full(len(TAILS), 1 / len(TAILS))
    for _ in range(100):
        belief = relative * share
        belief /= belief.sum(axis=1, keepdims=True)
        share = (belief.sum(axis=0) + 1 / len(TAILS)) / (likelihood.shape[0] + 1)
    heaviest: Ints = len(TAILS) - 1 - np.argmax(belief[:, ::-1] > _PLAUSIBLE, axis=1)
    return heaviest
