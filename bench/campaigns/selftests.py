"""What a selftest found on these devices, kept for a day: margins below its noise are refused."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ..analysis.gate.sequential import smallest_margin
from ..configs import Gate
from ..errors import UsageError
from ..files import replace_file
from ..gates import Judged
from ..headers import UNDECODABLE

KEPT = 24 * 3600.0
"""Seconds that a selftest holds: machines change."""


class Noise(msgspec.Struct, array_like=True, frozen=True):
    """Of a block of one metric: a relative standard deviation, found at so many seconds since
    1970."""

    at: float
    share: float


def place(devices: Sequence[str]) -> Path:
    """The file of these devices."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256("\n".join(devices).encode()).hexdigest()[:16]
    return Path(home, "hengsuan", "selftests", f"{digest}.json")


def keep(devices: Sequence[str], noise: dict[str, float]) -> None:
    """Remember what was found; what other selftests found of other metrics stays.

    Raises `OSError` where that cannot be written.
    """
    file, now = place(devices), time.time()
    found = _read(devices) | {name: Noise(now, share) for name, share in noise.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, msgspec.json.encode(found))


def known(devices: Sequence[str]) -> dict[str, float]:
    """Noise by metric, of the last `KEPT` seconds; empty: nobody has looked."""
    return {name: one.share for name, one in _read(devices).items()}


def _read(devices: Sequence[str]) -> dict[str, Noise]:
    try:
        found = msgspec.json.decode(place(devices).read_bytes(), type=dict[str, Noise])
    except (OSError, *UNDECODABLE):
        return {}
    now = time.time()
    return {name: one for name, one in found.items() if 0 <= now - one.at <= KEPT}


def untested(noise: Mapping[str, float], judged: Sequence[Judged]) -> str:
    """A note, where the selftests of the last day do not know all that was judged by statistics."""
    noisy = [one.name for one in judged if one.noise is not None and not one.exact]
    unknown = [name for name in noisy if name not in noise]
    if not unknown:
        return ""
    of = "" if len(unknown) == len(noisy) else f" of {len(unknown)} of {len(noisy)} metrics"
    return (
        f"no selftest of the last 24 hours{of} on these devices: whether the margins can be held "
        "here is not known (`hengsuan gate selftest`)"
    )


def refuse(gate: Gate, noise: Mapping[str, float]) -> None:
    """Raise `UsageError` for margins that the noise of selftests (`known`) does not allow."""
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
