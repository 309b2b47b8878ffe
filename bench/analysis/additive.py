"""The additive model of measured pairs: what is usual, items, links, and how well each is known.

    ln value_ij = μ + a_i + a_j + e_ij

`bench.analysis.fabric` says what it is for and who is named by it; here it is fitted.
"""

from __future__ import annotations

import math

import numpy as np

from ..stats import mad
from .graph import Bools, Floats, Graph, Ints

_BIWEIGHT = 4.685
"""Where weights reach 0, in standard deviations: 95 % efficient for normal noise."""
_CONSISTENT = 1.2076
"""E[w] / E[w x²] of these weights for a standard normal x: makes their variance unbiased."""
_EFFICIENCY = 0.8
"""Degrees of freedom of that variance over those of the plain one, rounded down."""
_STAND_OUT = 4.0
"""Standard deviations beyond which an item is not shrunk."""
_ANYWHERE = 1.0
"""Standard deviation of an item that stands out: on the log scale, no restraint."""
_LEAST = 1e-6
"""Smallest relative noise that is believed."""
_PASSES, _TURNS = 3, 20


class Additive:
    """The fit: usual values, items, links, scales, and the degrees of freedom these rest on.

    ``y`` and all that is made of it are logarithms, more being better. Along every edge, each end
    sends the other what it knows of itself *from its other edges alone*: a mean and a variance
    (Gaussian belief propagation: Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988;
    exact on trees, and random matchings look like trees from every item). So an item is judged by
    partners, and a link by items, that were not fitted to it.
    """

    def __init__(self, graph: Graph, y: Floats, kind: Ints) -> None:
        self.graph, self.y, self.kind = graph, y, kind
        self.free: Bools = graph.degree > 1  # an item with one pair is not told from its link
        self.usual = _medians(y, kind)
        self.noise, self.spread = self._first_scales()
        self.out = np.zeros(graph.count, dtype=bool)
        self._mean = np.zeros(2 * y.size)
        for _ in range(_PASSES):
            self._propagate()
            self._update()

    def items(self) -> tuple[Floats, Floats]:
        """float64[items] twice: each item's own deviation, not shrunk, and its standard error."""
        total, weight = self.graph.total, self._weight
        heavy = np.maximum(total(weight), 1e-9)
        own = total(weight * self._left()) / heavy
        variance = self.noise**2 + self._variance[self.graph.back]
        # What is usual is a median itself: π/2 times the variance of a mean.
        usual = math.pi / 2 * self.noise**2 / self.y.size
        error = np.sqrt(total(weight**2 * variance) / heavy**2 + usual)
        return np.where(self.free, own, 0.0), error

    def agreed(self) -> Floats:
        """float64[items]: how far off most of an item's pairs are at least, in standard errors."""
        variance = self.noise**2 + self._variance[self.graph.back]
        return self.graph.cautious_median(self._left() / np.sqrt(variance))

    def links(self) -> tuple[Floats, Floats]:
        """float64[pairs] twice: each pair's deviation from its items, and its standard error."""
        rest, variance = self._rest()
        return rest[self.graph.forth], np.sqrt(variance[self.graph.forth])

    def _first_scales(self) -> tuple[float, float]:
        """Noise and spread before anything is fitted.

        A pair varies by 2·spread² + noise², the difference of two pairs that share an item by
        2·(spread² + noise²).
        """
        y = self.y - self.usual[self.kind]
        whole = mad(y) ** 2
        same = self.graph.near[1:] == self.graph.near[:-1]
        if not same.any():
            return max(math.sqrt(whole), _LEAST), 0.0
        shared = mad(np.diff(y[self.graph.edge])[same]) ** 2 / 2
        spread = max(whole - shared, 0.0)
        noise = max(shared - spread, 0.05 * whole)
        return max(math.sqrt(noise), _LEAST), math.sqrt(spread)

    def _propagate(self) -> None:
        """Messages until they settle; then what is usual, once items are known."""
        graph = self.graph
        # A spread of 0 would never let an item move, however many pairs say so.
        spread = max(self.spread, 0.05 * self.noise)
        self._variance = np.full(graph.near.size, spread**2)
        for turn in range(_TURNS):
            left = self._left()
            if turn in (0, 2, _TURNS // 2):  # seen better once partners are known
                far = np.abs(graph.cautious_median(left)) > _STAND_OUT * math.hypot(
                    spread, self.noise
                )
                self.out = self.free & far
            rest, variance = self._rest()
            trusted = _biweight(rest / (_BIWEIGHT * np.sqrt(variance)))
            self._weight = trusted / (self.noise**2 + self._variance[graph.back])
            self._prior = np.where(self.out, _ANYWHERE, spread) ** 2
            others = graph.total(self._weight)[graph.near] - self._weight
            told = graph.total(self._weight * left)[graph.near] - self._weight * left
            after = 1.0 / (others + 1.0 / self._prior[graph.near])
            # Half a step: whole ones can swing in small, dense graphs.
            step = np.where(self.free[graph.near], told * after - self._mean, 0.0)
            self._mean = self._mean + 0.5 * step
            self._variance = np.where(self.free[graph.near], after, spread**2)
        self._trusted = trusted

    def _left(self) -> Floats:
        """float64[2 * pairs]: what partners, as known without this pair, leave to the near item."""
        graph = self.graph
        return np.asarray((self.y - self.usual[self.kind])[graph.edge] - self._mean[graph.back])

    def _rest(self) -> tuple[Floats, Floats]:
        """float64[2 * pairs] twice: what both items leave to the link, and its variance."""
        back = self.graph.back
        return self._left() - self._mean, self.noise**2 + self._variance + self._variance[back]

    def _update(self) -> None:
        """Usual values and scales from what is known of items now."""
        graph = self.graph
        rest, variance = self._rest()
        trusted = self._trusted[graph.forth]
        taken = 1.0 - 1.0 / (1.0 + self._prior * graph.total(self._weight))
        room = float(trusted.sum() - taken[self.free].sum()) - self.usual.size
        self.degrees = _EFFICIENCY * max(room, 0.0)
        over = (trusted * rest[graph.forth] ** 2 / variance[graph.forth]).sum()
        self.noise *= math.sqrt(_CONSISTENT * float(over) / max(float(trusted.sum()), 1e-9))
        self.noise = max(self.noise, _LEAST)
        self.usual = self.usual + _medians(rest[graph.forth], self.kind)
        own, error = self.items()
        if self.free.any():
            # The usual item is the fleet's median, not where shrinkage happens to pull.
            shift = float(np.median(own[self.free]))
            self._mean -= np.where(self.free[graph.near], shift, 0.0)
            self.usual = self.usual + 2 * shift
            beyond = mad(own[self.free]) ** 2 - float(np.median(error[self.free] ** 2))
            self.spread = math.sqrt(max(beyond, 0.0))


def _medians(value: Floats, kind: Ints) -> Floats:
    """float64[classes]: the median of every class; 0 for a class without values."""
    found = np.zeros(int(kind.max()) + 1)
    for one in np.unique(kind):
        found[one] = np.median(value[kind == one])
    return found


def _biweight(u: Floats) -> Floats:
    return np.where(np.abs(u) < 1, (1 - u**2) ** 2, 0.0)
