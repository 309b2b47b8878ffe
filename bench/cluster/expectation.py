"""What `Benchmark.expected` may know of a group: the datasheet, and where its ranks lie."""

from __future__ import annotations

from ..configs import Chip, undisputed
from ..groups import Schedule
from ..inventory import Inventory
from ..records import ScheduleSpec
from ..workloads.base import Facts
from ..workloads.placement import class_of


def alike(spec: ScheduleSpec, inventory: Inventory) -> bool:
    """Whether the groups of a schedule span equally many nodes.

    A pair of devices may be in one node or in two, and no single figure is expected of it.
    """
    by_device = spec.kind == "pairs" and spec.arguments["of"] == "device"
    nodes = inventory.occupied.size
    if not by_device or nodes < 2 or inventory.size == nodes:
        return True
    way, key = class_of(spec)
    # Devices of equal place are in different nodes, as are those of different labels.
    return key == "node" or (way, key == "rail") in (("within", True), ("across", False))


def facts_of(
    spec: ScheduleSpec,
    schedule: Schedule,
    inventory: Inventory,
    chip: Chip | None,
    *,
    ranks: int,
    nodes: int,
) -> Facts:
    """Facts that hold for every group of ``ranks`` ranks on ``nodes`` nodes of the schedule."""
    chip = undisputed(chip) if chip is not None else None
    # Rails that are measured at the same time share the network of their nodes.
    shares = schedule.size if spec.kind == "rails" and not schedule.alone else 1
    link = chip.link.value if chip and chip.link else None
    network = chip.network.value if chip and chip.network else None
    return Facts(
        chip=chip,
        ranks=ranks,
        nodes=nodes,
        per_node=max(1, ranks // max(1, nodes)),
        link=link,
        network=network / shares if network else None,
        link_latency=inventory.latency[0] if inventory.latency else None,
        network_latency=inventory.latency[1] if inventory.latency else None,
    )
