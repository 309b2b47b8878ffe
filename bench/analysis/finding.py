"""What a reader of a run must know, and how near a value comes to what it is held against."""

from __future__ import annotations

import msgspec

from ..records import Better, Case


class Finding(msgspec.Struct, kw_only=True):
    """Something that a reader of the score must know, as a sentence.

    ``kind``: a status (``failed``, ``invalid``, ...), ``above-reference``, ``incomplete``,
    ``criterion`` (a required target that is missed), ``undecided`` (one that was not measured, or a
    benchmark of which no value counts),
    ``slow-node``, ``slow-device``, ``slow-link`` or ``slow-pair`` (`pairs.Suspect`), ``stall`` or
    ``uneven`` (`steadiness`), or ``note`` for values that count under a condition, such as a wider
    tolerance.
    """

    kind: str
    name: str
    text: str


def ratio(value: float, reference: float, case: Case) -> float | None:
    """How near ``value`` comes to ``reference``: 1 is there, above 1 is beyond; None: no ratio."""
    over, under = (value, reference) if case.better == "higher" else (reference, value)
    return over / under if over >= 0 and under > 0 else None


def misses(value: float, target: float, better: Better) -> bool:
    """Whether a value is worse than what is required. Of none at all there may be no ratio, and yet
    no doubt."""
    return value < target if better == "higher" else value > target


def reached(value: float | None, case: Case) -> float | None:
    """How near a value comes to what datasheet and topology predict; None where one is unknown."""
    if value is None or case.expected is None:
        return None
    return ratio(value, case.expected, case)
