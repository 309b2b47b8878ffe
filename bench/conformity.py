"""What ``hengsuan backend check`` says (its ``--json``): what came of every check of a plugin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from .errors import Exit

Verdict: TypeAlias = Literal["pass", "fail", "unsupported", "skipped"]

MEANING: dict[Verdict, str] = {
    "pass": "it holds",
    "fail": "it does not hold, raised, crashed, hung or left something behind",
    "unsupported": "the backend declares that it has no such thing",
    "skipped": "nobody knows: it could not be tried here; this is no pass",
}
WORDS: dict[Verdict, str] = {
    "pass": "pass",
    "fail": "FAIL",
    "unsupported": "not supported",
    "skipped": "skipped",
}
WORST: tuple[Verdict, ...] = ("fail", "skipped", "pass", "unsupported")


class Result(msgspec.Struct, kw_only=True):
    """One check's outcome. ``reason``: what was found; ``hint``: what to do in the plugin."""

    check: str
    verdict: Verdict
    reason: str = ""
    hint: str = ""
    seconds: float = 0.0


class Conformity(msgspec.Struct, kw_only=True):
    """All checks of a backend that were tried, in order.

    ``exit`` is the code that the command ended with, ``devices`` are names of those that were
    tried, ``counts`` says how many checks have each verdict.
    """

    backend: str
    exit: int
    devices: list[str]
    counts: dict[Verdict, int]
    results: list[Result]

    @classmethod
    def of(cls, backend: str, devices: list[str], results: list[Result]) -> Conformity:
        """From what came of the checks."""
        counts = dict.fromkeys(WORDS, 0)
        for one in results:
            counts[one.verdict] += 1
        return cls(
            backend=backend,
            exit=int(exit_of(results)),
            devices=devices,
            counts=counts,
            results=results,
        )

    def said(self) -> str:
        """``3 pass, 1 fail, in 12 s``."""
        counted = [
            f"{number} {WORDS[one].lower()}" for one, number in self.counts.items() if number
        ]
        took = sum(one.seconds for one in self.results)
        return f"{', '.join(counted) or 'no check'}, in {took:.0f} s"


def exit_of(results: Iterable[Result]) -> Exit:
    """0 if all passed or are declared not supported, 1 if any failed, 3 if any was skipped."""
    held = {one.verdict for one in results}
    if not held or "skipped" in held:
        return Exit.worst([Exit.INCONCLUSIVE, *([Exit.FINDING] if "fail" in held else [])])
    return Exit.FINDING if "fail" in held else Exit.OK
