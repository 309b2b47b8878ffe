"""Configurations that no device has tried and that promise something, timed beside the kernels as
the tables have them: what is faster may then be searched for. An entry goes when a device has
answered.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.kernels.space import Constants

FAMILY = "untried"
"""The family of their cells (`records.Cell`), and the first word of their names: of no bound, and
no rivals."""

_PROMISES: Mapping[tuple[str, str, str], tuple[str, tuple[Constants, ...]]] = {
    # With a sum in front of it the same norm gained by the first, and swiglu by the hint.
    ("sm_90", "rmsnorm", "forward"): (
        "rmsnorm",
        (
            {"rows": 4, "num_warps": 16, "num_stages": 1},
            {"rows": 2, "num_warps": 16, "num_stages": 1, "first_stores": 1},
        ),
    ),
}
"""Architecture, operation and variant → the key of the tables, and what is promising."""


def untried(arch: str | None, op: str, variant: str) -> dict[str, tuple[str, Constants]]:
    """Key and constants by a name; none where nothing is promised."""
    key, promising = _PROMISES.get((arch or "", op, variant), ("", ()))
    return {
        " ".join([FAMILY, *(f"{name}={value}" for name, value in one.items())]): (key, one)
        for one in promising
    }
