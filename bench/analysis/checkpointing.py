"""How often to save: the optimum interval between checkpoints, and what goodput it gives.

With work interrupted by failures whose distances are exponential with mean ``mtbf`` (M), a save
that takes ``save`` (δ) and a recovery of ``recovery`` (R) seconds after each failure. All times in
seconds.

- J. W. Young, "A first order approximation to the optimum checkpoint interval", Communications of
  the ACM 17(9), 1974.
- J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps",
  Future Generation Computer Systems 22(3), 2006.
"""

from __future__ import annotations

import math

from ..errors import UsageError


def young(save: float, mtbf: float) -> float:
    """Seconds of work between two saves that cost least, to first order: sqrt(2·δ·M)."""
    _positive(save=save, mtbf=mtbf)
    return math.sqrt(2 * save * mtbf)


def daly(save: float, mtbf: float) -> float:
    """The same to a higher order (Daly, 2006, eq. 37).

    sqrt(2δM) · (1 + sqrt(δ/2M)/3 + (δ/2M)/9) - δ where δ < 2M, else M.
    """
    _positive(save=save, mtbf=mtbf)
    if save >= 2 * mtbf:
        return mtbf
    share = save / (2 * mtbf)
    return math.sqrt(2 * save * mtbf) * (1 + math.sqrt(share) / 3 + share / 9) - save


def expected_goodput(
    interval: float, save: float, recovery: float, mtbf: float, *, interrupted: float = 0.0
) -> float:
    """Productive over total time, expected: τ / ((M + R) · exp(I / M) · (exp((τ + δ) / M) - 1)).

    A stretch of work and save, τ + δ long, is begun anew until no failure falls into it: exp((τ +
    δ)/M) - 1 times in vain on average, each ended by a recovery.

    Args:
        interval: τ, the work between two saves.
        save: δ.
        recovery: R, the part of it in which nothing can fail.
        mtbf: M.
        interrupted: I, the part that a failure interrupts, so that it is begun anew as well. With
            R = 0 this is Daly's total time (2006, eq. 20).
    """
    _positive(interval=interval, save=save, mtbf=mtbf)
    for name, value in (("recovery", recovery), ("interrupted", interrupted)):
        if value < 0:
            raise UsageError(f"{name} must not be negative, but is {value:g}")
    if max(interval + save, interrupted) / mtbf > 300:  # next to nothing, and no float any more
        return 0.0
    again = math.exp(interrupted / mtbf) * math.expm1((interval + save) / mtbf)
    return interval / ((mtbf + recovery) * again)


def _positive(**given: float) -> None:
    for name, value in given.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive, but is {value:g}")
