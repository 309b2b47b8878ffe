"""What the gate says, in words: shared by everything that shows it.

A change is always one towards worse, whichever way is better: ``+5.20%`` is 5.2 % worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeGuard

from ...gates import PASSING, STATES, GateReport, Judged, ordered
from ...units import format_count, format_value
from ..plain import plain

NONE = "–"
"""Stands for a figure that there is not."""
NAME = 300
"""Characters of a name that are shown."""
REASON = 600
"""Characters of a reason that are shown where it is one of many."""
HEADS = (
    "state", "metric", "where", "worse by", "margin", "blocks", "baseline → candidate", "caught"
)  # fmt: skip
FIGURES = (3, 4, 5, 6, 7)
"""Which of `HEADS` are numbers."""


def clipped(text: str, most: int) -> str:
    """A text's beginning, and how much of it is left out."""
    rest = len(text) - most
    return text if rest <= 0 else f"{text[:most]}… ({rest} more characters, in gate.json)"


def label(one: Judged) -> str:
    """What a metric is called where it stands alone; one line, whole. What it is compared with
    elsewhere by its name (a test's history, a chart) is called ``name`` alone: where it is slow
    differs from one gate to the next."""
    return plain(f"{one.name} on {one.where}" if one.where else one.name)


def percent(share: float | None, sign: str = "") -> str:
    """0.0523 → ``5.23%``; with the sign ``+``, ``+5.23%``."""
    if not finite(share):
        return NONE
    return f"{share:{sign}.{2 if abs(share) < 0.1 else 1}%}"


def worse_by(one: Judged) -> str:
    """``+5.23% (+3.10% to +7.31%)``: the change towards worse, with its limits."""
    if not finite(one.change):
        return NONE
    # Too few blocks have infinite limits, which a JSON file keeps as null and -1.
    if one.exact:
        return f"{percent(one.change, '+')} (exactly)"
    if not finite(one.low) or not finite(one.high) or one.low <= -1:
        return f"{percent(one.change, '+')} (no limits)"
    low, high = percent(one.low, "+"), percent(one.high, "+")
    return f"{percent(one.change, '+')} ({low} to {high})"


def sides(one: Judged) -> str:
    """``1.2 ms → 1.3 ms``, baseline and candidate; empty where neither is known."""
    if one.baseline is None and one.candidate is None:
        return ""
    before, after = (_figure(value, one) for value in (one.baseline, one.candidate))
    return f"{before} → {after}"


def cells(one: Judged) -> tuple[str, ...]:
    """A row under `HEADS`. Names are as they came: whoever shows them makes them safe."""
    return (
        one.state,
        clipped(one.name, NAME),
        clipped(one.where, NAME),
        worse_by(one),
        f"{one.margin * 100:g}%",
        str(one.blocks) if one.blocks and not one.exact else NONE,
        sides(one),
        percent(one.caught),
    )


def sentence(one: Judged) -> str:
    """All figures of a metric on one line."""
    if not finite(one.change) and sides(one):  # from nothing, or to it
        said = [f"no ratio, margin {one.margin * 100:g}%"]
    elif not finite(one.change):
        said = [f"not compared, margin {one.margin * 100:g}%"]
    else:
        counted = "" if one.exact else f", {one.blocks} blocks"
        said = [f"worse by {worse_by(one)}, margin {one.margin * 100:g}%{counted}"]
    if one.where:
        said.append(f"on {plain(clipped(one.where, NAME))}")
    if finite(one.noise):
        said.append(f"noise of a block {percent(one.noise)}")
    if finite(one.caught):
        said.append(f"a slowdown of {percent(one.caught)} would be caught")
    if figures := sides(one):
        said.append(f"{plain(figures)} ({one.better} is better)")
    return ", ".join(said)


def fails(report: GateReport, one: Judged) -> bool:
    """Whether the gate does not pass because of it."""
    tolerated = report.inconclusive == "warn" and one.state == "INCONCLUSIVE"
    return one.state not in PASSING and not tolerated


def split(report: GateReport) -> tuple[list[Judged], list[Judged]]:
    """Metrics that do not pass, and those that do, each worst first."""
    judged = ordered(report.judged)
    bad = [one for one in judged if one.state not in PASSING]
    return bad, judged[len(bad) :]  # what passes has the last of the states


def counted(judged: Iterable[Judged]) -> str:
    """``1 REGRESSED, 3 PASS``, the worst first."""
    states = [one.state for one in judged]
    return ", ".join(f"{states.count(one)} {one}" for one in STATES if one in states)


def verdict_line(report: GateReport) -> str:
    """``gate kernels failed: of 4 metrics 1 REGRESSED, 3 PASS``."""
    total = len(report.judged)
    name = plain(clipped(report.gate, NAME))
    if not total:
        return f"gate {name} failed: there is no metric that gates"
    word = "passed" if report.passed else "failed"
    return f"gate {name} {word}: of {total} metric{'s'[: total > 1]} {counted(report.judged)}"


def circumstances(report: GateReport) -> list[str]:
    """What was compared, how, on what, and how far the verdict can be wrong."""
    how = {"pair": "measured in turn", "check": "measured in runs of their own"}[report.how]
    where = f" on {clipped(', '.join(report.devices), REASON)}" if report.devices else ""
    what = f" ({report.provenance})" if report.provenance else ""
    exact = sum(one.exact for one in report.judged)
    certain = f"compared exactly, without statistics: {exact} of {len(report.judged)} metrics"
    unsure = f"probability of an error of one direction, over all metrics: {report.alpha * 100:g}%"
    return [
        f"baseline: {clipped(report.baseline, REASON)}",
        f"candidate: {clipped(report.candidate, REASON)}",
        f"{how}{where}{what}, {report.created}",
        *([certain] if exact else []),
        *([unsure] if not exact or exact < len(report.judged) else []),
    ]


def overall(report: GateReport) -> str:
    """The geometric mean of the candidate's speed over that of the baseline, in a line.

    With r = ln(1 + change) it is exp of the mean of -r, over all metrics that were compared. It is
    for the reader: one metric's loss hides behind another's gain, so nothing is judged by it.
    Counts are no speed. Empty where nothing else was compared.
    """
    ratios = [
        -math.log1p(one.change)
        for one in report.judged
        if not one.exact and finite(one.change) and one.change > -1
    ]
    if not ratios:
        return ""
    mean = math.exp(math.fsum(ratios) / len(ratios))
    many = f"{len(ratios)} compared metric{'s'[: len(ratios) > 1]}"
    return f"speed against the baseline: {mean:.4g} (geometric mean of {many}; not judged)"


def finite(value: float | None) -> TypeGuard[float]:
    """Whether there is such a figure, and it is a number."""
    return value is not None and math.isfinite(value)


def _figure(value: float | None, one: Judged) -> str:
    if one.exact and finite(value):
        return format_count(value, one.unit)
    return format_value(value if finite(value) else None, one.unit)
