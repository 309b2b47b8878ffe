"""Groups of ranks, the rounds in which they are measured, and what every schedule of them has.

Groups of one round run at the same time: they share no rank and, on hosts whose devices share
cores, no lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .inventory import Ints, Inventory


class Groups(NamedTuple):
    """Groups of equal size: ``ids`` int64[g], ``ranks`` int64[g, size]."""

    ids: Ints
    ranks: Ints


Round = list[Groups]


class Schedule:
    """Base: a number of groups and the rounds in which they are measured."""

    size: int
    """Places of its groups: of devices, whose groups are ranks, the groups; of all others what
    every group's id lies below."""
    width: int
    """Ranks of the largest group."""
    alone: bool = False
    """One group at a time, though others could be measured beside it."""
    classes: tuple[tuple[str, Any], ...] = ()
    """Where its rounds are of several classes of link, or of several sizes: the argument that
    leaves one of them, with its values."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    def rounds(self) -> Iterator[Round]:
        """Rounds by the schedule's own rule, before lanes are respected."""
        raise NotImplementedError

    def members(self, group: int) -> tuple[int, ...]:
        """The ranks of one group."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """How many groups it has. Of nodes, those without devices are none."""
        return self.size

    def first(self) -> tuple[int, ...]:
        """The ranks of the first group, where there is one."""
        return self.members(0)

    def walk(self) -> Iterator[Round]:
        """All rounds; groups of one round never share a lane."""
        for whole in self.rounds():
            if self.alone:
                for ids, ranks in whole:
                    for place in range(ids.size):
                        yield [Groups(ids[place : place + 1], ranks[place : place + 1])]
            else:
                yield from _split_by_lane(whole, self.inventory.lanes)


def by_size(groups: list[tuple[int, tuple[int, ...]]]) -> Round:
    """Groups of one round in batches of equal size, the smallest first."""
    sizes: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for group in groups:
        sizes.setdefault(len(group[1]), []).append(group)
    return [
        Groups(
            np.array([number for number, _ in batch], dtype=np.int64),
            np.array([ranks for _, ranks in batch], dtype=np.int64),
        )
        for _, batch in sorted(sizes.items())
        if batch[0][1]
    ]


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
