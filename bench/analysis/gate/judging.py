"""Every gating metric of two sides: a state, from the blocks that both have.

A block is a pair of values for every group (device) that both sides measured in it; its ratio is
the median over the groups, so that what is compared is the same devices. A block that has no pair,
for one side was contended or throttled, is left out; a metric that loses too many is INVALID.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ...configs import Gate, GateLine
from ...gates import Judged, State, ordered
from ...records import Better
from .sequential import decide
from .series import Series

Pairs = Sequence[tuple[float, float]]
"""(baseline, candidate) of each block."""
UNEVEN = 0.5
"""Difference of the sides' shares of values beside other work from which they are not alike."""
LEAST = 0.5
"""Share of the blocks that must count."""


def judge(
    gate: Gate,
    baseline: Mapping[str, Series],
    candidate: Mapping[str, Series],
    blocks: Callable[[Series, Series, float], tuple[list[float], int]],
) -> list[Judged]:
    """All metrics that gate, worst first.

    Args:
        gate: Which, and their margins.
        baseline, candidate: The sides' metrics by label.
        blocks: Gives log-ratios towards worse of the blocks that count, in their order, and how
            many there were; its last argument is 1 where lower is better, else -1.
    """
    names = list(dict.fromkeys([*baseline, *candidate]))
    gating = [(name, line) for name in names if (line := gate.line(name)) is not None]
    found = [
        _judged(gate, name, line, baseline.get(name), candidate.get(name), blocks, len(gating))
        for name, line in gating
    ]
    return ordered(found)


def _judged(
    gate: Gate,
    name: str,
    line: GateLine,
    before: Series | None,
    after: Series | None,
    blocks: Callable[[Series, Series, float], tuple[list[float], int]],
    family: int,
) -> Judged:
    one = after or before
    assert one is not None
    better: Better = one.better if line.better == "declared" else line.better

    def stated(state: State, reason: str) -> Judged:
        return Judged(
            name=name, state=state, unit=one.unit, better=better, margin=line.margin, reason=reason
        )

    if before is None:
        return stated("NO_BASELINE", "the baseline does not measure it")
    if after is None:
        return stated("MISSING", "the candidate does not measure it")
    if not before.source or before.source != after.source:
        return stated("CHANGED", "the code that defines the measurement differs between the sides")
    absent: tuple[tuple[str, Series, State], ...] = (
        ("candidate", after, "MISSING"),
        ("baseline", before, "NO_BASELINE"),
    )
    for side, own, state in absent:
        if not any(own.stages.values()):
            lost = own.why.partition(":")[0] not in ("", "skipped", "missing")
            why = f"the {side} has no value of it: {own.why or 'no rows'}"
            return stated("INVALID" if lost else state, why)
    if abs(after.beside - before.beside) > UNEVEN:
        return stated(
            "INVALID",
            f"others used the cores in {after.beside:.0%} of what the candidate measured, and in "
            f"{before.beside:.0%} of the baseline's",
        )
    ratios, whole = blocks(before, after, 1.0 if better == "lower" else -1.0)
    if any(math.isinf(ratio) for ratio in ratios):
        return stated("INVALID", "one side is zero and the other is not: that has no ratio")
    if len(ratios) < max(1, LEAST * whole):
        why = after.why or before.why
        return stated(
            "INVALID", f"{whole - len(ratios)} of {whole} blocks have no value: {why or 'no rows'}"
        )
    made = decide(ratios, line.margin, family=family, looks=gate.blocks, alpha=gate.alpha)
    reason = ""
    if made.word == "INCONCLUSIVE":
        reason = (
            f"after {made.blocks} blocks the change lies between {made.low:+.1%} and "
            f"{made.high:+.1%}, and {line.margin:.1%} are accepted"
        )
    return Judged(
        name=name,
        state=made.word,
        unit=one.unit,
        better=better,
        margin=line.margin,
        change=made.change,
        low=made.low if math.isfinite(made.low) else None,
        high=made.high if math.isfinite(made.high) else None,
        blocks=made.blocks,
        noise=made.noise,
        caught=made.caught,
        baseline=before.value(),
        candidate=after.value(),
        reason=reason,
    )


def log_ratio(before: float, after: float, sign: float) -> float:
    """s · ln(after / before): of two zeros nothing, of one zero infinite."""
    if before == after:
        return 0.0
    if before <= 0 or after <= 0:
        return math.inf
    return sign * math.log(after / before)
