"""How unevenly the devices of a node get warm at the same work: a matter of its cooling.

Devices of one chip that do the same draw the same power, so that what differs is how well each is
cooled. From the conditions of rows, whose temperatures are rounded to 5 °C.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ..inventory import Inventory
from ..records import Case, Header
from ..results import Columns
from ..rounds import schedule_for
from .graph import Floats, Ints
from .joining import base
from .summary import rows_by_case
from .table import units_of


class Spread(msgspec.Struct, kw_only=True, frozen=True):
    """The widest spread over the devices of one kind on a node, during one case.

    ``kelvin`` is the hottest minus the coolest of ``devices`` devices, each by the median of what
    was seen when its measurements of ``case`` ended. ``hottest`` and ``coolest`` are their names,
    ``high`` and ``low`` their temperatures in °C.
    """

    node: int
    name: str
    case: int
    kelvin: float
    hottest: str
    coolest: str
    high: float
    low: float
    devices: int

    def text(self, case: Case) -> str:
        """The sentence that reports print."""
        return (
            f"{self.devices} devices differ by {self.kelvin:g} K during {case.short()}: "
            f"{self.hottest} {self.high:g} °C, {self.coolest} {self.low:g} °C"
        )


def temperature_spread(header: Header, columns: Columns, inventory: Inventory) -> list[Spread]:
    """The widest spread of every node on which two alike devices told their temperatures.

    In the order of the inventory. Stages of different names are different work: a device that was
    measured again was warmed by something else before.
    """
    after = [one.temperature[1] for one in header.conditions]
    # The last is of rows without conditions.
    degrees = np.array([np.nan if one is None else one for one in (*after, None)])
    kinds, _ = inventory.kinds()
    rows = rows_by_case(columns, len(header.cases))
    found: dict[int, tuple[_Widest, Case]] = {}
    widest = np.full(inventory.node_count, -1.0)
    jobs: set[tuple[str, int]] = set()
    for case in header.cases:
        # The metrics of a benchmark share their conditions.
        job = (msgspec.json.encode((case.stage, case.benchmark, case.axes)).decode(), case.schedule)
        if case.scope != "device" or job in jobs or base(case.stage) != case.stage:
            continue
        jobs.add(job)
        groups, unit = units_of(schedule_for(header.schedules[case.schedule], inventory), inventory)
        mine = rows[case.id]
        met = columns.conditions[mine]
        known = np.where((met >= 0) & (met < len(after)), met, -1)
        device = unit[np.searchsorted(groups, columns.group[mine])]
        one = _widest(inventory, kinds, device, degrees[known])
        for place in np.flatnonzero(one.kelvin > widest[one.node]).tolist():
            node, kelvin = int(one.node[place]), float(one.kelvin[place])
            if kelvin > widest[node]:  # a node with two kinds of chip is there twice
                widest[node], found[node] = kelvin, (one.at(place), case)
    return [one.spread(inventory, case) for _, (one, case) in sorted(found.items())]


class _Widest(msgspec.Struct, kw_only=True):
    """During one case, for each node and kind of chip: arrays of one length, as in `Spread`."""

    node: Ints
    kelvin: Floats
    hottest: Ints
    coolest: Ints
    high: Floats
    low: Floats
    devices: Ints

    def at(self, place: int) -> _Widest:
        """One of them."""
        return _Widest(**{key: getattr(self, key)[[place]] for key in self.__struct_fields__})

    def spread(self, inventory: Inventory, case: Case) -> Spread:
        """The only one, with names."""
        node = int(self.node[0])
        return Spread(
            node=node,
            name=inventory.name(node),
            case=case.id,
            kelvin=float(self.kelvin[0]),
            hottest=inventory.rank_name(int(self.hottest[0])),
            coolest=inventory.rank_name(int(self.coolest[0])),
            high=float(self.high[0]),
            low=float(self.low[0]),
            devices=int(self.devices[0]),
        )


def _widest(inventory: Inventory, kinds: Ints, device: Ints, degrees: Floats) -> _Widest:
    """Spreads during one case: one a node and kind of chip of which two devices are there."""
    told = ~np.isnan(degrees)
    device, degrees = device[told], degrees[told]
    order = np.lexsort((degrees, device))
    devices, start, count = np.unique(device[order], return_index=True, return_counts=True)
    ordered = degrees[order]
    median = (ordered[start + (count - 1) // 2] + ordered[start + count // 2]) / 2
    node = inventory.node_of(devices)
    together = node * (int(kinds.max(initial=0)) + 1) + kinds[devices]
    order = np.lexsort((median, together))
    _, first, size = np.unique(together[order], return_index=True, return_counts=True)
    first, size = first[size > 1], size[size > 1]
    coolest, hottest = order[first], order[first + size - 1]
    return _Widest(
        node=node[coolest],
        kelvin=median[hottest] - median[coolest],
        hottest=devices[hottest],
        coolest=devices[coolest],
        high=median[hottest],
        low=median[coolest],
        devices=size,
    )
