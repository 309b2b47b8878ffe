"""Which cases of a run a line of a profile means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..configs import ProfileMetric
from ..errors import UsageError
from ..records import Case, Header
from ..units import parse_size


def selected(line: ProfileMetric, cases: Sequence[Case], header: Header) -> list[Case]:
    """Those of ``cases`` that the line means, in their order.

    Raises `UsageError` where it asks for the largest of an axis that has no order.
    """
    found = [
        case
        for case in cases
        if (case.benchmark, case.metric) == (line.benchmark, line.metric)
        and all(
            wanted == "largest" or _matches(_said(case, header).get(key), wanted)
            for key, wanted in line.where.items()
        )
    ]
    for axis in (axis for axis, wanted in line.where.items() if wanted == "largest"):
        extents = [_extent(case, axis) for case in found]
        largest = max(extents, default=0)
        found = [one for one, extent in zip(found, extents, strict=True) if extent == largest]
    return found


def _said(case: Case, header: Header) -> dict[str, Any]:
    """What a line may ask about: axes, and where the case is measured."""
    return {**header.schedules[case.schedule].arguments, **case.axes}


def _matches(value: Any, wanted: Any) -> bool:
    return str(value) in map(str, wanted if isinstance(wanted, list) else [wanted])


def _extent(case: Case, axis: str) -> int:
    """Bytes of a size, elements of a shape."""
    value = case.axes.get(axis)
    try:
        if isinstance(value, str) and "x" in value:
            return int(np.prod([int(part) for part in value.split("x")], dtype=object))
        return parse_size(value)  # type: ignore[arg-type]
    except ValueError:
        raise UsageError(
            f"{case.label()} has no largest {axis}: {value!r} is neither a size nor a shape",
            hint="name the values in the profile",
        ) from None
