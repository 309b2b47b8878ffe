"""Which machine this is: its id, its boot, its name."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from .files import ROOT, read


def machine_id() -> str:
    """The machine's own id: systemd's, else the board's, else a hash of the host name."""
    for path in ("/etc/machine-id", "/sys/class/dmi/id/product_uuid"):
        found = read(path)
        if found:
            return found
    return hashlib.sha256(hostname().encode()).hexdigest()[:32]


def boot_id(root: Path = ROOT) -> str:
    """Changes with every boot; empty where unknown."""
    return read(root / "proc/sys/kernel/random/boot_id")


def hostname() -> str:
    """The host's name."""
    return socket.gethostname()
