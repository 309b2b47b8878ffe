"""Rounds of disjoint pairs: every pair once, random ones, or one round a class of link.

A class is *within* a label (pairs of equal value, as of one rack) or *across* it (pairs of
different values, as of two sites).

Items are numbered from 0; what they are (devices, nodes) the schedule knows. A round pairs every
item with one other at most, so that all its pairs can be measured at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np

from .inventory import Ints

Way: TypeAlias = Literal["within", "across"]


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
        self.classes: list[tuple[Way, str]] = []
        """The class of each round."""
        met = np.empty(0, dtype=np.int64)
        ways: tuple[Way, ...] = ("within", "across")
        for key, codes in labels.items():
            for way in ways:
                found = Class(labels, way, key, seed).pairs(0)
                known = found.min(axis=1) * codes.size + found.max(axis=1)
                fresh = ~np.isin(known, met)
                if fresh.any():
                    self._rounds.append(found[fresh])
                    self.classes.append((way, key))
                    met = np.concatenate([met, known[fresh]])
        self.starts = _starts([len(one) for one in self._rounds])

    def pairs(self, number: int) -> Ints:
        return self._rounds[number]


class Class(Matching):
    """One class of a topology: its round whole, also where other classes have met some pairs."""

    def __init__(self, labels: Mapping[str, Ints], way: Way, key: str, seed: int = 0) -> None:
        codes = labels[key]
        order = np.random.default_rng([seed, list(labels).index(key)]).permutation(codes.size)
        order = order[codes[order] >= 0].astype(np.int64)
        if way == "within":
            self._found = _neighbours(order, codes)
        else:
            self._found = _halves(order, codes, _wider(codes, labels))
            if not self._found.size:
                self._found = _halves(order, codes, np.zeros_like(codes))
        self.starts = _starts([len(self._found)] if self._found.size else [])

    def pairs(self, number: int) -> Ints:
        return self._found


class Within(Matching):
    """Every pair of equal value once, or ``sample`` rounds of them: a `Circle` in each value."""

    def __init__(self, codes: Ints, sample: int | None = None, seed: int = 0) -> None:
        self._members = _by_value(codes)
        self._circles = [Circle(one.size, sample, seed) for one in self._members]
        rounds = max((one.rounds for one in self._circles), default=0)
        self.starts = _starts(
            [
                sum(one.starts[1] for one in self._circles if number < one.rounds)
                for number in range(rounds)
            ]
        )

    def pairs(self, number: int) -> Ints:
        return np.concatenate(
            [
                members[circle.pairs(number)]
                for members, circle in zip(self._members, self._circles, strict=True)
                if number < circle.rounds
            ]
        )


class Across(Matching):
    """Every pair of different values once, or ``sample`` rounds of them.

    A round lets values meet in pairs (a `Circle` of values) and the items of two values in order,
    the larger value's turned on by a shift: item i of the smaller meets item i + shift. First
    come the rounds in which every pair of values meets without a shift, in which items of equal
    place meet (devices of one rail); then the seed draws. ``first``: of every value only its first
    item, so that every two values meet once, by one pair.
    """

    def __init__(
        self, codes: Ints, sample: int | None = None, seed: int = 0, first: bool = False
    ) -> None:
        self._members = [one[:1] if first else one for one in _by_value(codes)]
        self._values = Circle(len(self._members))
        rounds = self._values.rounds
        sizes = np.array([one.size for one in self._members], dtype=np.int64)
        met = [sizes[self._values.pairs(number)] for number in range(rounds)]
        self._turns = [
            (number, shift) for number, pairs in enumerate(met) for shift in range(int(pairs.max()))
        ]
        self._turns.sort(key=lambda turn: turn[1])
        later = np.random.default_rng([seed, codes.size]).permutation(len(self._turns) - rounds)
        order = [*range(rounds), *(rounds + later).tolist()]
        self._turns = [self._turns[place] for place in order[:sample]]
        self.starts = _starts(
            [
                int(met[number].min(axis=1)[met[number].max(axis=1) > shift].sum())
                for number, shift in self._turns
            ]
        )

    def pairs(self, number: int) -> Ints:
        turn, shift = self._turns[number]
        found = []
        for one, other in self._values.pairs(turn).tolist():
            small, large = sorted((self._members[one], self._members[other]), key=len)
            if shift < large.size:
                partners = (np.arange(small.size) + shift) % large.size
                found.append(np.stack([small, large[partners]], axis=1))
        return np.concatenate(found)


def _starts(sizes: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


def _by_value(codes: Ints) -> list[Ints]:
    """The items of every value, in order; those without one left out."""
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0].astype(np.int64)
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if order.size else []


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
