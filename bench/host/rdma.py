"""RDMA devices, their ports, and which of them can be used, from ``/sys/class/infiniband``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .files import ROOT, entries, read, target
from .pcie import address_of, numa_of


def devices(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """RDMA devices by name.

    ``firmware``, ``board``, ``type``, ``driver``, ``pci`` (address), ``numa`` (node),
    ``interfaces`` (the network interfaces over it), and ``ports`` by number: ``state`` (ACTIVE,
    DOWN, ...), ``physical`` (LinkUp, ...), ``rate`` in bit/s, ``layer`` (InfiniBand, Ethernet).
    What the host does not say is left out.
    """
    found = {}
    for folder in entries(root / "sys/class/infiniband"):
        device = folder / "device"
        facts = {
            "firmware": read(folder / "fw_ver"),
            "board": read(folder / "board_id"),
            "type": read(folder / "hca_type"),
            "driver": target(device / "driver"),
            "pci": address_of(device) if device.exists() else "",
            "numa": numa_of(device),
            "interfaces": [one.name for one in entries(device / "net")],
            "ports": {port.name: _port(port) for port in entries(folder / "ports")},
        }
        found[folder.name] = {key: value for key, value in facts.items() if value not in (None, "")}
    return found


def active_port(device: dict[str, Any]) -> tuple[int, float] | None:
    """The number and rate in bit/s of the fastest port of a device that is up; None: none is."""
    up = [
        (float(port.get("rate", 0)), int(name))
        for name, port in device.get("ports", {}).items()
        if port.get("state") == "ACTIVE"
    ]
    if not up:
        return None
    rate, name = max(up)
    return name, rate


def _port(folder: Path) -> dict[str, Any]:
    facts = {
        "state": _word(read(folder / "state")),
        "physical": _word(read(folder / "phys_state")),
        "rate": _rate(read(folder / "rate")),
        "layer": read(folder / "link_layer"),
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}


def _word(text: str) -> str:
    """``4: ACTIVE`` → ``ACTIVE``."""
    return text.rpartition(":")[2].strip()


def _rate(text: str) -> int | None:
    """``400 Gb/sec (4X NDR)`` → bit/s."""
    words = text.split()
    try:
        return round(float(words[0]) * 1e9) if words[1:2] == ["Gb/sec"] else None
    except ValueError:
        return None
