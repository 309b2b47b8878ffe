"""Every gating metric of two sides: a state, from the blocks that both have.

A block is a pair of values for every group (device) that both sides measured in it; its ratio is
the median over the groups, so that what is compared is the same devices. A block that has no pair,
for one side was contended or throttled, is left out; a metric that loses too many is INVALID.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ...configs import Gate, GateLine
from ...gates import Judged, ordered
from .comparing import Comparison, is_exact, log_ratio
from .exact import judged_exactly
from .sequential import decide
from .series import Series
from .signed_rank import least_blocks

Blocks = Callable[[Series, Series, float], tuple[list[float], int]]
"""Gives a baseline's and a candidate's log-ratios towards worse of the blocks that count, in their
order, and how many blocks there were; the last argument is 1 where lower is better, else -1."""
NO_RATIO = "one side is zero and the other is not, or one is negative: that has no ratio"
UNEVEN = 0.5
"""Difference of the sides' shares of values beside other work from which they are not alike."""
LEAST = 0.5
"""Share of the blocks that must count."""


def judge(
    gate: Gate,
    baseline: Mapping[str, Series],
    candidate: Mapping[str, Series],
    blocks: Blocks,
) -> list[Judged]:
    """All metrics that gate, worst first.

    Args:
        gate: Which, and their margins.
        baseline, candidate: The sides' metrics by label.
        blocks: What the blocks of one say, see `Blocks`.
    """
    names = list(dict.fromkeys([*baseline, *candidate]))
    gating = [(name, line) for name in names if (line := gate.line(name)) is not None]
    noisy = sum(not is_exact(line, _both(baseline, candidate, name)) for name, line in gating)
    found = [
        _judged(gate, name, line, baseline.get(name), candidate.get(name), blocks, noisy)
        for name, line in gating
    ]
    return ordered(found)


def _both(
    baseline: Mapping[str, Series], candidate: Mapping[str, Series], name: str
) -> list[Series]:
    return [one for one in (baseline.get(name), candidate.get(name)) if one is not None]


def _judged(
    gate: Gate,
    name: str,
    line: GateLine,
    before: Series | None,
    after: Series | None,
    blocks: Blocks,
    family: int,
) -> Judged:
    one = Comparison(name, line, [before] if before is not None else [], after)
    if one.problem is not None:
        return one.problem
    assert before is not None
    assert after is not None
    if one.exact:
        return judged_exactly(one, after)
    if abs(after.beside - before.beside) > UNEVEN:
        return one.stated(
            "INVALID",
            f"others used the cores in {after.beside:.0%} of what the candidate measured, and in "
            f"{before.beside:.0%} of the baseline's",
        )
    ratios, whole = blocks(before, after, one.sign)
    if any(math.isinf(ratio) for ratio in ratios):
        return one.stated("INVALID", NO_RATIO)
    if len(ratios) < max(1, LEAST * whole):
        why = after.why or before.why
        return one.stated(
            "INVALID", f"{whole - len(ratios)} of {whole} blocks have no value: {why or 'no rows'}"
        )
    made = decide(ratios, line.margin, family=family, looks=gate.blocks, alpha=gate.alpha)
    reason = ""
    if made.word == "INCONCLUSIVE" and not math.isfinite(made.high):
        least = least_blocks(gate.alpha / (len(gate.blocks) * family))
        least = next((look for look in gate.blocks if look >= least), least)
        reason = (
            f"{made.blocks} block(s) decide nothing: with {family} metric(s) {least} are needed"
        )
    elif made.word == "INCONCLUSIVE":
        reason = (
            f"after {made.blocks} blocks the change lies between {made.low:+.1%} and "
            f"{made.high:+.1%}, and {line.margin:.1%} are accepted"
        )
    return one.stated(
        made.word,
        reason,
        change=made.change,
        low=made.low,
        high=made.high if math.isfinite(made.high) else None,
        blocks=made.blocks,
        noise=made.noise,
        caught=made.caught,
        baseline=before.value(),
        candidate=after.value(),
        where=_where(before, after, one.sign, line.margin) if made.word == "REGRESSED" else "",
    )


def _where(before: Series, after: Series, sign: float, margin: float) -> str:
    """The groups that are slower by more than the margin, the worst first; empty: all of them."""
    old, new = before.by_group(), after.by_group()
    ratios = {
        group: log_ratio(float(np.median(old[group])), float(np.median(new[group])), sign)
        for group in old.keys() & new.keys()
    }
    slower = [group for group, ratio in ratios.items() if ratio > math.log1p(margin)]
    return after.where(sorted(slower, key=lambda group: -ratios[group]))
