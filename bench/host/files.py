"""Reading what the kernel writes: small files below ``/sys`` and ``/proc``, or a copy of them.

Readers that describe a host take the root below which they look, so that a made tree can be
described as a real one is. What cannot be read is empty, never an error: containers hide much.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")


def read(path: str | Path) -> str:
    """The file's text without surrounding white space; empty where it cannot be read."""
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""


def number(path: str | Path) -> int | None:
    """The file's whole number, which may be negative; None where there is none."""
    try:
        return int(read(path), 0)
    except ValueError:
        return None


def entries(folder: Path, pattern: str = "*") -> list[Path]:
    """What a folder holds, by name; empty where it cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def target(link: Path) -> str:
    """The name of what a symbolic link points to; empty where it is none."""
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return ""
