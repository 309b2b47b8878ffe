"""Which cases of a run a line of a profile means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..configs import ProfileMetric
from ..errors import UsageError
from ..inventory import Inventory
from ..records import Case, Header, ScheduleSpec
from ..units import parse_size

SPAN = "span"
"""What a line may ask of groups that no argument says: `Spans`."""


def selected(line: ProfileMetric, cases: Sequence[Case], header: Header) -> list[Case]:
    """Those of ``cases`` that the line means, in their order.

    Raises `UsageError` where it asks for the largest of an axis that has no order.
    """
    found = [
        case for case in cases if (case.benchmark, case.metric) == (line.benchmark, line.metric)
    ]
    spans = Spans(header) if found and SPAN in line.where else None
    found = [
        case
        for case in found
        if all(
            wanted == "largest" or _matches(_said(case, header, spans).get(key), wanted)
            for key, wanted in line.where.items()
        )
    ]
    for axis in (axis for axis, wanted in line.where.items() if wanted == "largest"):
        extents = [_extent(case, axis) for case in found]
        largest = max(extents, default=0)
        found = [one for one, extent in zip(found, extents, strict=True) if extent == largest]
    return found


def _said(case: Case, header: Header, spans: Spans | None) -> dict[str, Any]:
    """What a line may ask about: axes, and where the case is measured."""
    spec = header.schedules[case.schedule]
    span = {} if spans is None else {SPAN: spans.of(spec)}
    return {**spec.arguments, **span, **case.axes}


class Spans:
    """Whether groups lie in one node each (``node``), or over several (``nodes``); empty where
    some do and some do not."""

    def __init__(self, header: Header) -> None:
        self._inventory = Inventory(header.nodes, header.fleet)
        self._most = int(np.diff(self._inventory.starts).max(initial=0))
        self._nodes = self._inventory.occupied.size

    def of(self, spec: ScheduleSpec) -> str:
        """``node``, ``nodes`` or nothing, of a schedule's groups."""
        said = spec.arguments
        if self._nodes < 2 or spec.kind in ("devices", "nodes"):
            return "node"
        if spec.kind == "listed":
            return self._listed(said["groups"])
        if spec.kind == "growing":
            return "node" if said.get("devices", 0) <= self._most else "nodes"
        if spec.kind != "pairs" or said.get("of") == "node" or self._most < 2:
            return "nodes"
        within, across = said.get("within"), said.get("across")
        if within == "node":
            return "node"
        # Devices of equal place are in different nodes, as are those of different labels.
        apart = within == "rail" or across not in (None, "rail")
        return "nodes" if apart else ""

    def _listed(self, groups: Sequence[Sequence[int]]) -> str:
        spread = {len(set(self._inventory.node_of(list(one)).tolist())) > 1 for one in groups}
        if len(spread) != 1:
            return ""
        return "nodes" if True in spread else "node"


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
