"""Noise taken apart, from what was measured again: spread between units, errors, drift.

Of the variance that one visit of the sweep shows, a share ``rho`` is of the unit and comes back
when it is measured again; the rest is error. In standard units of the group, given the mean m of a
healthy unit's n earlier visits, the next one of k repeats in session s is

    y ~ Normal(drift_s + c m,  rho (1 - c) + (1 - rho) / k),    c = n rho / (1 + (n - 1) rho)
    drift_s ~ Normal(0, kappa^2)

which holds however the units were chosen by their earlier visits: that a suspect falls back
towards the usual is in it. The likelihood is summed over sessions on a grid of (rho, kappa), whose
weights all groups teach each other (empirical Bayes). Units that look bad count by their chance of
being good; residuals are cut at 3.5 standard deviations.
"""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np

from ..graph import Bools, Floats, Ints
from .evidence import LARGEST
from .layout import Layout
from .population import Population

_RHO = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.96, 0.99])
_KAPPA = np.array([0.02, 0.1, 0.2, 0.4, 0.8, 1.6, 4.0, 12.0])
_CUT = 3.5  # standard deviations beyond which a residual counts no more
_BAD = 1e-3  # chance of a re-tested cell to be bad, where it is only a weight


class Visits(msgspec.Struct, kw_only=True):
    """Cells that one lookup by z does not serve: measured again, or not in the sweep.

    Attributes:
        cell, group: int64[cells]. The rest is [cells, visits], in order of sessions.
        value: Deviation from what is usual; NaN fills up. ``session``, ``count``: int64.
        excess: Variance of a visit beyond its group's, by its own interval (`unsteady`).
    """

    cell: Ints
    group: Ints
    value: Floats
    session: Ints
    count: Ints
    excess: Floats


class Components(msgspec.Struct, kw_only=True):
    """float64[groups], and float64[groups, sessions] of drift.

    Attributes:
        rho: Share of the sweep's variance that is of the units.
        kappa: Standard deviation of a session's drift, over the population's scale.
        drift: What each session adds, ln. ``unsure``: its standard error.
        repeat: Variance of one repeat inside a visit over that of the error of a visit.
    """

    rho: Floats
    kappa: Floats
    drift: Floats
    unsure: Floats
    repeat: Floats


def unsteady(layout: Layout) -> Floats:
    """float64[visits]: by how much the variance of a visit exceeds what its group is used to.

    Nothing for the most: only a standard error beyond three times the group's median speaks of a
    unit that could not be measured well, and is more than the noise of all.
    """
    excess = np.zeros(layout.error.size)
    if np.isnan(layout.error).all():
        return excess
    edges = np.append(layout.first, layout.error.size)[layout.bounds].tolist()
    for low, high in pairwise(edges):
        error = layout.error[low:high]
        known = np.isfinite(error)
        if known.any():
            usual = float(np.median(error[known]))
            excess[low:high] = np.where(error > 3 * usual, error**2 - usual**2, 0.0)
    return excess


def visits(layout: Layout, people: Population, excess: Floats, chosen: Bools) -> Visits:
    """The visits of the chosen cells, one row a cell."""
    cell = np.flatnonzero(chosen)
    group = layout.group[cell]
    most = int(layout.visits[cell].max(initial=1))
    place = layout.first[cell][:, None] + np.arange(most)
    there = np.arange(most) < layout.visits[cell][:, None]
    place = np.where(there, place, 0)
    value = np.where(there, layout.mean[place] - people.usual[group][:, None], np.nan)
    return Visits(
        cell=cell,
        group=group,
        value=value,
        session=np.where(there, layout.session[place], 0),
        count=np.where(there, layout.count[place], 1),
        excess=np.where(there, excess[place] / layout.count[place], 0.0),
    )


def components(layout: Layout, people: Population, seen: Visits, material: float) -> Components:
    """Estimate them; without a re-test, all of the sweep's variance is taken to be error."""
    groups, sessions = layout.groups, layout.sessions
    repeat = _repeat(layout, people)
    found = Components(
        rho=np.zeros(groups),
        kappa=np.full(groups, np.nan),
        drift=np.zeros((groups, sessions)),
        unsure=np.zeros((groups, sessions)),
        repeat=repeat,
    )
    if sessions == 1 or seen.cell.size == 0:
        return found
    found.unsure[:, 1:] = people.scale[:, None]  # where nothing tells, as much as the noise
    # A unit counts as one of the population that it is nearer to.
    shift = people.shift[seen.group]
    mean = np.nanmean(seen.value, axis=1)
    second = np.abs(mean - shift) < np.abs(mean)
    seen = msgspec.structs.replace(seen, value=seen.value - (shift * second)[:, None])
    for _ in range(3):
        _update(found, people, seen, material)
    return found


def _repeat(layout: Layout, people: Population) -> Floats:
    """Variance between repeats inside visits over the population's, at most 1; 1 if unknown."""
    if layout.within.size == 0:
        return np.ones(layout.groups)
    cell = np.repeat(np.arange(layout.group.size), layout.visits)
    group = layout.group[cell]
    degrees = np.bincount(group, layout.count - 1.0, layout.groups)
    squares = np.bincount(group, layout.within, layout.groups) / people.scale**2
    whole = squares.sum() / max(degrees.sum(), 1)
    # As if twenty more repeats had shown what all groups together do.
    ratio: Floats = np.clip((squares + 20 * whole) / (degrees + 20), 0.0, 1.0)
    return ratio


def error_variance(found: Components, group: Ints, count: Ints) -> Floats:
    """Variance of the error of visits of ``count`` repeats, over the population's scale²."""
    whole = 1 - found.rho[group]
    inside = np.minimum(found.repeat[group], whole)
    variance: Floats = whole - inside + inside / count
    return variance


def _update(found: Components, people: Population, seen: Visits, material: float) -> None:
    groups, sessions = found.drift.shape
    scale = people.scale[seen.group][:, None]
    there = np.isfinite(seen.value)
    y = np.where(there, seen.value, 0.0) / scale
    known = y - found.drift[seen.group[:, None], seen.session] / scale
    healthy = _healthy(found, people, seen, known, there, material)
    value, mean, number, noise, weight, block = [], [], [], [], [], []
    for visit in range(1, y.shape[1]):
        use = there[:, visit] & (seen.session[:, visit] > 0)
        before = there[use, :visit]
        n = before.sum(axis=1)
        value.append(y[use, visit])
        mean.append((known[use, :visit] * before).sum(axis=1) / n)
        number.append(n)
        inside = found.repeat[seen.group[use]]
        noise.append(1 - inside + inside / seen.count[use, visit])
        weight.append(healthy[use])
        block.append(seen.group[use] * sessions + seen.session[use, visit])
    if not value or sum(one.size for one in value) == 0:
        return
    v, m, n, k, h, b = (np.concatenate(one) for one in (value, mean, number, noise, weight, block))
    blocks, back = np.unique(b, return_inverse=True)
    likelihood = np.zeros((groups, _RHO.size, _KAPPA.size))
    sums = []
    middle_v, middle_m = (_medians(one, back, blocks.size)[back] for one in (v, m))
    for index, rho in enumerate(_RHO.tolist()):
        c = n * rho / (1 + (n - 1) * rho)
        q = rho * (1 - c) + (1 - rho) * k + 1e-6
        e = v - c * m
        centre = middle_v - c * middle_m
        cut = _CUT * np.sqrt(q)
        e = np.clip(e, centre - cut, centre + cut)
        a, s, d, logs = (
            np.bincount(back, h * term, blocks.size)
            for term in (1 / q, e / q, e * e / q, np.log(q))
        )
        sums.append((a, s))
        for number_, kappa in enumerate(_KAPPA.tolist()):
            part = -0.5 * (d - s * s / (a + 1 / kappa**2) + np.log1p(a * kappa**2) + logs)
            likelihood[:, index, number_] = np.bincount(blocks // sessions, part, groups)
    belief = _belief(likelihood.reshape(groups, -1)).reshape(likelihood.shape)
    found.rho = belief.sum(axis=2) @ _RHO
    found.kappa = np.exp(belief.sum(axis=1) @ np.log(_KAPPA))
    own = blocks // sessions
    near = np.abs(found.rho[own][:, None] - _RHO).argmin(axis=1)
    every = np.arange(blocks.size)
    a = np.array([one for one, _ in sums])[near, every]
    s = np.array([one for _, one in sums])[near, every]
    total = a + 1 / found.kappa[own] ** 2
    found.unsure = np.repeat((found.kappa * people.scale)[:, None], sessions, axis=1)
    found.unsure[:, 0] = 0.0
    found.drift[own, blocks % sessions] = s / total * people.scale[own]
    found.unsure[own, blocks % sessions] = people.scale[own] / np.sqrt(total)


def _healthy(
    found: Components,
    people: Population,
    seen: Visits,
    known: Floats,
    there: Bools,
    material: float,
) -> Floats:
    """Chance of being good, in the normal approximation: the weight of a cell in what follows."""
    n = there.sum(axis=1)
    scale = people.scale[seen.group]
    rho = found.rho[seen.group]
    mean = (known * there).sum(axis=1) / n
    variance = rho + (1 - rho) / n
    least = -math.log1p(-material)
    drop = np.maximum(-mean * scale, least)
    short = np.minimum(drop + mean * scale, 0) / scale  # the mean is not even the least drop
    bad = -np.log(drop * math.log(LARGEST / least) / scale) - short**2 / variance / 2
    bad = np.where(mean < 0, bad, -np.inf)
    good = -(mean**2) / variance / 2 - 0.5 * np.log(2 * math.pi * variance)
    chance: Floats = 1 / (1 + _BAD * np.exp(np.clip(bad - good, -700, 700)))
    return chance


def _belief(likelihood: Floats) -> Floats:
    """float64[groups, points]: posterior over a grid whose weights are learned by EM."""
    relative = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    told = np.ptp(likelihood, axis=1) > 0
    points = likelihood.shape[1]
    share = np.full(points, 1 / points)
    for _ in range(50):
        belief = relative * share
        belief /= belief.sum(axis=1, keepdims=True)
        share = (belief[told].sum(axis=0) + 1 / points) / (np.count_nonzero(told) + 1)
    return np.asarray(belief)


def _medians(values: Floats, block: Ints, blocks: int) -> Floats:
    """The median of every block; none is empty."""
    order = np.lexsort((values, block))
    size = np.bincount(block, minlength=blocks)
    start = np.cumsum(size) - size
    ordered = values[order]
    middle: Floats = (ordered[start + (size - 1) // 2] + ordered[start + size // 2]) / 2
    return middle
