"""PCI Express: how accelerators and network cards are attached, and which are near each other.

From ``/sys/bus/pci/devices``. A link's ceiling is what both its ends can do: the card and the port
above it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .files import ROOT, entries, number, read, target

_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6, 128.0: 7}
"""Transfers a second and lane (GT/s) → generation, by the PCI Express base specification."""
KINDS = {"02": "network", "03": "accelerator", "0b40": "accelerator", "12": "accelerator"}
"""What the beginning of a PCI class code means, for the kinds that are described here."""
_WORDS = {"width": "x", "generation": "generation "}
RELATIONS = ("switch", "root", "numa", "far")
"""From near to far: below one port, below one host bridge, on one NUMA node, none of these."""


def address_of(path: Path) -> str:
    """The PCI address of a device in ``/sys``, or of what it sits on; empty where there is none.

    A virtual card's network device sits on a bus of its own, that on a PCI device.
    """
    found = _ADDRESS.findall(os.path.realpath(path))
    return str(found[-1]) if found else ""


def links(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Every accelerator's and network card's link, by PCI address.

    ``kind`` (`KINDS`), ``driver``, ``numa`` (node), ``generation`` and ``width`` (lanes) now, and
    ``generation_max`` and ``width_max``. What the host does not say is left out.
    """
    found = {}
    for folder in entries(root / "sys/bus/pci/devices"):
        code = read(folder / "class").removeprefix("0x")
        kind = next((name for start, name in KINDS.items() if code.startswith(start)), None)
        if kind is None:
            continue
        port = Path(os.path.realpath(folder)).parent
        facts = {
            "kind": kind,
            "driver": target(folder / "driver") or None,
            "numa": numa_of(folder),
            "generation": _generation(folder / "current_link_speed"),
            "generation_max": _least(_generation(end / "max_link_speed") for end in (folder, port)),
            "width": number(folder / "current_link_width") or None,
            "width_max": _least(number(end / "max_link_width") or None for end in (folder, port)),
        }
        found[folder.name] = {key: value for key, value in facts.items() if value is not None}
    return found


def numa_of(folder: Path) -> int | None:
    """The NUMA node of a device in ``/sys``; None where the firmware does not say (-1)."""
    node = number(folder / "numa_node")
    return node if node is not None and node >= 0 else None


def degraded(link: Mapping[str, Any], what: Iterable[str] = ("width", "generation")) -> str:
    """Why a link is below what both its ends can do; empty if it is not, or if that is unknown.

    Args:
        link: One of `links`.
        what: Which of its figures are judged. An accelerator at rest may lower its generation to
            save power.
    """
    said = [
        f"{_WORDS[key]}{link[key]} of {_WORDS[key]}{link[f'{key}_max']}"
        for key in what
        if key in link and link[key] < link.get(f"{key}_max", 0)
    ]
    return ", ".join(said)


def relation(one: str, other: str, root: Path = ROOT) -> str | None:
    """How near two PCI devices are (one of `RELATIONS`); None where either is not there."""
    folders = [root / "sys/bus/pci/devices" / address for address in (one, other)]
    if not all(folder.exists() for folder in folders):
        return None
    steps = zip(*map(_way, folders), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], steps))
    if shared >= 2:  # the host bridge and at least the port below it
        return "switch"
    if shared == 1:
        return "root"
    nodes = {numa_of(folder) for folder in folders}
    return "numa" if len(nodes) == 1 and None not in nodes else "far"


def nearest(address: str, others: Mapping[str, str], root: Path = ROOT) -> tuple[list[str], str]:
    """The names of ``others`` (name → PCI address) that are nearest to a device, and how near.

    Nothing and an empty word where nothing is known.
    """
    near: dict[str, list[str]] = {}
    for name, other in sorted(others.items()):
        how = relation(address, other, root) if address and other else None
        if how is not None:
            near.setdefault(how, []).append(name)
    best = next((how for how in RELATIONS if how in near), "")
    return near.get(best, []), best


def _way(folder: Path) -> list[str]:
    """Host bridge and ports from the root to a device."""
    parts = Path(os.path.realpath(folder)).parts
    return [part for part in parts if part.startswith("pci") or _ADDRESS.fullmatch(part)]


def _generation(path: Path) -> int | None:
    words = read(path).split()
    try:
        return _GENERATIONS.get(float(words[0])) if words else None
    except ValueError:  # "Unknown"
        return None


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
