"""Schedules: rules that yield the groups of ranks that a case is measured on.

A schedule never lists its groups; it yields them round by round when asked. Groups of one round
run at the same time: they share no rank and, on hosts whose devices share cores, no lane.
The id of a group is arithmetic, so a stored row can be turned back into its ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .errors import UsageError
from .inventory import Ints, Inventory
from .records import ScheduleSpec


class Groups(NamedTuple):
    """Groups of equal size: ``ids`` int64[g], ``ranks`` int64[g, size]."""

    ids: Ints
    ranks: Ints


Round = list[Groups]


class Schedule:
    """Base: a number of groups and the rounds in which they are measured."""

    size: int
    width: int
    """Ranks of the largest group."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    def rounds(self) -> Iterator[Round]:
        """Rounds by the schedule's own rule, before lanes are respected."""
        raise NotImplementedError

    def members(self, group: int) -> tuple[int, ...]:
        """The ranks of one group."""
        raise NotImplementedError

    def walk(self) -> Iterator[Round]:
        """All rounds; groups of one round never share a lane."""
        for whole in self.rounds():
            yield from _split_by_lane(whole, self.inventory.lanes)


class EachDevice(Schedule):
    """Every device by itself; group id = rank."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__(inventory)
        self.size = inventory.size
        self.width = 1 if inventory.size else 0

    def rounds(self) -> Iterator[Round]:
        ranks = np.arange(self.size, dtype=np.int64)
        yield [Groups(ranks, ranks[:, None])]

    def members(self, group: int) -> tuple[int, ...]:
        return (group,)


class NodeSets(Schedule):
    """Groups made of whole nodes: each node, all nodes, or the nodes of equal label."""

    def __init__(self, inventory: Inventory, sets: list[list[int]]) -> None:
        super().__init__(inventory)
        self.sets = sets
        self.size = len(sets)
        counts = np.diff(inventory.starts)
        self._sizes = np.array([int(counts[nodes].sum()) for nodes in sets], dtype=np.int64)
        self.width = int(self._sizes.max(initial=0))

    def rounds(self) -> Iterator[Round]:
        batches = []
        for size in np.unique(self._sizes[self._sizes > 0]):
            ids = np.flatnonzero(self._sizes == size).astype(np.int64)
            ranks = np.array([self.members(int(group)) for group in ids], dtype=np.int64)
            batches.append(Groups(ids, ranks))
        yield batches

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


class Pairs(Schedule):
    """Pairs of devices or nodes in rounds of disjoint pairs.

    ``full`` is the 1-factorisation of the complete graph (circle method, Kirkman 1847): N - 1
    rounds of N/2 disjoint pairs meet every pair once; with odd N one item rests each round.
    ``sample`` takes ``matchings`` distinct rounds of it under a seeded relabelling: random
    perfect matchings that never repeat a pair, their number independent of N.
    A node is represented by its first device. Group id = round × pairs a round + place.
    """

    def __init__(
        self,
        inventory: Inventory,
        of: str = "device",
        schedule: str = "full",
        matchings: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(inventory)
        if of == "device":
            items = np.arange(inventory.size, dtype=np.int64)
        else:
            occupied = np.flatnonzero(np.diff(inventory.starts) > 0)
            items = inventory.starts[occupied]
        count = items.size
        self._ring = count - 1 + count % 2  # items on the circle; the last one stands still
        self.per_round = count // 2
        available = self._ring if count > 1 else 0
        if schedule == "sample":
            generator = np.random.default_rng([seed, count])
            items = generator.permutation(items)
            taken = generator.permutation(available)[: min(matchings, available)]
            self._rounds = taken.astype(np.int64)
        else:
            self._rounds = np.arange(available, dtype=np.int64)
        self._items = items
        self.size = int(self._rounds.size * self.per_round)
        self.width = 2 if self.size else 0

    def rounds(self) -> Iterator[Round]:
        for place in range(self._rounds.size):
            ids = place * self.per_round + np.arange(self.per_round, dtype=np.int64)
            yield [Groups(ids, self._pairs(place))]

    def _pairs(self, place: int) -> Ints:
        turn, ring, count = int(self._rounds[place]), self._ring, self._items.size
        step = np.arange(1, (ring + 1) // 2, dtype=np.int64)
        first, second = (turn + step) % ring, (turn - step) % ring
        if count % 2 == 0:  # the still item meets the one on top; with odd count that one rests
            first = np.concatenate([[turn], first])
            second = np.concatenate([[count - 1], second])
        pairs = np.stack([self._items[first], self._items[second]], axis=1)
        return np.sort(pairs, axis=1)

    def members(self, group: int) -> tuple[int, ...]:
        low, high = self._pairs(group // self.per_round)[group % self.per_round]
        return int(low), int(high)


def schedule_for(spec: ScheduleSpec, inventory: Inventory) -> Schedule:
    """The schedule that a spec describes. Raises `UsageError` for a label that no node has."""
    arguments: dict[str, Any] = spec.arguments
    if spec.kind == "devices":
        return EachDevice(inventory)
    if spec.kind == "pairs":
        return Pairs(inventory, **arguments)
    if spec.kind == "nodes":
        return EachNode(inventory)
    if spec.kind == "all":
        return NodeSets(inventory, [list(range(inventory.node_count))])
    if spec.kind == "label":
        return NodeSets(inventory, list(inventory.by_label(arguments["key"]).values()))
    raise UsageError(f"unknown schedule kind {spec.kind!r}")


def _split_by_lane(whole: Round, lanes: Ints) -> Iterator[Round]:
    """Split a round until no two of its groups use one lane (devices of one group may)."""
    pending = whole
    while pending:
        now, later = _first_fit(pending, lanes)
        yield now
        pending = later


def _first_fit(groups: Round, lanes: Ints) -> tuple[Round, Round]:
    total = sum(g.ranks.size for g in groups)
    if np.unique(np.concatenate([lanes[g.ranks].ravel() for g in groups])).size == total:
        return groups, []
    taken: set[int] = set()
    now, later = [], []
    for batch in groups:
        free = np.ones(batch.ids.size, dtype=bool)
        for place, wanted in enumerate(lanes[batch.ranks].tolist()):
            if taken.isdisjoint(wanted):
                taken.update(wanted)
            else:
                free[place] = False
        if free.any():
            now.append(Groups(batch.ids[free], batch.ranks[free]))
        if not free.all():
            later.append(Groups(batch.ids[~free], batch.ranks[~free]))
    return now, later
