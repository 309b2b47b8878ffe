"""What ``hengsuan gate`` says (``gate.json``): a state for every metric that gates, and why.

Only PASS and IMPROVED pass. What was not measured, is not comparable or not sound has a state of
its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from .errors import Exit, InfraError, UsageError
from .files import document, replace_file
from .headers import UNDECODABLE, read_versioned
from .records import Better, Provenance

GATE_SCHEMA = 1
GATE = "gate.json"

State: TypeAlias = Literal[
    "REGRESSED", "INVALID", "MISSING", "NO_BASELINE", "CHANGED", "INCONCLUSIVE", "IMPROVED", "PASS"
]
STATE_MEANING: dict[State, str] = {
    "REGRESSED": "slower (or more) than the margin allows, beyond doubt",
    "INVALID": "a check did not hold, throttled, contended, other devices, or no ratio to zero",
    "MISSING": "the baseline has it, the candidate has not",
    "NO_BASELINE": "the candidate has it, the baseline has not",
    "CHANGED": "the code that defines the measurement differs: figures cannot be compared",
    "INCONCLUSIVE": "not sure within the blocks or the budget that were allowed",
    "IMPROVED": "faster than the margin, beyond doubt",
    "PASS": "not slower than the margin allows, beyond doubt",
}
STATES: tuple[State, ...] = tuple(STATE_MEANING)
"""Worst first."""
PASSING = frozenset({"PASS", "IMPROVED"})
Inconclusive: TypeAlias = Literal["fail", "warn"]


class Judged(msgspec.Struct, kw_only=True, frozen=True):
    """One metric. Figures are None where nothing could be compared."""

    name: str
    """Its label (``gemm 8192x8192x8192 bf16 flops``, or a test's full name), equal on both
    sides."""
    state: State
    """What it is judged."""
    unit: str
    """Of ``baseline`` and ``candidate``."""
    better: Better
    """Which way is better."""
    margin: float
    """Relative change towards worse that is accepted."""
    where: str = ""
    """Node and device that changed most towards worse, of a metric that regressed on one of
    several; empty elsewhere."""
    change: float | None = None
    """Of the candidate (0.05: 5 % worse)."""
    low: float | None = None
    """Lower limit of ``change``; -1 of too few blocks. Of a count it is the change."""
    high: float | None = None
    """Upper limit; None of too few blocks."""
    blocks: int = 0
    """That were compared."""
    noise: float | None = None
    """Relative standard deviation of one of them."""
    caught: float | None = None
    """The smallest slowdown that they catch 95 times of 100."""
    baseline: float | None = None
    """Median."""
    candidate: float | None = None
    """Median."""
    exact: bool = False
    """It is a count without noise, and was compared as such."""
    reason: str = ""
    """Why the state is none of REGRESSED, IMPROVED and PASS, as a sentence; of a count also from
    what to what it went."""


class GateReport(msgspec.Struct, kw_only=True, frozen=True):
    """All metrics, worst first, and what was compared."""

    schema: int = GATE_SCHEMA
    """Version of this form."""
    gate: str
    """The gate file."""
    how: Literal["pair", "check"]
    """Whether sides were measured in turn (``pair``) or in runs of their own (``check``)."""
    baseline: str
    """What it is, in words."""
    candidate: str
    """What it is, in words."""
    created: str
    """UTC, ISO 8601."""
    alpha: float
    """Probability of an error of one direction over all metrics."""
    inconclusive: Inconclusive = "fail"
    """Whether INCONCLUSIVE fails or is a warning."""
    provenance: Provenance | None = None
    """Of both sides' measurements."""
    devices: list[str] = []
    """Kinds of chip that were measured on."""
    judged: list[Judged] = []
    """The metrics."""
    notes: list[str] = []
    """Sentences for the reader."""

    def count(self, state: State) -> int:
        """How many metrics have it."""
        return sum(one.state == state for one in self.judged)

    @property
    def passed(self) -> bool:
        """Whether every metric passes (or, where the gate says so, is merely inconclusive)."""
        return self.exit == Exit.OK

    @property
    def exit(self) -> Exit:
        """1 regressed, 4 invalid, 3 inconclusive, missing or without a baseline, 0 passed; the
        worst of these (`Exit.worst`). Nothing that gates is missing too."""
        codes = [_EXITS.get(one.state, Exit.INCONCLUSIVE) for one in self.judged]
        if self.inconclusive == "warn":
            codes = [
                Exit.OK if one.state == "INCONCLUSIVE" else code
                for one, code in zip(self.judged, codes, strict=True)
            ]
        return Exit.worst(codes) if codes else Exit.INCONCLUSIVE


_EXITS = {
    "REGRESSED": Exit.FINDING,
    "INVALID": Exit.INFRASTRUCTURE,
    "PASS": Exit.OK,
    "IMPROVED": Exit.OK,
}


def ordered(judged: list[Judged]) -> list[Judged]:
    """Worst first: by state, then by how much worse."""
    return sorted(
        judged, key=lambda one: (STATES.index(one.state), -(one.change or 0.0), one.name, one.where)
    )


def write_gate(path: Path, report: GateReport) -> None:
    """Write ``gate.json``. Raises `InfraError` where that cannot be."""
    try:
        replace_file(path, document(report))
    except OSError as error:
        raise InfraError(f"cannot be written: {error.strerror}", where=str(path)) from None


def read_gate(path: Path) -> GateReport:
    """Read ``gate.json``.

    Raises:
        UsageError: there is none, or it is of another schema.
        InfraError: it cannot be read or is damaged.
    """
    try:
        return msgspec.json.decode(read_versioned(path, GATE_SCHEMA), type=GateReport)
    except FileNotFoundError:
        raise UsageError("no such file", where=str(path)) from None
    except UNDECODABLE as error:
        raise InfraError(f"is damaged: {error}", where=str(path)) from None
