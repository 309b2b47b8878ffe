"""Intervals of few groups, of the best and of the worst: every figure worked out by hand.

Quantiles are those of printed tables: of the normal distribution 1.959964 (2.5 %) and 2.241403
(1.25 %), of Student's t with one degree of freedom 12.7062047, with two 4.302653 (2.5 %) and
6.205347 (1.25 %). A median of two values has √(π / (2 + π)) of their deviation.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import columns

from bench.analysis.estimates import Estimate, largest, least, over, over_groups
from bench.analysis.summary import group_medians
from bench.records import STATUSES

OF_TWO = math.sqrt(math.pi / (math.pi + 2))
BONFERRONI = 2.241403 / 1.959964


def rows(*made):
    """From (group, value, samples, low, high) or (group, value), whose one sample has no error."""
    full = [(*one, 1, math.nan, math.nan)[:5] if len(one) == 2 else one for one in made]
    found = columns(*((0, group, value) for group, value, *_ in full))
    found.n = np.array([one[2] for one in full], dtype=np.int32)
    found.low = np.array([one[3] for one in full])
    found.high = np.array([one[4] for one in full])
    return found


def of(*made):
    found = rows(*made)
    every = np.arange(len(found))
    one = over_groups(found, every, group_medians(found, every)[1])
    return one.value, one.low, one.high, one.values


def slowest(*made):
    found = rows(*made)
    every = np.arange(len(found))
    return least(found, every, group_medians(found, every)[1])


def near(*wanted):
    return pytest.approx(wanted, rel=1e-5)


def test_another_unit_moves_the_ends_as_well():
    one = Estimate(value=2.0, low=1.0, high=3.0, values=5).times(10)
    assert (one.value, one.low, one.high, one.values) == (20, 10, 30, 5)
    bare = Estimate(value=2.0).times(10)
    assert (bare.value, bare.low, bare.high, bare.values) == (20, None, None, 0)


def test_six_groups_are_held_by_their_extremes_and_five_are_not():
    assert of(*((group, group + 1.0) for group in range(6))) == (3.5, 1.0, 6.0, 6)
    value, low, high, values = of(*((group, group + 1.0) for group in range(5)))
    assert (value, values) == (3.0, 5)
    assert low < 1.0
    assert high > 5.0


def test_of_one_value_nobody_knows_the_error_however_many_samples_short_of_six():
    assert of((0, 3.0)) == (3.0, None, None, 1)
    assert of((0, 3.0, 5, 2.0, 4.0)) == (3.0, None, None, 5)
    assert of((0, 10.0, 6, 9.0, 12.0)) == near(10.0, 9.0, 12.0, 6)


def test_repeats_err_by_students_t_on_the_logarithmic_scale():
    half = 12.7062047 * (0.2 / math.sqrt(2)) * OF_TWO
    middle = (1 + math.exp(0.2)) / 2
    found = of((0, 1.0), (0, math.exp(0.2)))
    assert found == near(middle, middle * math.exp(-half), middle * math.exp(half), 2)
    # Of two groups the deviations are pooled: two degrees of freedom.
    half = 4.302653 * (math.log(1.1) / math.sqrt(2)) * OF_TWO
    found = of((0, 1.0), (0, 1.1), (1, 2.0), (1, 2.2))
    assert found == near(1.575, 1.05 * math.exp(-half), 2.1 * math.exp(half), 4)


def test_what_is_not_positive_errs_on_its_own_scale():
    half = 12.7062047 * math.sqrt(2) * OF_TWO
    assert of((0, -1.0), (1, 1.0))[1:3] == near(-1 - half, 1 + half)
    assert of((0, 0.0), (0, 2.0))[1:3] == near(1 - half, 1 + half)


def test_groups_of_one_value_each_err_as_they_differ():
    half = 12.7062047 * (math.log(2) / math.sqrt(2)) * OF_TWO
    assert of((0, 1.0), (1, 2.0))[1:3] == near(math.exp(-half), 2 * math.exp(half))
    # One that knows its own error is not taken for both.
    assert of((0, 1.0, 9, 0.9, 1.2), (1, 2.0))[1:3] == near(math.exp(-half), 2 * math.exp(half))
    assert of((0, 1.0, 9, 0.9, 1.2), (1, 2.0, 9, 1.8, 2.1))[1:3] == near(0.9, 2.1)


def test_six_repeats_are_held_by_their_extremes_and_the_widest_interval_counts():
    six = [(0, value) for value in (8.0, 9.0, 10.0, 12.0, 13.0, 20.0)]
    assert of(*six) == near(11.0, 8.0, 20.0, 6)
    wide = [(0, 10.0, 7, 7.0, 10.5), *six[1:]]
    # Their median is 11: down to 7 by the samples of one, up to 20 by the repeats.
    assert of(*wide)[1:3] == near(7.0, 20.0)
    # Of two repeats the samples of one say less than their difference does.
    half = 12.7062047 * (math.log(1.1) / math.sqrt(2)) * OF_TWO
    found = of((0, 1.0, 7, 0.999, 1.001), (0, 1.1))
    assert found[1:3] == near(1.05 * math.exp(-half), 1.05 * math.exp(half))
    found = of((0, 1.0, 7, 0.01, 100.0), (0, 1.1))
    assert found[1:3] == near(0.01, 100.0)


def test_only_values_that_count_make_an_interval():
    found = rows((0, 10.0, 9, 9.0, 12.0), (0, 50.0, 9, 1.0, 90.0), (0, math.nan, 9, 9.0, 12.0))
    found.status[1] = STATUSES.index("contended")
    every = np.arange(3)
    one = over_groups(found, every, group_medians(found, every)[1])
    assert (one.value, one.low, one.high, one.values) == near(10.0, 9.0, 12.0, 9)


def test_samples_that_reach_zero_leave_no_lower_end_but_zero():
    assert of((0, 1.0, 7, 0.0, 2.0))[1:3] == near(0.0, 2.0)
    assert of((0, 1.0, 7, -1.0, 2.0))[1:3] == near(0.0, 2.0)


def test_a_ratio_errs_in_the_worse_way_of_both():
    six, three = Estimate(value=6, low=5, high=8, values=9), Estimate(value=3, low=2, high=4)
    one = over(six, three)
    assert (one.value, one.low, one.high, one.values) == (2, 5 / 4, 4, 0)
    for reach in (Estimate(value=3, low=0, high=4), Estimate(value=3)):
        one = over(six, reach)
        assert (one.value, one.low, one.high) == (2, None, None)
    assert over(Estimate(value=3), six).low is None


def test_the_largest_is_held_by_the_highest_ends_the_lower_ones_wider():
    ten = Estimate(value=10, low=9, high=11, values=7)
    other = Estimate(value=9.5, low=9, high=13)
    one = largest([other, ten])
    assert (one.value, one.high, one.values) == (10, 13, 7)
    # 9.5 · (9 / 9.5)^1.1436 is above 10 · (9 / 10)^1.1436.
    assert one.low == pytest.approx(9.5 * (9 / 9.5) ** BONFERRONI, rel=1e-5)
    assert largest([ten, Estimate(value=8)]).low == pytest.approx(10 * 0.9**BONFERRONI, rel=1e-5)
    assert largest([ten, Estimate(value=8)]).high == 11
    alone = largest([ten])
    assert (alone.low, alone.high) == near(9, 11)
    assert largest([ten, Estimate(value=12)]).low is None
    unknown = Estimate(value=0.3)
    half = largest([Estimate(value=0.5, low=0.4, high=0.6), unknown])
    assert half.low == pytest.approx(0.5 * 0.8**BONFERRONI, rel=1e-5)
    below = Estimate(value=1, low=-1, high=2)
    assert largest([below, below]).low == pytest.approx(1 - 2 * BONFERRONI, rel=1e-5)
    nothing = Estimate(value=0, low=-1, high=2)
    assert largest([nothing, nothing]).low == pytest.approx(-BONFERRONI, rel=1e-5)


def test_the_least_is_held_by_the_lowest_ends_the_upper_ones_wider():
    found = slowest((0, 10.0, 10, 9.0, 11.0), (1, 20.0, 10, 18.0, 22.0))
    assert found == near(10 * math.exp(-0.1), 10 * math.exp(0.1 * BONFERRONI))
    # The error of all is the least that any has: the root of the mean square.
    found = slowest((0, 10.0, 10, 9.0, 11.0), (1, 10.2, 10, 10.2 * 0.98, 10.2 * 1.02))
    alike = math.sqrt((0.1**2 + 0.02**2) / 2)
    assert found == near(10 * math.exp(-0.1), 10.2 * math.exp(alike * BONFERRONI))
    # So is that of one group's rows; what tells repeats apart has one degree of freedom here.
    found = slowest((0, 10.0, 10, 9.0, 11.0), (0, 10.0, 10, 9.8, 10.2))
    reach = 12.7062047 * alike / 1.959964
    assert found == near(10 * math.exp(-reach), 10 * math.exp(reach))


def test_the_least_errs_as_its_repeats_do_where_that_is_more():
    made = (0, 1.0), (0, 1.1), (1, 2.0), (1, 2.2)
    error = (math.log(1.1) / math.sqrt(2)) * OF_TWO
    wanted = near(1.05 * math.exp(-4.302653 * error), 1.05 * math.exp(6.205347 * error))
    assert slowest(*made) == wanted
    little = [(*one, 9, one[1] * 0.999, one[1] * 1.001) for one in made]
    assert slowest(*little) == wanted
    # One group tells nothing of its samples: of none anything is known by them.
    assert slowest(*little[:2], *made[2:]) == wanted


def test_of_the_least_nothing_is_known_without_an_error_or_a_positive_value():
    assert slowest((0, 1.0), (1, 2.0)) is None
    assert slowest((0, 1.0, 9, 0.9, 1.1), (1, 2.0)) is None
    assert slowest((0, 0.0), (0, 1.0)) is None
    assert slowest((0, 1.0), (0, 1.0), (1, 1.0)) == (1.0, 1.0)
