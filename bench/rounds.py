"""Schedules: rules that yield the groups of ranks that a case is measured on.

A schedule never lists its groups; it yields them round by round when asked. Groups of one round
run at the same time: they share no rank and, on hosts whose devices share cores, no lane.
The id of a group is arithmetic, so a stored row can be turned back into its ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from .errors import UsageError
from .groups import Groups, Round, Schedule, by_size
from .inventory import Ints, Inventory
from .matchings import Across, Circle, Class, Matching, Topology, Within
from .records import ScheduleSpec


class EachDevice(Schedule):
    """Every device by itself, some of them, or those of one kind of chip; group id = rank."""

    def __init__(
        self, inventory: Inventory, on: str | None = None, ranks: list[int] | None = None
    ) -> None:
        super().__init__(inventory)
        self._ranks = np.arange(inventory.size, dtype=np.int64)
        if ranks is not None:
            self._ranks = np.array(sorted(ranks), dtype=np.int64)
        if on is not None:
            self._ranks = self._ranks[inventory.party(on)[self._ranks] == 0]
        self.size = self._ranks.size
        self.width = 1 if self.size else 0

    def rounds(self) -> Iterator[Round]:
        yield [Groups(self._ranks, self._ranks[:, None])]

    def members(self, group: int) -> tuple[int, ...]:
        return (group,)

    def first(self) -> tuple[int, ...]:
        return (int(self._ranks[0]),)


class NodeSets(Schedule):
    """Groups made of whole nodes: each node, all nodes, or the nodes of equal label."""

    def __init__(self, inventory: Inventory, sets: list[list[int]]) -> None:
        super().__init__(inventory)
        self.sets = sets
        self.size = len(sets)
        counts = np.diff(inventory.starts)
        self._sizes = np.array([int(counts[nodes].sum()) for nodes in sets], dtype=np.int64)
        self.width = int(self._sizes.max(initial=0))

    @property
    def count(self) -> int:
        """Sets that have a device."""
        return int(np.count_nonzero(self._sizes))

    def first(self) -> tuple[int, ...]:
        return self.members(int(np.flatnonzero(self._sizes)[0]))

    def rounds(self) -> Iterator[Round]:
        yield by_size([(group, self.members(group)) for group in range(self.size)])

    def members(self, group: int) -> tuple[int, ...]:
        return tuple(r for node in self.sets[group] for r in self.inventory.ranks_of(node))


class EachNode(NodeSets):
    """Every node's devices together; group id = node index. Arithmetic on fleets of any size."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory, [])
        self._sizes = np.diff(inventory.starts)
        self.size = inventory.node_count
        self.width = int(self._sizes.max(initial=0))

    def rounds(self) -> Iterator[Round]:
        batches = []
        for size in np.unique(self._sizes[self._sizes > 0]):
            ids = np.flatnonzero(self._sizes == size).astype(np.int64)
            ranks = self.inventory.starts[ids][:, None] + np.arange(size, dtype=np.int64)
            batches.append(Groups(ids, ranks))
        yield batches

    def members(self, group: int) -> tuple[int, ...]:
        return tuple(self.inventory.ranks_of(group))


class Rails(Schedule):
    """Devices of equal place across the nodes that have it; group id = place within the node."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory)
        self._counts = np.diff(inventory.starts)
        self.size = int(self._counts.max(initial=0))
        self.width = int((self._counts > 0).sum())

    def rounds(self) -> Iterator[Round]:
        yield by_size([(group, self.members(group)) for group in range(self.size)])

    def members(self, group: int) -> tuple[int, ...]:
        starts = self.inventory.starts[:-1]
        return tuple((starts[self._counts > group] + group).tolist())


class Growing(Schedule):
    """The first devices of a fleet: of the first node one, two, four, ... and all, then of two
    nodes, four, ... and all. Each group holds the ones before, so each is a round by itself.

    Group id = place in the row of sizes; ``devices`` leaves the group of so many.
    """

    def __init__(self, inventory: Inventory, devices: int | None = None) -> None:
        super().__init__(inventory)
        ends = inventory.starts[inventory.occupied + 1].tolist()
        first = ends[0] if ends else 0
        nodes = [ends[place - 1] for place in _doubling(len(ends))]
        self._sizes = sorted({*_doubling(first), *nodes})
        if devices is None:
            self.classes = tuple(("devices", size) for size in self._sizes)
        else:
            self._sizes = [size for size in self._sizes if size == devices]
        self.size, self.width = len(self._sizes), max(self._sizes, default=0)

    def rounds(self) -> Iterator[Round]:
        for group in range(self.size):
            yield by_size([(group, self.members(group))])

    def members(self, group: int) -> tuple[int, ...]:
        return tuple(range(self._sizes[group]))


def _doubling(most: int) -> list[int]:
    """1, 2, 4, ... and the last."""
    return sorted({1 << power for power in range(most.bit_length())} | ({most} if most else set()))


class Pairs(Schedule):
    """Pairs of devices or nodes in rounds of disjoint pairs (`bench.matchings`).

    ``schedule``: ``full`` meets every pair once, ``sample`` takes ``matchings`` random rounds,
    ``topology`` one round a class of link: within and across every label that some nodes share,
    and for devices within and across nodes and places within a node (rails).

    ``within`` or ``across`` a label (of devices also ``node`` and ``rail``) leaves one class of
    link: all its pairs, some rounds of them, or the topology's round. ``values`` lets every two
    values of a label meet once, each by its first item.

    A node is represented by its first device, or with ``whole`` by all: pairs of nodes as groups.
    Group id = number of the round's first pair + place in the round.

    Raises:
        UsageError: a topology is asked for of nodes without labels, or a class of a label that no
            node has.
    """

    def __init__(
        self,
        inventory: Inventory,
        of: str = "device",
        schedule: str = "full",
        matchings: int = 3,
        seed: int = 0,
        whole: bool = False,
        within: str | None = None,
        across: str | None = None,
        party: Ints | None = None,
    ) -> None:
        super().__init__(inventory)
        if of == "device":
            self._items = np.arange(inventory.size, dtype=np.int64)
        else:
            self._items = inventory.starts[inventory.occupied]
        self._whole = whole
        self._matching: Matching
        key = within or across
        sample = matchings if schedule == "sample" else None
        if key is not None:
            codes = _classes(inventory, self._items, of, key, party)
            if schedule == "topology":
                self._matching = Class(codes, "within" if within else "across", key, seed)
            elif schedule == "values":
                self._matching = Across(codes[key], first=True)
            else:
                self._matching = (Within if within else Across)(codes[key], sample, seed)
        elif schedule == "topology":
            self._matching = topology = Topology(_classes(inventory, self._items, of), seed)
            self.classes = tuple(topology.classes)
        else:
            self._matching = Circle(self._items.size, sample, seed)
        self.size = int(self._matching.starts[-1])
        self.width = 2 if self.size else 0
        if self.size and whole:
            self.width = int(np.sort(np.diff(inventory.starts))[-2:].sum())

    def rounds(self) -> Iterator[Round]:
        for number in range(self._matching.rounds):
            first = int(self._matching.starts[number])
            pairs = self._pairs(number)
            ids = first + np.arange(len(pairs), dtype=np.int64)
            if self._whole:
                yield by_size(
                    [(i, self._ranks(*p)) for i, p in zip(ids.tolist(), pairs, strict=True)]
                )
            else:
                yield [Groups(ids, pairs)]

    def _pairs(self, number: int) -> Ints:
        return np.sort(self._items[self._matching.pairs(number)], axis=1)

    def _ranks(self, *firsts: int) -> tuple[int, ...]:
        if not self._whole:
            return tuple(map(int, firsts))
        nodes = self.inventory.node_of(firsts).tolist()
        return tuple(rank for node in nodes for rank in self.inventory.ranks_of(node))

    def members(self, group: int) -> tuple[int, ...]:
        number = int(np.searchsorted(self._matching.starts, group, side="right")) - 1
        return self._ranks(*self._pairs(number)[group - int(self._matching.starts[number])])


class Listed(Schedule):
    """Groups that no rule yields, one by one, as those that somebody else has measured.

    Group id = place in the list. Each is a round by itself: who met when, nobody says.
    """

    def __init__(self, inventory: Inventory, groups: list[list[int]]) -> None:
        super().__init__(inventory)
        self._groups = groups
        self.size = len(groups)
        self.width = max(map(len, groups), default=0)

    def rounds(self) -> Iterator[Round]:
        for group in range(self.size):
            yield by_size([(group, self.members(group))])

    def members(self, group: int) -> tuple[int, ...]:
        return tuple(self._groups[group])


class Part(Schedule):
    """Another schedule over some kinds of chip of a mixed fleet (`Inventory.kinds`).

    Args:
        inventory: The whole fleet.
        on: A kind: its devices alone. Kinds or backends as ``a+b``: groups in which two of them
            meet, of all that the schedule gives over their devices.
        kind, arguments: The other schedule.
    """

    def __init__(self, inventory: Inventory, on: str, kind: str, arguments: dict[str, Any]) -> None:
        super().__init__(inventory)
        party, inner = inventory.part(on)
        self._ranks = np.flatnonzero(party >= 0).astype(np.int64)
        self._party = party[self._ranks] if "+" in on else None
        if self._party is not None and kind in ("pairs", "node_pairs"):
            arguments = _mixed_pairs(arguments)
        self._inner = _schedule(kind, arguments, inner, self._party)
        self.classes = self._inner.classes
        kept = [batch for whole in self._inner.rounds() for batch in self._kept(whole)]
        self._ids = np.sort(np.concatenate([_NOBODY, *(batch.ids for batch in kept)]))
        self.size = self._ids.size
        self.width = max((batch.ranks.shape[1] for batch in kept), default=0)

    def _kept(self, whole: Round) -> Round:
        if self._party is None:
            return whole
        found = []
        for ids, ranks in whole:
            party = self._party[ranks]
            mixed = party.min(axis=1) < party.max(axis=1)
            if mixed.any():
                found.append(Groups(ids[mixed], ranks[mixed]))
        return found

    def rounds(self) -> Iterator[Round]:
        for whole in self._inner.rounds():
            kept = self._kept(whole)
            if kept:
                yield [
                    Groups(np.searchsorted(self._ids, ids), self._ranks[ranks])
                    for ids, ranks in kept
                ]

    def members(self, group: int) -> tuple[int, ...]:
        return tuple(self._ranks[list(self._inner.members(int(self._ids[group])))].tolist())


class OnNodes(Schedule):
    """Another schedule over some of the nodes, as if there were no others.

    Args:
        inventory: The whole fleet.
        nodes: Which nodes, by index.
        spec: The other schedule.
    """

    def __init__(self, inventory: Inventory, nodes: list[int], spec: ScheduleSpec) -> None:
        super().__init__(inventory)
        chosen = np.asarray(nodes, dtype=np.int64)
        counts = np.diff(inventory.starts)[chosen]
        # The ranks of the chosen nodes one after the other, as the inner inventory counts them.
        ends = np.cumsum(counts)
        within = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
        self._ranks = np.repeat(inventory.starts[chosen], counts) + within
        self._inner = schedule_for(spec, inventory.on_nodes(chosen))
        self.size, self.width = self._inner.size, self._inner.width
        self.classes = self._inner.classes

    @property
    def count(self) -> int:
        """Of the other schedule."""
        return self._inner.count

    def rounds(self) -> Iterator[Round]:
        for whole in self._inner.rounds():
            yield [Groups(ids, self._ranks[ranks]) for ids, ranks in whole]

    def members(self, group: int) -> tuple[int, ...]:
        return tuple(self._ranks[list(self._inner.members(group))].tolist())

    def first(self) -> tuple[int, ...]:
        return tuple(self._ranks[list(self._inner.first())].tolist())


_NOBODY: Ints = np.empty(0, dtype=np.int64)
_KIND = "+"
"""What pairs of different kinds are across, beside labels; no label is called so."""


def _mixed_pairs(arguments: dict[str, Any]) -> dict[str, Any]:
    """Pairs across kinds: of all pairs or random ones most would be of one kind."""
    classed = arguments.get("within") or arguments.get("across")
    if classed or arguments.get("schedule") == "topology":
        return arguments
    return {**arguments, "across": _KIND}


def _classes(
    inventory: Inventory,
    items: Ints,
    of: str,
    asked: str | None = None,
    party: Ints | None = None,
) -> dict[str, Ints]:
    """Codes by label of what a topology distinguishes; -1 where a node lacks the label.

    ``asked``: a label that is among them though no two nodes share it; ``party``: that of `_KIND`.
    """
    nodes = inventory.node_of(items)
    found = {key: codes[nodes] for key, codes in inventory.shared_labels().items()}
    if of == "device":
        found |= {"node": nodes, "rail": items - inventory.starts[nodes]}
    if asked == _KIND and party is not None:
        found[_KIND] = party[items]
    elif asked is not None and asked not in found:
        found[asked] = inventory.label(asked)[0][nodes]
    if not found:
        raise UsageError(
            "schedule: topology needs labels that some nodes share, and there are none here",
            hint="label the nodes (rack, site) by --labels FILE, or use schedule: sample",
        )
    return found


def schedule_for(spec: ScheduleSpec, inventory: Inventory) -> Schedule:
    """The schedule that a spec describes.

    Among its arguments ``nodes`` limits it to these nodes, and ``ranks`` one of devices to these
    devices. Of scope ``rank`` it has every member of the groups by itself; group id = rank. Raises
    `UsageError` for a label that no node has, or a kind of chip that is not there.
    """
    if spec.scope == "rank":
        whole = schedule_for(msgspec.structs.replace(spec, scope="group"), inventory)
        batches = [batch.ranks.ravel() for groups in whole.rounds() for batch in groups]
        return EachDevice(inventory, ranks=np.concatenate([_NOBODY, *batches]).tolist())
    arguments: dict[str, Any] = dict(spec.arguments)
    nodes = arguments.pop("nodes", None)
    inner = msgspec.structs.replace(spec, arguments=dict(arguments))
    together = arguments.pop("together", None)
    on = arguments.pop("on", None)
    schedule: Schedule
    if nodes is not None:
        schedule = OnNodes(inventory, nodes, inner)
    elif on is None:
        schedule = _schedule(spec.kind, arguments, inventory)
    elif spec.kind == "devices":
        schedule = EachDevice(inventory, on, **arguments)
    else:
        schedule = Part(inventory, on, spec.kind, arguments)
    schedule.alone = together is False
    return schedule


def _schedule(
    kind: str, arguments: dict[str, Any], inventory: Inventory, party: Ints | None = None
) -> Schedule:
    if kind == "devices":
        return EachDevice(inventory, **arguments)
    if kind == "pairs":
        return Pairs(inventory, party=party, **arguments)
    if kind == "node_pairs":
        return Pairs(inventory, of="node", whole=True, party=party, **arguments)
    if kind == "nodes":
        return EachNode(inventory)
    if kind == "rails":
        return Rails(inventory)
    if kind == "growing":
        return Growing(inventory, **arguments)
    if kind == "all":
        return NodeSets(inventory, [list(range(inventory.node_count))])
    if kind == "listed":
        return Listed(inventory, arguments["groups"])
    if kind == "label":
        return NodeSets(inventory, list(inventory.by_label(arguments["key"]).values()))
    raise UsageError(f"unknown schedule kind {kind!r}")
