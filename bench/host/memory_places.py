"""Where processes that this one starts have their memory: at random places, or at fixed ones."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ASK = 0xFFFFFFFF
_FIXED = 0x0040000
"""ADDR_NO_RANDOMIZE of personality(2)."""


@contextmanager
def fixed_places() -> Iterator[bool]:
    """What this thread starts inside, and all that comes of it, has its memory at fixed places.

    Linux gives every program other addresses each time, and how fast a loop runs depends on them:
    two processes of the same code may differ by several per cent for as long as they live
    (Mytkowicz et al., Producing Wrong Data Without Doing Anything Obviously Wrong, 2009). Sides of
    a comparison must not differ by such luck.

    Yields:
        Whether the kernel agreed; elsewhere, and where a container forbids it, places stay random.
    """
    before = _personality(_ASK) if sys.platform == "linux" else -1
    if before < 0 or _personality(before | _FIXED) < 0:
        yield False
        return
    try:
        yield True
    finally:
        _personality(before)


def _personality(wanted: int) -> int:
    """The one before; negative where it cannot be changed."""
    try:
        return int(ctypes.CDLL(None).personality(ctypes.c_ulong(wanted)))
    except (AttributeError, OSError):
        return -1
