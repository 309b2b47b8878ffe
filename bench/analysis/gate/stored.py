"""Sides that were measured in runs of their own: what a session adds to the noise is in the limits.

Two runs of the same code differ by more than their samples say: by how warm the machine was, where
memory came to lie, what else there was. No test on their samples sees it. So a run is one value for
every metric, x̄ the mean of the baselines in logarithms, and with σ the standard deviation between
sessions the limits of r = s · (x - x̄) are r ± t · σ · √(1 + 1/n), n baselines.

σ is that of the baselines themselves where there are `FEWEST` of them or more, with Student's t of
n - 1 degrees; of fewer `SESSION` is assumed, a normal distribution, and it is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...configs import Gate
from ...gates import Judged, State, ordered
from ...stats import relative, student_quantile
from .comparing import Comparison, is_exact, log_ratio
from .exact import judged_exactly
from .judging import NO_RATIO
from .series import Series

FEWEST = 3
"""Baselines from which on the spread between them is known at all."""
SESSION = 0.02
"""Standard deviation between sessions that is assumed of fewer: what shared machines show."""
_NORMAL = 1_000_000
"""Degrees of freedom of which Student's distribution is the normal one."""
_POWER = 1.644854
"""z of 95 of 100."""


def reach(baselines: Sequence[float], tail: float) -> tuple[float, float]:
    """(σ between sessions, half width of the limits) for these baselines, in logarithms.

    Args:
        baselines: ln of each baseline's value, at least one.
        tail: Probability of an error of one direction.
    """
    n = len(baselines)
    known = n >= FEWEST
    sigma = float(np.std(baselines, ddof=1)) if known else SESSION
    quantile = student_quantile(tail, n - 1 if known else _NORMAL)
    return sigma, quantile * sigma * math.sqrt(1 + 1 / n)


def check(
    gate: Gate, baselines: Sequence[dict[str, Series]], candidate: dict[str, Series]
) -> list[Judged]:
    """All metrics that gate, worst first.

    Args:
        gate: Which, and their margins.
        baselines: Metrics by label of each baseline run, at least one.
        candidate: Those of the run that is judged.
    """
    names = list(dict.fromkeys([name for one in (*baselines, candidate) for name in one]))
    gating = [name for name in names if gate.line(name) is not None]
    noisy = sum(not _exact(gate, name, [*baselines, candidate]) for name in gating)
    return ordered([_judged(gate, name, baselines, candidate, noisy) for name in gating])


def _exact(gate: Gate, name: str, runs: Sequence[dict[str, Series]]) -> bool:
    line = gate.line(name)
    return line is not None and is_exact(line, [one[name] for one in runs if name in one])


def _judged(
    gate: Gate,
    name: str,
    baselines: Sequence[dict[str, Series]],
    candidate: dict[str, Series],
    family: int,
) -> Judged:
    line = gate.line(name)
    assert line is not None
    after = candidate.get(name)
    one = Comparison(name, line, [old[name] for old in baselines if name in old], after)
    if one.problem is not None:
        return one.problem
    if after is not None and one.exact:
        return judged_exactly(one, after)
    value = after.value() if after is not None else None
    assert value is not None
    known = [old for each in one.before if (old := each.value()) is not None]
    ratios = [log_ratio(old, value, one.sign) for old in known]
    if any(math.isinf(ratio) for ratio in ratios):
        return one.stated("INVALID", NO_RATIO)
    change = float(np.mean(ratios))
    sigma, half = reach([math.log(old) if old > 0 else 0.0 for old in known], gate.alpha / family)
    tau = math.log1p(line.margin)
    state, reason = _state(change, half, tau, line.margin)
    return one.stated(
        state,
        reason,
        change=relative(change),
        low=relative(change - half),
        high=relative(change + half),
        blocks=len(known),
        noise=sigma,
        caught=relative(tau + half + _POWER * sigma * math.sqrt(1 + 1 / len(known))),
        baseline=float(np.exp(np.mean(np.log(known)))) if min(known) > 0 else float(np.mean(known)),
        candidate=value,
    )


def _state(change: float, half: float, tau: float, margin: float) -> tuple[State, str]:
    if change - half > tau:
        return "REGRESSED", ""
    if change + half < -tau:
        return "IMPROVED", ""
    if change + half < tau:
        return "PASS", ""
    low, high = relative(change - half), relative(change + half)
    return "INCONCLUSIVE", (
        f"runs of their own leave it between {low:+.1%} and {high:+.1%}, and {margin:.1%} are "
        f"accepted: `hengsuan gate pair` resolves more"
    )


def unresolved(gate: Gate, judged: Sequence[Judged]) -> list[str]:
    """Metrics whose margin these baselines cannot hold: identical code would not pass.

    Each with the smallest margin that they can.
    """
    found = []
    for one in judged:
        if one.low is None or one.high is None or one.exact:
            continue
        half = math.inf
        if one.low > -1 and math.isfinite(one.high):
            half = (math.log1p(one.high) - math.log1p(one.low)) / 2
        if half >= math.log1p(one.margin):
            held = f"{relative(half):.1%}" if math.isfinite(half) else "none"
            found.append(f"{one.name}: {one.margin:.1%} is asked for, {held} can be held")
    return found
