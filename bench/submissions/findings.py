"""What a check of a submission says: findings with the ids of rules (README.md here has them)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from ..errors import Exit
from .manifest import Manifest
from .system import System

Level: TypeAlias = Literal["finding", "undecided", "note"]
"""A rule that does not hold; one that cannot be judged here; what a reader should know."""

RULES: dict[str, str] = {
    "A1": "the archive is a plain tar in the one form that pack writes",
    "A2": "members are regular files, once each, under the names that a submission has",
    "A3": "sizes and numbers keep to the limits",
    "A4": "members hold what their names say, as UTF-8 JSON of bounded depth",
    "M1": "the manifest can be read",
    "M2": "every member is the one that the manifest names, byte for byte",
    "M3": "the manifest says what the runs say",
    "S1": "somebody answers for it by a signature",
    "S2": "the signature holds",
    "S3": "the key is trusted here",
    "S4": "neither the key nor the submission is revoked",
    "S5": "it holds at this time",
    "S6": "the key is trusted for such a submission",
    "R1": "runs can be read, ended, and every row is of a group that its schedule has",
    "R2": "every value that is measured over time has its samples",
    "R3": "every value follows from its samples",
    "R4": "what is not computed again is coherent",
    "R5": "the benchmarks are the ones that this version has",
    "R6": "no value is above the datasheet's ceiling",
    "R7": "samples are a measurement's own, and fit into its time",
    "P1": "one provenance, never mixed",
    "P2": "provenance fits the devices",
    "P3": "datasheets are there, and say what ours say",
    "P4": "every plugin is named and hashed",
    "E1": "the edition is known here",
    "E2": "all that the edition requires was measured",
    "E3": "on every group and in every repeat",
    "E4": "with values that count",
    "E5": "from enough samples",
    "E6": "under a stopping rule at least as strict",
    "E7": "with changes only where they are allowed",
    "E8": "of a provenance that the edition takes",
}
"""By id: what must hold."""

SHOWN = 20
"""Findings of one rule that are listed; the rest is counted."""


class Finding(msgspec.Struct, kw_only=True, frozen=True):
    """One rule that does not hold or cannot be judged: where (member, case), and what, in words."""

    rule: str
    level: Level
    text: str
    where: str = ""


class Recomputed(msgspec.Struct, kw_only=True):
    """How many values were computed again from their samples, and how many have none to be had."""

    again: int = 0
    beside: int = 0
    """Measured beside the samples (errors, latencies, counts): declared, held to be coherent."""


class Checked(msgspec.Struct, kw_only=True):
    """What came of checking a submission.

    ``id`` names what was signed; ``signer`` is under which name the key is trusted, empty where it
    is not. What nothing is known of, since the archive could not be read so far, is None.
    """

    findings: list[Finding] = []
    manifest: Manifest | None = None
    system: System | None = None
    id: str = ""
    signer: str = ""
    recomputed: Recomputed | None = None

    @property
    def exit(self) -> Exit:
        """0 all rules hold, 1 one does not, 3 one could not be judged."""
        levels = {one.level for one in self.findings}
        codes = {"finding": Exit.FINDING, "undecided": Exit.INCONCLUSIVE, "note": Exit.OK}
        return Exit.worst(codes[level] for level in levels)

    @property
    def verified(self) -> bool:
        """Whether every rule holds."""
        return self.exit == Exit.OK


def shortened(findings: Iterable[Finding]) -> list[Finding]:
    """In the order of the rules; of each rule and level `SHOWN`, and a count of the rest."""
    order = list(RULES)
    kept: list[Finding] = []
    counts: Counter[tuple[str, Level]] = Counter()
    for one in sorted(findings, key=lambda one: order.index(one.rule)):
        key = (one.rule, one.level)
        counts[key] += 1
        if counts[key] <= SHOWN:
            kept.append(one)
    more = [
        Finding(rule=rule, level=level, text=f"and {number - SHOWN} more of this rule")
        for (rule, level), number in counts.items()
        if number > SHOWN
    ]
    return sorted([*kept, *more], key=lambda one: order.index(one.rule))
