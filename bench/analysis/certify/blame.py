"""Whose fault it is: of a group of several nodes, or of a node whose name another one has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from ...inventory import Inventory
from ...verdicts import Evidence
from ..graph import Bools


def blamed(groups: Sequence[Sequence[int]], wrong: Sequence[bool], nodes: int) -> Bools:
    """bool[nodes]: nodes with which every group went wrong, while those of others did not.

    Args:
        groups: The nodes of each group that was measured; one that was measured again is there
            again.
        wrong: Whether it went wrong.
        nodes: Number of nodes.

    A group is wrong that went wrong every time. A node is blamed where it was measured twice at
    least, all of its groups are wrong, and either they are two different ones or all others in them
    were well elsewhere; and most groups without any such node went well, for a fault of all is
    nobody's.
    Of two that met only each other, however often, nobody knows whose it is.
    """
    failed: dict[tuple[int, ...], bool] = {}
    times = np.zeros(nodes, dtype=np.int64)
    for members, broken in zip(groups, wrong, strict=True):
        key = tuple(sorted(members))
        failed[key] = failed.get(key, True) and broken
        times[list(members)] += 1
    bad, well = np.zeros(nodes, dtype=np.int64), np.zeros(nodes, dtype=bool)
    for members, broken in failed.items():
        if broken:
            bad[list(members)] += 1
        else:
            well[list(members)] = True
    sure = bad >= 2
    for members, broken in failed.items():
        doubted = [node for node in members if not well[node]]
        if broken and len(doubted) == 1:
            sure[doubted] = True
    found: Bools = sure & ~well & (times >= 2)
    others = [broken for members, broken in failed.items() if not found[list(members)].any()]
    if not others or 2 * sum(others) > len(others):
        found[:] = False
    return found


def by_name(inventory: Inventory, name: str, one: Evidence) -> Iterator[tuple[int, Evidence]]:
    """(node, evidence) of every node of that name; of several, none is rejected for it.

    Events and facts say names, and machines that were cloned, or two agents on one, share theirs.
    """
    nodes = inventory.named(name)
    if len(nodes) > 1:
        said = f"{one.text}; {len(nodes)} nodes are named {name}: which of them is not known"
        one = msgspec.structs.replace(one, verdict="inconclusive", text=said)
    for node in nodes:
        yield node, one
