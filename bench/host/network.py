"""Network interfaces: what each can do, where it sits, and how it is addressed."""

from __future__ import annotations

import ipaddress
import re
import sys
from pathlib import Path
from typing import Any

from .files import ROOT, entries, number, read, target
from .pcie import address_of, numa_of

_LOCAL = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL")


def interfaces(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """The interfaces that carry traffic between hosts, by name.

    These are the physical ones, bonds and VLANs, and, inside a container, the end of the virtual
    pair that leads out of it. ``kind``, ``state`` (RFC 2863, up or down), ``speed`` in bit/s,
    ``mtu`` in bytes, ``duplex``, ``driver``, ``driver_version``, ``pci`` (address), ``numa`` (node)
    and ``addresses``. What the host does not say is left out.
    """
    held = addresses(root)
    found = {}
    for folder in entries(root / "sys/class/net"):
        kind = _kind(folder, held.get(folder.name, []))
        if kind is None:
            continue
        device = folder / "device"
        driver = target(device / "driver")
        speed = number(folder / "speed")
        facts = {
            "kind": kind,
            "state": read(folder / "operstate") or None,
            "speed": speed * 1_000_000 if speed is not None and speed > 0 else None,
            "mtu": number(folder / "mtu"),
            "duplex": _known(read(folder / "duplex")),
            "driver": driver or None,
            "driver_version": read(root / "sys/module" / driver / "version") if driver else None,
            "pci": address_of(device) if device.exists() else None,
            "numa": numa_of(device),
            "addresses": held.get(folder.name) or None,
        }
        found[folder.name] = {key: value for key, value in facts.items() if value not in (None, "")}
    return found


def addresses(root: Path = ROOT) -> dict[str, list[str]]:
    """IP addresses by interface; those of loopback and of one link alone are left out.

    The kernel's files give IPv4 addresses and routes apart: an address belongs to the interface
    whose own network holds it.
    """
    net = root / "proc/net"
    networks = []
    for line in read(net / "route").splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[2] == "00000000" and words[7] != "00000000":
            place = f"{_address(words[1])}/{_address(words[7])}"
            networks.append((ipaddress.ip_network(place, strict=False), words[0]))
    networks.sort(key=lambda pair: -pair[0].prefixlen)
    found: dict[str, list[str]] = {}
    for text in dict.fromkeys(_LOCAL.findall(read(net / "fib_trie"))):
        address = ipaddress.ip_address(text)
        owner = next((name for network, name in networks if address in network), None)
        if owner is not None and not address.is_loopback:
            found.setdefault(owner, []).append(text)
    for line in read(net / "if_inet6").splitlines():
        words = line.split()
        if len(words) == 6:
            six = ipaddress.ip_address(int(words[0], 16).to_bytes(16, "big"))
            if not (six.is_loopback or six.is_link_local):
                found.setdefault(words[5], []).append(str(six))
    return found


def _kind(folder: Path, held: list[str]) -> str | None:
    """What an interface is; None if it is of no interest."""
    if (folder / "device").exists():
        return "physical"
    if (folder / "bonding").is_dir():
        return "bond"
    if "DEVTYPE=vlan" in read(folder / "uevent"):
        return "vlan"
    # A virtual pair's other end has another index: with an address, we are inside.
    other = number(folder / "iflink")
    if held and other is not None and other != number(folder / "ifindex"):
        return "virtual"
    return None


def _address(word: str) -> str:
    """``/proc/net/route`` writes addresses as integers in the host's own byte order."""
    return ".".join(map(str, int(word, 16).to_bytes(4, sys.byteorder)))


def _known(text: str) -> str | None:
    return text if text and text != "unknown" else None
