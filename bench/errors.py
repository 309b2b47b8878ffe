"""What can go wrong, by who has to act, and the exit code that says so.

Every message says what happened, where (node, rank, benchmark, ``file:line`` of a
configuration) and, as ``hint``, what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    """Measured, accepted, passed."""
    FINDING = 1
    """A rejected node, a regression, a failed sanity check, a criterion that was missed."""
    USAGE = 2
    """Bad arguments or configuration."""
    INCONCLUSIVE = 3
    """Inconclusive, missing, nothing that counts, or nothing to compare with."""
    INFRASTRUCTURE = 4
    """A node, rank or agent was lost, or we crashed."""
    INTERRUPTED = 130
    """Somebody stopped it; what was measured is kept."""

    @staticmethod
    def worst(codes: Iterable[int]) -> Exit:
        """The code to exit with where several hold (130, 2, 4, 1, 3, 0)."""
        order = (Exit.INTERRUPTED, Exit.USAGE, Exit.INFRASTRUCTURE, Exit.FINDING, Exit.INCONCLUSIVE)
        held = set(codes)
        return next((code for code in order if code in held), Exit.OK)


class HengsuanError(Exception):
    """Base of all errors that a user should read as a sentence, not as a traceback."""

    exit = Exit.INFRASTRUCTURE

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\nhint: {self.hint}" if self.hint else text


class UsageError(HengsuanError):
    """Bad arguments, or a name that nothing answers to."""

    exit = Exit.USAGE


class ConfigError(UsageError):
    """A configuration file that does not say what it must; ``where`` is ``file:line``."""


class BackendError(HengsuanError):
    """A backend that is not there, does not load, or breaks the contract."""


class InfraError(HengsuanError):
    """A node, agent, rank or folder that is lost or cannot be used."""


class Unmeasurable(HengsuanError):
    """Raised by a benchmark that cannot be measured on this device; recorded as *skipped*."""

    exit = Exit.OK


LISTED = 60
"""Known names that an error lists at most."""


def unknown(kind: str, name: str, known: Iterable[str], *, where: str = "") -> UsageError:
    """The error for a name that nothing answers to: nearest names first, then the list."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    listed = ", ".join(names[:LISTED]) if names else "none"
    if len(names) > LISTED:
        listed += f" and {len(names) - LISTED} more"
    hint = f"did you mean {' or '.join(near)}? known: {listed}" if near else f"known: {listed}"
    return (ConfigError if where else UsageError)(
        f"unknown {kind} {name!r}", where=where, hint=hint
    )
