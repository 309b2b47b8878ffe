"""What the nodes say about themselves, as arrays that planning can do arithmetic on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from .errors import UsageError, unknown
from .records import Device, DeviceGroup, Node

Ints = npt.NDArray[np.int64]


class Inventory:
    """Nodes in order, devices of a node in order: a *rank* is a device's place in that order.

    Attributes:
        nodes: The nodes, or empty for a simulated fleet that `fleet` describes in one line.
        starts: int64[nodes + 1]; node ``i`` carries ranks ``starts[i]`` to ``starts[i + 1] - 1``.
        lanes: int64[ranks]; devices of equal lane are measured one after the other.
        machines: int64[nodes]; nodes of equal machine share one physical host.
        latency: Seconds of one hop inside a node and between nodes, where they are known.
        notes: What a reader of its plan must know, in sentences.
    """

    def __init__(
        self,
        nodes: Sequence[Node] = (),
        fleet: DeviceGroup | None = None,
        latency: tuple[float, float] | None = None,
        notes: Sequence[str] = (),
        *,
        kept: npt.ArrayLike | None = None,
    ) -> None:
        self.nodes = list(nodes)
        self.notes = list(notes)
        self.latency = latency
        self.fleet = fleet
        self._kinds: tuple[Ints, list[str]] | None = None
        self._named: dict[str, list[int]] | None = None
        self._parts: dict[str, tuple[Ints, Inventory]] = {}
        self._kept: Ints | None = None
        if fleet is not None:
            if kept is not None:
                self._kept = np.asarray(kept, dtype=np.int64)
            count = fleet.count if self._kept is None else self._kept.size
            self.starts = np.arange(count + 1, dtype=np.int64) * fleet.devices
            self.lanes = np.arange(count * fleet.devices, dtype=np.int64)
            self.machines = np.arange(count, dtype=np.int64)
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

    @property
    def occupied(self) -> Ints:
        """int64: the nodes that have devices. Others answered, and have nothing to be measured."""
        return np.flatnonzero(np.diff(self.starts) > 0)

    def node_of(self, ranks: npt.ArrayLike) -> Ints:
        """Index of the node that carries each rank."""
        return np.searchsorted(self.starts, np.asarray(ranks), side="right") - 1

    def ranks_of(self, node: int) -> range:
        """The ranks of one node."""
        return range(int(self.starts[node]), int(self.starts[node + 1]))

    def name(self, node: int) -> str:
        """The node's name."""
        if self.fleet is not None:
            return self.fleet.name(self._in_fleet(node))
        return self.nodes[node].name

    def named(self, name: str) -> list[int]:
        """The nodes of a name: none where it is unknown, several where they share it."""
        if self._named is None:
            self._named = {}
            for node in range(self.node_count):
                self._named.setdefault(self.name(node), []).append(node)
        return self._named.get(name, [])

    def _in_fleet(self, node: int) -> int:
        return node if self._kept is None else int(self._kept[node])

    def on_nodes(self, nodes: npt.ArrayLike) -> Inventory:
        """Some of the nodes alone, counted anew in the order given."""
        chosen = np.asarray(nodes, dtype=np.int64)
        if self.fleet is None:
            return Inventory([self.nodes[node] for node in chosen.tolist()], latency=self.latency)
        kept = chosen if self._kept is None else self._kept[chosen]
        return Inventory(fleet=self.fleet, latency=self.latency, kept=kept)

    def rank_name(self, rank: int) -> str:
        """``node/device`` of a rank, as reports print it."""
        node = int(self.node_of(rank))
        return f"{self.name(node)}/{rank - int(self.starts[node])}"

    def chip(self, rank: int) -> str | None:
        """The chip that a rank is judged as; None where no datasheet fits."""
        if self.fleet is not None:
            return self.fleet.chip
        return self.device(rank).judged_as

    def device(self, rank: int) -> Device:
        """The device of a rank. Not of a fleet, which has no devices one by one."""
        node = int(self.node_of(rank))
        return self.nodes[node].devices[rank - int(self.starts[node])]

    def chips(self) -> list[str | None]:
        """The distinct chips of all devices, in order of appearance."""
        if self.fleet is not None:
            return [self.fleet.chip]
        return list(dict.fromkeys(d.judged_as for node in self.nodes for d in node.devices))

    def kinds(self) -> tuple[Ints, list[str]]:
        """int64[ranks], equal for chips of one kind; the kinds by name, in order of appearance.

        A kind is called as its chip, without a datasheet as its backend. The same chip under two
        backends is two kinds, for their collective libraries cannot meet.
        """
        if self._kinds is None:
            self._kinds = self._count_kinds()
        return self._kinds

    def _count_kinds(self) -> tuple[Ints, list[str]]:
        if self.fleet is not None:
            return np.zeros(self.size, dtype=np.int64), [self.fleet.chip]
        each = [(d.backend, d.judged_as or d.backend) for node in self.nodes for d in node.devices]
        found = list(dict.fromkeys(each))
        known = {kind: code for code, kind in enumerate(found)}
        called = Counter(chip for _, chip in found)
        names = [chip if called[chip] == 1 else f"{backend}/{chip}" for backend, chip in found]
        return np.array([known[kind] for kind in each], dtype=np.int64), names

    def mixes(self) -> list[str]:
        """Kinds that meet as ``a+b``: those of each backend, then backends. None in one kind."""
        codes, names = self.kinds()
        if len(names) < 2:
            return []
        backends = [d.backend for node in self.nodes for d in node.devices]
        of = {
            backend: dict.fromkeys(
                names[code]
                for code, one in zip(codes.tolist(), backends, strict=True)
                if one == backend
            )
            for backend in dict.fromkeys(backends)
        }
        found = ["+".join(kinds) for kinds in of.values() if len(kinds) > 1]
        return found + (["+".join(of)] if len(of) > 1 else [])

    def party(self, on: str) -> Ints:
        """int64[ranks]: 0 on a kind; on a mix ``a+b`` the place of the rank's name; else -1.

        Raises `UsageError` for a name that no kind and no backend here has.
        """
        codes, names = self.kinds()
        wanted = on.split("+")
        kinds = [names[code] for code in codes.tolist()]
        # A mix names kinds of one backend or backends; a name may be both.
        backends = kinds
        if len(wanted) > 1 and not set(wanted) <= set(names):
            backends = [device.backend for node in self.nodes for device in node.devices]
        known = {name: place for place, name in enumerate(wanted)}
        if missing := [name for name in wanted if name not in {*kinds, *backends}]:
            raise unknown("kind of chip", missing[0], names)
        return np.array([known.get(one, -1) for one in backends], dtype=np.int64)

    def part(self, on: str) -> tuple[Ints, Inventory]:
        """`party`, and the same nodes with the devices in it alone: their ranks counted anew."""
        if on not in self._parts:
            party = self.party(on)
            kept = iter((party >= 0).tolist())
            nodes = [
                msgspec.structs.replace(
                    node, devices=tuple(device for device in node.devices if next(kept))
                )
                for node in self.nodes
            ]
            self._parts[on] = party, Inventory(nodes, latency=self.latency)
        return self._parts[on]

    def library(self, ranks: npt.ArrayLike) -> str:
        """The collective library of a group of these ranks.

        That of their backend; over several backends, gloo, which every torch has: the vendors'
        libraries cannot meet, also where two go by one name. Empty in a simulated fleet.
        """
        if self.fleet is not None:
            return ""
        nodes = [self.nodes[node] for node in np.unique(self.node_of(ranks)).tolist()]
        if len({node.backend for node in nodes}) > 1:
            return "gloo"
        return nodes[0].collectives if nodes else ""

    def weak(self) -> bool:
        """Whether any device is far slower than an accelerator."""
        return any(device.weak for node in self.nodes for device in node.devices)

    def numa(self) -> list[int]:
        """The NUMA nodes with cores that any node has, ascending; empty where none says."""
        found = (node.facts.get("numa") or {} for node in self.nodes)
        return sorted({int(one) for parts in found for one, part in parts.items() if part["cpus"]})

    def backends(self) -> list[str]:
        """The distinct backends of all nodes, in order of appearance."""
        if self.fleet is not None:
            return [self.fleet.backend]
        return list(dict.fromkeys(node.backend for node in self.nodes if node.backend))

    def labels(self) -> list[str]:
        """Every label that some node carries, in alphabetical order."""
        if self.fleet is not None:
            return sorted(self.fleet.labels)
        return sorted({key for node in self.nodes for key in node.labels})

    def label(self, key: str) -> tuple[Ints, list[str]]:
        """int64[nodes], equal for equal values of a label and -1 without it; its values by code.

        Raises `UsageError` if no node carries it.
        """
        if self.fleet is not None and key in self.fleet.labels:
            every = np.arange(self.fleet.count) if self._kept is None else self._kept
            found, codes = np.unique(every // self.fleet.labels[key], return_inverse=True)
            return codes, [f"{key}-{code:04d}" for code in found.tolist()]
        carried = [node.labels[key] for node in self.nodes if key in node.labels]
        if not carried:
            raise UsageError(
                f"no node carries the label {key!r}",
                hint=f"labels here: {', '.join(self.labels()) or 'none'}; --labels FILE gives more",
            )
        values = list(dict.fromkeys(carried))
        known = {value: code for code, value in enumerate(values)}
        mine = [known[node.labels[key]] if key in node.labels else -1 for node in self.nodes]
        return np.array(mine, dtype=np.int64), values

    def label_counts(self) -> dict[str, dict[str, int]]:
        """By label: how many nodes have each of its values."""
        found = {}
        for key in self.labels():
            codes, values = self.label(key)
            counts = np.bincount(codes[codes >= 0], minlength=len(values)).tolist()
            found[key] = dict(zip(values, counts, strict=True))
        return found

    def shared_labels(self) -> dict[str, Ints]:
        """`label`'s codes of every label of which at least two nodes have the same value.

        Others (a node's own name) divide nodes into nothing.
        """
        found = {key: self.label(key)[0] for key in self.labels()}
        return {
            key: codes
            for key, codes in found.items()
            if np.unique(codes[codes >= 0]).size < (codes >= 0).sum()
        }

    def by_label(self, key: str) -> dict[str, list[int]]:
        """Nodes by the value of a label. Raises `UsageError` if no node carries it."""
        codes, values = self.label(key)
        order = np.argsort(codes, kind="stable")
        runs = np.split(order, np.searchsorted(codes[order], np.arange(len(values))))[1:]
        return {value: run.tolist() for value, run in zip(values, runs, strict=True)}


def _codes(values: Sequence[str]) -> Ints:
    """Equal strings get equal integers, in order of first appearance."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)
