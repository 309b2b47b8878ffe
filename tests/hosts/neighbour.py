"""A busy neighbour: works on a host's cores while a rank of the host does, and at no other time.

Hosts that share cores are measured in turn, and only this one is to be disturbed.
"""

from __future__ import annotations

import time
from pathlib import Path

TURN = 0.02
"""Seconds of work, or of rest, between two looks at the rank."""


def rank() -> Path | None:
    """The rank process of this host (it has a process namespace of its own), if there is one."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"bench.cluster.rank_main" in words:
            return process
    return None


def work_beside(process: Path) -> None:
    """Work whenever it does; raises `OSError` when it has ended."""
    before = 0
    with (process / "stat").open() as file:
        while True:
            file.seek(0)
            words = file.read().rpartition(")")[2].split()
            now = int(words[11]) + int(words[12])  # ticks of processor time
            stop = time.monotonic() + TURN
            while now > before and time.monotonic() < stop:
                pass
            before = now
            time.sleep(max(0.0, stop - time.monotonic()))


def main() -> None:
    """Until somebody ends it."""
    while True:
        process = rank()
        if process is not None:
            try:
                work_beside(process)
            except OSError:
                continue
        time.sleep(0.5)


if __name__ == "__main__":
    main()
