"""What a host's cores, memory and networks are busy with, from one look to the next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .cores import memory_used
from .files import ROOT, entries, number, read
from .network import interfaces

_LANES = 4
"""Octets that RDMA ports count as one (Documentation/ABI/stable/sysfs-class-infiniband)."""
_THROUGH = ("physical", "virtual")
"""Interfaces whose bytes are counted: those of bonds and VLANs went through one of these too."""


class Load:
    """Shares and rates of one host, over the time since the look before.

    Args:
        root: Where its ``/proc`` and ``/sys`` are.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._counters = dict(_counters(root))
        self._time = time.monotonic()
        self._cores = _cores(root)
        self._ticks: dict[int, list[int]] = {}
        self._bytes = self._count()

    def look(self) -> dict[str, float | None]:
        """Quantities by the names of `bench.telemetry.NODE`; None where the host does not say.

        A counter that fell, because its driver was loaded anew, gives no rate.
        """
        now = time.monotonic()
        interval = max(now - self._time, 1e-9)
        self._time = now
        before, self._cores = self._cores, _cores(self._root)
        self._ticks = {
            core: [max(0, b - a) for a, b in zip(before[core], ticks, strict=True)]
            for core, ticks in self._cores.items()
            if core in before
        }
        found: dict[str, float | None] = {
            "cpu": self.busy(self._ticks),
            "stolen": self._share(self._ticks, 2),
            "memory_used": memory_used(self._root),
        }
        counted, self._bytes = self._bytes, self._count()
        for name in self._counters:
            old, new = counted[name], self._bytes[name]
            known = old is not None and new is not None and new >= old
            found[name] = ((new or 0) - (old or 0)) / interval if known else None
        return found

    def busy(self, cores: Iterable[int]) -> float | None:
        """Share of these cores that was busy before the last look; None where it does not know."""
        return self._share(cores, 0)

    def _share(self, cores: Iterable[int], which: int) -> float | None:
        ticks = [self._ticks[core] for core in cores if core in self._ticks]
        whole = sum(map(sum, ticks))
        return sum(one[which] for one in ticks) / whole if whole else None

    def _count(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for name, files in self._counters.items():
            counts = [count for path, unit in files if (count := _of(path, unit)) is not None]
            found[name] = sum(counts) if len(counts) == len(files) and counts else None
        return found


def _counters(root: Path) -> Iterator[tuple[str, list[tuple[Path, int]]]]:
    """The files that count bytes, by what they count, each with its unit in bytes."""
    folders = [
        root / "sys/class/net" / name / "statistics"
        for name, facts in interfaces(root).items()
        if facts.get("kind") in _THROUGH
    ]
    yield "received", [(folder / "rx_bytes", 1) for folder in folders]
    yield "sent", [(folder / "tx_bytes", 1) for folder in folders]
    ports = [port / "counters" for port in entries(root / "sys/class/infiniband", "*/ports/*")]
    yield "rdma_received", [(port / "port_rcv_data", _LANES) for port in ports]
    yield "rdma_sent", [(port / "port_xmit_data", _LANES) for port in ports]


def _of(path: Path, unit: int) -> int | None:
    count = number(path)
    return None if count is None else count * unit


def _cores(root: Path) -> dict[int, tuple[int, int, int]]:
    """Ticks of each core since boot: busy (interrupts counted), idle, stolen."""
    found = {}
    for line in read(root / "proc/stat").splitlines():
        words = line.split()
        if not words[0].startswith("cpu"):
            break  # the lines behind are long, and of no interest
        if words[0] != "cpu":
            user, nice, system, idle, waiting, hard, soft, stolen = map(int, words[1:9])
            busy = user + nice + system + hard + soft
            found[int(words[0][3:])] = busy, idle + waiting, stolen
    return found
