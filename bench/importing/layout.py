"""The nodes and devices that logs name, as an inventory, and their groups as ranks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ..backends.registry import match_chip
from ..configs import Chip
from ..inventory import Inventory
from ..records import Device, Node
from .found import Ints, Log, Part, Place, Rows

_DIGITS = re.compile(r"(\d+)")


class Layout:
    """The nodes of some logs, and their groups as ranks."""

    def __init__(self, logs: Sequence[Log], chips: Mapping[str, Chip]) -> None:
        devices: dict[str, dict[str, Part]] = {}
        for log in logs:
            for place, part in log.devices.items():
                devices.setdefault(place.node, {}).setdefault(place.device, part)
        nodes = [_node(name, devices[name], chips) for name in sorted(devices, key=_natural)]
        self.inventory = Inventory(nodes)
        self._ranks: dict[Place, int] = {}
        for node in nodes:
            for device, _ in _ordered(devices[node.name]):
                self._ranks[Place(node.name, device)] = len(self._ranks)
        self.members: dict[tuple[int, ...], int] = {}
        """Groups by their ranks, ascending."""
        self._known: dict[int, Ints] = {}

    def groups(self, log: Log, rows: Rows) -> Ints:
        """int64[rows]: the number of each row's group."""
        known = self._known.get(id(log))
        if known is None:
            found = [tuple(sorted(self._ranks[place] for place in group)) for group in log.groups]
            known = np.array(
                [self.members.setdefault(ranks, len(self.members)) for ranks in found],
                dtype=np.int64,
            )
            self._known[id(log)] = known
        return np.asarray(known[rows.group])

    def extent(self, ranks: Sequence[int]) -> tuple[int, int]:
        """(ranks, nodes) of a group."""
        return len(ranks), len(set(self.inventory.node_of(list(ranks)).tolist()))


def _node(name: str, devices: Mapping[str, Part], chips: Mapping[str, Chip]) -> Node:
    """A node with its devices in the order of their indices, then of their bus ids."""
    ordered = _ordered(devices)
    indices = [part.number for _, part in ordered]
    own = len(set(indices)) == len(indices)
    made = []
    for place, (_, part) in enumerate(ordered):
        chip = chips.get(part.name) or match_chip(part.name, chips.values())
        # Without a datasheet devices are of one kind that call themselves alike.
        backend = "imported" if chip is not None else part.name or "unknown"
        made.append(
            Device(
                index=part.number if own else place,
                backend=backend,
                name=part.name or "unknown",
                chip=chip.name if chip is not None else None,
            )
        )
    return Node(id=name, name=name, devices=tuple(made))


def _ordered(devices: Mapping[str, Part]) -> list[tuple[str, Part]]:
    return sorted(devices.items(), key=lambda one: (one[1].number, _natural(one[0])))


def _natural(text: str) -> list[tuple[int, str]]:
    """Orders ``gpu-2`` before ``gpu-10``; numbers by their length, however long they are."""
    parts = _DIGITS.split(text)
    numbers = [part.lstrip("0") if part.isdecimal() else None for part in parts]
    return [
        (-1, part) if number is None else (len(number), number)
        for part, number in zip(parts, numbers, strict=True)
    ]
