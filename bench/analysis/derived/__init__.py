"""Metrics that no single case holds: a profile names them as it names a benchmark's."""

from __future__ import annotations

from .chain import CHAIN, SHOWN
from .declared import DECLARED
from .growth import GROWTH
from .pool import POOL
from .software import SOFTWARE
from .steady import STEADY
from .value import Derived, Table, Value

DERIVED: Table = {**SOFTWARE, **STEADY, **CHAIN, **GROWTH, **DECLARED, **POOL}
"""All derived metrics by (benchmark, metric)."""


def derived_metrics() -> dict[str, list[str]]:
    """The derived metrics by what stands for their benchmark."""
    found: dict[str, list[str]] = {}
    for benchmark, metric in DERIVED:
        found.setdefault(benchmark, []).append(metric)
    return found


__all__ = ["DERIVED", "SHOWN", "Derived", "Table", "Value", "derived_metrics"]
