"""Failures that a campaign asks for, where they strike: processes of a node die by SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping

from .orders import Blow
from .ranks import RankProcess

LOOK = 0.01
"""Seconds between two looks for a process that is about to start."""


async def fall(blow: Blow, ranks: Mapping[int, RankProcess], apart: bool) -> None:
    """Wait for the blow's time, and kill: nobody here is told, and what notices it must find it.

    Args:
        blow: When, and whom.
        ranks: The node's, by place, as they are by then.
        apart: This process is the agent's own: with its node it dies as well.
    """
    await asyncio.sleep(blow.after)
    if blow.device is not None:
        await _end(blow.device, ranks)
        return
    if apart:
        for process in ranks.values():
            _kill(process)
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.gather(*(_end(place, ranks) for place in list(ranks)))


async def _end(place: int, ranks: Mapping[int, RankProcess]) -> None:
    """Kill a rank, as soon as it has a process if it is just being replaced.

    One that is killed while it starts is started anew, ahead of need and once more when it is
    needed: those are killed as well, or the failure would be none. Whoever calls this cancels it
    when the group has been given up.
    """
    before: RankProcess | None = None
    while True:
        process = ranks.get(place)
        if process is not None and process is not before and _kill(process):
            if process.versions:  # it was up: whoever needs it learns of it
                return
            before = process
        await asyncio.sleep(LOOK)


def _kill(process: RankProcess) -> bool:
    """Whether there was a process to be killed."""
    pid = process.pid
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return pid is not None
