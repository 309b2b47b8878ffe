"""Whose fault it is that groups of several nodes went wrong: only other groups can tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Bools


def blamed(groups: Sequence[Sequence[int]], wrong: Sequence[bool], nodes: int) -> Bools:
    """bool[nodes]: nodes with which every group went wrong, while those of others did not.

    Args:
        groups: The nodes of each group that was measured.
        wrong: Whether it went wrong.
        nodes: Number of nodes.

    A node is blamed where it was in at least two groups, all of them wrong, and most groups without
    any such node went well: a fault of all is nobody's.
    """
    total, bad = np.zeros(nodes, dtype=np.int64), np.zeros(nodes, dtype=np.int64)
    for members, failed in zip(groups, wrong, strict=True):
        total[list(members)] += 1
        bad[list(members)] += failed
    found: Bools = (bad >= 2) & (bad == total)
    others = [
        failed
        for members, failed in zip(groups, wrong, strict=True)
        if not found[list(members)].any()
    ]
    if not others or 2 * sum(others) > len(others):
        found[:] = False
    return found
