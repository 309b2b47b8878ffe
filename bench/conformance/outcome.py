"""How a check says that it does not pass."""

from __future__ import annotations

from ..conformity import Verdict


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
