"""A busy neighbour: works on a host's cores whenever a rank of the host does.

Hosts that share cores are measured in turn, and only this one is to be disturbed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

TURN = 0.1
"""Seconds of work, or of rest, between two looks at the ranks."""


def ranks() -> list[Path]:
    """The rank processes of this host (it has a process namespace of its own)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"bench.cluster.rank_main" in words:
            found.append(process)
    return found


def worked(processes: list[Path]) -> int:
    """Ticks of processor time that they have used."""
    ticks = 0
    for process in processes:
        try:
            words = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(words[11]) + int(words[12])
    return ticks


def main() -> None:
    """Until somebody ends it."""
    os.nice(0)
    looked, found, before = 0.0, [], 0
    while True:
        if time.monotonic() - looked > 1.0:
            looked, found = time.monotonic(), ranks()
            before = worked(found)
        now = worked(found)
        if now > before:
            stop = time.monotonic() + 2 * TURN
            while time.monotonic() < stop:
                pass
        time.sleep(TURN)
        before = now


if __name__ == "__main__":
    main()
