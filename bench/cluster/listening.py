"""How long somebody has been silent, while we listened.

A driver may be stopped itself (Ctrl-Z, a debugger, a host that swaps). When it goes on, much time
has passed in which it heard nobody, and that says nothing about the others: they get their time
anew. So patience is counted on a clock that runs only while its owner looks at it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LOOK = 1.0
"""Seconds between two looks of `within`."""
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


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives. Raises ``asyncio.TimeoutError`` after ``seconds`` of listening."""
    task = asyncio.ensure_future(work)
    listening = Listening()
    try:
        while (left := seconds - listening.look()) > 0:
            if (await asyncio.wait([task], timeout=min(LOOK, left)))[0]:
                return task.result()
    finally:
        task.cancel()
    raise asyncio.TimeoutError
