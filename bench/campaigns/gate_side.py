"""One side of a gate: a run whose stages begin when the other side of a pipe says so.

The process that runs it is started by `bench.campaigns.sides`, in the side's own environment. It is
told the name of a stage, measures the whole suite once in ranks that stay, and tells when it has.
Both sides of a gate are such processes, so that a block of one can follow a block of the other at
once.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from ..cluster.further import Further
from ..cluster.planning import Part
from ..configs import StageConfig, Suite

PROTOCOL = 1


class Told(msgspec.Struct, kw_only=True):
    """A line that a side writes: which ``stage`` has ended (empty: it is ready), of which run."""

    gate_side: int
    stage: str
    folder: str


class GateSide:
    """The campaign of a side.

    Args:
        suite: What a block measures.
        ask: Where names of stages come from, a line each; its end is the side's.
        tell: Where `Told` goes, a line each.
    """

    def __init__(self, suite: Suite, ask: TextIO, tell: TextIO) -> None:
        self._entries = [entry for stage in suite.stages for entry in stage.entries]
        self._ask, self._tell = ask, tell
        self._waits = False

    def watch(self, pipe: int) -> None:
        """End like one that is interrupted, once nobody is at the other end of this descriptor.

        Who waits for a line sees the end of the pipe. Who measures would go on for minutes, beside
        whatever comes next, where the gate was killed or interrupted.
        """
        threading.Thread(target=self._watch, args=(pipe,), daemon=True).start()

    def _watch(self, pipe: int) -> None:
        poll = select.poll()
        poll.register(pipe, 0)  # the hang-up alone, which is always told
        poll.poll()
        while self._waits:  # it sees the end itself, unless a line came before it
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    def following(self, folder: Path, stages: Sequence[str]) -> Further | None:
        """The next stage, see `bench.cluster.further.Campaign`."""
        stage = stages[-1] if stages else ""
        told = Told(gate_side=PROTOCOL, stage=stage, folder=str(folder))
        self._tell.write(msgspec.json.encode(told).decode() + "\n")
        self._tell.flush()
        self._waits = True
        name = self._ask.readline().strip()
        if not name:
            return None
        self._waits = False
        return Further(
            stage=StageConfig(name=name, entries=self._entries), parts=[Part(self._entries)]
        )
