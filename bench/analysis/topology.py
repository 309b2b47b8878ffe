"""Which labels of the nodes nest in which: the topology that an inventory states of itself.

A label lies in another where all nodes of each of its values have one value of the other: racks in
pods. Labels that all lie in each other make one topology, the outermost first. One that lies in
none of these (a power feed that crosses racks) is the beginning of another, for no drawing holds
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..inventory import Ints, Inventory

TOPOLOGIES = 6
"""Topologies at most: of more labels that cross each other, the rest is named only."""


class Level(NamedTuple):
    """A label's groups, each inside one group of the level around it.

    ``codes``: int64[nodes], the group of each node. Groups of one around them are counted one after
    the other. ``groups``: what each is called; None for nodes that do not carry the label. Labels
    that divide the nodes alike are one level, ``rack/switch``; ``keys`` are its labels.
    """

    label: str
    codes: Ints
    groups: list[str | None]
    keys: list[str]


class Topology(NamedTuple):
    """Levels, the outermost first; none where no label divides the nodes.

    ``order``: int64[nodes], the nodes group by group, in a group as the inventory has them.
    ``lacking``: by label, how many nodes do not carry it.
    """

    levels: list[Level]
    order: Ints
    lacking: dict[str, int]

    @property
    def name(self) -> str:
        """``pod > rack``."""
        return " > ".join(level.label for level in self.levels)


class _Label(NamedTuple):
    """A label: int64[nodes], -1 without it; its values, and how many groups it makes."""

    keys: list[str]
    codes: Ints
    values: list[str]
    groups: int

    @property
    def name(self) -> str:
        return "/".join(self.keys)


def topologies(inventory: Inventory) -> tuple[list[Topology], list[str]]:
    """The topologies of an inventory, the one with most levels first, and labels left out.

    There is always one: of nodes without labels it has no levels. Every label that divides the
    nodes, and is not as good as a name of each, is in one at least; those beyond `TOPOLOGIES` are
    left out.
    """
    labels = _labels(inventory)
    chains: list[list[_Label]] = []
    if labels:
        chains = [max((_chain(one, labels) for one in labels), key=len)]
        for one in labels:
            if not any(one in chain for chain in chains):
                chains.append(_chain(one, labels))
    left = [
        one.name
        for chain in chains[TOPOLOGIES:]
        for one in chain
        if not any(one in shown for shown in chains[:TOPOLOGIES])
    ]
    count = inventory.node_count
    found = [_nested(chain, count) for chain in chains[:TOPOLOGIES]]
    return found or [_nested([], count)], list(dict.fromkeys(left))


def _labels(inventory: Inventory) -> list[_Label]:
    """Labels that divide the nodes, those first that all nodes carry, then those of few groups."""
    alike: dict[bytes, _Label] = {}
    for key in inventory.shared_labels():
        codes, values = inventory.label(key)
        # Equal for labels that divide alike, whatever their values are called.
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        if first.size < 2:
            continue
        place = np.argsort(np.argsort(first))[inverse.reshape(-1)]
        divided = place.tobytes()
        if (other := alike.get(divided)) is not None:
            alike[divided] = _both(other, key, codes, values)
        else:
            alike[divided] = _Label([key], codes.astype(np.int64), values, int(first.size))
    return sorted(alike.values(), key=lambda one: (bool((one.codes < 0).any()), one.groups))


def _both(one: _Label, key: str, codes: Ints, values: Sequence[str]) -> _Label:
    """Two labels that divide the nodes alike, as one: its values are called by both names."""
    _, first = np.unique(one.codes, return_index=True)
    called: list[str] = []
    made = np.full(one.codes.size, -1, dtype=np.int64)
    for node in sorted(first.tolist()):
        mine, other = int(one.codes[node]), int(codes[node])
        names = [one.values[mine]] if mine >= 0 else []
        if other >= 0 and values[other] not in names:
            names.append(values[other])
        made[one.codes == mine] = len(called)
        called.append("/".join(names))
    return _Label([*one.keys, key], made, called, one.groups)


def _chain(first: _Label, labels: Sequence[_Label]) -> list[_Label]:
    """A label with others that lie in it or around it, and in each other; the outermost first."""
    chain = [first]
    for one in labels:
        if one is not first and all(_lies(one, other) or _lies(other, one) for other in chain):
            chain.append(one)
    return sorted(chain, key=lambda one: one.groups)


def _lies(inner: _Label, outer: _Label) -> bool:
    """Whether all nodes of each value of ``inner`` have one value of ``outer``, or all none."""
    if inner.groups < outer.groups:
        return False
    carry = inner.codes >= 0
    one_of = np.full(len(inner.values), -1, dtype=np.int64)
    one_of[inner.codes[carry]] = outer.codes[carry]
    return bool((outer.codes[carry] == one_of[inner.codes[carry]]).all())


def _nested(chain: Sequence[_Label], nodes: int) -> Topology:
    codes = np.zeros(nodes, dtype=np.int64)
    levels = []
    for one in chain:
        width = len(one.values) + 1
        # Nodes without the label are a group of its own in each group around them, the last.
        own = np.where(one.codes < 0, width - 1, one.codes)
        found, inverse = np.unique(codes * width + own, return_inverse=True)
        codes = inverse.reshape(-1).astype(np.int64)
        names = [one.values[c] if c < width - 1 else None for c in (found % width).tolist()]
        levels.append(Level(one.name, codes, names, one.keys))
    lacking = {one.name: n for one in chain if (n := int((one.codes < 0).sum()))}
    return Topology(levels, np.argsort(codes, kind="stable"), lacking)
