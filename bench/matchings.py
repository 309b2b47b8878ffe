"""Rounds of disjoint pairs: every pair once, random ones, or one round a class of link.

Items are numbered from 0; what they are (devices, nodes) the schedule knows. A round pairs every
item with one other at most, so that all its pairs can be measured at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .inventory import Ints


class Matching:
    """Base: ``rounds`` rounds; the pairs of round r are ``starts[r]`` to ``starts[r + 1] - 1``."""

    starts: Ints

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return self.starts.size - 1

    def pairs(self, number: int) -> Ints:
        """int64[pairs, 2]: the items that meet in a round."""
        raise NotImplementedError


class Circle(Matching):
    """The 1-factorisation of the complete graph (circle method, Kirkman 1847), or rounds of it.

    All N - 1 rounds of N/2 pairs meet every pair once; with odd N there are N rounds and one item
    rests in each. ``sample`` takes so many distinct rounds under a seeded relabelling: random
    perfect matchings that never repeat a pair, their number independent of N.
    """

    def __init__(self, count: int, sample: int | None = None, seed: int = 0) -> None:
        self._count = count
        self._ring = count - 1 + count % 2  # items on the circle; the last one stands still
        available = self._ring if count > 1 else 0
        self._items = np.arange(count, dtype=np.int64)
        self._turns = np.arange(available, dtype=np.int64)
        if sample is not None:
            generator = np.random.default_rng([seed, count])
            self._items = generator.permutation(self._items)
            self._turns = generator.permutation(available)[: min(sample, available)]
        self.starts = np.arange(self._turns.size + 1, dtype=np.int64) * (count // 2)

    def pairs(self, number: int) -> Ints:
        turn, ring, count = int(self._turns[number]), self._ring, self._count
        step = np.arange(1, (ring + 1) // 2, dtype=np.int64)
        first, second = (turn + step) % ring, (turn - step) % ring
        if count % 2 == 0:  # the still item meets the one on top; with odd count that one rests
            first = np.concatenate([[turn], first])
            second = np.concatenate([[count - 1], second])
        return np.stack([self._items[first], self._items[second]], axis=1)


class Topology(Matching):
    """For every label two rounds at most: pairs of equal value, and pairs of different values.

    Within: items of one value in pairs, in each value that two items share. Across: items of one
    value with those of others; where a label divides another one (racks of a site), across its
    values but within the other's, if that gives any pair. Who meets whom is drawn by the seed. The
    number of rounds depends on the labels alone, and every class of link that exists is met: of
    equal value if two items share one, of different values if there are two. A pair that an
    earlier round has met is left out.

    Args:
        labels: int64[items] by label: equal values have equal codes, -1 is an item without it.
        seed: Of the order within a class.
    """

    def __init__(self, labels: Mapping[str, Ints], seed: int = 0) -> None:
        self._rounds: list[Ints] = []
        met = np.empty(0, dtype=np.int64)
        for number, codes in enumerate(labels.values()):
            order = np.random.default_rng([seed, number]).permutation(codes.size)
            order = order[codes[order] >= 0].astype(np.int64)
            wider = _wider(codes, labels)
            across = _halves(order, codes, wider)
            if not across.size:
                across = _halves(order, codes, np.zeros_like(codes))
            for found in (_neighbours(order, codes), across):
                known = found.min(axis=1) * codes.size + found.max(axis=1)
                fresh = ~np.isin(known, met)
                if fresh.any():
                    self._rounds.append(found[fresh])
                    met = np.concatenate([met, known[fresh]])
        sizes = [len(one) for one in self._rounds]
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    def pairs(self, number: int) -> Ints:
        return self._rounds[number]


def _neighbours(order: Ints, codes: Ints) -> Ints:
    """Pairs within each value: the first with the second, the third with the fourth."""
    order = order[np.argsort(codes[order], kind="stable")]
    place, size = _places(codes[order])
    first = np.flatnonzero((place % 2 == 0) & (place + 1 < size))
    return np.stack([order[first], order[first + 1]], axis=1)


def _halves(order: Ints, codes: Ints, wider: Ints) -> Ints:
    """Pairs across values within each wider one: of items in order of value, half of them apart.

    In a row of m items, i meets i + ⌈m/2⌉. Were all of these of equal value, the first would
    equal the ⌈m/2⌉-th and the last its counterpart before the middle; both runs of equal value
    meet, so the whole row has one value: a row with two values gives at least one pair.
    """
    order = order[np.lexsort((codes[order], wider[order]))]
    place, size = _places(wider[order])
    first = np.flatnonzero(place < size // 2)
    second = first + (size[first] + 1) // 2
    pairs = np.stack([order[first], order[second]], axis=1)
    return np.asarray(pairs[codes[pairs[:, 0]] != codes[pairs[:, 1]]])


def _places(codes: Ints) -> tuple[Ints, Ints]:
    """Of sorted codes: each one's place within its run of equal ones, and the length of that."""
    _, starts, run, sizes = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    return np.arange(codes.size) - starts[run], sizes[run].astype(np.int64)


def _wider(codes: Ints, labels: Mapping[str, Ints]) -> Ints:
    """The narrowest label that this one divides: equal here means equal there, not conversely."""
    best, most = np.zeros_like(codes), 1
    values = np.unique(codes[codes >= 0]).size
    for other in labels.values():
        both = (codes >= 0) & (other >= 0)
        there = np.unique(other[both]).size
        joint = np.unique(np.stack([codes[both], other[both]]), axis=1).shape[1]
        if most < there < values and joint == np.unique(codes[both]).size:
            best, most = other, there
    return best
