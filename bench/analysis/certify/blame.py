"""Whose fault it is: of a group of several nodes, or of a node whose name another one has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from ...inventory import Inventory
from ...verdicts import Evidence
from ..graph import Bools

TWICE = 2
"""Measurements that must be wrong by a node alone: one may have been disturbed."""


def blamed(groups: Sequence[Sequence[int]], wrong: Sequence[bool], nodes: int) -> Bools:
    """bool[nodes]: nodes with which every group went wrong, while those of others did not.

    Args:
        groups: The nodes of each group that was measured; one that was measured again is there
            again.
        wrong: Whether it went wrong.
        nodes: Number of nodes.

    A group is wrong that went wrong every time. A node is blamed where all of its groups are wrong,
    two measurements at least are wrong that no one other node accounts for (one that was well
    elsewhere accounts for none), and most groups without any such node went well, for a fault of
    all is nobody's. So a slow partner and one disturbed measurement blame nobody, and of two that
    met only each other, however often, nobody knows whose it is.
    """
    times = Counter(tuple(sorted(members)) for members in groups)
    failed = dict.fromkeys(times, True)
    for members, broken in zip(groups, wrong, strict=True):
        failed[tuple(sorted(members))] &= broken
    well = np.zeros(nodes, dtype=bool)
    bad: dict[int, list[int]] = {}
    for number, (group, broken) in enumerate(failed.items()):
        if broken:
            for node in group:
                bad.setdefault(node, []).append(number)
        else:
            well[list(group)] = True
    alike: dict[tuple[int, ...], list[int]] = {}
    for node, numbers in bad.items():
        if not well[node]:
            alike.setdefault(tuple(numbers), []).append(node)
    kinds = list(failed)
    found: Bools = np.zeros(nodes, dtype=bool)
    for which, mine in alike.items():
        met = [kinds[number] for number in which]
        count = [times[group] for group in met]
        weights = np.repeat(count, [len(group) for group in met])
        shared = np.bincount(np.concatenate(met), weights, minlength=nodes)
        shared[well] = 0
        for node in mine:
            own, shared[node] = shared[node], 0
            found[node] = sum(count) - shared.max() >= TWICE
            shared[node] = own
    others = [broken for group, broken in failed.items() if not found[list(group)].any()]
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
