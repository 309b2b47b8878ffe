"""What to measure again, and when to stop."""

from __future__ import annotations

import math

import numpy as np

from ..graph import Floats, Ints
from .cells import REJECT, Cells, Judgement, Request, Rules

_REPEATS = np.array([1, 2, 3, 4, 6, 8, 12, 16])
_CONTROLS = 2


def retest(judgement: Judgement, cells: Cells, rules: Rules, spent: int) -> Request | None:
    """The next session, or None: nothing is worth it, looks or budget are used up.

    Args:
        judgement: What `judge` says of ``cells``.
        cells: All values so far.
        rules: Budget and looks.
        spent: Measurements of re-tests so far, failed ones counted.
    """
    looks = rules.looks - int(cells.session.max(initial=0))
    sweep = int(np.count_nonzero((cells.session == 0) & ~cells.proven))
    left = int(rules.retest * sweep) - spent
    if looks <= 0 or left <= 0:
        return None
    budget = left // looks
    gain, repeats = _gains(judgement, looks == 1, rules)
    asked = np.flatnonzero(gain > 1e-5)
    order = asked[np.argsort(-gain[asked], kind="stable")]
    order = order[np.cumsum(repeats[order]) <= budget]
    if order.size == 0:
        return None
    controls = _controls(judgement, order)
    while order.size and repeats[order].sum() + controls.size > left:
        order = order[: order.size - max(controls.size // 4, 1)]
        controls = _controls(judgement, order)
    if order.size == 0:
        return None
    every = np.concatenate([order, controls])
    return Request(
        metric=judgement.metric[every],
        unit=judgement.unit[every],
        repeats=np.concatenate([repeats[order], np.ones(controls.size, np.int64)]),
        control=np.arange(every.size) >= order.size,
    )


def _gains(judgement: Judgement, last: bool, rules: Rules) -> tuple[Floats, Ints]:
    """Per measurement, by how much the chance grows that the cell is rejected for good reason."""
    bad = np.clip(1 - judgement.chance, 1e-300, 1 - 1e-12)
    logit = np.log(bad) - np.log1p(-bad)
    enough = math.log((1 - rules.sure / 2) / (rules.sure / 2))
    drop = np.maximum(-judgement.effect, -1.3 * math.log1p(-rules.material))
    told = (drop / judgement.noise) ** 2 / 2  # nats that one measurement tells of a bad cell
    best, repeats = np.zeros(bad.size), np.ones(bad.size, np.int64)
    for k in _REPEATS.tolist():
        reached = _normal((logit + k * told - enough) / np.sqrt(2 * k * told))
        each = bad * (reached - (logit >= enough)) / k
        better = each > best
        best = np.where(better, each, best)
        repeats[better] = k
    unconfirmed = (judgement.state == REJECT) & (judgement.repeats == 1)
    best[judgement.proven] = 0.0
    best[unconfirmed] = 1.0
    if not last:
        repeats[:] = 1
    repeats[unconfirmed] = 1
    return best, repeats


def _controls(judgement: Judgement, suspects: Ints) -> Ints:
    """A few surely good cells for every metric and kind of the suspects."""
    key = judgement.metric * (judgement.kind.max() + 1) + judgement.kind
    wanted = np.unique(key[suspects])
    taken = np.zeros(key.size, dtype=bool)
    taken[suspects] = True
    good = np.flatnonzero(~taken & (judgement.chance > 0.99) & np.isin(key, wanted))
    # Those measured most often, and in the middle, first.
    middle = np.abs(judgement.percentile[good] - 50)
    order = good[np.lexsort((middle, -judgement.repeats[good], key[good]))]
    starts = np.flatnonzero(np.append(True, np.diff(key[order]) != 0))
    rank = np.arange(order.size) - np.repeat(starts, np.diff(np.append(starts, order.size)))
    return order[rank < _CONTROLS]


def _normal(x: Floats) -> Floats:
    """The normal distribution function, to 1e-4 (logistic with a cubic term)."""
    return 1 / (1 + np.exp(np.clip(-1.5976 * x - 0.070566 * x**3, -700, 700)))
