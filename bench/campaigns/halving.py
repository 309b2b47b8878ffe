"""Successive halving of candidates by paired measurements. Pure: scores in, decisions out.

Everything is compared turn by turn: in a turn each candidate is measured once, beside the others,
so that a clock that drifts meets all of them. The ratio of two candidates is the median over the
turns that both took part in, with its 95 % interval (`stats.median_interval`). Cheap rounds drop
most candidates (Jamieson & Talwalkar, Non-stochastic Best Arm Identification, 2016), later ones
measure the few that are left until the intervals part them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from ..stats import median_interval

KEPT = 0.25
"""Share of the candidates that the first two rounds keep."""
LEAST = 3
"""Candidates that a share is never smaller than."""
TURNS = (1, 3)
"""Turns of the first rounds; `MORE` in every later one."""
MORE = 4
ROUNDS = 8
"""Rounds after which candidates that intervals do not part are taken as equal."""
KNOWN = 6
"""Turns below which the extremes are no 95 % interval of the median."""


class Score(msgspec.Struct):
    """A candidate: seconds by turn; ``problem`` says why it is out, empty if it is not."""

    turns: dict[int, float] = {}
    problem: str = ""


class Round(msgspec.Struct, frozen=True):
    """What to measure next: these candidates, each once in every turn."""

    names: list[str]
    turns: int


class Ratio(msgspec.Struct, frozen=True):
    """Time of one candidate over that of another: median and 95 % interval over ``turns``."""

    median: float
    low: float
    high: float
    turns: int

    @property
    def faster(self) -> bool:
        """Whether the first is faster beyond the interval."""
        return self.turns >= KNOWN and self.high < 1.0


class Verdict(msgspec.Struct, frozen=True):
    """What the table should say: ``chosen``; ``ratio`` is its time over the incumbent's.

    ``measured``: whether anything was. ``why`` is a sentence.
    """

    chosen: str
    why: str
    measured: bool = True
    ratio: Ratio | None = None


def ratio(first: Score, second: Score) -> Ratio | None:
    """Time of the first over the second; None without a turn that both have."""
    common = sorted(first.turns.keys() & second.turns.keys())
    if not common:
        return None
    shares = [first.turns[turn] / second.turns[turn] for turn in common]
    return Ratio(*median_interval(shares), len(common))


def standing(scores: Mapping[str, Score], incumbent: str) -> list[str]:
    """Candidates with a figure and without a problem, fastest first.

    By their ratio to the incumbent; by their own time where that could not be measured.
    """

    def key(name: str) -> float:
        against = ratio(scores[name], scores[incumbent])
        if against is not None:
            return against.median
        return float(np.median(list(scores[name].turns.values())))

    good = [name for name, score in scores.items() if score.turns and not score.problem]
    paired = [name for name in good if ratio(scores[name], scores[incumbent]) is not None]
    return sorted(paired or good, key=key)


def next_round(
    done: int, names: Sequence[str], scores: Mapping[str, Score], incumbent: str
) -> Round | None:
    """The round after ``done`` rounds, the last of which measured ``names`` (at first: all).

    None when there is nothing more to find out. The incumbent takes part in every round.
    """
    if done == 0:
        return Round([name for name in names if not scores[name].problem], TURNS[0])
    order = [name for name in standing(scores, incumbent) if name in names]
    if done >= ROUNDS or not order:
        return None
    if done <= len(TURNS):
        order = order[: max(LEAST, round(len(order) * KEPT))]
    best = scores[order[0]]
    left = [name for name in order if not _beaten(scores[name], best)]
    if incumbent not in left and not scores[incumbent].problem:
        beaten = _beaten(scores[incumbent], best)
        if len(left) < 2 and beaten:
            return None
        left.append(incumbent)
    if left == [incumbent]:
        return None
    if len(left) < 2 and len(best.turns) >= KNOWN:
        return None
    return Round(left, TURNS[done] if done < len(TURNS) else MORE)


def decide(scores: Mapping[str, Score], incumbent: str) -> Verdict:
    """The incumbent, unless another is faster than it beyond the interval."""
    order, present = standing(scores, incumbent), scores[incumbent]
    if not order:
        why = present.problem or next((s.problem for s in scores.values() if s.problem), "no time")
        return Verdict(incumbent, f"nothing could be measured: {why}", measured=False)
    if present.problem or not present.turns:
        known = [name for name in order if len(scores[name].turns) >= KNOWN]
        if known:
            return Verdict(known[0], f"the present entry fails: {present.problem or 'no time'}")
        return Verdict(incumbent, "the present entry fails, and too little is known of others")
    found = [(name, against) for name in order if (against := ratio(scores[name], present))]
    for name, against in found:
        if name != incumbent and against.faster:
            return Verdict(name, "faster than the present entry", ratio=against)
    name, against = found[0]
    if name == incumbent:
        return Verdict(incumbent, "nothing is faster than the present entry")
    few = "" if against.turns >= KNOWN else f" over {against.turns} turns only"
    return Verdict(
        incumbent,
        f"no candidate is faster beyond the interval: the best takes {against.median:.3f} "
        f"({against.low:.3f} to {against.high:.3f}){few} of the present entry's time",
    )


def _beaten(one: Score, best: Score) -> bool:
    against = ratio(best, one)
    return bool(one.problem) or (against is not None and against.faster)
