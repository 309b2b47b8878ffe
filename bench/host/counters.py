"""Counters of what went wrong or was held up: network cards, RDMA ports, PCI Express, memory.

A snapshot is a mapping of names to counts since boot; what matters is how much they grew. Names
are ``DEVICE COUNTER`` (``eth0 rx_errors``, ``rdma0/1 symbol_error``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from . import ethtool
from .files import ROOT, entries, number, read
from .network import interfaces
from .pcie import links

_NET = re.compile(r"errors$|dropped$|^collisions$")
"""Of ``/sys/class/net/*/statistics``: errors and drops, not packets and bytes."""
_WATCHED = re.compile(
    r"err|drop|discard|pause|ecn|\bce_|cnp|timeout|retr|wait|flap|link_down|symbol|overrun|missed"
    r"|out_of_(?:buffer|sequence)|out_of_range|nak|corrupt|invalid|bad|crc|fcs",
    re.IGNORECASE,
)
"""Of counters that a driver names as it likes, those that are watched."""
_ORDINARY = re.compile(
    r"drop|discard|pause|ecn|cnp|wait|out_of_buffer|retrans|InCEPkts|missed|no_?buf|fifo"
    r"|(?<!un)corrected|fec|err_lane|symbol_err_phy|flush|relay",
    re.IGNORECASE,
)
"""Counters that grow on a healthy, busy network: it drops, marks and holds up what is too much;
fast links mend most symbols; queues are flushed when they are closed."""
_PROTOCOL = {"netstat": ("IpExt", ("InCEPkts",)), "snmp": ("Tcp", ("RetransSegs", "InErrs"))}
"""Of ``/proc/net``: packets that a switch marked, segments sent again, broken segments."""

Snapshot = dict[str, int]


def snapshot(root: Path = ROOT) -> Snapshot:
    """All watched counters of this host now.

    Drivers' own counters (pauses, marks, errors by cause) are asked for only of the running host.
    """
    return dict(_all(root))


def grown(before: Snapshot, after: Snapshot) -> Snapshot:
    """By how much counters grew. One that is new or fell (its driver was reset) counts whole."""
    found = {}
    for name, count in after.items():
        old = before.get(name, 0)
        change = count - old if count >= old else count
        if change:
            found[name] = change
    return found


def is_error(name: str) -> bool:
    """Whether growth of a counter is a fault of hardware or driver, not of a busy network."""
    counter = name.rpartition(" ")[2]
    return not _ORDINARY.search(counter)


def _all(root: Path) -> Iterator[tuple[str, int]]:
    for name, facts in interfaces(root).items():
        folder = root / "sys/class/net" / name
        for path in entries(folder / "statistics"):
            if _NET.search(path.name):
                yield from _one(f"{name} {path.name}", path)
        yield from _one(f"{name} carrier_changes", folder / "carrier_changes")
        if root == ROOT and facts.get("kind") == "physical":
            for counter, count in ethtool.statistics(name).items():
                if _WATCHED.search(counter):
                    yield f"{name} driver:{counter}", count
    for port in entries(root / "sys/class/infiniband", "*/ports/*"):
        device = f"{port.parents[1].name}/{port.name}"
        for path in (*entries(port / "counters"), *entries(port / "hw_counters")):
            if _WATCHED.search(path.name):
                yield from _one(f"{device} {path.name}", path)
    for address in links(root):
        for kind in ("correctable", "nonfatal", "fatal"):
            yield from _aer(root / "sys/bus/pci/devices" / address / f"aer_dev_{kind}", address)
    for memory in entries(root / "sys/devices/system/edac/mc", "mc[0-9]*"):
        yield from _one(f"memory/{memory.name} correctable", memory / "ce_count")
        yield from _one(f"memory/{memory.name} uncorrectable", memory / "ue_count")
    for file, (protocol, wanted) in _PROTOCOL.items():
        yield from _protocol(read(root / "proc/net" / file), protocol, wanted)


def _one(name: str, path: Path) -> Iterator[tuple[str, int]]:
    count = number(path)
    if count is not None:
        yield name, count


def _aer(path: Path, address: str) -> Iterator[tuple[str, int]]:
    """``BadTLP 3`` lines; the last is their total (Documentation/ABI/testing, aer_stats)."""
    for line in read(path).splitlines():
        name, _, count = line.rpartition(" ")
        if count.isdigit() and not name.startswith("TOTAL"):
            yield f"{address} {path.name.removeprefix('aer_dev_')}:{name}", int(count)


def _protocol(text: str, protocol: str, wanted: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Pairs of lines: the counters' names, then their values."""
    lines = [line.split() for line in text.splitlines() if line.startswith(f"{protocol}:")]
    if len(lines) == 2:
        for name, count in zip(*lines, strict=False):
            if name in wanted and count.isdigit():
                yield f"{protocol} {name}", int(count)
