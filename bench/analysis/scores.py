"""What a score is made of, and its arithmetic: means, intervals, and what each metric is worth.

With efficiencies e, capped at 1, and weights w, a score is the weighted geometric mean

    S = 100 · Π e_i^(x_i),   x_i = w_i / Σ w

over the metrics that have an efficiency. Where a profile gives categories weights W, x_i is
W_c / Σ W times w_i / Σ w inside the category: a category that lost a metric keeps its weight, and
its coverage says what was lost.

S rises with every e_i, so the lower ends of the efficiencies give one for it, the upper ends an
upper one. On the logarithmic scale that adds the half-widths up, as if all erred together. The
deviation of a sum is at most the sum of the deviations, so the interval of S covers at least as
often as theirs, whatever is common to metrics of the same devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from ..errors import Exit
from ..records import Provenance
from .criteria import judgement
from .finding import Finding

TOLERANCE = 0.05
"""How far above its reference a metric may lie before that is a finding."""
POINT = 0.01
"""One point of an efficiency, by which sensitivities are given."""
SURE, ROUGH = 0.02, 0.10
"""Half-widths of an interval, over the value, up to which confidence is high, and medium."""
SAMPLE = 6
"""Values from which an order-statistic interval of a median reaches 95 %."""

Confidence: TypeAlias = Literal["high", "medium", "low", "declared", "none"]


class MetricScore(msgspec.Struct, kw_only=True):
    """One case of a profile's line.

    ``achieved`` is the median over groups of their medians over repeats, ``p5`` and ``p95`` the
    spread over groups, ``low`` to ``high`` its 95 % interval (None where a single value is known),
    ``reference`` what it is compared with, all in ``unit``; ``efficiency`` their ratio, not
    capped, with an interval of its own. ``coverage`` is the share of the expected groups that have
    a value. ``scored`` is false for lines that are only shown. ``absent`` says why there is no
    efficiency, and is empty where there is one.

    ``confidence``: ``high`` where the interval rests on `SAMPLE` values, is within `SURE` and nine
    of ten groups answered; ``medium`` within `ROUGH` and half of them; else ``low``; ``declared``
    of what nobody measured. ``gain``: points of the overall score for one point of efficiency more;
    None where it has none or there is nothing to gain. ``run`` is where the value comes from,
    ``detail`` what it is made of, in words.
    """

    name: str
    metric: str
    case: int | None = None
    unit: str = ""
    weight: float = 1.0
    scored: bool = True
    achieved: float | None = None
    p5: float | None = None
    p95: float | None = None
    low: float | None = None
    high: float | None = None
    values: int = 0
    reference: float | None = None
    reference_from: str = ""
    efficiency: float | None = None
    efficiency_low: float | None = None
    efficiency_high: float | None = None
    groups: int = 0
    expected_groups: int = 0
    coverage: float = 0.0
    confidence: Confidence = "none"
    provenance: str = ""
    run: str = ""
    gain: float | None = None
    absent: str = ""
    detail: str = ""
    title: str = ""
    title_zh: str = ""
    clause: str = ""
    quote: str = ""


class Category(msgspec.Struct, kw_only=True):
    """A category of the profile; ``score`` is 0 to 100, None where nothing could be scored.

    ``low`` to ``high`` is its interval; ``single`` counts the scored metrics of which one value is
    known, and no spread: the interval takes them as exact. ``weight`` is percent of the overall
    score, None where the profile gives none.
    """

    name: str
    score: float | None
    coverage: float
    metrics: list[MetricScore]
    low: float | None = None
    high: float | None = None
    single: int = 0
    weight: float | None = None
    title_zh: str = ""


class Scorecard(msgspec.Struct, kw_only=True):
    """The scores of a run, or of several of one system.

    ``overall`` is 0 to 100, None where nothing could be scored; ``low``, ``high`` and ``single`` as
    of `Category`. ``stands_for``: the chip whose datasheet other devices were held against, in its
    place. ``kinds``: the chips that were measured. ``chain``: the factors of the whole cluster's
    efficiency, and the two meanings of 算力利用率, where they were asked for. ``note`` is the
    profile's.
    """

    run: str
    suite: str
    profile: str
    provenance: Provenance
    stands_for: str = ""
    kinds: list[str] = []
    overall: float | None
    low: float | None = None
    high: float | None = None
    single: int = 0
    coverage: float
    categories: list[Category]
    chain: list[MetricScore] = []
    findings: list[Finding]
    note: str = ""
    note_zh: str = ""

    @property
    def exit(self) -> Exit:
        """The exit code that values ask for, and the profile's criteria."""
        return judgement(self.findings)


class Mean(msgspec.Struct, frozen=True):
    """A score from 0 to 100 with its interval, coverage from 0 to 1, metrics of a single value."""

    score: float | None
    low: float | None
    high: float | None
    coverage: float
    single: int


def mean(metrics: Sequence[MetricScore]) -> Mean:
    """The score of some metrics, each by its own weight."""
    wanted = [metric for metric in metrics if metric.scored]
    asked = sum(metric.weight for metric in wanted)
    covered = sum(m.weight * m.coverage for m in wanted if m.efficiency is not None)
    return _combined(list(_own(metrics)), covered / asked if asked else 0.0)


def overall(categories: Sequence[Category], weights: Mapping[str, float]) -> Mean:
    """The score of all categories: by their weights where there are any, else of all metrics."""
    if not weights:
        return mean([metric for one in categories for metric in one.metrics])
    wanted = [one for one in categories if any(metric.scored for metric in one.metrics)]
    asked = sum(weights[one.name] for one in wanted)
    covered = sum(weights[one.name] * one.coverage for one in wanted)
    return _combined(list(_exponents(categories, weights)), covered / asked if asked else 0.0)


def settle(categories: Sequence[Category], weights: Mapping[str, float]) -> Mean:
    """`overall`; every category gets its score, every metric what a point of it is worth."""
    for one in categories:
        found = mean(one.metrics)
        one.score, one.low, one.high = found.score, found.low, found.high
        one.coverage, one.single = found.coverage, found.single
        one.weight = weights.get(one.name)
    whole = overall(categories, weights)
    parts = list(_exponents(categories, weights))
    for metric, _ in parts:
        metric.gain = _gain(metric, parts)
    return whole


def trusted(metric: MetricScore) -> Confidence:
    """How far the value can be relied on; see `MetricScore`."""
    if metric.achieved is None:
        return "none"
    if metric.provenance in ("declared", "datasheet"):
        return "declared"
    if metric.low is None or metric.high is None:
        return "low"
    width = metric.high - metric.low
    half = width / 2 / abs(metric.achieved) if metric.achieved else math.inf if width else 0.0
    if half <= SURE and metric.values >= SAMPLE and metric.coverage >= 0.9:
        return "high"
    return "medium" if half <= ROUGH and metric.coverage >= 0.5 else "low"


def _own(metrics: Sequence[MetricScore]) -> Iterator[tuple[MetricScore, float]]:
    """The scored metrics that have an efficiency, with their exponents."""
    found = [metric for metric in metrics if metric.scored and metric.efficiency is not None]
    total = sum(metric.weight for metric in found)
    for metric in found:
        yield metric, metric.weight / total


def _exponents(
    categories: Sequence[Category], weights: Mapping[str, float]
) -> Iterator[tuple[MetricScore, float]]:
    if not weights:
        yield from _own([metric for one in categories for metric in one.metrics])
        return
    inside = [(weights[one.name], list(_own(one.metrics))) for one in categories]
    total = sum(weight for weight, parts in inside if parts)
    for weight, parts in inside:
        for metric, share in parts:
            yield metric, share * weight / total


def _combined(parts: Sequence[tuple[MetricScore, float]], coverage: float) -> Mean:
    if not parts:
        return Mean(None, None, None, coverage, 0)
    single = sum(metric.efficiency_low is None for metric, _ in parts)
    score = _product([(metric.efficiency, share) for metric, share in parts])
    if single == len(parts):
        return Mean(score, None, None, coverage, single)
    low, high = (
        _product([(_end(metric, name), share) for metric, share in parts])
        for name in ("efficiency_low", "efficiency_high")
    )
    return Mean(score, low, high, coverage, single)


def _end(metric: MetricScore, name: str) -> float | None:
    """An end of the interval; of a single value, that."""
    end: float | None = getattr(metric, name)
    return metric.efficiency if end is None else end


def _capped(efficiency: float | None) -> float:
    # What is beyond its reference is capped: one wrong datasheet must not lift the rest.
    return min(max(efficiency or 0.0, 0.0), 1.0)


def _product(parts: Sequence[tuple[float | None, float]]) -> float:
    """100 · Π e^x. One efficiency of zero makes the whole zero."""
    capped = [(_capped(efficiency), share) for efficiency, share in parts]
    if any(efficiency == 0 and share > 0 for efficiency, share in capped):
        return 0.0
    return 100 * math.exp(sum(share * math.log(efficiency) for efficiency, share in capped))


def _gain(metric: MetricScore, parts: Sequence[tuple[MetricScore, float]]) -> float | None:
    """Points of the overall score for `POINT` more of one efficiency: the exact difference."""
    now = _capped(metric.efficiency)
    if now >= 1:
        return None
    raised = [(now + POINT if one is metric else one.efficiency, share) for one, share in parts]
    return _product(raised) - _product([(one.efficiency, share) for one, share in parts])
