"""Systems side by side: what each reached, and who is ahead where chance cannot have made it so.

Systems are ranked on a metric where the intervals of the better and of the next do not overlap;
those that overlap share a rank. Overlap is not an order (A may overlap B, and B overlap C, and A
not C), so a rank is that of a *chain*: sorted by its better end, an interval begins a new rank
where it lies apart from all before it. Two 95 % intervals that just do not overlap differ
with more than 99 % confidence where both err alike (Schenker and Gentleman, *On judging the
significance of differences by examining the overlap between confidence intervals*, The American
Statistician 55, 2001): the rule errs on the side of no ranking.

Overall scores with different coverage are scores of different things. Systems are ranked as a whole
on the metrics that all of them were scored by, with an interval of each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from ..records import Better
from .scores import Category, Mean, MetricScore, Scorecard, overall


class Entry(msgspec.Struct, kw_only=True, frozen=True):
    """One system's value with its interval; ``rank`` from 1, None where nobody can be ranked."""

    value: float | None
    low: float | None
    high: float | None
    rank: int | None = None


class Compared(msgspec.Struct, kw_only=True, frozen=True):
    """One metric, category or score over all systems, in their order.

    ``unranked`` says why there are no ranks; empty where there are, also where all share one.
    """

    name: str
    metric: str
    unit: str
    entries: list[Entry]
    unranked: str = ""
    title_zh: str = ""


class Comparison(msgspec.Struct, kw_only=True, frozen=True):
    """Systems side by side. ``common`` is how many metrics the whole is compared on."""

    systems: list[str]
    kinds: list[list[str]]
    coverages: list[float]
    overall: Compared
    common: int
    categories: list[Compared]
    metrics: list[Compared]


def compare(cards: Sequence[Scorecard], weights: dict[str, float]) -> Comparison:
    """Put scorecards of one profile side by side.

    Args:
        cards: One a system, of one profile and provenance.
        weights: The profile's, by category.
    """
    names = list(dict.fromkeys(one.name for card in cards for one in card.categories))
    by_card = [dict(_keyed(card)) for card in cards]
    keys = list(dict.fromkeys(key for keyed in by_card for key in keyed))
    common = {key for key in keys if all(key in keyed and _sure(keyed[key]) for keyed in by_card)}
    whole = [_only(card, common, weights) for card in cards]
    return Comparison(
        systems=[card.run for card in cards],
        kinds=[card.kinds for card in cards],
        coverages=[card.coverage for card in cards],
        overall=_compared(
            "overall",
            "score",
            "",
            [(one.score, one.low, one.high) for one in whole],
            why="" if common else "no metric has an interval in every system",
        ),
        common=len(common),
        categories=[_category(name, cards, common, weights) for name in names],
        metrics=[_metric(key, [keyed.get(key) for keyed in by_card]) for key in keys],
    )


def ranks(entries: Sequence[tuple[float, float, float]], better: Better) -> list[int]:
    """Ranks of (value, low, high): equal where intervals overlap, in chains, the best first.

    What shares a rank counts as one: ranks are 1, 2, 3, whatever shares one before.
    """
    sign = 1.0 if better == "higher" else -1.0
    ends = [sorted((sign * low, sign * high)) for _, low, high in entries]
    found, rank, edge = [0] * len(entries), 0, math.inf
    # From the best upper end on, one begins a rank that lies below all before it.
    for one in sorted(range(len(entries)), key=lambda one: -ends[one][1]):
        worst, best = ends[one]
        if rank == 0 or best < edge:
            rank += 1
            edge = worst
        edge = min(edge, worst)
        found[one] = rank
    return found


_Key = tuple[str, str, str, str, int]


def _keyed(card: Scorecard) -> list[tuple[_Key, MetricScore]]:
    """Metrics by category, title or name, metric, and what they are held against.

    What two stages of a run measured alike is told apart by its place among them.
    """
    found: list[tuple[_Key, MetricScore]] = []
    alike: Counter[tuple[str, str, str, str]] = Counter()
    for category in card.categories:
        for one in category.metrics:
            said = (category.name, one.title or one.name, one.metric, _against(one))
            found.append(((*said, alike[said]), one))
            alike[said] += 1
    return found


def _against(one: MetricScore) -> str:
    """What kind of reference it has: of datasheets of different chips, the same kind."""
    return one.reference_from.partition(" ")[0]


def _sure(one: MetricScore) -> bool:
    return one.scored and one.efficiency is not None and one.efficiency_low is not None


def _only(card: Scorecard, common: set[_Key], weights: dict[str, float]) -> Mean:
    """The score of a card by these metrics alone."""
    left = []
    for category in card.categories:
        kept = [one for key, one in _keyed(card) if key in common and key[0] == category.name]
        if kept:
            left.append(Category(name=category.name, score=None, coverage=0.0, metrics=kept))
    return overall(left, weights)


def _category(
    name: str, cards: Sequence[Scorecard], common: set[_Key], weights: dict[str, float]
) -> Compared:
    mine = {key for key in common if key[0] == name}
    found = [_only(card, mine, {name: weights.get(name, 1.0)}) for card in cards]
    title = next(one.title_zh for card in cards for one in card.categories if one.name == name)
    if mine:
        entries = [(one.score, one.low, one.high) for one in found]
        made = _compared(name, "score", "", entries)
    else:
        scores = [
            next((one.score for one in card.categories if one.name == name), None) for card in cards
        ]
        entries = [(score, None, None) for score in scores]
        why = "no metric of it has an interval in every system"
        made = _compared(name, "score", "", entries, why=why)
    return msgspec.structs.replace(made, title_zh=title)


def _metric(key: _Key, found: Sequence[MetricScore | None]) -> Compared:
    """By efficiency where all have one, so that different chips are held against their own."""
    known = [one for one in found if one is not None]
    first = known[0]
    scored = all(one is not None and one.efficiency is not None for one in found)
    if scored:
        entries = [(one.efficiency, one.efficiency_low, one.efficiency_high) for one in known]
        made = _compared(key[1], f"{first.metric}, efficiency", "ratio", entries)
    else:
        entries = [
            (None, None, None) if one is None else (one.achieved, one.low, one.high)
            for one in found
        ]
        why = "it has no efficiency in every system"
        made = _compared(key[1], first.metric, first.unit, entries, why=why)
    return msgspec.structs.replace(made, title_zh=first.title_zh)


def _compared(
    name: str,
    metric: str,
    unit: str,
    found: Sequence[tuple[float | None, float | None, float | None]],
    *,
    why: str = "",
) -> Compared:
    sure = [(v, a, b) for v, a, b in found if v is not None and a is not None and b is not None]
    if not why and len(sure) < len(found):
        why = "a single value is known of a system, and no interval"
    placed: Sequence[int | None] = [None] * len(found) if why else ranks(sure, "higher")
    return Compared(
        name=name,
        metric=metric,
        unit=unit,
        entries=[
            Entry(value=value, low=low, high=high, rank=rank)
            for (value, low, high), rank in zip(found, placed, strict=True)
        ],
        unranked=why,
    )
