"""One metric's verdict: looks after 10, 20 and 40 blocks, each with its share of the error.

    REGRESSED     low > τ            IMPROVED    high < -τ
    PASS          high < τ           INCONCLUSIVE  otherwise: more blocks, if there may be any

A look decides with tail a = alpha / (looks · family): by Bonferroni, a change of at most the margin
is called REGRESSED, and one of at least the margin PASS, with probability alpha at most, over all
looks of all gating metrics. The price of noise is INCONCLUSIVE, never an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from ...stats import mad
from .signed_rank import Estimate, estimate

Decided: TypeAlias = Literal["REGRESSED", "IMPROVED", "PASS", "INCONCLUSIVE"]
LOOKS = (10, 20, 40)
"""Blocks after which it is looked."""
ALPHA = 0.01
POWER = 4.0
"""z of the limits and of 95 % power together at alpha = 1 %, of the change that is then caught."""


class Decision(msgspec.Struct, kw_only=True, frozen=True):
    """What a metric's blocks say.

    ``change`` is the relative change towards worse (0.05: 5 % worse), ``low`` to ``high`` its
    limits at the look after ``blocks`` of them; ``noise`` the relative standard deviation of a
    block; ``caught`` the smallest slowdown that this many blocks catch 95 times of 100.
    """

    word: Decided
    change: float
    low: float
    high: float
    blocks: int
    noise: float
    caught: float


def decide(
    ratios: npt.ArrayLike,
    margin: float,
    *,
    family: int = 1,
    looks: Sequence[int] = LOOKS,
    alpha: float = ALPHA,
) -> Decision:
    """The verdict of one metric after as many blocks as there are.

    Args:
        ratios: float64[blocks], r of each block in the order measured.
        margin: Relative change towards worse that is still accepted, above 0.
        family: Number of metrics that gate together.
        looks: Blocks after which it is decided, rising.
        alpha: Probability of an error, of one direction and over all metrics.

    Raises:
        ValueError: a margin that is not positive, or no block.
    """
    values = np.asarray(ratios, dtype=np.float64)
    if not margin > 0 or not values.size:
        raise ValueError(f"margin {margin} and {values.size} blocks")
    tau, tail = math.log1p(margin), alpha / (len(looks) * family)
    reached = [one for one in looks if one <= values.size]
    for blocks in reached:
        found = estimate(values[:blocks], tail)
        if word := _word(found, tau):
            return _decision(word, found, values[:blocks], tau)
    blocks = reached[-1] if reached else values.size
    return _decision("INCONCLUSIVE", estimate(values[:blocks], tail), values[:blocks], tau)


def _word(found: Estimate, tau: float) -> Decided | None:
    if found.low > tau:
        return "REGRESSED"
    if found.high < -tau:
        return "IMPROVED"
    return "PASS" if found.high < tau else None


def _decision(
    word: Decided, found: Estimate, values: npt.NDArray[np.float64], tau: float
) -> Decision:
    noise = mad(values)
    return Decision(
        word=word,
        change=math.expm1(found.centre),
        low=math.expm1(found.low),
        high=math.expm1(found.high),
        blocks=values.size,
        noise=noise,
        caught=math.expm1(tau + POWER * noise / math.sqrt(values.size)),
    )


def smallest_margin(noise: float, blocks: int = LOOKS[-1]) -> float:
    """The smallest margin that blocks of such noise can hold: identical sides mostly pass."""
    return math.expm1(POWER * noise / math.sqrt(blocks))


def blocks_for(noise: float, margin: float) -> int:
    """Blocks that a margin takes at such noise."""
    return max(1, math.ceil((POWER * noise / math.log1p(margin)) ** 2))
