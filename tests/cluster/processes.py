"""Processes that this test session started, told from others' by a mark in their environment."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import forked

NAME = "HENGSUAN_TEST"
os.environ[NAME] = uuid.uuid4().hex  # not that of whoever started this one: workers are many


class Process(NamedTuple):
    """A live process: who started it, its session, its name and its command line."""

    pid: int
    parent: int
    session: int
    name: str
    words: str

    @property
    def is_rank(self) -> bool:
        started = "bench.cluster.rank_main" in self.words and not self._of_template
        return started or self.name.startswith(forked.NAME)

    @property
    def agent(self) -> int:
        """Of a rank: the process id of its agent."""
        return int(self.name.removeprefix(forked.NAME)) if self._of_template else self.parent

    @property
    def _of_template(self) -> bool:
        return forked.SERVING in self.words


def ours() -> list[Process]:
    """Every live process with our mark, this one left out."""
    mark = f"{NAME}={os.environ[NAME]}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if mark not in (entry / "environ").read_bytes():
                continue
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
        except OSError:
            continue
        if fields[0] != "Z":
            found.append(Process(int(entry.name), int(fields[1]), int(fields[3]), name, words))
    return found


def staying(which: Callable[[Process], bool] = lambda one: True) -> list[Process]:
    """Live processes with our mark that do not go: whoever was killed takes a moment to."""
    end = time.monotonic() + 30
    while (found := [one for one in ours() if which(one)]) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def ranks() -> set[int]:
    """Process ids of live rank processes of ours."""
    return {process.pid for process in ours() if process.is_rank}


def agents() -> list[int]:
    """Process ids of the agents of our ranks, in order."""
    return sorted({process.agent for process in ours() if process.is_rank})
