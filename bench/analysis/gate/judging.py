"""Every gating metric of two sides: a state, from the blocks that both have.

A block is a pair of values for every group (device) that both sides measured in it; its ratio is
the median over the groups, so that what is compared is the same devices. A block that has no pair,
for one side was contended or throttled, is left out; a metric that loses too many is INVALID.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...configs import Gate, GateLine
from ...gates import Judged, State, ordered
from ...records import Better
from .sequential import decide
from .series import Series
from .signed_rank import least_blocks

Blocks = Callable[[Series, Series, float], tuple[list[float], int]]
"""Gives a baseline's and a candidate's log-ratios towards worse of the blocks that count, in their
order, and how many blocks there were; the last argument is 1 where lower is better, else -1."""
NO_RATIO = "one side is zero and the other is not: that has no ratio"
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
    blocks: Blocks,
    family: int,
) -> Judged:
    one = Comparison(name, line, [before] if before is not None else [], after)
    if one.problem is not None:
        return one.problem
    assert before is not None
    assert after is not None
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
        low=made.low if math.isfinite(made.low) else None,
        high=made.high if math.isfinite(made.high) else None,
        blocks=made.blocks,
        noise=made.noise,
        caught=made.caught,
        baseline=before.value(),
        candidate=after.value(),
    )


class Comparison:
    """A gating metric of one or more baselines and a candidate, and whether they compare at all.

    Attributes:
        before: Baselines that do: the same code, with a value.
        sign: 1 where lower is better, else -1.
        problem: The state, where there is nothing to compare; None: there is.
    """

    def __init__(
        self, name: str, line: GateLine, baselines: Sequence[Series], after: Series | None
    ) -> None:
        self._name, self._line = name, line
        one = after or baselines[0]
        self._unit = one.unit
        self._better: Better = one.better if line.better == "declared" else line.better
        self.sign = 1.0 if self._better == "lower" else -1.0
        self.before = [
            old for old in baselines if after and old.source and old.source == after.source
        ]
        self.problem = self._problem(baselines, after)
        self.before = [old for old in self.before if old.value() is not None]

    def _problem(self, baselines: Sequence[Series], after: Series | None) -> Judged | None:
        if not baselines:
            return self.stated("NO_BASELINE", "the baseline does not measure it")
        if after is None:
            return self.stated("MISSING", "the candidate does not measure it")
        if not self.before:
            return self.stated(
                "CHANGED", "the code that defines the measurement differs between the sides"
            )
        sides: tuple[tuple[str, Sequence[Series], State], ...] = (
            ("candidate", [after], "MISSING"),
            ("baseline", self.before, "NO_BASELINE"),
        )
        for side, own, state in sides:
            if all(each.value() is None for each in own):
                why = own[0].why
                lost = why.partition(":")[0] not in ("", "skipped", "missing")
                text = f"the {side} has no value of it: {why or 'no rows'}"
                return self.stated("INVALID" if lost else state, text)
        return None

    def stated(self, state: State, reason: str = "", **found: Any) -> Judged:
        """The metric in a state; ``found`` are fields of `Judged`."""
        return Judged(
            name=self._name,
            state=state,
            unit=self._unit,
            better=self._better,
            margin=self._line.margin,
            reason=reason,
            **found,
        )


def log_ratio(before: float, after: float, sign: float) -> float:
    """s · ln(after / before): of two zeros nothing, of one zero infinite."""
    if before == after:
        return 0.0
    if before <= 0 or after <= 0:
        return math.inf
    return sign * math.log(after / before)
