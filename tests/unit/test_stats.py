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
    series_interval,
    share_interval,
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


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize("n", [201, 250, 500, 1000, 5000])
def test_ranks_of_many_samples_are_the_exact_ones_or_one_wider(n, confidence):
    low, high = median_ranks(n, confidence)
    # Of 2^n equally likely ways in which samples lie above and below, so many leave the median out.
    allowed = int((1 - confidence) / 2 * 2**20) * 2 ** (n - 20)
    ways, of_one, exact = 1, 1, 0
    while ways <= allowed:
        exact += 1
        of_one = of_one * (n - exact + 1) // exact
        ways += of_one
    assert low in (exact - 1, exact - 2)  # the last that was allowed is the one before
    assert low + high == n - 1


def test_a_median_of_even_and_of_odd_many_stands_with_its_ranks():
    assert median_interval([7, 3, 9, 1, 0, 2, 8, 4, 6, 5]) == (4.5, 1.0, 8.0)  # ranks 1 and 8
    assert median_interval([5, 1, 4, 2, 3, 9, 7]) == (4.0, 1.0, 9.0)
    assert median_interval([3.0]) == (3.0, 3.0, 3.0)
    assert median_interval([1.0, 3.0]) == (2.0, 1.0, 3.0)


def test_an_interval_of_a_series_is_as_much_wider_as_its_median_varies():
    signs = [1 if place // 3 % 2 == 0 else -1 for place in range(60)]
    ordered = sorted(made := [sign * (1 + place / 100) for place, sign in enumerate(signs)])
    # Forty of 59 neighbours are alike, 19 are not: r = 21/60, without its bias (r + 1/n)/(1 - 3/n),
    # half a standard error 1/(2√n) higher; ρ = sin(πr/2).
    alike = (21 / 60 + 1 / 60) / (1 - 3 / 60) + 1 / (2 * math.sqrt(60))
    rho = math.sin(math.pi / 2 * alike)
    terms = ((1 - k / 60) * 2 / math.pi * math.asin(rho**k) for k in range(1, 60))
    wider = math.sqrt(1 + 2 * sum(terms))
    # Of sixty independent ones ranks 21 and 38 (from 0) stand 8.5 from the middle.
    first = math.floor(29.5 - 8.5 * wider)
    assert first == 13
    middle = (ordered[29] + ordered[30]) / 2
    assert series_interval(made) == (middle, ordered[13], ordered[46])


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (81, 263, 0.2535, 0.3682),
        (15, 148, 0.0598, 0.1644),
        (0, 20, 0.0, 0.2005),
        (1, 29, 0.0018, 0.1963),
    ],
)
def test_intervals_of_shares_are_those_of_the_table(hits, total, low, high):
    """Newcombe, Statistics in Medicine 17, 1998, table I, method 4."""
    found = share_interval(hits, total)
    assert found == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    mirrored = (pytest.approx(1 - high, abs=5e-5), pytest.approx(1 - low, abs=5e-5))
    assert share_interval(total - hits, total) == mirrored


def test_few_samples_have_no_precision():
    assert relative_half_width([1.0, 1.0, 1.0]) == math.inf
    assert relative_half_width([1.0] * 6) == 0.0
    assert relative_half_width([8.0, 9.0, 10.0, 10.0, 11.0, 14.0]) == (14 - 8) / 2 / 10
    assert relative_half_width([-8.0, -9.0, -10.0, -10.0, -11.0, -14.0]) == (14 - 8) / 2 / 10
    assert relative_half_width([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]) == math.inf


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
    ("value", "unit", "text"),
    [
        (1e15, "B", "1 PB"),
        (999.9, "B/s", "999.9 B/s"),
        (1000, "B/s", "1 kB/s"),
        (-2.5e6, "B/s", "-2.5 MB/s"),
        (0.001234, "W", "0.001234 W"),
        (2.5, "count", "2.5 count"),
        (7.5, "bits", "7.5 bits"),
        (255, "digest", "0000000000ff"),
        (3725, "s", "1h 02m"),
        (95.2, "s", "1m 35s"),
        (60, "s", "1m 00s"),
        (59.94, "s", "59.9 s"),
        (1, "s", "1 s"),
        (0.001, "s", "1 ms"),
        (5e-9, "s", "5 ns"),
    ],
)
def test_a_value_is_printed_in_the_unit_that_fits(value, unit, text):
    assert units.format_value(value, unit) == text


def test_sizes_and_counts_are_printed_whole():
    sizes = (1 << 40, 3 << 30, 1 << 20, 1024, 1536, 9999, 10_000, 1_500_000)
    written = ["1TiB", "3GiB", "1MiB", "1KiB", "1536B", "9999B", "10kB", "1.5MB"]
    assert [units.format_size(size) for size in sizes] == written
    assert units.format_count(1234567, "B") == "1,234,567 B"
    assert units.format_count(168.0, "count") == "168"
    assert units.format_count(0.123456789, "s") == "0.123456789 s"


def test_shares_and_short_durations():
    shares = [units.parse_share(text) for text in ("5%", "0.05", "100%", "1", "0")]
    assert shares == [0.05, 0.05, 1.0, 1.0, 0.0]
    for text in ("101%", "1.01", "half", "-1%"):
        with pytest.raises(ValueError, match="is not a share"):
            units.parse_share(text)
    found = [units.parse_duration(text) for text in ("10us", "1.5s", "2d", "7")]
    assert found == pytest.approx([10e-6, 1.5, 172_800.0, 7.0], rel=1e-12)


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
