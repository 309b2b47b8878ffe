"""The arithmetic of change points, against figures that were worked out by hand."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from bench.analysis.gate.change_points import change_points, compared, smallest, smoothed
from bench.stats import student_quantile


def tail_of_three(t):
    """P(T > t) of Student's t with three degrees of freedom, which has a closed form."""
    x = t / math.sqrt(3)
    return 0.5 - (x / (1 + x * x) + math.atan(x)) / math.pi


@pytest.mark.parametrize(("runs", "share"), [(6, 0.5), (13, 9 / 13), (60, 0.8)])
def test_noise_is_a_quantile_of_the_distances_of_runs_in_succession(runs, share):
    """Differences of two independent runs are normal with √2 times the deviation of one."""
    logs = 0.01 * (np.arange(runs) % 2)
    kept, noise = smoothed(logs)
    wanted = 0.01 / (math.sqrt(2) * NormalDist().inv_cdf((1 + share) / 2))
    assert noise == pytest.approx(wanted)
    assert (kept == logs).all()


def test_noise_is_that_of_single_runs_and_never_nothing():
    """Nine of ten distances are 0.01, and what is above the quantile does not count."""
    logs = np.cumsum(np.tile([0.01, -0.01, 0.01, -0.01, 1.0, -0.01, 0.01, -0.01, 0.01, -0.01], 8))
    assert smoothed(logs)[1] == pytest.approx(0.01 / (math.sqrt(2) * 1.281552))
    assert smoothed(np.zeros(20))[1] == 1e-4


def test_what_is_far_from_the_five_around_it_is_their_median():
    logs = np.array([0.0, 0.01, 0.02, 0.01, 0.0, 0.02, 0.01, 0.0, 0.01, 0.02])
    for at, wanted in ((0, 0.02), (1, 0.02), (2, 0.01), (5, 0.01), (8, 0.02), (9, 0.01)):
        spiked = logs.copy()
        spiked[at] = 1.0
        kept, _ = smoothed(spiked)
        expected = spiked.copy()
        around = spiked[:3] if at < 2 else spiked[-3:] if at > 7 else spiked[at - 2 : at + 3]
        expected[at] = np.median(around)
        assert kept.tolist() == expected.tolist()
        assert kept[at] == pytest.approx(wanted)


def test_two_levels_are_compared_by_students_t_of_one_variance():
    kept = np.array([0.0, 0.02, 0.1, 0.12, 0.14])
    # 0.0002 and 0.0008 about the means over three degrees, times 1/2 + 1/3
    error = math.sqrt(0.001 / 3 * 5 / 6)
    found = compared(kept, 0, 2, 2, 5, 1e-4, looked=1)
    assert (found.index, found.before) == (2, pytest.approx(math.exp(0.01)))
    assert found.after == pytest.approx(math.exp(0.12))
    reach = 3.18245 * error
    wanted = [math.expm1(0.11 + by * reach) for by in (-1, 0, 1)]
    assert [found.low, found.change, found.high] == pytest.approx(wanted, rel=1e-4)
    assert found.chance == pytest.approx(2 * tail_of_three(0.11 / error))
    twice = compared(kept, 0, 2, 2, 5, 1e-4, looked=10)
    assert twice.chance == pytest.approx(10 * found.chance)
    assert compared(kept, 0, 2, 2, 5, 1e-4, looked=10**6).chance == 1.0
    # What is known of single runs is the least that their variance is.
    found = compared(kept, 0, 2, 2, 5, 0.05, looked=1)
    assert found.chance == pytest.approx(2 * tail_of_three(0.11 / (0.05 * math.sqrt(5 / 6))))
    fallen = compared(-kept, 0, 2, 2, 5, 0.05, looked=1)
    assert fallen.chance == pytest.approx(found.chance)
    assert fallen.change == pytest.approx(math.expm1(-0.11))


def test_runs_that_go_together_count_for_less():
    """Six above and below by threes, twice: 5 of 12 products of neighbours are left over.

    Without the bias of a short series, r = 5/12 + (1 + 15/12) / 12 = 0.6042, and a mean's variance
    is (1 + r) / (1 - r) = 4.0526 times that of independent runs.
    """
    half = 0.01 * np.array([1, 1, 1, -1, -1, -1])
    kept = np.concatenate([half, 0.1 + half])
    variance = 12e-4 / 10 * 4.0526
    reach = 2.22814 * math.sqrt(variance / 3)
    found = compared(kept, 0, 6, 6, 12, 1e-4)
    wanted = [math.expm1(0.1 - reach), math.expm1(0.1 + reach)]
    assert [found.low, found.high] == pytest.approx(wanted, rel=1e-4)
    # Those that alternate are taken for independent, and so are fewer than ten.
    other = 0.01 * np.array([1, -1, 1, -1, 1, -1])
    found = compared(np.concatenate([other, 0.1 + other]), 0, 6, 6, 12, 1e-4)
    reach = 2.22814 * math.sqrt(12e-4 / 10 / 3)
    assert found.high == pytest.approx(math.expm1(0.1 + reach), rel=1e-4)
    few = np.concatenate([half[1:5], 0.1 + half[1:5]])
    reach = 2.44691 * math.sqrt(8e-4 / 6 / 2)
    found = compared(few, 0, 4, 4, 8, 1e-4)
    assert found.high == pytest.approx(math.expm1(0.1 + reach), rel=1e-4)


def test_how_far_runs_go_together_is_asked_of_ten_and_never_taken_for_wholly():
    """Twice 1, 1, -1, -1, 0: 2 of 8, with its bias 0.25 + 1.75 / 10, and 1.425 / 0.575."""
    half = 0.01 * np.array([1, 1, -1, -1, 0])
    found = compared(np.concatenate([half, 0.1 + half]), 0, 5, 5, 10, 1e-4)
    reach = 2.306 * math.sqrt(8e-4 / 8 * 1.425 / 0.575 * 2 / 5)
    assert found.high == pytest.approx(math.expm1(0.1 + reach), rel=1e-4)
    # 73 of 80, and more with its bias: 0.9 is the most, and 1.9 / 0.1.
    half = 0.01 * np.repeat([1, -1], 20)
    found = compared(np.concatenate([half, 0.1 + half]), 0, 40, 40, 80, 1e-4)
    reach = 1.99085 * math.sqrt(80e-4 / 78 * 19 * 2 / 40)
    assert found.high == pytest.approx(math.expm1(0.1 + reach), rel=1e-4)


def test_the_smallest_change_that_is_found_by_hand():
    """Of 23 runs 20 places, of 203 the three windows of 128, 128 and 75: 125 + 125 + 72."""
    for runs, places in ((20, 20), (200, 322)):
        error = 0.01 * math.sqrt(1 / 3 + 1 / 20)
        apart = 2.2 / math.sqrt(23)
        wide = math.sqrt((1 + apart) / (1 - apart))
        sure = wide * student_quantile(0.002 / places / 2, 21)
        wanted = math.expm1((1.72074 + sure) * error)
        assert smallest(runs, 20, 0.01, 0.0, 0.002) == pytest.approx(wanted, rel=1e-4)
    for steady, quantile in ((7, 1.85955), (8, 1.83311)):
        error, apart = 0.01 * math.sqrt(1 / 3 + 1 / steady), 2.2 / math.sqrt(steady + 3)
        wide = math.sqrt((1 + apart) / (1 - apart))
        sure = wide * student_quantile(0.002 / 20 / 2, steady + 1)
        wanted = math.expm1((quantile + sure) * error)
        assert smallest(20, steady, 0.01, 0.0, 0.002) == pytest.approx(wanted, rel=1e-4)
    error = 0.01 * math.sqrt(1 / 3 + 1 / 20)
    # Where that is less than what counts, what counts; of few runs nobody knows what they share.
    wanted = 1.5 * math.exp(1.72074 * error) - 1
    assert smallest(20, 20, 0.01, 0.5, 0.002) == pytest.approx(wanted, rel=1e-4)
    error = 0.01 * math.sqrt(1 / 3 + 1 / 6)
    sure = math.sqrt(7) * student_quantile(0.002 / 6 / 2, 7)
    wanted = math.expm1((1.89458 + sure) * error)
    assert smallest(6, 6, 0.01, 0.0, 0.002) == pytest.approx(wanted, rel=1e-4)


def test_a_change_has_the_chance_of_all_places_that_were_looked_at():
    draw = np.random.default_rng(3)
    for runs, places in ((40, 37), (200, 125 + 125 + 69)):
        logs = draw.normal(0, 0.01, runs)
        logs[runs // 2 :] += 0.1
        (found,) = change_points(np.exp(logs))
        kept, noise = smoothed(logs)
        half = runs // 2
        wanted = compared(kept, 0, half, half, runs, noise)
        assert found.index == half
        assert found.change == pytest.approx(wanted.change, rel=1e-12)
        assert found.chance == pytest.approx(places * wanted.chance)
