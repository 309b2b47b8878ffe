"""The few constants that are fitted, on small runs only, each with its uncertainty.

Nothing tells a constant from a handful of runs alone: each begins as what is typical, with how far
typical values lie apart, and runs move it as far as they speak for it. That is the least squares of
the logarithms of steps together with those of the constants (a maximum a posteriori with normal
errors; Gelman et al., Bayesian Data Analysis, 2013, §14.8), by Gauss and Newton.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from .rates import Efficiency

NOISE = 0.03
"""Relative standard deviation of a published step: tables agree with themselves to 1-2 %, and a
model leaves something out."""
SPREAD = {
    "gemm": 0.15,
    "memory": 0.15,
    "overlap": 0.15,
    "jitter": 0.7,
    "link": 0.08,
    "network": 0.10,
    "host": 0.7,
}
"""Of typical values, relative (of their logarithms)."""
OF_THE_CHIP = ("gemm",)
"""What each kind of chip has of its own; all else is common to all."""


@dataclass(frozen=True)
class Constant:
    """A fitted value with its standard deviation; ``typical`` is where it began."""

    name: str
    chip: str
    value: float
    deviation: float
    typical: float


@dataclass(frozen=True)
class Fitted:
    """Constants, and efficiencies of every chip; ``rows`` is how many steps they rest on."""

    constants: tuple[Constant, ...]
    rows: int
    usual: Efficiency = field(default_factory=Efficiency)

    def efficiency(self, chip: str = "") -> Efficiency:
        """Of one kind of chip; of one that no run had, typical where it is of the chip."""
        mine = {c.name: c.value for c in self.constants if c.chip in ("", chip)}
        return replace(self.usual, **mine)  # type: ignore[arg-type]


def fit(
    predict: Callable[[int, Efficiency], float],
    seconds: Sequence[float],
    chips: Sequence[str],
    *,
    usual: Efficiency | None = None,
) -> Fitted:
    """Constants from measured steps.

    Args:
        predict: Seconds of the i-th step with these efficiencies.
        seconds: Of the steps, as measured.
        chips: The kind of chip of each.
        usual: Where constants begin.
    """
    usual = usual or Efficiency()
    names = [(name, chip) for name in SPREAD if name in OF_THE_CHIP for chip in sorted(set(chips))]
    names += [(name, "") for name in SPREAD if name not in OF_THE_CHIP]
    known = {f.name for f in fields(Efficiency)}
    assert all(name in known for name, _ in names)
    start = np.array([math.log(getattr(usual, name)) for name, _ in names])
    spread = np.array([SPREAD[name] for name, _ in names])
    target = np.log(np.asarray(seconds, dtype=np.float64))

    def made(at: Any) -> Fitted:
        values = np.minimum(np.exp(at), [_most(name) for name, _ in names])
        constants = tuple(
            Constant(name, chip, float(value), 0.0, getattr(usual, name))
            for (name, chip), value in zip(names, values, strict=True)
        )
        return Fitted(constants, len(seconds), usual)

    def errors(at: Any) -> Any:
        fitted = made(at)
        found = [math.log(predict(i, fitted.efficiency(chip))) for i, chip in enumerate(chips)]
        return np.concatenate([(np.array(found) - target) / NOISE, (at - start) / spread])

    at = start.copy()
    slopes = np.zeros((target.size + start.size, start.size))
    for _ in range(8):
        here = errors(at)
        for k in range(at.size):
            moved = at.copy()
            moved[k] += 1e-3
            slopes[:, k] = (errors(moved) - here) / 1e-3
        step, *_ = np.linalg.lstsq(slopes, -here, rcond=None)
        at = at + np.clip(step, -0.3, 0.3)
        if float(np.abs(step).max()) < 1e-3:
            break
    deviations = np.sqrt(np.diag(np.linalg.inv(slopes.T @ slopes)))
    fitted = made(at)
    constants = tuple(
        replace(one, deviation=one.value * float(deviation))
        for one, deviation in zip(fitted.constants, deviations, strict=True)
    )
    return replace(fitted, constants=constants)


def _most(name: str) -> float:
    return math.inf if name in ("jitter", "host") else 1.0
