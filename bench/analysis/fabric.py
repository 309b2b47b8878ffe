"""Which item or link is slow, from measurements of pairs.

A slow pair does not say who is slow. Every item (a node, or a device of one) meets several
others, so the values are taken apart additively on the log scale:

    ln value_ij = μ + a_i + a_j + e_ij

μ is the usual pair, a_i what item i adds to every pair that it is in, e_ij what is left for the
link alone. It is a two-way layout with one value a cell, most cells empty (Tukey, "One degree of
freedom for non-additivity", Biometrics 5, 1949). Links are weighed by the biweight (Beaton &
Tukey, Technometrics 16, 1974), so that a slow one does not pull at its items. Items are shrunk
towards the fleet as random effects (Robinson, "That BLUP is a good thing", Statistical Science 6,
1991), except those that stand out: they are what is looked for.

That most items and links are usual is assumed, and tells "one node is slow" from "all that it met
are slow". An item that met one other only is never told from its link: the pair is named.

Something is named where it is slower by a material share *and* than chance would make anything in
a healthy fleet more often than ``family`` (Bonferroni over all items and links). Chance is
measured, not assumed: its scale by the fleet's own spread, its tail by the *fast* side, where
nobody is a culprit (`_Chance`). Few items show too little to measure heavy tails or a wide
spread by: there the promise of ``family`` is kept within a factor of about two
(tests/unit/test_fabric.py simulates it).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from ..records import Better
from ..stats import mad, student_quantile, student_tail
from .additive import Additive
from .graph import Floats, Graph, Ints

Kind: TypeAlias = Literal["item", "link", "pair"]

FAMILY = 0.005
"""Share of healthy fleets in which anything is named at all."""
MATERIAL = 0.03
"""Relative slow-down below which nothing is named, however sure it is."""

_TAIL_FROM = 200
"""Fast values from which their tail is measured; below, one is assumed."""
_LINK_TAIL, _ITEM_TAIL = 5.0, 10.0
"""Degrees of freedom assumed: links are single values, items are means of several."""
_TAILS = (1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 10, 13, 17, 25, 40, 100)
"""Degrees of freedom that a measured tail is rounded down to."""


class Culprit(msgspec.Struct, kw_only=True, frozen=True):
    """An item, a link, or a pair of which nobody can say whether item or link is slow.

    ``items`` are one or two indices. ``effect`` is the relative deviation from the usual pair
    (bandwidth -0.1: a tenth below; latency +0.1: a tenth above), ``low`` to ``high`` its 95 %
    interval. ``chance`` is the share of healthy fleets that show anything as extreme (the
    Bonferroni-adjusted p-value). ``pairs`` is how many measured pairs it rests on.
    """

    kind: Kind
    items: tuple[int, ...]
    effect: float
    low: float
    high: float
    chance: float
    pairs: int


class Fabric(msgspec.Struct, kw_only=True):
    """What the pairs say.

    ``usual`` is one value a class (NaN without a pair), in the unit of the values. ``effect``,
    ``low`` and ``high`` are float64[items], relative to it, NaN for items with fewer than two
    pairs. ``noise`` and ``spread`` are relative standard deviations: of a pair around its items,
    and of items.
    ``pairs`` and ``missing`` count distinct pairs and values that were no positive number.
    ``culprits`` has the slowest first; ``limits`` says what cannot be told, in sentences.
    """

    usual: list[float]
    effect: Floats
    low: Floats
    high: Floats
    noise: float
    spread: float
    pairs: int
    missing: int
    culprits: list[Culprit]
    limits: list[str]


def fit(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    value: npt.ArrayLike,
    *,
    items: int | None = None,
    classes: npt.ArrayLike | None = None,
    better: Better = "higher",
    family: float = FAMILY,
    material: float = MATERIAL,
) -> Fabric:
    """Fit the additive model and name who is slow.

    Args:
        first, second: int[values], the two items of every value. A pair may come several times:
            its median counts.
        value: float[values]; what is no positive number is left out and counted.
        items: Number of items; by default one more than the largest.
        classes: int[values], kinds of pairs that differ by design (inside a rack, across racks):
            each has its own usual value.
        better: Which way values are better.
        family: Share of healthy fleets in which anything may be named.
        material: Relative slow-down below which nothing is named.

    Raises:
        ValueError: no positive value at all, or an item that is paired with itself.
    """
    i, j = (np.asarray(one, dtype=np.int64) for one in (first, second))
    y = np.asarray(value, dtype=np.float64)
    kind = np.zeros(i.size, np.int64) if classes is None else np.asarray(classes, dtype=np.int64)
    if (i == j).any():
        raise ValueError("first, second: got an item that is paired with itself")
    good = np.isfinite(y) & (y > 0)
    if not good.any():
        raise ValueError("value: got no positive number, takes at least one")
    count = items if items is not None else int(max(i.max(), j.max())) + 1
    sign = 1.0 if better == "higher" else -1.0  # below, more is always better
    i, j, y, kind = _distinct(i[good], j[good], sign * np.log(y[good]), kind[good])
    graph = Graph(i, j, count)
    model = Additive(graph, y, kind)
    item, error = model.items()
    low, high = _interval(item, error, model.degrees, sign)
    culprits = _slow_items(model, family, material, sign)
    culprits += _slow_links(model, family, material, sign)
    known = model.free
    return Fabric(
        usual=np.where(np.bincount(kind) > 0, np.exp(sign * model.usual), np.nan).tolist(),
        effect=np.where(known, np.expm1(sign * item), np.nan),
        low=np.where(known, low, np.nan),
        high=np.where(known, high, np.nan),
        noise=model.noise,
        spread=model.spread,
        pairs=int(y.size),
        missing=int((~good).sum()),
        culprits=sorted(culprits, key=lambda one: sign * one.effect),
        limits=_limits(graph, model, int((~good).sum())),
    )


def _distinct(i: Ints, j: Ints, y: Floats, kind: Ints) -> tuple[Ints, Ints, Floats, Ints]:
    """Every pair once, whichever way round it was measured, with the median of its values."""
    low, high = np.minimum(i, j), np.maximum(i, j)
    order = np.lexsort((y, high, low))
    low, high, y, kind = low[order], high[order], y[order], kind[order]
    new = np.ones(y.size, dtype=bool)
    new[1:] = (np.diff(low) != 0) | (np.diff(high) != 0)
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, y.size))
    middle = (y[starts + (sizes - 1) // 2] + y[starts + sizes // 2]) / 2
    return low[starts], high[starts], middle, kind[starts]


class _Chance:
    """How far chance alone carries the values of one kind (all items, or all links).

    ``scale`` is the larger of a value's own standard error and the spread of its kind (of its slow
    half, where that is wider);
    beyond that, Student's t. Its degrees of freedom are the fewest that anything speaks for:
    those that the noise was measured with, those of the values' own spread, and those of the tail.
    The tail is read off the fast side, whose 99 % and 50 % points are compared: errors are taken
    to be as often fast as slow. Where too few values are there to read it, a heavy tail is
    ``assumed``.
    """

    def __init__(self, value: Floats, error: Floats, degrees: float, assumed: float) -> None:
        whole = max(mad(value), _slow_side(value)) if value.size else 0.0
        self.scale = np.maximum(np.maximum(error, whole), 1e-9)
        self.z = value / self.scale
        fast = self.z[self.z > 0]
        self.degrees = max(min(degrees, value.size - 1.0, _tail(fast, assumed)), 0.1)

    def p(self, z: float) -> float:
        """Probability that chance makes one value as slow as ``z`` standard deviations."""
        return student_tail(-z, self.degrees)


def _slow_side(value: Floats) -> float:
    """σ of a normal distribution with this lower quartile.

    A pair is as fast as the slower of its ends: the spread of good items shows on the slow side
    more than on the fast one, where their partners hide it.
    """
    low, middle = np.quantile(value, (0.25, 0.5))
    return float(middle - low) / 0.6745


def _tail(fast: Floats, assumed: float) -> float:
    """Degrees of freedom of the t distribution whose upper half ``fast`` looks like."""
    if fast.size < _TAIL_FROM:
        return assumed
    share = 0.01
    beyond = share * fast.size
    # One standard error of a count deeper: few values must not pass for a light tail.
    seen = np.quantile(fast, 1 - (beyond - math.sqrt(beyond)) / fast.size) / np.median(fast)
    for degrees in reversed(_TAILS):
        if seen <= student_quantile(share / 2, degrees) / student_quantile(0.25, degrees):
            return degrees
    return _TAILS[0]


def _slow_items(model: Additive, family: float, material: float, sign: float) -> list[Culprit]:
    """Items that are slow by their own deviation, and whose pairs agree that they are.

    By chance, more than half of an item's d pairs lie beyond x with a probability of at most
    C(d, m) p(x)^m, m = ⌊d/2⌋ + 1, p being that of one pair. Where noise has heavy tails it is this
    that keeps an item with two unlucky pairs from being named.
    """
    rest, link_error = model.links()
    chance = _Chance(rest, link_error, model.degrees, _LINK_TAIL)
    wider = float(np.median(chance.scale / link_error))
    own, error = model.items()
    agreed = model.agreed() / wider
    asked = np.flatnonzero(model.free)
    tests = asked.size + rest.size
    found = []
    for index, said in _slow(own[asked], error[asked], model, _ITEM_TAIL, family, material, sign):
        item = int(asked[index])
        pairs = int(model.graph.degree[item])
        most = pairs // 2 + 1
        log_p = _log_choose(pairs, most) + most * math.log(max(chance.p(agreed[item]), 1e-300))
        said["chance"] = max(said["chance"], tests * math.exp(min(log_p, 0.0)))
        if said["chance"] < family:
            found.append(Culprit(kind="item", items=(item,), pairs=pairs, **said))
    return found


def _slow_links(model: Additive, family: float, material: float, sign: float) -> list[Culprit]:
    rest, error = model.links()
    culprits = []
    for index, said in _slow(rest, error, model, _LINK_TAIL, family, material, sign):
        ends = int(model.graph.first[index]), int(model.graph.second[index])
        kind: Kind = "link" if model.free[list(ends)].all() else "pair"
        culprits.append(Culprit(kind=kind, items=ends, pairs=1, **said))
    return culprits


def _slow(
    value: Floats,
    error: Floats,
    model: Additive,
    assumed: float,
    family: float,
    material: float,
    sign: float,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Which values are slower than chance and the material share explain, and how far."""
    tests = int(model.free.sum()) + model.y.size
    chance = _Chance(value, error, model.degrees, assumed)
    least = math.log1p(-material) if sign > 0 else -math.log1p(material)
    limit = student_quantile(min(family / tests, 0.5), chance.degrees)
    for index in np.flatnonzero((chance.z < -limit) & (value < least)).tolist():
        low, high = _interval(value[index], error[index], model.degrees, sign)
        yield (
            index,
            {
                "effect": math.expm1(sign * value[index]),
                "low": float(low),
                "high": float(high),
                "chance": min(1.0, tests * chance.p(float(chance.z[index]))),
            },
        )


def _interval(
    value: npt.ArrayLike, error: npt.ArrayLike, degrees: float, sign: float
) -> tuple[Floats, Floats]:
    """The 95 % interval of relative deviations, from logarithms and their standard errors."""
    reach = student_quantile(0.025, max(degrees, 0.1)) * np.asarray(error)
    ends = (sign * np.asarray(value) - reach, sign * np.asarray(value) + reach)
    low, high = (np.expm1(np.clip(end, -700, 700)) for end in ends)
    return low, high


def _limits(graph: Graph, model: Additive, missing: int) -> list[str]:
    """What these pairs cannot tell, in sentences."""
    said = []
    there, parts = int((graph.degree > 0).sum()), graph.parts()
    once = int((graph.degree == 1).sum())
    if missing:
        said.append(f"{missing} pair(s) have no good value and do not count")
    if unmet := graph.count - there:
        said.append(f"{unmet} of {graph.count} were in no pair that has a value")
    if model.degrees < 2:
        said.append(
            f"{graph.first.size} pair(s) of {there} leave next to nothing to judge noise by; "
            "measure more pairs, of more nodes"
        )
    if once:
        said.append(
            f"{once} met one other only: whether it or its link is slow cannot be told; measure "
            "at least two matchings"
        )
    elif parts > 1:
        said.append(
            f"{parts} parts never met each other: that the usual pair of each is equally fast is "
            "assumed"
        )
    if sides := int((graph.two_sided() & model.free).sum()):
        said.append(
            f"{sides} are in parts with two sides that meet across only (two matchings always "
            "are): one side slower looks like the other faster; that most are usual is assumed"
        )
    alone = np.bincount(model.kind)
    if few := int((alone == 1).sum()) if alone.size > 1 else 0:
        said.append(f"{few} pair(s) are the only one of their kind: nothing to compare with")
    return said


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
