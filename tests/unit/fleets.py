"""Pairs of fleets that never were, with slow items and links at known places."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Fleet(NamedTuple):
    """Pairs as `fit` takes them, and the truth: ``effect`` a log deviation for every item."""

    first: np.ndarray
    second: np.ndarray
    value: np.ndarray
    effect: np.ndarray
    items: set
    links: set


def full(count):
    return np.array(np.triu_indices(count, 1))


def sample(count, matchings, generator):
    halves = [generator.permutation(count)[: count // 2 * 2] for _ in range(matchings)]
    return np.concatenate([half.reshape(2, -1) for half in halves], axis=1)


def fleet(
    seed,
    count=10_240,
    *,
    matchings=3,
    noise=0.01,
    spread=0.0,
    items=0,
    links=0,
    drop=0.1,
    tails=None,
    usual=5e10,
    pairs=None,
) -> Fleet:
    """``matchings=None`` meets every pair; ``tails`` are degrees of freedom of the noise.

    ``pairs``: int[2, pairs], met in place of random matchings.
    """
    g = np.random.default_rng(seed)
    if pairs is None:
        pairs = full(count) if matchings is None else sample(count, matchings, g)
    first, second = pairs
    effect = spread * g.normal(size=count)
    slow = g.choice(count, items, replace=False)
    effect[slow] += np.log1p(-drop)
    drawn = g.normal(size=first.size) if tails is None else g.standard_t(tails, first.size)
    value = effect[first] + effect[second] + noise * drawn
    bad = g.choice(first.size, links, replace=False)
    value[bad] += np.log1p(-drop)
    met = {tuple(sorted((int(first[e]), int(second[e])))) for e in bad}
    return Fleet(first, second, usual * np.exp(value), effect, set(slow.tolist()), met)
