"""How often the history of a gate is wrong: simulated histories with known changes."""

import numpy as np
import pytest

from bench.analysis.gate.change_points import ALPHA, change_points, smallest, smoothed

HISTORIES = 200


def made(runs, noise, seed, spikes=0.02, together=0.0):
    """float64[runs]: values about 1, of which others slow some down, by a quarter in the mean."""
    draw = np.random.default_rng(seed)
    logs = draw.normal(0, noise, runs)
    for run in range(1, runs):
        logs[run] = together * logs[run - 1] + np.sqrt(1 - together**2) * logs[run]
    logs += (draw.random(runs) < spikes) * (0.05 + draw.exponential(0.2, runs))
    return np.exp(logs)


def stepped(runs, noise, seed, at, by):
    values = made(runs, noise, seed)
    values[at:] *= 1 + by
    return values


@pytest.mark.parametrize("least", [0.03, 0.0])
@pytest.mark.parametrize("noise", [0.01, 0.02, 0.03])
def test_steady_histories_have_hardly_ever_a_change_point(noise, least):
    """Also without a least change; more than 2 of 200 were to be too many."""
    seeds = range(1000, 1000 + HISTORIES)
    wrong = sum(bool(change_points(made(50, noise, seed), least=least)) for seed in seeds)
    assert wrong <= 2


@pytest.mark.parametrize("together", [0.3, 0.5])
def test_runs_that_share_what_disturbs_them_have_few_too(together):
    """Of 400 a share of 1.5 %; taken for independent, an eighth of them would have one."""
    found = [
        bool(change_points(made(50, 0.03, seed, together=together), least=0.0))
        for seed in range(400)
    ]
    assert np.mean(found) <= 0.03


@pytest.mark.parametrize(("share", "most"), [(0.1, 0.1), (0.2, 0.05), (0.4, 0.01)])
def test_metrics_that_take_one_of_two_values_have_few(share, most):
    """Such runs are no outliers: with these left out, every second history has a change point."""
    found = []
    for seed in range(HISTORIES):
        draw = np.random.default_rng(seed)
        values = np.exp(draw.normal(0, 0.002, 50)) * np.where(draw.random(50) < share, 1.06, 1)
        found.append(bool(change_points(values)))
    assert np.mean(found) <= most


def test_stairs_are_found_step_by_step():
    found = []
    for seed in range(HISTORIES):
        values = made(34, 0.01, seed)
        values[10:] *= 1.2
        values[18:] /= 1.1
        values[26:] /= 1.1
        found.append([one.index for one in change_points(values)])
    near = [len(one) == 3 and max(abs(np.subtract(one, [10, 18, 26]))) <= 2 for one in found]
    assert np.mean(near) >= 0.85


@pytest.mark.parametrize("by", [0.05, -0.05])
def test_a_step_in_the_middle_is_found_where_it_is(by):
    found = [
        any(abs(one.index - 20) <= 2 for one in change_points(stepped(40, 0.01, seed, 20, by)))
        for seed in range(HISTORIES)
    ]
    assert np.mean(found) >= 0.95


def test_a_step_of_which_three_runs_are_there_is_found():
    found = [
        any(abs(one.index - 37) <= 1 for one in change_points(stepped(40, 0.01, seed, 37, 0.05)))
        for seed in range(HISTORIES)
    ]
    assert np.mean(found) >= 0.9


def test_the_interval_of_a_change_holds_it():
    held = [
        one.low <= 0.05 <= one.high
        for seed in range(HISTORIES)
        for one in change_points(stepped(40, 0.01, seed, 20, 0.05))
        if one.index == 20
    ]
    assert len(held) > 150
    assert np.mean(held) >= 0.92


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_years_of_steady_runs_have_as_few(noise):
    """20 histories of 2,000 runs: 40 windows each, and ``alpha`` is still of all of them."""
    wrong = sum(bool(change_points(made(2000, noise, seed), least=0.0)) for seed in range(20))
    assert wrong <= 1


@pytest.mark.parametrize(("runs", "noise"), [(8, 0.01), (20, 0.03), (60, 0.01), (150, 0.03)])
def test_what_is_said_to_be_caught_is_caught(runs, noise):
    found = []
    for seed in range(HISTORIES):
        by = smallest(runs, runs, noise, 0.03, ALPHA)
        values = stepped(runs + 3, noise, seed, runs, by)
        found.append(any(one.index >= runs - 2 for one in change_points(values)))
    assert 0.9 <= np.mean(found) < 1


def test_the_noise_is_that_of_a_run_whatever_spikes_and_steps():
    known = [smoothed(np.log(stepped(80, 0.02, seed, 40, 0.3)))[1] for seed in range(HISTORIES)]
    assert np.median(known) == pytest.approx(0.02, rel=0.1)
