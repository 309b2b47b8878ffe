"""Baseline and candidate in turn, until every metric is decided or the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..analysis.gate.judging import judge
from ..analysis.gate.paired import order_of, paired, stage_of
from ..configs import Gate
from ..errors import InfraError
from ..gates import Judged
from ..records import Provenance
from .sides import Side

SPARE = 1.5
"""Times the blocks of a look that are measured for it, at most: some do not count."""
PATIENCE = 10.0
"""Times the longest stage so far, and at least as many seconds as below, until a side hangs."""
LEAST = 120.0


class Compared(msgspec.Struct, kw_only=True, frozen=True):
    """What came of it: states of the metrics, blocks measured, on which kinds of chip, what the
    values are, and why it stopped before all was decided (empty: it was)."""

    judged: list[Judged]
    blocks: int
    kinds: list[str]
    provenance: Provenance | None
    stopped: str = ""


def compare(
    gate: Gate,
    sides: Sequence[Side],
    say: Callable[[str], None] = lambda line: None,
    aligned: bool = False,
) -> Compared:
    """Measure until every gating metric is decided.

    Args:
        gate: The metrics, looks and budget.
        sides: Baseline and candidate, both ready.
        say: Told of the progress, in lines.
        aligned: The sides' suites differ in the value of an axis: metrics belong together by their
            place, and are called as the baseline's.

    Raises:
        InfraError: a side was lost, or the sides have other devices or values of another kind. Its
            blocks are in its run.
    """
    first, second = (side.devices() for side in sides)
    if first != second:
        raise InfraError(
            f"the baseline measures {_said(first)}, the candidate {_said(second)}",
            hint="both sides must measure the same devices",
        )
    values = [side.provenance() for side in sides]
    if values[0] != values[1]:
        said = [one or "of an unknown kind" for one in values]
        raise InfraError(f"the baseline's values are {said[0]}, the candidate's {said[1]}")
    told: dict[str, Any] = {"kinds": sides[0].kinds(), "provenance": values[0]}
    begin = time.monotonic()
    longest, block = 0.0, 0
    judged: list[Judged] = []
    for look in gate.blocks:
        while block < look or (block < SPARE * look and _lacking(judged, look)):
            spent = time.monotonic() - begin
            if block and spent + spent / block > gate.budget:
                judged = judged or _judge(gate, sides, block, aligned)
                stopped = f"the budget of {gate.budget:.0f} s ended after {block} blocks"
                return Compared(judged=judged, blocks=block, stopped=stopped, **told)
            block += 1
            for side, half in order_of(block):
                start = time.monotonic()
                limit = max(LEAST, PATIENCE * longest)
                sides[side].measure(stage_of(block, half), limit)
                longest = max(longest, time.monotonic() - start)
            if block >= look:
                judged = _judge(gate, sides, block, aligned)
            elif block == 1:
                counted = _judge(gate, sides, block, aligned)
                if counted and all(one.exact for one in counted):  # nothing that noise is in
                    say(f"1 block: {len(counted)} counts are compared exactly")
                    return Compared(judged=counted, blocks=1, **told)
        undecided = sum(one.state == "INCONCLUSIVE" for one in judged)
        say(f"{block} blocks: {len(judged) - undecided} of {len(judged)} metrics are decided")
        if not undecided:
            break
    return Compared(judged=judged, blocks=block, **told)


def _judge(gate: Gate, sides: Sequence[Side], block: int, aligned: bool) -> list[Judged]:
    before, after = (side.series() for side in sides)
    if aligned and [one.unit for one in before.values()] == [one.unit for one in after.values()]:
        after = dict(zip(before, after.values(), strict=True))
    return judge(gate, before, after, lambda a, b, sign: paired(a, b, sign, block))


def _lacking(judged: list[Judged], look: int) -> bool:
    """Whether one that is not decided has fewer blocks that count than the look asks for."""
    return any(one.state == "INCONCLUSIVE" and one.blocks < look for one in judged)


def _said(devices: list[str]) -> str:
    return "; ".join(devices) or "no device"
