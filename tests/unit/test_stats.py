"""The median's interval encloses the median as often as it says; units round-trip."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import units
from bench.stats import (
    geometric_mean,
    mad,
    median_interval,
    median_ranks,
    relative_half_width,
    student_quantile,
    student_tail,
)


@pytest.mark.parametrize(("n", "ranks"), [(6, (0, 5)), (10, (1, 8)), (15, (3, 11)), (30, (9, 20))])
def test_exact_ranks_are_the_textbook_ones(n, ranks):
    assert median_ranks(n) == ranks


@pytest.mark.parametrize("n", [6, 9, 25, 120, 500])
def test_interval_covers_the_true_median(n):
    draws = np.random.default_rng(n).exponential(size=(4000, n))
    truth = math.log(2)
    covered = [low <= truth <= high for _, low, high in map(median_interval, draws)]
    # The binomial is discrete, so coverage is at least 95 %; three standard errors of slack.
    assert np.mean(covered) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 4000)
    assert np.mean(covered) <= 0.98


def test_normal_approximation_joins_the_exact_ranks():
    low, high = median_ranks(200)
    above = median_ranks(201)
    assert abs(above[0] - low) <= 1
    assert abs(above[1] - high) <= 2


def test_few_samples_have_no_precision():
    assert relative_half_width([1.0, 1.0, 1.0]) == math.inf
    assert relative_half_width([1.0] * 6) == 0.0


def test_median_ranks_needs_a_sample():
    with pytest.raises(ValueError, match="at least one sample"):
        median_ranks(0)


def test_mad_estimates_sigma():
    values = np.random.default_rng(0).normal(5, 2, 20_000)
    assert mad(values) == pytest.approx(2, rel=0.03)


def test_geometric_mean():
    assert geometric_mean([1, 4]) == pytest.approx(2)
    assert geometric_mean([1, 4], np.array([3.0, 1.0])) == pytest.approx(2**0.5)
    assert geometric_mean([0, 4]) == 0
    assert math.isnan(geometric_mean([]))


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 << 20), ("1GB", 10**9), ("4096", 4096), ("1.5KiB", 1536), ("2kB", 2000), (7, 7)],
)
def test_sizes(text, size):
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1 parsec", "MiB", True, "1e9"])
def test_bad_sizes_are_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match="size"):
        units.parse_size(text)


@given(st.integers(1, 2**60))
def test_every_size_survives_printing_when_it_is_exact(size):
    text = units.format_size(size)
    if text.endswith("iB"):
        assert units.parse_size(text) == size


def test_sweeps():
    assert units.parse_sweep("1KiB..64KiB x4") == [1024, 4096, 16384, 65536]
    assert units.parse_sweep("1KiB..5KiB") == [1024, 2048, 4096, 5120]
    assert units.parse_sweep("64KiB") is None
    for text in ("4KiB..1KiB", "1KiB..4KiB x1"):
        with pytest.raises(ValueError, match="sweep"):
            units.parse_sweep(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10m", 600), ("24h", 86400), (3, 3)]
)
def test_durations(text, seconds):
    assert units.parse_duration(text) == seconds


def test_values_are_printed_with_a_prefix_that_fits():
    assert units.format_value(1.2345e9, "B/s") == "1.234 GB/s"
    assert units.format_value(None, "B/s") == "–"
    assert units.format_value(math.nan, "B/s") == "–"
    assert units.format_value(0.512, "ratio") == "51.2 %"
    assert units.format_value(12e-6, "s") == "12 µs"


@pytest.mark.parametrize(
    ("tail", "degrees", "quantile"),
    [(0.025, 1, 12.7062), (0.025, 5, 2.57058), (0.0005, 2, 31.5991), (0.025, 1e5, 1.95999)],
)
def test_quantiles_of_student_are_the_textbook_ones(tail, degrees, quantile):
    assert student_quantile(tail, degrees) == pytest.approx(quantile, rel=1e-5)


@given(st.floats(1e-12, 0.5), st.floats(0.2, 1e4))
def test_tails_of_student_lead_back_to_their_quantiles(tail, degrees):
    quantile = student_quantile(tail, degrees)
    assert student_tail(quantile, degrees) == pytest.approx(tail, rel=1e-6)
    assert student_tail(-quantile, degrees) == pytest.approx(1 - tail, rel=1e-6)


def test_student_with_one_degree_is_cauchy():
    for t in (0.0, 0.3, 5.0, 1e6):
        assert student_tail(t, 1) == pytest.approx(0.5 - math.atan(t) / math.pi, rel=1e-6)
