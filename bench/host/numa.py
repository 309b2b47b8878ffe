"""Memory on a NUMA node of one's choice: whose cores touch a page first has it.

Linux places a page near the core that first writes to it, unless a policy of the process says
otherwise (``man 2 set_mempolicy``, MPOL_DEFAULT). `pages` says where they lie.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .cores import expand
from .files import ROOT, entries, read


def node_cores(root: Path = ROOT) -> dict[int, list[int]]:
    """All cores of each NUMA node that has any, whatever this process may use now.

    A host that does not say is one node. Nodes of memory alone are left out: no core is near them.
    """
    folders = entries(root / "sys/devices/system/node", "node[0-9]*")
    found = {int(folder.name[4:]): expand(read(folder / "cpulist")) for folder in folders}
    known = {node: cpus for node, cpus in sorted(found.items()) if cpus}
    return known or {0: sorted(os.sched_getaffinity(0))}


@contextlib.contextmanager
def on_cores(cpus: Iterable[int]) -> Iterator[None]:
    """Bind the calling thread to these cores for a while.

    Raises `OSError` where the process may use none of them (a container's limit).
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pages(address: int, maps: Path = Path("/proc/self/numa_maps")) -> dict[int, int]:
    """Bytes by NUMA node of the mapping that holds an address; empty where nobody says.

    A mapping may be larger than what was asked for: the kernel joins neighbours.
    """
    best: list[str] = []
    for line in read(maps).splitlines():
        words = line.split()
        if int(words[0], 16) > address:
            break
        best = words
    facts = dict(word.partition("=")[::2] for word in best[2:])
    size = int(facts.get("kernelpagesize_kB", 0)) * 1024
    return {
        int(key[1:]): int(count) * size
        for key, count in facts.items()
        if key[:1] == "N" and key[1:].isdigit()
    }
