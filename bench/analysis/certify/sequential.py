"""What to measure again, and when to stop.

Cells are taken in the order of finds that a measurement promises: a bad cell costs as many as it
takes to be sure of it, a good one about one, and most are good (README.md, "What to measure
again"). Controls share a session's drift with the suspects; they are added only where the suspects,
most of which are good too, do not tell it well enough.
"""

from __future__ import annotations

import math

import numpy as np

from ..graph import Floats, Ints
from .cells import REJECT, SUSPECT, Cells, Judgement, Request, Rules

_LIKELY, _MOST = 0.03, 16  # from this chance on a cell is repeated, at most so often
_LEAST = 1e-5  # finds that a measurement must promise
_FEW = 64  # units of a kind below which every session has controls
_CONTROLS = 8  # values that tell a session's drift well enough
_SESSION = 64  # a session is not made smaller than this while the budget lasts


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
    budget = min(max(left // looks, _SESSION), left)
    asked, gain, repeats = _gains(judgement, looks, rules)
    best = np.argsort(-gain, kind="stable")
    best = best[(gain[best] > _LEAST) & (np.cumsum(repeats[best]) <= budget)]
    chosen, repeats = asked[best], repeats[best]
    # As many as fit with the controls of their groups, by bisection.
    fits, beyond = 0, chosen.size + 1
    while beyond - fits > 1:
        some = (fits + beyond) // 2
        cost = int(repeats[:some].sum()) + _controls(judgement, chosen[:some]).size
        fits, beyond = (some, beyond) if cost <= budget else (fits, some)
    chosen, repeats = chosen[:fits], repeats[:fits]
    if chosen.size == 0:
        return None
    controls = _controls(judgement, chosen)
    every = np.concatenate([chosen, controls])
    return Request(
        metric=judgement.metric[every],
        unit=judgement.unit[every],
        repeats=np.concatenate([repeats, np.ones(controls.size, np.int64)]),
        control=np.arange(every.size) >= chosen.size,
    )


def _gains(judgement: Judgement, looks: int, rules: Rules) -> tuple[Ints, Floats, Ints]:
    """Which cells, and by how much each measurement of one lifts the chance of a just rejection."""
    bad = np.clip(1 - judgement.chance, 0, 1 - 1e-12)
    unconfirmed = (judgement.state == REJECT) & (judgement.repeats == 1)
    asked = np.flatnonzero(~judgement.proven & ((bad > _LEAST) | unconfirmed))
    bad, first = bad[asked], unconfirmed[asked]
    logit = np.log(bad) - np.log1p(-bad)
    enough = math.log(0.99 / 0.01)
    drop = np.maximum(-judgement.effect[asked], -1.2 * math.log1p(-rules.material))
    told = (drop / judgement.noise[asked]) ** 2 / 2  # nats that a measurement of a bad cell tells
    need = np.maximum((enough - logit) / told, 0)  # measurements of a bad cell, from here
    # A suspect is decided by measuring it: what keeps it from being rejected is not known here.
    need = np.where(judgement.state[asked] == SUSPECT, np.maximum(need, 1e-3), need)
    cost = bad * np.maximum(need, 1) + (1 - bad) * np.maximum(1, 1 / told)
    best = np.where(need > 0, bad / cost, 0.0)
    repeats = np.ones(bad.size, np.int64)
    likely = bad > _LIKELY
    repeats[likely] = np.clip(np.ceil(need[likely] / looks), 1, _MOST)
    best[first] = 1.0
    repeats[first] = 1
    return asked, best, repeats


def _controls(judgement: Judgement, suspects: Ints) -> Ints:
    """A few surely good cells for every metric and kind of the suspects."""
    key = judgement.metric * (judgement.kind.max() + 1) + judgement.kind
    there = np.bincount(key[suspects], minlength=int(key.max()) + 1)
    drift = np.zeros(there.size)
    drift[key] = judgement.drift
    with np.errstate(divide="ignore"):
        known = np.clip(np.ceil(_CONTROLS - 1 / drift**2), 0, _CONTROLS)
    wanted = np.where(np.isnan(drift), np.maximum(3 - there, 1), known - there)
    # Of few units a drift is never known so well that a suspect could be held against itself alone.
    few = np.zeros(there.size, dtype=bool)
    few[key] = judgement.peers < _FEW
    wanted = np.where(few, np.maximum(wanted, 3), wanted)
    wanted = np.where(there > 0, np.maximum(wanted, 0), 0)
    # Those measured most often first, then those in the middle.
    rank = np.abs(judgement.percentile - 50) - 100.0 * (judgement.repeats - 1)
    good = (wanted[key] > 0) & (judgement.chance > 0.95) & (rank < 25) & ~judgement.proven
    good[suspects] = False
    good = np.flatnonzero(good)
    order = good[np.lexsort((rank[good], key[good]))]
    starts = np.flatnonzero(np.append(True, np.diff(key[order]) != 0))
    place = np.arange(order.size) - np.repeat(starts, np.diff(np.append(starts, order.size)))
    chosen: Ints = order[place < wanted[key[order]]]
    return chosen
