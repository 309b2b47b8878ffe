"""The list of devices of nccl-tests, which is cut where a process has many.

Every process writes its part into 2,048 bytes (``MAX_LINE`` of src/common.cu), and what follows a
part that was cut stands on its last line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from .found import MOST_RANKS

Listed: TypeAlias = tuple[int, int, str, int, str, str]
"""Rank, group, host, index, bus id and name."""
_DEVICE = re.compile(
    r"#\s+Rank\s+(\d+)\s+(?:Group\s+(\d+)\s+)?Pid\s+\d+\s+on\s+(\S+)\s+device\s+(\d+)\s+"
    r"\[([^\]]*)\]\s+(.*\S)"
)
_NEXT = re.compile(r"#\s+Rank\s+\d+\s")


def listed(text: str) -> Listed | None:
    """The device of a line of the list; None of any other.

    Of a line that was cut, what follows on it is taken: the rest is no device.
    """
    begins = [one.start() for one in _NEXT.finditer(text)]
    if not begins or text.endswith("#"):  # the list's end
        return None
    found = _DEVICE.match(text, begins[-1])
    if found is None:
        return None
    rank, group, host, index, bus, name = found.groups()
    return int(rank), int(group or 0), host, int(index), bus, name


def completed(devices: Sequence[Listed], each: int | None) -> tuple[list[Listed], int]:
    """Devices in the order of their ranks, with those of which a process's list was cut.

    A process has ``each`` ranks in a row, on devices of its host in a row; None: nobody says. Those
    that are added have no bus id. Returns all, and how many were added. Nothing is added where the
    ranks of a process are not its first: there lines were lost in another way.
    """
    found = sorted(devices)
    if not each or each < 2:
        return found, 0
    processes: dict[int, list[Listed]] = {}
    for one in found:
        processes.setdefault(one[0] // each, []).append(one)
    if len(processes) * each > MOST_RANKS:  # no head of a table that anybody has run
        return found, 0
    added = 0
    for process, mine in processes.items():
        first = mine[0]
        row = [(process * each + i, *first[1:3], first[3] + i) for i in range(len(mine))]
        if len(mine) == each or [one[:4] for one in mine] != row:
            continue
        rest = range(len(mine), each)
        found += [(process * each + i, *first[1:3], first[3] + i, "", first[5]) for i in rest]
        added += len(rest)
    return sorted(found), added
