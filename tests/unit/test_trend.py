"""Series against their own past: what is found, how often nothing is taken for something."""

import itertools
import math

import numpy as np
import pytest

from bench.analysis.trend import kendall_tail, trend
from bench.stats import digamma, student_tail, trigamma

DAYS = np.arange(8) * 7.0


def made(units=64, runs=8, noise=0.005, shared=0.0, seed=0):
    """y of units of one noise; each run changes all by ``shared`` of its own."""
    draw = np.random.default_rng(seed)
    level = draw.normal(0, 0.02, units)
    steps = draw.normal(0, shared, (runs, 1)) if shared else 0.0
    return level + steps + draw.normal(0, noise, (runs, units))


# ---- the arithmetic ----


@pytest.mark.parametrize(
    ("x", "psi", "slope"),
    [
        (0.5, -1.9635100260214235, math.pi**2 / 2),
        (1.0, -0.5772156649015329, math.pi**2 / 6),
        (2.0, 0.4227843350984671, math.pi**2 / 6 - 1),
        (100.0, 4.600161852738087, 0.010050166663333571),
    ],
)
def test_digamma_and_trigamma_at_known_points(x, psi, slope):
    assert digamma(x) == pytest.approx(psi, rel=1e-9)
    assert trigamma(x) == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_kendall_counts_every_order(n):
    pairs = list(itertools.combinations(range(n), 2))
    rising = [sum(p[i] < p[j] for i, j in pairs) for p in itertools.permutations(range(n))]
    for least in range(len(pairs) + 1):
        share = sum(one >= least for one in rising) / len(rising)
        assert kendall_tail(n, least) == pytest.approx(share)
    assert kendall_tail(n, len(pairs) + 1) == 0


def test_a_straight_line_has_its_slope_and_no_doubt():
    y = np.outer(DAYS, [0.001, -0.002, 0.0]) + 1.0
    found = trend(DAYS, y)
    assert found.slope == pytest.approx([0.001, -0.002, 0.0], abs=1e-12)
    assert found.slope_low == pytest.approx(found.slope, abs=1e-12)
    assert found.chance[0] == pytest.approx(1 / math.factorial(8))
    assert found.chance[1] == pytest.approx(1)
    assert found.span.tolist() == [49, 49, 49]
    assert found.shared is None


def test_the_interval_of_a_slope_holds_it_as_often_as_it_says():
    inside = []
    for seed in range(40):
        y = made(units=50, noise=0.01, seed=seed) + 0.001 * DAYS[:, None]
        # One series at a time: together, a common slope is what all share.
        found = [trend(DAYS, y[:, [unit]]) for unit in range(50)]
        inside += [one.slope_low[0] <= 0.001 <= one.slope_high[0] for one in found]
    assert 0.93 <= np.mean(inside) <= 0.99


def test_noise_gives_t_that_is_as_rare_as_it_says():
    """Under no change, P(T > t) of the last value is uniform, also far out; for few values too."""
    for runs in (4, 6, 8):
        chances = []
        for seed in range(30):
            found = trend(DAYS[:runs], made(units=200, runs=runs, shared=0.03, seed=seed))
            t = found.change / found.error
            chances += [student_tail(a, d) for a, d in zip(t, found.degrees, strict=True)]
        below = np.array(chances)
        assert np.mean(below < 0.05) == pytest.approx(0.05, abs=0.012)
        assert np.mean(below < 0.001) < 0.003


def test_what_all_share_is_taken_out_and_told():
    y = made(shared=0.0)
    y[-1] += 0.05
    found = trend(DAYS, y)
    assert found.shared == pytest.approx(0.05, abs=0.005)
    assert np.nanmax(np.abs(found.change)) < 0.03
    few = trend(DAYS, y[:, :4])
    assert few.shared is None
    assert few.change.min() > 0.03


def test_a_noisy_unit_is_held_against_its_own_noise():
    y = made()
    draw = np.random.default_rng(1)
    y[:, 0] = draw.normal(0, 0.05, 8)
    found = trend(DAYS, y)
    assert found.error[0] > 3 * np.median(found.error[1:])


def test_a_slow_drift_does_not_hide_itself_in_its_spread():
    y = made(noise=0.004)
    y[:, 3] += np.linspace(0, 0.08, 8)
    found = trend(DAYS, y)
    assert found.error[3] < 2 * np.median(found.error)
    assert found.change[3] / found.error[3] > 5


def test_too_few_values_say_nothing():
    y = made(runs=8)
    y[:6, 0] = np.nan  # one value before the last
    y[-1, 1] = np.nan
    y[:4, 2] = np.nan  # three before: a distance, no slope
    found = trend(DAYS, y)
    assert np.isnan(found.change[:2]).all()
    assert np.isnan(found.slope[:3]).all()
    assert np.isfinite(found.change[2])
    assert found.past[:3].tolist() == [1, 7, 3]


def test_runs_at_one_time_have_a_spread_and_silence_nobody():
    """Imported ones have the time of their files; a line through one time has no slope."""
    y = made(runs=5)
    y[-1, 3] += 0.1
    found = trend(np.array([0.0, 0.0, 0.0, 0.0, 7.0]), y)
    assert np.median(found.error) == pytest.approx(0.005 * math.sqrt(1 + math.pi / 8), rel=0.1)
    assert found.change[3] / found.error[3] > 10
    alone = trend(np.array([0.0, 0.0, 0.0, 7.0]), np.array([[0.0], [0.02], [0.01], [0.02]]))
    assert alone.degrees[0] == 2  # about their mean
    assert alone.error[0] == pytest.approx(math.sqrt(1e-4 * (1 + math.pi / 6)))


def test_equal_values_are_no_error():
    found = trend(DAYS, np.zeros((8, 20)))
    assert (found.change == 0).all()
    assert (found.error == 0).all()
    assert (found.slope == 0).all()
    assert (found.degrees == 5).all()  # nothing is known of how spreads differ


def test_what_is_shared_is_held_against_what_was_shared_before():
    shifts = np.array([0.03, 0.01, 0.02, 0.04, 0.05])  # the last, and 0.025 before
    y = np.linspace(-0.1, 0.2, 8) + shifts[:, None]
    found = trend(DAYS[:5], y)
    assert found.shared == pytest.approx(0.025)
    assert found.change == pytest.approx(0, abs=1e-12)
    assert found.slope == pytest.approx(0, abs=1e-12)
    # Seven units have nothing in common, nor have eight of which one has no past or no present.
    for lacking in (slice(0, 4), slice(4, 5)):
        few = y.copy()
        few[lacking, 0] = np.nan
        assert trend(DAYS[:5], few).shared is None
    # A run of seven of them says nothing of what they share, and nothing of each.
    thin = y.copy()
    thin[0, 0] = np.nan
    found = trend(DAYS[:5], thin)
    assert found.shared == pytest.approx(0.03)  # 0.02 before
    assert found.past.tolist() == [3] * 8


def test_a_run_that_did_not_measure_a_unit_is_as_if_it_were_not():
    draw = np.random.default_rng(2)
    y, lost = draw.normal(0, 0.01, 8), [1, 4]
    y[lost] = np.nan
    with_gaps = trend(DAYS, y[:, None])
    without = trend(np.delete(DAYS, lost), np.delete(y, lost)[:, None])
    for name in ("before", "change", "error", "degrees", "past", "slope", "slope_low", "chance"):
        assert getattr(with_gaps, name) == pytest.approx(getattr(without, name)), name


def test_seven_units_have_each_their_own_spread_and_eight_are_drawn_together():
    y = made(units=8)
    y[:, 0] *= 10
    few, many = trend(DAYS, y[:, :7]), trend(DAYS, y)
    alone = [trend(DAYS, y[:, [unit]]).error[0] for unit in range(7)]
    assert few.error == pytest.approx(alone)
    assert (few.degrees == 5).all()
    assert (many.degrees > 5).all()


@pytest.mark.parametrize("own", [4.0, 16.0])
def test_how_much_spreads_differ_is_found_again(own):
    """Variances that are scaled inverse χ² of ``own`` degrees: as many are added to five."""
    draw = np.random.default_rng(4)
    units = 6000
    spread = 0.01 * np.sqrt(own / draw.chisquare(own, units))
    y = draw.normal(0, 1, (8, units)) * spread
    found = trend(DAYS, y)
    assert 0.7 * own < found.degrees[0] - 5 < own  # on the low side
    # The mean of a posterior: (d0 s0² + 5 s²) / (d0 + 5), of a distance (1 + π/2 / 7) times that.
    line = np.polyfit(DAYS[:7], y[:7], 1)
    own_spread = ((y[:7] - line[0] * DAYS[:7, None] - line[1]) ** 2).sum(axis=0) / 5
    drawn = found.error**2 / (1 + math.pi / 14)
    prior = found.degrees[0] - 5
    usual = (drawn * found.degrees - 5 * own_spread) / prior
    assert usual.std() < 0.02 * usual.mean()
    assert usual.mean() == pytest.approx(1e-4, rel=0.08)


def one_by_one(days, y):
    """`trend` of units that share nothing, by loops: (before, slope, low, high, chance, span)."""
    found = []
    for series in y.T.tolist():
        past = sorted(value for value in series[:-1] if not math.isnan(value))
        known = [(day, v) for day, v in zip(days, series, strict=True) if not math.isnan(v)]
        one = [math.nan] * 6
        if len(past) >= 3 and not math.isnan(series[-1]):
            one[0] = float(np.median(past))
        if len(known) >= 5 and not math.isnan(series[-1]):
            slopes = sorted(
                (b - a) / (later - day) for (day, a), (later, b) in itertools.combinations(known, 2)
            )
            n, count = len(known), len(slopes)
            reach = 1.959964 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
            edge = max(math.floor((count - reach) / 2) - 1, 0)
            rising = sum(slope > 0 for slope in slopes) + sum(slope == 0 for slope in slopes) // 2
            one[1:] = [
                float(np.median(slopes)),
                slopes[edge],
                slopes[count - 1 - edge],
                kendall_tail(n, rising),
                days[-1] - known[0][0],
            ]
        found.append(one)
    return np.array(found).T


@pytest.mark.parametrize("runs", [4, 8])
def test_all_units_at_once_are_what_each_is_by_itself(runs):
    draw = np.random.default_rng(runs)
    y = draw.normal(0, 0.01, (runs, 7))  # one unit fewer than have anything in common
    y[draw.random(y.shape) < 0.2] = np.nan
    y[:, 0] = 0.5
    y[:-1, 1] = np.nan
    found = trend(DAYS[:runs], y)
    names = ("before", "slope", "slope_low", "slope_high", "chance", "span")
    for name, expected in zip(names, one_by_one(DAYS[:runs], y), strict=True):
        assert getattr(found, name) == pytest.approx(expected, rel=1e-12, nan_ok=True), name
