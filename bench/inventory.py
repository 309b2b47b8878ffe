"""What the nodes say about themselves, as arrays that planning can do arithmetic on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .errors import UsageError
from .records import DeviceGroup, Node

Ints = npt.NDArray[np.int64]


class Inventory:
    """Nodes in order, devices of a node in order: a *rank* is a device's place in that order.

    Attributes:
        nodes: The nodes, or empty for a simulated fleet that `fleet` describes in one line.
        starts: int64[nodes + 1]; node ``i`` carries ranks ``starts[i]`` to ``starts[i + 1] - 1``.
        lanes: int64[ranks]; devices of equal lane are measured one after the other.
        machines: int64[nodes]; nodes of equal machine share one physical host.
        latency: Seconds of one hop inside a node and between nodes, where they are known.
    """

    def __init__(
        self,
        nodes: Sequence[Node] = (),
        fleet: DeviceGroup | None = None,
        latency: tuple[float, float] | None = None,
    ) -> None:
        self.nodes = list(nodes)
        self.latency = latency
        self.fleet = fleet
        if fleet is not None:
            self.starts = np.arange(fleet.count + 1, dtype=np.int64) * fleet.devices
            self.lanes = np.arange(fleet.count * fleet.devices, dtype=np.int64)
            self.machines = np.arange(fleet.count, dtype=np.int64)
            return
        counts = [len(node.devices) for node in self.nodes]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        machines = [node.machine or node.id for node in self.nodes]
        self.machines = _codes(machines)
        self.lanes = _codes(
            [
                f"{machine}/{device.lane or f'{node.id}:{device.index}'}"
                for node, machine in zip(self.nodes, machines, strict=True)
                for device in node.devices
            ]
        )

    @property
    def size(self) -> int:
        """Number of ranks."""
        return int(self.starts[-1])

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return int(self.starts.size - 1)

    def node_of(self, ranks: npt.ArrayLike) -> Ints:
        """Index of the node that carries each rank."""
        return np.searchsorted(self.starts, np.asarray(ranks), side="right") - 1

    def ranks_of(self, node: int) -> range:
        """The ranks of one node."""
        return range(int(self.starts[node]), int(self.starts[node + 1]))

    def name(self, node: int) -> str:
        """The node's name."""
        if self.fleet is not None:
            return f"{self.fleet.prefix}-{node:05d}"
        return self.nodes[node].name

    def rank_name(self, rank: int) -> str:
        """``node/device`` of a rank, as reports print it."""
        node = int(self.node_of(rank))
        return f"{self.name(node)}/{rank - int(self.starts[node])}"

    def chips(self) -> list[str | None]:
        """The distinct chips of all devices, in order of appearance."""
        if self.fleet is not None:
            return [self.fleet.chip]
        return list(dict.fromkeys(d.chip for node in self.nodes for d in node.devices))

    def stand_in(self) -> bool:
        """Whether any device only stands in for an accelerator."""
        return any(device.stand_in for node in self.nodes for device in node.devices)

    def numa(self) -> list[int]:
        """The NUMA nodes with cores that any node has, ascending; empty where none says."""
        found = (node.facts.get("numa") or {} for node in self.nodes)
        return sorted({int(one) for parts in found for one, part in parts.items() if part["cpus"]})

    def backends(self) -> list[str]:
        """The distinct backends of all nodes, in order of appearance."""
        if self.fleet is not None:
            return [self.fleet.backend]
        return list(dict.fromkeys(node.backend for node in self.nodes if node.backend))

    def shared_labels(self) -> dict[str, Ints]:
        """int64[nodes] by label: equal values have equal codes, -1 is a node without it.

        Only labels of which at least two nodes have the same value: others (a node's own name)
        divide nodes into nothing.
        """
        found = {}
        for key in sorted({key for node in self.nodes for key in node.labels}):
            codes = _codes([node.labels.get(key, "") for node in self.nodes])
            codes[[key not in node.labels for node in self.nodes]] = -1
            if np.unique(codes[codes >= 0]).size < (codes >= 0).sum():
                found[key] = codes
        return found

    def by_label(self, key: str) -> dict[str, list[int]]:
        """Nodes by the value of a label. Raises `UsageError` if no node carries it."""
        found: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            if key in node.labels:
                found.setdefault(node.labels[key], []).append(index)
        if not found:
            known = sorted({label for node in self.nodes for label in node.labels})
            raise UsageError(
                f"no node carries the label {key!r}",
                hint=f"labels here: {', '.join(known) or 'none'}; or use over: node, over: all",
            )
        return found


def _codes(values: Sequence[str]) -> Ints:
    """Equal strings get equal integers, in order of first appearance."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)
