"""Simulated blocks of two sides, as a shared machine gives them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SAMPLES = 8
"""Of a side in a half block: sides alternate A B B A."""


class Machine(NamedTuple):
    """What disturbs a measurement, relative to it.

    ``noise``: standard deviation of a block's log-ratio. ``session``: of a level that all blocks of
    a gate share. ``drift``: over the whole gate, linear and as a slow wave. ``spikes``: share of
    half blocks that others slow down, by a fifth in the mean.
    """

    noise: float
    session: float = 0.02
    drift: float = 0.03
    spikes: float = 0.03


def ratios(machine: Machine, change: float, blocks: int, seed: int) -> np.ndarray:
    """float64[blocks]: log-ratios of a candidate that is slower by ``change``."""
    draw = np.random.default_rng(seed)
    level = draw.normal(0, machine.session)
    phase, slope = draw.uniform(0, 2 * np.pi), draw.normal(0, machine.drift)
    time = np.arange(4 * blocks).reshape(blocks, 4) / (4 * blocks)
    drift = slope * time + machine.drift * np.sin(2 * np.pi * 3 * time + phase)
    sides = np.array([[0, 1, 1, 0], [1, 0, 0, 1]])[np.arange(blocks) % 2]
    # A side's half blocks share the block's noise, which is between sides: it does not average out.
    own = draw.normal(0, machine.noise / np.sqrt(2), (blocks, 2))
    logs = level + drift + np.take_along_axis(own, sides, axis=1)
    logs += sides * np.log1p(change)
    struck = draw.random((blocks, 4)) < machine.spikes
    logs += struck * draw.exponential(0.2, (blocks, 4))
    inner = draw.normal(0, machine.noise, (blocks, 4, SAMPLES))
    samples = logs[:, :, None] + np.where(
        draw.random(inner.shape) < 0.02, np.abs(inner) * 10, inner
    )
    found = np.empty(blocks)
    for block in range(blocks):
        one, other = (np.median(samples[block][sides[block] == side]) for side in (1, 0))
        found[block] = one - other
    return found
