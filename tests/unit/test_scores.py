"""The arithmetic of scores: geometric means, intervals, coverage, and what a point is worth."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.scorecard import score, scorecard
from bench.analysis.scores import POINT, Category, MetricScore, mean, overall, settle, trusted
from bench.analysis.subject import Run, Subject, separated
from bench.analysis.summary import summarize
from bench.configs import Chip, Figure, Profile, ProfileMetric
from bench.errors import UsageError
from bench.report.language import chinese

CHIPS = {"acme-1": Chip(name="acme-1", vendor="Acme")}


def metric(efficiency: float | None, weight: float = 1.0, least=None, most=None, **more):
    values = {"name": "m", "metric": "x", "coverage": 1.0, "weight": weight}
    values |= {"efficiency": efficiency, "efficiency_low": least, "efficiency_high": most}
    return MetricScore(**{**values, **more})


def category(name: str, *metrics: MetricScore) -> Category:
    return Category(name=name, score=None, coverage=0.0, metrics=list(metrics))


efficiencies = st.floats(1e-3, 1.5)
weights = st.floats(0.1, 10)


@st.composite
def measured(draw):
    """A metric with an interval around its efficiency, or absent."""
    if draw(st.integers(0, 4)) == 0:
        return metric(None, draw(weights), coverage=0.0)
    middle = draw(efficiencies)
    low, high = middle * draw(st.floats(0.5, 1)), middle * draw(st.floats(1, 1.5))
    return metric(middle, draw(weights), low, high, coverage=draw(st.floats(0.1, 1)))


@st.composite
def systems(draw):
    """Categories, with and without weights of their own."""
    made = [
        category(f"c{number}", *metrics)
        for number, metrics in enumerate(
            draw(st.lists(st.lists(measured(), min_size=1, max_size=4), min_size=1, max_size=4))
        )
    ]
    own = draw(st.booleans())
    return made, {one.name: draw(weights) for one in made} if own else {}


def by_hand(made, by_weight):
    """The overall score straight from the definition."""
    total = logs = 0.0
    for one in made:
        found = [m for m in one.metrics if m.efficiency is not None]
        inside = sum(m.weight for m in found)
        share = by_weight.get(one.name) if by_weight else inside
        if found:
            total += share
            logs += share * sum(m.weight / inside * math.log(min(m.efficiency, 1.0)) for m in found)
    return 100 * math.exp(logs / total) if total else None


@settings(max_examples=200)
@given(systems())
def test_the_whole_is_the_geometric_mean_of_its_definition(system):
    made, by_weight = system
    wanted = by_hand(made, by_weight)
    found = settle(made, by_weight)
    assert found.score == (None if wanted is None else pytest.approx(wanted))


@settings(max_examples=200)
@given(systems())
def test_a_gain_is_the_finite_difference_of_the_whole(system):
    made, by_weight = system
    before = settle(made, by_weight).score
    for one in made:
        for each in one.metrics:
            if each.efficiency is None or each.efficiency >= 1:
                assert each.gain is None
                continue
            kept, gain = each.efficiency, each.gain
            each.efficiency = kept + POINT
            assert gain == pytest.approx(overall_of(made, by_weight) - before, abs=1e-9)
            # and for a small step the derivative, S · x / e
            each.efficiency = kept * (1 + 1e-6)
            slope = (overall_of(made, by_weight) - before) / (kept * 1e-6)
            each.efficiency = kept
            if kept * (1 + 1e-6) < 1:
                share = slope * kept / before
                assert 0 <= share <= 1 + 1e-3
                assert gain <= slope * POINT + 1e-6  # a power below one bends downward


def overall_of(made, by_weight):
    for one in made:
        one.coverage = mean(one.metrics).coverage
    return overall(made, by_weight).score


@settings(max_examples=200)
@given(systems())
def test_the_interval_holds_the_score_and_every_mixture_of_its_ends(system):
    made, by_weight = system
    found = settle(made, by_weight)
    if found.score is None:
        assert (found.low, found.high) == (None, None)
        return
    assert found.low <= found.score * (1 + 1e-9)
    assert found.score <= found.high * (1 + 1e-9)
    generator = np.random.default_rng(0)
    for one in made:
        for each in one.metrics:
            if each.efficiency is not None:
                ends = each.efficiency_low, each.efficiency_high
                each.efficiency = ends[generator.integers(2)]
    mixed = overall_of(made, by_weight)
    assert found.low * (1 - 1e-9) <= mixed <= found.high * (1 + 1e-9)


@settings(max_examples=100)
@given(systems())
def test_coverage_is_the_share_of_what_was_asked_for(system):
    made, by_weight = system
    found = settle(made, by_weight)
    assert 0 <= found.coverage <= 1 + 1e-9
    for one in made:
        asked = sum(m.weight for m in one.metrics)
        covered = sum(m.weight * m.coverage for m in one.metrics if m.efficiency is not None)
        assert one.coverage == pytest.approx(covered / asked)
    if by_weight:
        whole = sum(by_weight.values())
        wanted = sum(by_weight[one.name] * one.coverage for one in made) / whole
        assert found.coverage == pytest.approx(wanted)


def test_an_interval_of_means_covers_at_least_as_often_as_those_of_its_parts():
    """Logarithms of 20 efficiencies that share half of their error, 2,000 times."""
    generator = np.random.default_rng(1)
    hit = own = 0
    for _ in range(2000):
        error = 0.02 * (generator.normal() + generator.normal(size=20)) / math.sqrt(2)
        seen = np.exp(np.log(0.5) + error)
        parts = [metric(e, 1.0, e * math.exp(-0.0392), e * math.exp(0.0392)) for e in seen]
        found = mean(parts)
        hit += found.low <= 50 <= found.high
        own += parts[0].efficiency_low <= 0.5 <= parts[0].efficiency_high
    assert own / 2000 == pytest.approx(0.95, abs=0.02)
    assert hit >= own


def test_what_is_absent_is_never_good():
    good = category("a", metric(0.5))
    both = category("a", metric(0.5), metric(None, coverage=0.0))
    alone, beside = settle([good], {}), settle([both], {})
    assert (alone.score, beside.score) == (pytest.approx(50), pytest.approx(50))
    assert (alone.coverage, beside.coverage) == (1.0, 0.5)
    nothing = settle([category("a", metric(None, coverage=0.0))], {"a": 100.0})
    assert (nothing.score, nothing.low, nothing.coverage) == (None, None, 0.0)


def test_a_category_without_a_value_keeps_its_weight_in_the_coverage_only():
    made = [category("a", metric(0.25)), category("b", metric(None, coverage=0.0))]
    found = settle(made, {"a": 30.0, "b": 70.0})
    assert found.score == pytest.approx(25)
    assert found.coverage == pytest.approx(0.3)
    assert [one.weight for one in made] == [30.0, 70.0]


def test_zero_makes_the_whole_zero_and_is_worth_most():
    made = [category("a", metric(0.0), metric(0.81))]
    found = settle(made, {})
    assert found.score == 0.0
    assert made[0].metrics[0].gain == pytest.approx(100 * math.sqrt(0.01 * 0.81))
    assert made[0].metrics[1].gain == 0.0


def test_single_values_are_counted_and_taken_as_exact():
    made = [category("a", metric(0.5, 1, 0.4, 0.6), metric(0.5))]
    found = settle(made, {})
    assert found.single == made[0].single == 1
    assert found.low == pytest.approx(100 * math.sqrt(0.4 * 0.5))
    assert found.high == pytest.approx(100 * math.sqrt(0.6 * 0.5))
    alone = settle([category("a", metric(0.5))], {})
    assert (alone.low, alone.high, alone.single) == (None, None, 1)


def test_shown_lines_count_for_nothing():
    made = [category("a", metric(0.5), metric(0.9, 9, scored=False))]
    found = settle(made, {"a": 100.0})
    assert (found.score, found.coverage) == (pytest.approx(50), 1.0)
    assert made[0].metrics[1].gain is None


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({}, "none"),
        ({"achieved": 1.0, "provenance": "declared"}, "declared"),
        ({"achieved": 1.0, "provenance": "measured"}, "low"),
        ({"achieved": 1.0, "low": 0.99, "high": 1.01, "values": 6}, "high"),
        ({"achieved": 1.0, "low": 0.99, "high": 1.01, "values": 5}, "medium"),
        ({"achieved": 1.0, "low": 0.99, "high": 1.01, "values": 6, "coverage": 0.8}, "medium"),
        ({"achieved": 1.0, "low": 0.99, "high": 1.01, "values": 6, "coverage": 0.4}, "low"),
        ({"achieved": 1.0, "low": 0.95, "high": 1.05, "values": 60}, "medium"),
        ({"achieved": 1.0, "low": 0.8, "high": 1.2, "values": 60}, "low"),
        ({"achieved": 0.0, "low": 0.0, "high": 0.0, "values": 6}, "high"),
        ({"achieved": 0.0, "low": 0.0, "high": 1e-9, "values": 6}, "low"),
        ({"achieved": 50.0, "low": 49.0, "high": 51.0, "values": 6, "coverage": 0.9}, "high"),
        ({"achieved": -50.0, "low": -51.0, "high": -49.0, "values": 6}, "high"),
        ({"achieved": 50.0, "low": 48.5, "high": 51.5, "values": 60}, "medium"),
        ({"achieved": 10.0, "low": 9.0, "high": 11.0, "values": 1, "coverage": 0.5}, "medium"),
        ({"achieved": 10.0, "low": 8.9, "high": 11.1, "values": 60}, "low"),
        ({"achieved": 1.0, "high": 1.01, "values": 6}, "low"),
        ({"achieved": 1.0, "low": 0.99, "high": 1.01, "provenance": "datasheet"}, "declared"),
    ],
)
def test_confidence_says_what_a_value_rests_on(more, word):
    assert trusted(metric(None, **more)) == word


GEMM = {"benchmark": "gemm", "metric": "flops"}
STREAM = {"benchmark": "stream", "metric": "bandwidth"}


def profile(by_weight=None, **categories) -> Profile:
    return Profile(
        name="p",
        weights=by_weight or {},
        categories={
            name: [ProfileMetric(**line) for line in lines] for name, lines in categories.items()
        },
    )


def run(*rows, identity="run", started="2025-03-01T10:15:00+00:00", cases=None, **more) -> Run:
    cases = cases or [case(0, expected=100.0)]
    return Run(header(*cases, id=identity, started=started, **more), columns(*rows), CHIPS)


def test_the_interval_of_a_metric_comes_from_its_groups_or_its_rows():
    many = header(case(0, expected=100.0), groups=7)
    rows = columns(*((0, group, 60.0 + group) for group in range(7)))
    (one,) = summarize(many, rows)
    assert (one.low, one.high, one.values) == (60.0, 66.0, 7)
    few = columns((0, 0, 60.0), (0, 1, 70.0))
    few.low, few.high, few.n = few.value - 1, few.value + 2, few.n * 30
    (one,) = summarize(header(case(0)), few)
    assert (one.low, one.high, one.values) == (pytest.approx(59.0), pytest.approx(72.0), 60)
    (one,) = summarize(header(case(0)), columns((0, 0, 60.0)))
    assert (one.low, one.high) == (None, None)
    five = columns((0, 0, 60.0))
    five.n, five.low, five.high = five.n * 5, np.array([np.nan]), np.array([np.nan])
    (one,) = summarize(header(case(0)), five)
    assert (one.low, one.high, one.values) == (None, None, 5)  # and not of no width


def test_efficiency_intervals_turn_round_where_lower_is_better():
    made = header(case(0, "launch", metric="time", unit="s", better="lower", expected=1.0))
    rows = columns((0, 0, 3.0))
    rows.n, rows.low, rows.high = rows.n * 9, np.array([2.0]), np.array([4.0])
    line = {"benchmark": "launch", "metric": "time"}
    ((one,),) = (
        each.metrics for each in scorecard(made, rows, profile(a=[line]), CHIPS).categories
    )
    assert (one.low, one.high) == (pytest.approx(2.0), pytest.approx(4.0))
    ends = one.efficiency_low, one.efficiency_high
    assert ends == (pytest.approx(0.25), pytest.approx(0.5))
    assert one.efficiency_low <= one.efficiency <= one.efficiency_high


def test_of_several_runs_the_latest_value_counts():
    old = run((0, 0, 50.0), (0, 1, 50.0), identity="old")
    new = run((0, 0, 80.0), (0, 1, 80.0), identity="new", started="2025-03-02T10:15:00+00:00")
    lost = run((0, 0, None, "failed"), identity="lost", started="2025-03-03T10:15:00+00:00")
    for order in ([old, new, lost], [lost, new, old]):
        card = score(Subject(order, CHIPS), profile(a=[GEMM]))
        (one,) = card.categories[0].metrics
        assert (one.achieved, one.run, card.overall) == (80.0, "new", pytest.approx(80))
        assert card.run == "lost, new, old"
    named = [one.name for one in card.findings if one.kind == "failed"]
    assert named == ["lost: gemm"]


def test_several_runs_complete_each_other():
    first = run((0, 0, 81.0), (0, 1, 81.0), identity="a")
    stream = case(0, "stream", metric="bandwidth", unit="B/s", expected=100.0)
    second = run((0, 0, 49.0), (0, 1, 49.0), identity="b", cases=[stream])
    card = score(Subject([first, second], CHIPS), profile(a=[GEMM], b=[STREAM]))
    assert card.overall == pytest.approx(63)
    assert card.coverage == 1.0


def test_a_requirement_is_held_against_the_run_that_its_value_is_of():
    stream = case(0, "stream", metric="bandwidth", unit="B/s", expected=100.0)
    first = run((0, 0, 70.0), (0, 1, 90.0), identity="a")
    second = run((0, 0, 60.0), (0, 1, 90.0), identity="b", cases=[stream])
    asks = {"reference": "target", "target": 80.0, "required": True}
    lines = profile(a=[{**GEMM, **asks}, {**STREAM, **asks}])
    card = score(Subject([first, second], CHIPS), lines)
    said = [one.text for one in card.findings if one.kind == "criterion"]
    assert said == [
        "flops 70 FLOP/s, at least 80 FLOP/s is required (node-00000/0)",
        "bandwidth 60 B/s, at least 80 B/s is required (node-00000/0)",
    ]


@pytest.mark.parametrize(
    ("better", "value", "said"),
    [("higher", 105.0, ""), ("higher", 106.0, "6%"), ("lower", 95.5, ""), ("lower", 80.0, "25%")],
)
def test_a_twentieth_beyond_its_reference_is_no_finding_yet(better, value, said):
    made = run((0, 0, value), (0, 1, 100.0), cases=[case(0, expected=100.0, better=better)])
    card = score(Subject([made], CHIPS), profile(a=[GEMM]))
    above = [one.text for one in card.findings if one.kind == "above-reference"]
    assert len(above) == bool(said)
    assert all(f"is {said} better than the 100 FLOP/s" in one for one in above)


def test_runs_of_other_provenance_or_chips_are_told_apart():
    measured_ = run((0, 0, 1.0), identity="a")
    simulated = run((0, 0, 1.0, "ok", "", "simulated"), identity="b")
    other = run((0, 0, 1.0), identity="c")
    other.header.fleet = other.header.fleet.__class__(count=1, devices=2, chip="acme-2")
    groups, notes = separated([measured_, simulated, other, run((0, 0, 2.0), identity="d")])
    assert [[one.header.id for one in group] for group in groups] == [["a", "d"], ["b"], ["c"]]
    assert notes == [
        "run a is measured and run b is simulated: they are scored apart",
        "run a is of acme-1 and run c of acme-2: they are scored apart",
    ]
    with pytest.raises(UsageError, match="cannot be scored together"):
        Subject([measured_, simulated], CHIPS)
    with pytest.raises(UsageError, match="no run to score"):
        Subject([], CHIPS)


def test_a_measured_ceiling_is_a_reference():
    cases = [
        case(0, axes={"shape": "64x64x64", "dtype": "fp32", "layout": "nn", "impl": impl})
        for impl in ("torch", "triton")
    ]
    cases = [type(one)(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "id": number})
             for number, one in enumerate(cases)]  # fmt: skip
    made = run((0, 0, 100.0), (1, 0, 80.0), cases=cases)
    line = {**GEMM, "where": {"impl": "triton"}, "reference": "ceiling"}
    card = score(Subject([made], CHIPS), profile(a=[line]))
    (one,) = card.categories[0].metrics
    assert one.reference == pytest.approx(100)
    assert one.reference_from == "measured compute ceiling"
    assert one.efficiency == pytest.approx(0.8)
    shown = {"benchmark": "gemm", "metric": "error", "reference": "ceiling"}
    made = run((0, 0, 1.0), cases=[case(0, metric="error", unit="", better="lower")])
    (one,) = score(Subject([made], CHIPS), profile(a=[shown])).categories[0].metrics
    assert one.absent == "no ceiling is measured for it"


FIGURE = {"value": 1e14, "source": "s", "date": "2026-11-01", "status": "vendor"}


@pytest.mark.parametrize(
    ("measured_by", "axes", "more", "lacks"),
    [
        ("gemm", {"dtype": "bf17"}, {}, "it gives no undisputed bf17 peak"),
        ("gemm", {"dtype": "bf16"}, {"flops": {"bf16": Figure(**FIGURE)}}, ""),
        (
            "gemm",
            {"dtype": "bf16"},
            {"flops": {"bf16": Figure(**{**FIGURE, "status": "disputed"})}},
            "it gives no undisputed bf16 peak",
        ),
        ("stream", {"dtype": "fp32"}, {}, "it gives no undisputed memory bandwidth"),
        ("transfer", {}, {}, "it gives no undisputed link to the host"),
        (
            "collectives",
            {},
            {},
            "it gives no undisputed link between devices and no undisputed network of a node",
        ),
        (
            "pairs",
            {},
            {"link": Figure(**FIGURE), "network": Figure(**{**FIGURE, "status": "disputed"})},
            "it gives no undisputed network of a node",
        ),
        ("launch", {}, {}, ""),
    ],
)
def test_an_unknown_peak_dtype_or_link_is_named(measured_by, axes, more, lacks):
    chips = {"acme-1": Chip(name="acme-1", vendor="Acme", **more)}
    made = header(case(0, measured_by, axes, metric="x"))
    line = {"benchmark": measured_by, "metric": "x"}
    card = scorecard(made, columns((0, 0, 1.0)), profile(a=[line]), chips)
    (one,) = card.categories[0].metrics
    said = "no reference: the datasheet of acme-1 does not predict it"
    assert one.absent == (f"{said}: {lacks}" if lacks else said)
    assert (one.efficiency, card.overall, card.coverage) == (None, None, 0.0)
    assert chinese(one.absent).startswith("无参考值")
    assert not re.search("it gives", chinese(one.absent))
