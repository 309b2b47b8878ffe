"""The page cache: dropping a file's part of it, and how much of a file is in it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

PAGE = mmap.PAGESIZE
FOLIO = PAGE << 11
"""Bytes that the kernel keeps in one piece, at most."""
_END = (1 << 63) - 1 - FOLIO
"""Behind the end of every file."""
Ranges = Iterable[tuple[int, int]]
"""(offset, length) in bytes."""


def drop(path: str | Path, ranges: Ranges = ((0, 0),)) -> None:
    """Ask the kernel to forget what it keeps of a file; a length of 0 reaches to its end.

    Written pages are put on the disk first, for only then can they be forgotten. What a process
    has mapped stays. Pieces (folios) that are not in a range whole would stay too, and may be of
    many pages (Linux 5.18, of ext4 6.16): so what lies beside a range is forgotten with it. Some
    file systems keep a cache of their own, which is not asked: `resident` tells of the kernel's
    only. Raises OSError if the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # nothing to write on a read-only file system
            os.fsync(descriptor)
        for first, end in _whole(ranges):
            os.posix_fadvise(descriptor, first, end - first, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _whole(ranges: Ranges) -> list[tuple[int, int]]:
    """(begin, end) of ranges in order that do not meet, each of whole folios."""
    made: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        first = offset // FOLIO * FOLIO
        end = -(-(offset + length) // FOLIO) * FOLIO if length else _END
        if made and first <= made[-1][1]:
            made[-1] = made[-1][0], max(made[-1][1], end)
        else:
            made.append((first, end))
    return made


def resident(path: str | Path, ranges: Ranges = ((0, 0),)) -> float | None:
    """Share of a file's pages in these ranges that are in the page cache; None if unknown.

    What lies behind its end, as it may have become shorter, does not count. Where the kernel does
    not tell strangers (a file of somebody else), it says that all are (``man 2 mincore``).
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return None
        # Private, as that need not be read-only, which ctypes could not take the address of.
        with mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as view:
            handle = ctypes.c_char.from_buffer(view)
            try:
                return _resident(ctypes.addressof(handle), size, ranges)
            finally:
                del handle  # a view that something points into cannot be closed


def _resident(address: int, size: int, ranges: Ranges) -> float | None:
    mincore = ctypes.CDLL(None).mincore
    seen = whole = 0
    for offset, length in ranges:
        first = offset // PAGE * PAGE
        span = max(0, min(size, offset + length if length else size) - first)
        told = (ctypes.c_ubyte * -(-span // PAGE))()
        if mincore(ctypes.c_void_p(address + first), ctypes.c_size_t(span), told):
            return None
        seen += sum(one & 1 for one in told)
        whole += len(told)
    return seen / whole if whole else None
