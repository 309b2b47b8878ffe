"""Lines through times whose errors are proportional to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def relative_fit(design: Floats, times: Floats) -> tuple[Floats, Floats, Floats, float]:
    """Two coefficients, neither below zero, for times = design · coefficients.

    The quasi-likelihood of a constant relative error (McCullagh and Nelder, *Generalized Linear
    Models*, 1989, chapter 9): least squares weighted by 1/fit², repeated until the fit stands.
    Weights of the measured times instead would favour those that came out short.

    Args:
        design: float64[m, 2], m of 3 or more.
        times: float64[m], positive.

    Returns:
        The coefficients [2], their covariance [2, 2], the relative errors of the times [m], and
        their standard deviation over m - 2 degrees of freedom.
    """
    fitted = times
    for _ in range(100):
        last, found = fitted, _weighted(design, times, fitted)
        fitted = design @ found
        if np.allclose(fitted, last, rtol=1e-12):
            break
    errors = times / fitted - 1
    spread = float(np.sqrt((errors**2).sum() / (times.size - 2)))
    scaled = design / fitted[:, None]
    return found, spread**2 * np.linalg.inv(scaled.T @ scaled), errors, spread


def _weighted(design: Floats, times: Floats, fitted: Floats) -> Floats:
    """Least squares with weights 1/fitted²; no coefficient can be below zero."""
    scaled, target = design / fitted[:, None], times / fitted
    found: Floats = np.linalg.solve(scaled.T @ scaled, scaled.T @ target)
    for low, other in ((0, 1), (1, 0)):
        if found[low] < 0:
            alone = scaled[:, other]
            found = np.zeros(2)
            found[other] = alone @ target / (alone @ alone)
            break
    return found
