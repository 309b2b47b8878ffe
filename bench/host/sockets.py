"""Where this host listens: the addresses that TCP ports are bound to."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

from .files import ROOT, read

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listening(root: Path = ROOT) -> list[tuple[Address, int]]:
    """(address, port) of every listening TCP socket in this network namespace.

    An unspecified address (0.0.0.0, ::) means every interface.
    """
    found = []
    for name in ("tcp", "tcp6"):
        for line in read(root / "proc/net" / name).splitlines()[1:]:
            words = line.split()
            if len(words) > 3 and words[3] == _LISTEN:
                address, _, port = words[1].partition(":")
                found.append((_address(address), int(port, 16)))
    return found


def reachable_from_outside(port: int, root: Path = ROOT) -> bool:
    """Whether something listens on the port on another address than loopback."""
    return any(one == port and not address.is_loopback for address, one in listening(root))


def _address(word: str) -> Address:
    """The kernel writes addresses as 32-bit integers in the host's own byte order."""
    whole = b"".join(
        int(word[start : start + 8], 16).to_bytes(4, sys.byteorder)
        for start in range(0, len(word), 8)
    )
    return ipaddress.ip_address(whole)
