"""A network driver's own counters, through the kernel's ethtool interface.

Pauses and congestion marks are nowhere in ``/sys``. Reading needs no privilege
(``SIOCETHTOOL`` with ``ETHTOOL_GSSET_INFO``, ``ETHTOOL_GSTRINGS`` and ``ETHTOOL_GSTATS``,
include/uapi/linux/ethtool.h).
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37
_STATS = 1  # ETH_SS_STATS
_NAME = 32  # ETH_GSTRING_LEN
_MOST = 16384
"""Counters above which an answer is not believed."""


def statistics(interface: str) -> dict[str, int]:
    """The driver's counters by name; empty where it has none, or there is no such interface."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            count = _count(control, interface)
            if not 0 < count <= _MOST:
                return {}
            names = _ask(control, interface, struct.pack("=III", _GSTRINGS, _STATS, count), _NAME)
            values = _ask(control, interface, struct.pack("=II", _GSTATS, count), 8)
    except OSError:
        return {}
    found = {}
    for index in range(count):
        name = names[12 + index * _NAME :][:_NAME].partition(b"\0")[0].decode(errors="replace")
        (value,) = struct.unpack_from("=Q", values, 8 + 8 * index)
        found[name.strip()] = value
    return found


def _count(control: socket.socket, interface: str) -> int:
    """How many counters there are."""
    request = struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _STATS, 0)
    _, _, mask, count = struct.unpack("=IIQI", _call(control, interface, request))
    return int(count) if mask else 0


def _ask(control: socket.socket, interface: str, head: bytes, each: int) -> bytes:
    """The answer to a request that ends with how many items of ``each`` bytes follow."""
    (count,) = struct.unpack_from("=I", head, len(head) - 4)
    return _call(control, interface, head + bytes(count * each))


def _call(control: socket.socket, interface: str, request: bytes) -> bytes:
    buffer = array.array("B", request)
    name = interface.encode()[:15]
    fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP8x", name, buffer.buffer_info()[0]))
    return buffer.tobytes()
