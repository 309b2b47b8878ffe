"""Blocks of sides that were measured in turn: baseline, candidate, candidate, baseline.

A block is two stages of each side; the other way round in every second block. A side's value in it
is the mean of both in logarithms, so that whatever drifts evenly through a block is in both sides
alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .comparing import log_ratio
from .series import Series, Values

HALVES = ("a", "b")


def stage_of(block: int, half: str) -> str:
    """The name of a stage: ``block-007a``."""
    return f"block-{block:03d}{half}"


def order_of(block: int) -> Iterator[tuple[int, str]]:
    """(side, half of the block) in the order measured; side 0 is the baseline."""
    first = block % 2
    yield from ((first, "a"), (1 - first, "a"), (1 - first, "b"), (first, "b"))


def paired(before: Series, after: Series, sign: float, blocks: int) -> tuple[list[float], int]:
    """Log-ratios of the blocks that both sides have, and how many blocks there were.

    A block's ratio is the median over its groups and their repeats.
    """
    found = []
    for block in range(1, blocks + 1):
        halves = [
            [one.stages.get(stage_of(block, half), {}) for half in HALVES]
            for one in (before, after)
        ]
        both = _both(halves[0]), _both(halves[1])
        ratios = [log_ratio(both[0][key], both[1][key], sign) for key in both[0] if key in both[1]]
        if ratios:
            found.append(float(np.median(ratios)))
    return found, blocks


def _both(halves: list[Values]) -> Values:
    """The geometric means of what both halves have."""
    first, second = halves
    return {key: _mean(first[key], second[key]) for key in first if key in second}


def _mean(one: float, other: float) -> float:
    return math.sqrt(one * other) if one > 0 and other > 0 else (one + other) / 2
