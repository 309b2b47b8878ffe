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
from .certify.table import units_of
from .graph import Floats, Ints
from .joining import base
from .summary import rows_by_case


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
    found: dict[int, Spread] = {}
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
        for one in _widest(inventory, kinds, case, device, degrees[known]):
            if one.node not in found or one.kelvin > found[one.node].kelvin:
                found[one.node] = one
    return [found[node] for node in sorted(found)]


def _widest(
    inventory: Inventory, kinds: Ints, case: Case, device: Ints, degrees: Floats
) -> list[Spread]:
    """Spreads during one case: one a node and kind of chip of which two devices are there."""
    told = ~np.isnan(degrees)
    device, degrees = device[told], degrees[told]
    order = np.lexsort((degrees, device))
    devices, start, count = np.unique(device[order], return_index=True, return_counts=True)
    if devices.size < 2:
        return []
    ordered = degrees[order]
    median = (ordered[start + (count - 1) // 2] + ordered[start + count // 2]) / 2
    node = inventory.node_of(devices)
    together = node * (int(kinds.max()) + 1) + kinds[devices]
    found = []
    order = np.lexsort((median, together))
    for part in np.split(order, np.flatnonzero(np.diff(together[order])) + 1):
        if part.size < 2:
            continue
        low, high = int(part[0]), int(part[-1])
        found.append(
            Spread(
                node=int(node[low]),
                name=inventory.name(int(node[low])),
                case=case.id,
                kelvin=float(median[high] - median[low]),
                hottest=inventory.rank_name(int(devices[high])),
                coolest=inventory.rank_name(int(devices[low])),
                high=float(median[high]),
                low=float(median[low]),
                devices=int(part.size),
            )
        )
    return found
