"""The running host's addresses by interface, as collective libraries see them: getifaddrs(3).

`network.addresses` reads the kernel's files instead, also of a copied host, and leaves out
addresses that no network of the host holds (a container's /32).
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Interface(ctypes.Structure):
    """``struct ifaddrs``; what follows the address is of no interest."""


_Interface._fields_ = [
    ("next", ctypes.POINTER(_Interface)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]

_PLACE: dict[int, tuple[int, int]] = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}
"""Where an address lies in its ``struct sockaddr``: offset and length in bytes."""


def held() -> list[tuple[str, Address]]:
    """(interface, address) of every address of this host, loopback included.

    Raises:
        OSError: the kernel does not say.
    """
    library = ctypes.CDLL(None, use_errno=True)
    library.freeifaddrs.restype = None
    first = ctypes.POINTER(_Interface)()
    if library.getifaddrs(ctypes.byref(first)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    found = []
    try:
        entry = first
        while entry:
            one = entry.contents
            if one.address:
                family = ctypes.c_ushort.from_address(one.address).value
                if family in _PLACE:
                    offset, length = _PLACE[family]
                    raw = ctypes.string_at(one.address + offset, length)
                    found.append((os.fsdecode(one.name), ipaddress.ip_address(raw)))
            entry = one.next
    finally:
        library.freeifaddrs(first)
    return found


def interface_of(address: str) -> str:
    """The interface that carries an address; empty if none does, or it is no address."""
    try:
        wanted = ipaddress.ip_address(address)
        return next((name for name, one in held() if one == wanted), "")
    except (OSError, ValueError):
        return ""
