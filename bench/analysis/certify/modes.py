"""Which distribution a group's healthy units have: one mode or two, light tails or heavy.

Fitted to counts in bins of z, by maximum likelihood (EM; Lange, Little & Taylor, "Robust
statistical modeling using the t distribution", JASA 84, 1989). Few slow values may belong to a
broad component on the slow side: they pull at nothing. The fast side has none, so that outliers
there make the tail heavier: errors are taken to be as often fast as slow.

Two modes of one width are two populations (bins of a chip, firmware) that nobody declared. The
smaller holds at least `LEAST_SHARE` of the units: fewer are outliers.

How common each model is is learned from all groups together (the weights of a mixture over a
grid, by EM), two modes at the price of their two more parameters (Schwarz, "Estimating the
dimension of a model", 1978). What a group's values and all groups leave plausible is mixed; one t
stands for the mixture, which is as rare where decisions fall.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from ..graph import Floats

TAILS = (1e6, 30.0, 15.0, 10.0, 7.0, 5.0, 4.0, 3.0, 2.0)
"""Degrees of freedom that are tried; the first is the normal distribution."""
LEAST_SHARE, LEAST_UNITS = 0.05, 3
"""What is a population of its own, and not a few outliers."""

_TWO_TAILS = (1e6, 7.0, 4.0)
_BROAD, _SLOW = 0.06, 2e-3  # density of the broad component, nearly normalised; its share
# Two modes are believed from this probability on; density of a healthy value where the decision
# falls in a fleet of any size.
_TWO, _RARE = 0.2, 1e-8
_ROUNDS = 14


class Modes(msgspec.Struct, kw_only=True):
    """float64[groups] each, in units of z.

    Attributes:
        middle, width: Location and scale of the larger mode. ``tail``: its degrees of freedom.
        shift: From there to the second mode; 0 where there is none. ``share``: of that mode.
    """

    middle: Floats
    width: Floats
    tail: Floats
    shift: Floats
    share: Floats


def log_student(t: Floats, degrees: float) -> Floats:
    """ln of the density of Student's t."""
    found: Floats = log_peak(degrees) - (degrees + 1) / 2 * np.log1p(t * t / degrees)
    return found


def log_peak(degrees: float) -> float:
    """ln of the density of Student's t at 0."""
    half = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return half - 0.5 * math.log(math.pi * degrees)


def fit(counts: Floats, z: Floats) -> Modes:
    """Fit every group.

    Args:
        counts: float64[groups, bins], units in every bin.
        z: float64[bins], the middle of every bin.
    """
    filled = np.flatnonzero(counts.any(axis=0))
    if filled.size:
        counts, z = (one[..., filled[0] : filled[-1] + 1] for one in (counts, z))
    broad = np.where(z < 0, _SLOW * _BROAD / (1 + np.abs(z)), 1e-300)
    units = np.maximum(counts.sum(axis=1), 1)
    start = np.zeros((counts.shape[0], 4))
    start[:, 1] = 1.0
    models = []
    for degrees in TAILS:
        one = _climb(counts, z, broad, start, degrees)
        models.append(one)
        start = one[0]
    least = np.maximum(LEAST_SHARE, (LEAST_UNITS - 0.5) / units)
    able = least < 0.5
    start = _split(counts, z, np.where(able, least, 0.25))
    for degrees in _TWO_TAILS:
        two = _climb(counts, z, broad, start, degrees, np.where(able, least, 0.25))
        models.append((two[0], np.where(able, two[1] - np.log(units), -np.inf)))
        start = two[0]
    belief = _belief(np.array([one for _, one in models]).T)
    two = belief[:, len(TAILS) :].sum(axis=1) > _TWO
    # What has two modes is not judged as if it had one, nor the other way round.
    belief[:, len(TAILS) :][~two] = 0.0
    belief[:, : len(TAILS)][two] = 0.0
    belief /= belief.sum(axis=1, keepdims=True)
    middle, width, shift, share = np.einsum(
        "gm,mgp->pg", belief, np.array([one for one, _ in models])
    )
    tail = _tail(belief, np.array([one[:, 1] for one, _ in models]).T, width)
    other = share > 0.5
    # The maximum-likelihood scale of n values is short of one degree of freedom.
    width = width * np.sqrt(units / np.maximum(units - 1, 1))
    return Modes(
        middle=np.where(other, middle + shift, middle),
        width=np.where(units > 1, width, 1.0),
        tail=tail,
        shift=np.where(other, -shift, shift),
        share=np.where(other, 1 - share, share),
    )


def _tail(belief: Floats, widths: Floats, width: Floats) -> Floats:
    """Degrees of freedom of the t that falls to `_RARE` where the mixture of models does."""
    t = np.geomspace(3, 3000, 240)
    mixed = np.zeros((width.size, t.size))
    for model, degrees in enumerate(TAILS + _TWO_TAILS):
        ratio = (width / widths[:, model])[:, None]
        mixed += belief[:, model, None] * ratio * np.exp(log_student(t * ratio, degrees))
    where = t[np.argmax(mixed < _RARE, axis=1)]
    finer = np.geomspace(1.5, 1e3, 200)
    reached = [t[np.argmax(np.exp(log_student(t, one)) < _RARE)] for one in finer.tolist()]
    # The smaller of two that would do: the grid of t is coarse.
    place = np.searchsorted(-np.array(reached), -where, side="left")
    found: Floats = finer[np.minimum(place, finer.size - 1)]
    return np.where(place >= finer.size - 1, TAILS[0], found)


def _climb(
    counts: Floats,
    z: Floats,
    broad: Floats,
    start: Floats,
    degrees: float,
    least: Floats | None = None,
) -> tuple[Floats, Floats]:
    """(float64[groups, (middle, width, shift, share)], ln likelihood) by EM; two modes if least."""
    middle, width, shift, share = start.T.copy()
    for turn in range(_ROUNDS):
        t = (z - middle[:, None]) / width[:, None]
        dense = np.exp(log_student(t, degrees)) / width[:, None]
        if least is None:
            both = dense + broad
        else:
            dense *= 1 - share[:, None]
            u = t - (shift / width)[:, None]
            second = np.exp(log_student(u, degrees)) * (share / width)[:, None]
            both = dense + second + broad
        if turn == _ROUNDS - 1:
            break
        near = counts * (dense / both)
        weight = near * (degrees + 1) / (degrees + t * t)
        middle = weight @ z / np.maximum(weight.sum(axis=1), 1e-9)
        squares = (weight * (z - middle[:, None]) ** 2).sum(axis=1)
        total = near.sum(axis=1)
        if least is not None:
            far = counts * (second / both)
            weight = far * (degrees + 1) / (degrees + u * u)
            there = weight @ z / np.maximum(weight.sum(axis=1), 1e-9)
            squares += (weight * (z - there[:, None]) ** 2).sum(axis=1)
            share = far.sum(axis=1) / np.maximum(total + far.sum(axis=1), 1e-9)
            share = np.clip(share, least, 1 - least)
            total = total + far.sum(axis=1)
            shift = there - middle
        width = np.clip(np.sqrt(squares / np.maximum(total, 1e-9)), 0.01, 20.0)
    likelihood = (counts * np.log(both)).sum(axis=1)
    if least is not None:
        # The share is kept from falling below the least; one outlier is no population for that.
        held = (counts * (second / both)).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        likelihood[(held < 0.9 * least) | (held > 1 - 0.9 * least)] = -np.inf
    return np.stack([middle, width, shift, share], axis=1), likelihood


def _split(counts: Floats, z: Floats, least: Floats) -> Floats:
    """Where to start from for two modes: the cut that leaves the least variance on its sides."""
    inner = np.abs(z) < 30
    c, x = counts * inner, z
    units = np.maximum(c.sum(axis=1, keepdims=True), 1)
    n = np.cumsum(c, axis=1)
    s, q = np.cumsum(c * x, axis=1), np.cumsum(c * x * x, axis=1)
    rest, total = units - n, s[:, -1:]
    left, right = s / np.maximum(n, 1), (total - s) / np.maximum(rest, 1)
    inside = q[:, -1:] - n * left**2 - rest * right**2
    share = n / units
    allowed = (share >= least[:, None]) & (share <= 1 - least[:, None])
    cut = np.argmin(np.where(allowed, inside, np.inf), axis=1)
    row = np.arange(c.shape[0])
    width = np.sqrt(np.maximum(inside[row, cut], 1e-4) / units[:, 0])
    middle, shift = right[row, cut], left[row, cut] - right[row, cut]
    share = np.clip(share[row, cut], least, 1 - least)
    return np.stack([middle, np.clip(width, 0.01, 20), shift, share], axis=1)


def _belief(likelihood: Floats) -> Floats:
    """float64[groups, models]: how plausible each model is, for a group's values and for all."""
    models = likelihood.shape[1]
    relative = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    share = np.full(models, 1 / models)
    for _ in range(100):
        belief = relative * share
        belief /= belief.sum(axis=1, keepdims=True)
        # A model costs one group: what no group needs is not kept for all of them.
        share = np.maximum(belief.sum(axis=0) - 1, 0.01)
        share /= share.sum()
    return np.asarray(belief)
