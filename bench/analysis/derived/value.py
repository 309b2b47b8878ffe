"""A metric that no single case holds: computed of several, or declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from ...records import Better
from ...stats import share_interval
from ..estimates import over as ratio
from ..subject import Subject
from ..summary import CaseSummary


class Value(msgspec.Struct, kw_only=True, frozen=True):
    """What was found: ``value`` with its 95 % interval, None where ``absent`` says why.

    ``reference`` is what datasheets say it could be, and ``reference_from`` which. ``coverage`` is
    the share of what it is about that was measured, ``values`` how many values the interval rests
    on. ``detail`` says what it is made of.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    values: int = 0
    coverage: float = 1.0
    reference: float | None = None
    reference_from: str = ""
    provenance: str = ""
    run: str = ""
    absent: str = ""
    detail: str = ""


class Derived(msgspec.Struct, kw_only=True, frozen=True):
    """A derived metric: unit, which way is better, what it means, and how it is found.

    ``formula`` and ``source`` as of `records.Measure`.
    """

    unit: str
    better: Better = "higher"
    about: str
    formula: str = ""
    source: str = ""
    find: Callable[[Subject], Value]


Table: TypeAlias = "dict[tuple[str, str], Derived]"
"""Derived metrics by (benchmark, metric), as a profile's line names them."""


def absent(why: str) -> Value:
    """Nothing, and why."""
    return Value(absent=why)


def shared(
    hits: float, total: float, coverage: float = 1.0, units: int | None = None, **said: str
) -> Value:
    """A share, ``hits`` of ``total`` > 0, with its interval; ``said`` are further fields.

    Where what is counted comes in ``units`` of one fate, the interval is one of so many.
    """
    independent = total if units is None else min(units, total)
    low, high = share_interval(hits / total * independent, independent)
    return Value(
        value=hits / total,
        low=low,
        high=high,
        values=int(independent),
        coverage=coverage,
        provenance=said["provenance"],
        run=said["run"],
        detail=said["detail"],
    )


def quotient(over: CaseSummary, under: CaseSummary) -> tuple[float, float | None, float | None]:
    """(a/b, its lowest, its highest) of two medians (`estimates.over`)."""
    assert under.median
    found = ratio(over.known, under.known)
    return found.value, found.low, found.high
