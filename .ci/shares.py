"""Shares of what was counted, with exact limits: Clopper & Pearson, "The use of confidence or
fiducial limits", Biometrika 26 (1934)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def limits(count: int, trials: int) -> tuple[float, float]:
    """The 95 % limits of a share: where the binomial tails are 2.5 % (by bisection)."""

    def bisect(inside: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if inside(middle) else (low, middle)
        return (low + high) / 2

    if trials == 0:
        return 0.0, 1.0
    low = 0.0 if count == 0 else bisect(lambda p: 1 - below(count - 1, trials, p) < 0.025)
    high = 1.0 if count == trials else bisect(lambda p: below(count, trials, p) > 0.025)
    return low, high


def below(count: int, trials: int, p: float) -> float:
    """P(X <= count) of a binomial."""
    if not 0 < p < 1:
        return 1.0 if p <= 0 else 0.0
    k = np.arange(1, trials + 1)
    steps = np.log(trials - k + 1) - np.log(k) + np.log(p) - np.log1p(-p)
    return float(np.exp(trials * np.log1p(-p) + np.append(0, np.cumsum(steps)))[: count + 1].sum())


def share(count: int, trials: int) -> str:
    """``0.9402 (0.9313 to 0.9482)``."""
    low, high = limits(count, trials)
    return f"{count / max(trials, 1):.4f} ({low:.4f} to {high:.4f})"
