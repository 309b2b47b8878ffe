"""Measured pairs as a graph: items are its corners, pairs its edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Graph:
    """Edges between ``count`` items, each seen from both of its ends, sorted by the near end.

    Attributes:
        first, second: int64[edges], the two items of every edge.
        near, far: int64[2 * edges], the item at this end and at the other.
        edge: int64[2 * edges], which edge it is.
        back: int64[2 * edges], where the same edge stands as seen from its other end.
        forth: int64[edges], where every edge stands as seen from its first item.
        degree: int64[count], edges of every item.
    """

    def __init__(self, first: Ints, second: Ints, count: int) -> None:
        self.first, self.second, self.count = first, second, count
        size = first.size
        near, far = np.concatenate([first, second]), np.concatenate([second, first])
        order = np.argsort(near, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(2 * size)
        self.near, self.far, self.edge = near[order], far[order], order % max(size, 1)
        self.back = place[(order + size) % max(2 * size, 1)]
        self.degree = np.bincount(near, minlength=count)
        self._starts = np.cumsum(self.degree) - self.degree
        self.forth = place[:size]

    def total(self, at_near: Floats) -> Floats:
        """float64[count]: the sum over every item's edges of float64[2 * edges]."""
        return np.bincount(self.near, at_near, self.count).astype(np.float64, copy=False)

    def cautious_median(self, at_near: Floats) -> Floats:
        """float64[count]: the median over every item's edges, 0 without any.

        Of two middle values it is the one nearer to 0: an item with two edges, one of them slow,
        is not slow.
        """
        order = np.lexsort((at_near, self.near))
        there = self.degree > 0
        start, degree = self._starts[there], self.degree[there]
        low, high = (at_near[order][start + at] for at in ((degree - 1) // 2, degree // 2))
        found = np.zeros(self.count)
        found[there] = np.where(np.abs(low) < np.abs(high), low, high)
        return found

    def parts(self) -> int:
        """How many parts there are that no edge joins; items without an edge are none."""
        return int(np.unique(_roots(self.first, self.second, self.count)[self.degree > 0]).size)

    def two_sided(self) -> Bools:
        """bool[count]: items of parts with two sides where every edge goes across (bipartite).

        In such a part edges do not tell "this side is slower" from "that side is faster": only
        sums across are measured. A part has two sides exactly if it falls in two when every item
        is taken twice and every edge joins one copy with the other copy of its partner.
        """
        one, other = self.first, self.second
        n = self.count
        root = _roots(np.concatenate([one, one + n]), np.concatenate([other + n, other]), 2 * n)
        return np.asarray((root[:n] != root[n:]) & (self.degree > 0))


def _roots(first: Ints, second: Ints, count: int) -> Ints:
    """The smallest item of every item's part, by hooking and pointer jumping.

    Rounds grow with the logarithm of the size (Shiloach & Vishkin, J. Algorithms 3, 1982).
    """
    root = np.arange(count)
    while True:
        ends = root[first], root[second]
        low = np.minimum(*ends)
        hooked = root.copy()
        for end in ends:
            np.minimum.at(hooked, end, low)
        while not np.array_equal(hooked, jumped := hooked[hooked]):
            hooked = jumped
        if np.array_equal(hooked, root):
            return root
        root = hooked
