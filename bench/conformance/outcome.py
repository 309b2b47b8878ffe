"""What came of a check, and how a check says it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from ..errors import Exit

Verdict: TypeAlias = Literal["pass", "fail", "unsupported", "skipped"]

MEANING: dict[Verdict, str] = {
    "pass": "it holds",
    "fail": "it does not hold, raised, crashed, hung or left something behind",
    "unsupported": "the backend declares that it has no such thing",
    "skipped": "nobody knows: it could not be tried here; this is no pass",
}
WORST: tuple[Verdict, ...] = ("fail", "skipped", "pass", "unsupported")


class Result(msgspec.Struct, kw_only=True):
    """One check's outcome. ``reason``: what was found; ``hint``: what to do in the plugin."""

    check: str
    verdict: Verdict
    reason: str = ""
    hint: str = ""
    seconds: float = 0.0


class Outcome(Exception):
    """Ends a check with another verdict than a pass."""

    verdict: Verdict

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class Fail(Outcome):
    """The plugin does not do what the contract says."""

    verdict = "fail"


class NotSupported(Outcome):
    """The backend declares that it has no such thing."""

    verdict = "unsupported"


class Skipped(Outcome):
    """It cannot be tried here, whatever the plugin does."""

    verdict = "skipped"


def exit_of(results: Iterable[Result]) -> Exit:
    """0 if all passed or are declared not supported, 1 if any failed, 3 if any was skipped."""
    held = {one.verdict for one in results}
    if not held or "skipped" in held:
        return Exit.worst([Exit.INCONCLUSIVE, *([Exit.FINDING] if "fail" in held else [])])
    return Exit.FINDING if "fail" in held else Exit.OK
