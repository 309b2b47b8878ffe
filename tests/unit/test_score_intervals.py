"""Intervals hold what is true as often as they say: of series, of groups, and of a whole score."""

from __future__ import annotations

import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.estimates import Estimate, largest, least, over, over_groups
from bench.analysis.scorecard import scorecard
from bench.analysis.summary import group_medians
from bench.configs import Chip, Figure, Profile, ProfileMetric
from bench.records import DeviceGroup
from bench.results import Columns
from bench.stats import median_interval, series_interval, share_interval

ENOUGH = 0.93
"""Of 95 % intervals, what must hold the truth of some hundred made runs."""
PEAK = 1e14


def series(generator, rows: int, samples: int, rho: float, tails: float = 0.0):
    """float64[rows, samples] of median 0 and scale 1, each like the last by ``rho``."""
    made = generator.normal(size=(rows, samples))
    for place in range(1, samples):
        made[:, place] = rho * made[:, place - 1] + math.sqrt(1 - rho**2) * made[:, place]
    return made + tails * made**3


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("samples", [10, 20, 50, 100])
def test_a_series_holds_its_median_though_samples_resemble_the_last(samples, rho):
    made = series(np.random.default_rng(samples), 800, samples, rho)
    held = [low <= 0 <= high for _, low, high in map(series_interval, made)]
    assert np.mean(held) >= ENOUGH
    if rho == 0.5:
        plain = [low <= 0 <= high for _, low, high in map(median_interval, made)]
        assert np.mean(plain) < ENOUGH


def test_a_series_is_as_known_as_independent_samples_are_where_it_swings():
    swinging = np.tile([1.0, 3.0, 2.0, 0.0], 10)
    assert series_interval(swinging) == median_interval(swinging)
    assert series_interval(np.full(20, 3.0)) == (3.0, 3.0, 3.0)
    assert series_interval([1.0, 2.0, 4.0]) == (2.0, 1.0, 4.0)


@pytest.mark.parametrize("total", [1, 2, 5, 8, 16, 100, 400])
def test_a_share_is_held_whatever_it_is(total):
    """Exactly, over all outcomes: near 1 most of all, where shares of what works are."""
    hits = np.arange(total + 1)
    ends = np.array([share_interval(one, total) for one in hits.tolist()])
    ways = [
        math.lgamma(total + 1) - math.lgamma(one + 1) - math.lgamma(total - one + 1)
        for one in hits.tolist()
    ]
    for share in 1 - np.logspace(-5, -0.32, 600):
        odds = np.exp(ways + hits * math.log(share) + (total - hits) * math.log1p(-share))
        held = odds[(ends[:, 0] <= share) & (share <= ends[:, 1])].sum()
        assert held >= 0.945


def rows(generator, truth, repeats: int, samples: int, *, noise=0.02, between=0.0, rho=0.0):
    """Rows of one case whose groups truly have these values; as `runner.summarised` makes them."""
    truth = np.repeat(truth, repeats)
    middle = truth * np.exp(between * generator.normal(size=truth.size))
    made = middle[:, None] * np.exp(noise * series(generator, truth.size, samples, rho))
    known = [series_interval(one) for one in made] if samples >= 6 else []
    found = columns(*((0, row // repeats, np.median(one)) for row, one in enumerate(made)))
    found.n = np.full(truth.size, samples, dtype=np.int32)
    if samples > 1:
        ends = [one[1:] for one in known] or np.full((truth.size, 2), np.nan)
        found.low, found.high = np.array(ends, dtype=np.float64).T
    return found


def estimated(found: Columns) -> Estimate:
    every = np.arange(len(found))
    return over_groups(found, every, group_medians(found, every)[1])


@pytest.mark.parametrize(
    ("groups", "repeats", "samples", "spread", "between", "rho"),
    [
        (1, 1, 10, 0, 0, 0.4),
        (1, 1, 60, 0, 0, 0.4),
        (1, 2, 10, 0, 0.02, 0),
        (1, 3, 30, 0, 0.02, 0.3),
        (1, 5, 1, 0, 0.02, 0),
        (1, 8, 1, 0, 0.02, 0),
        (2, 1, 1, 0, 0, 0),
        (2, 2, 5, 0.05, 0.02, 0),
        (4, 1, 10, 0.05, 0, 0.4),
        (5, 1, 1, 0, 0, 0),
        (5, 3, 1, 0.05, 0.02, 0),
        (8, 1, 10, 0.02, 0, 0.4),
        (30, 1, 5, 0.02, 0.01, 0),
    ],
)
def test_a_case_holds_the_median_of_its_groups(groups, repeats, samples, spread, between, rho):
    generator = np.random.default_rng(groups * 100 + repeats)
    held = []
    for _ in range(250):
        truth = np.exp(spread * generator.normal(size=groups))
        more = {"between": between, "rho": rho}
        one = estimated(rows(generator, truth, repeats, samples, **more))
        # Of few groups it is about these; of many also about those that they are some of.
        wanted = 1.0 if groups >= 6 else np.median(truth)
        held.append(one.low <= wanted <= one.high)
        assert one.low <= one.value <= one.high
    assert np.mean(held) >= ENOUGH


def test_one_value_and_few_samples_have_no_interval():
    generator = np.random.default_rng(0)
    for samples in (1, 5):
        one = estimated(rows(generator, np.ones(1), 1, samples))
        assert (one.low, one.high, one.values) == (None, None, samples)


@pytest.mark.parametrize("cases", [1, 3, 12])
def test_the_best_of_cases_that_err_is_no_better_than_the_best_is(cases):
    """Of cases that are truly alike the one that seems best is above them; of others it is not."""
    generator = np.random.default_rng(cases)
    for spread in (0.0, 0.01, 0.1):
        truth = np.exp(spread * generator.normal(size=(1500, cases)))
        seen = truth * np.exp(0.02 * generator.normal(size=truth.shape))
        half = math.exp(0.02 * 1.959964)
        held = []
        for wanted, values in zip(truth.max(axis=1), seen.tolist(), strict=True):
            found = [Estimate(value=v, low=v / half, high=v * half) for v in values]
            one = largest(found)
            held.append(one.low <= wanted <= one.high)
        assert np.mean(held) >= ENOUGH


def test_the_best_and_a_ratio_are_only_known_where_what_they_are_made_of_is():
    known, single = Estimate(value=2.0, low=1.9, high=2.1, values=9), Estimate(value=3.0, values=1)
    assert largest([known, single]).low is None
    low = Estimate(value=1.0, values=1)
    assert largest([known, low]).high == 2.1
    assert over(known, single).low is None
    assert over(known, known).high == pytest.approx(2.1 / 1.9)


@pytest.mark.parametrize("slow", [1.0, 0.97, 0.8])
@pytest.mark.parametrize(("groups", "repeats", "samples"), [(2, 1, 30), (8, 1, 20), (60, 2, 10)])
def test_the_slowest_of_groups_that_err_is_as_slow_as_it_truly_is(groups, repeats, samples, slow):
    generator = np.random.default_rng(groups)
    truth = np.append(np.ones(groups - 1), slow)
    held, below = [], []
    for _ in range(120):
        found = rows(generator, truth, repeats, samples, between=0.01 * (repeats > 1), rho=0.3)
        every = np.arange(len(found))
        _, medians = group_medians(found, every)
        low, high = least(found, every, medians)
        held.append(low <= slow <= high)
        below.append(medians.min() < slow)
        assert low <= medians.min() <= high
    assert np.mean(held) >= ENOUGH
    if slow == 1.0:
        assert np.mean(below) > 0.5  # what is seen is biased, and an interval about it would be


def test_without_an_error_nothing_is_said_of_the_slowest():
    found = columns(*((0, group, 1.0 + group) for group in range(8)))
    every = np.arange(8)
    assert least(found, every, group_medians(found, every)[1]) is None


SHEET = {"source": "made up", "date": "2026-11-01", "status": "vendor"}
CHIPS = {
    "acme-1": Chip(
        name="acme-1",
        vendor="Acme",
        flops={"bf16": Figure(value=PEAK, **SHEET)},
        memory_bandwidth=Figure(value=1e12, **SHEET),
    )
}
GEMM = {"dtype": "bf16", "layout": "nn"}
STREAM = {"op": "copy", "size": "1MiB", "dtype": "fp32"}
MADE = [
    # benchmark, metric, unit, axes, what it truly reaches, what is expected
    ("gemm", "flops", "FLOP/s", {**GEMM, "shape": "64x64x64", "impl": "torch"}, 0.8 * PEAK, PEAK),
    ("gemm", "flops", "FLOP/s", {**GEMM, "shape": "64x64x64", "impl": "triton"}, 0.7 * PEAK, PEAK),
    ("gemm", "flops", "FLOP/s", {**GEMM, "shape": "96x64x64", "impl": "torch"}, 0.8 * PEAK, PEAK),
    ("gemm", "flops", "FLOP/s", {**GEMM, "shape": "96x64x64", "impl": "triton"}, 0.6 * PEAK, PEAK),
    ("stream", "bandwidth", "B/s", {**STREAM, "impl": "torch"}, 0.9e12, 1e12),
    ("stream", "bandwidth", "B/s", {**STREAM, "impl": "triton"}, 0.6e12, 1e12),
]
ASKED = {
    "compute": [{"benchmark": "gemm", "metric": "flops", "where": {"impl": "torch"}}],
    "memory": [
        {
            "benchmark": "stream",
            "metric": "bandwidth",
            "where": {"impl": "triton"},
            "reference": "ceiling",
        }
    ],
    "system": [
        {
            "benchmark": "system",
            "metric": "measured_flops",
            "reference": "target",
            "target": 1e17,
        }
    ],
    "stability": [
        {
            "benchmark": "stability",
            "metric": "slowest_device",
            "reference": "target",
            "target": 1.0,
        }
    ],
    "software": [
        {
            "benchmark": "software",
            "metric": "triton_ratio",
            "reference": "target",
            "target": 1.0,
        }
    ],
}


@cache
def asked() -> Profile:
    lines = {name: [ProfileMetric(**line) for line in found] for name, found in ASKED.items()}
    return Profile(name="p", categories=lines)


def scored(generator, devices: int, repeats: int, samples: int, spread: float, **more):
    """(scorecard, true efficiencies by category) of a fleet that was measured with error."""
    cases, parts, truth = [], [], []
    factor = np.exp(spread * generator.normal(size=devices))
    for number, (benchmark, metric, unit, axes, reached, expected) in enumerate(MADE):
        cases.append(
            case(number, benchmark, {**axes, "mode": "sustained"}, metric, unit, expected=expected)
        )
        found = rows(generator, reached * factor, repeats, samples, **more)
        found.case = found.case + number
        parts.append(found)
        truth.append(reached * float(np.median(factor)))
    joined = columns()
    for name in ("case", "group", "repeat", "time", "value", "low", "high", "n", "status",
                 "conditions", "provenance"):  # fmt: skip
        setattr(joined, name, np.concatenate([getattr(one, name) for one in parts]))
    made = header(
        *cases, groups=devices, fleet=DeviceGroup(count=1, devices=devices, chip="acme-1")
    )
    gemm = math.sqrt(0.7 / 0.8 * 0.6 / 0.8)
    true = {
        "compute": truth[0] / PEAK,
        "memory": truth[5] / truth[4],
        "system": devices * truth[0] / 1e17,
        "stability": float(factor.min() / np.median(factor)),
        "software": math.sqrt(gemm * 0.6 / 0.9),
    }
    return scorecard(made, joined, asked(), CHIPS), true


@pytest.mark.parametrize(
    ("devices", "repeats", "samples", "spread", "more"),
    [
        (1, 1, 12, 0.0, {"rho": 0.4}),
        (1, 3, 10, 0.0, {"between": 0.01}),
        (4, 1, 30, 0.02, {"rho": 0.4}),
        (8, 2, 6, 0.0, {"between": 0.01}),
        (16, 1, 20, 0.01, {"rho": 0.3}),
    ],
)
def test_every_interval_of_a_score_holds_what_is_true(devices, repeats, samples, spread, more):
    generator = np.random.default_rng(devices)
    held = {name: [] for name in (*ASKED, "overall", *(f"{name} metric" for name in ASKED))}
    for _ in range(100):
        card, true = scored(generator, devices, repeats, samples, spread, **more)
        if devices == 1:
            del true["stability"]
        for one in card.categories:
            if one.name not in true:
                assert one.score is None  # nobody is the slowest of one
                continue
            held[one.name].append(one.low <= 100 * min(true[one.name], 1) <= one.high)
            for each in one.metrics:
                ends = each.efficiency_low, each.efficiency_high
                assert ends[0] <= each.efficiency <= ends[1]
                # In the metric's own unit the reference is exact; a ceiling is not.
                if each.reference_from != "measured memory ceiling":
                    wanted = true[one.name] * each.reference
                    held[f"{one.name} metric"].append(each.low <= wanted <= each.high)
        # Both cases of a line share its weight.
        wanted = 100 * math.exp(np.mean([math.log(min(one, 1)) for one in true.values()]))
        held["overall"].append(card.low <= wanted <= card.high)
        assert card.single == 0
    for name, those in held.items():
        assert not those or np.mean(those) >= ENOUGH, name


def test_a_few_devices_say_nothing_of_those_that_nobody_measured():
    from bench.analysis.derived import DERIVED
    from bench.analysis.subject import Run, Subject
    from bench.configs import Facility
    from bench.configs.facility import Item

    def measured(devices: int, declared: int):
        made = header(
            case(0, axes={**GEMM, "shape": "64x64x64", "impl": "torch"}),
            groups=devices,
            fleet=DeviceGroup(count=1, devices=devices, chip="acme-1"),
        )
        found = rows(np.random.default_rng(0), np.full(devices, 1e13), 1, 20)
        chips = [Item(name="acme-1", count=declared, origin="imported", source="s")]
        subject = Subject([Run(made, found, CHIPS)], CHIPS, Facility(name="f", chips=chips))
        return DERIVED["system", "measured_flops"].find(subject)

    assert measured(2, 2).low < 2e13 < measured(2, 2).high
    assert measured(2, 100).low is None
    assert measured(6, 100).low < 1e15 < measured(6, 100).high
