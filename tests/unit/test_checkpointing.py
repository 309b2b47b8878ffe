"""The optimum checkpoint interval against a search and against failures drawn at random."""

import math

import numpy as np
import pytest

from bench.analysis.checkpointing import daly, expected_goodput, young
from bench.errors import UsageError


def test_youngs_interval_is_the_root_of_twice_the_product():
    assert young(50.0, 10_000.0) == pytest.approx(1000.0)


@pytest.mark.parametrize(("save", "mtbf"), [(1.0, 86_400.0), (30.0, 3_600.0), (300.0, 3_600.0)])
def test_dalys_interval_is_where_the_expected_goodput_is_highest(save, mtbf):
    intervals = np.geomspace(save / 10, 10 * mtbf, 20_000)
    values = [expected_goodput(one, save, 60.0, mtbf) for one in intervals]
    best = float(intervals[int(np.argmax(values))])
    assert daly(save, mtbf) == pytest.approx(best, rel=0.01)
    # To a higher order than Young's, where a save is not short against the time between failures.
    assert abs(daly(save, mtbf) - best) < abs(young(save, mtbf) - best)


def test_saves_as_long_as_failures_are_apart_are_taken_once_between_two():
    assert daly(20.0, 10.0) == 10.0
    assert daly(100.0, 10.0) == 10.0


def test_the_expected_goodput_is_that_of_failures_drawn_at_random():
    interval, save, recovery, mtbf = 20.0, 3.0, 8.0, 60.0
    chance = np.random.default_rng(7)
    total, done, stretches = 0.0, 0, 20_000
    while done < stretches:
        failure = float(chance.exponential(mtbf))
        # Memoryless: what is left of the distance when a stretch begins has the same distribution.
        if failure >= interval + save:
            total, done = total + interval + save, done + 1
        else:
            total += failure + recovery
    found = stretches * interval / total
    assert expected_goodput(interval, save, recovery, mtbf) == pytest.approx(found, rel=0.01)


def test_recoveries_that_failures_interrupt_are_begun_anew():
    """Drawn at random: what is noticed first cannot be interrupted, what follows can."""
    interval, save, noticed, recovery, mtbf = 20.0, 3.0, 2.0, 15.0, 40.0
    chance = np.random.default_rng(7)
    total, done, left, stretches = 0.0, 0, 0.0, 20_000
    while done < stretches:
        failure = float(chance.exponential(mtbf))
        if failure >= left + interval + save:
            total, done, left = total + left + interval + save, done + 1, 0.0
        else:
            total, left = total + failure + noticed, recovery
    found = stretches * interval / total
    expected = expected_goodput(interval, save, noticed, mtbf, interrupted=recovery)
    assert expected == pytest.approx(found, rel=0.02)
    assert expected_goodput(interval, save, noticed, mtbf, interrupted=1e6) == 0.0


def test_without_failures_only_saving_costs():
    assert expected_goodput(90.0, 10.0, 5.0, 1e9) == pytest.approx(0.9, rel=1e-6)


def test_a_stretch_that_never_ends_has_no_goodput():
    assert expected_goodput(1e6, 1.0, 1.0, 1.0) == 0.0


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_times_that_cannot_be_are_refused_by_name(bad):
    with pytest.raises(UsageError, match="mtbf must be positive"):
        daly(1.0, bad)
    with pytest.raises(UsageError, match="save must be positive"):
        young(bad, 1.0)
    with pytest.raises(UsageError, match="interval must be positive"):
        expected_goodput(bad, 1.0, 1.0, 1.0)
    with pytest.raises(UsageError, match="recovery must not be negative"):
        expected_goodput(1.0, 1.0, -1.0, 1.0)
    with pytest.raises(UsageError, match="interrupted must not be negative"):
        expected_goodput(1.0, 1.0, 0.0, 1.0, interrupted=-1.0)
