"""How long somebody has been silent, while we listened.

A driver may be stopped itself (Ctrl-Z, a debugger, a host that swaps). When it goes on, much time
has passed in which it heard nobody, and that says nothing about the others: they get their time
anew. So patience is counted on a clock that runs only while its owner looks at it.
"""

from __future__ import annotations

import time

GAP = 5.0
"""Seconds between two looks that count at most. Who listens looks about once a second."""


class Listening:
    """A clock of the seconds that its owner has listened.

    Attributes:
        seconds: As of the last `look`.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._looked = time.monotonic()

    def look(self) -> float:
        """The seconds up to now; of those since the last look `GAP` at most. One thread's only."""
        now = time.monotonic()
        self.seconds += min(now - self._looked, GAP)
        self._looked = now
        return self.seconds
