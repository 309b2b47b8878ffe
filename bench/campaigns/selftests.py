"""What a selftest found on these devices, kept for a day: margins below its noise are refused."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..analysis.gate.sequential import smallest_margin
from ..configs import Gate
from ..errors import UsageError
from ..files import replace_file

KEPT = 24 * 3600.0
"""Seconds that a selftest holds: machines change."""


class Selftest(msgspec.Struct, kw_only=True, frozen=True):
    """Noise of a block by metric: relative standard deviations. ``at``: seconds since 1970."""

    at: float
    noise: dict[str, float]


def place(devices: Sequence[str]) -> Path:
    """The file of these devices."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256("\n".join(devices).encode()).hexdigest()[:16]
    return Path(home, "hengsuan", "selftests", f"{digest}.json")


def keep(devices: Sequence[str], noise: dict[str, float]) -> None:
    """Remember what was found. Raises `OSError` where that cannot be written."""
    file = place(devices)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, msgspec.json.encode(Selftest(at=time.time(), noise=noise)))


def known(devices: Sequence[str]) -> dict[str, float] | None:
    """Noise by metric, of the last `KEPT` seconds; None: nobody has looked."""
    try:
        found = msgspec.json.decode(place(devices).read_bytes(), type=Selftest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.noise if 0 <= time.time() - found.at <= KEPT else None


def refuse(gate: Gate, devices: Sequence[str]) -> str:
    """Raise `UsageError` for margins that the last selftest's noise does not allow.

    Returns:
        A note where there was none of the last day; empty else.
    """
    noise = known(devices)
    if noise is None:
        return (
            "no selftest of the last 24 hours on these devices: whether the margins can be held "
            "here is not known (`hengsuan gate selftest`)"
        )
    most = gate.blocks[-1]
    bad = [
        f"{name}: {line.margin:.1%} is asked for, {least:.1%} can be held by {most} blocks"
        for name, one in noise.items()
        if (line := gate.line(name)) is not None
        and not line.exact
        and (least := smallest_margin(one, most)) > line.margin
    ]
    if bad:
        more = "; ..." if len(bad) > 5 else ""
        raise UsageError(
            f"margins of gate {gate.name} are below the noise here: {'; '.join(bad[:5])}{more}",
            hint="widen them, allow more blocks, or quiet the machine and repeat the selftest",
        )
    return ""
