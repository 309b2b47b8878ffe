"""How often the certification is right, and what it does with little, odd or missing data."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cell_fleets import NOISES, RULES, Bins, Fleet, cells, joined, with_rules

from bench.analysis.certify import judge, retest
from bench.analysis.certify.cells import ACCEPT, INCONCLUSIVE, REJECT, SUSPECT
from bench.analysis.certify.evidence import LARGEST, evidence


def certified(seeds, *, retest=0.1, **fleet):
    rules = with_rules(retest=retest)
    outcomes = [Fleet(seed, **fleet).outcome(rules) for seed in seeds]
    assert max(one.extra for one in outcomes) <= retest
    found, wrong, bad = (
        sum(getattr(one, name) for one in outcomes) for name in outcomes[0]._fields[:3]
    )
    return found, wrong, bad


FAULTS = {"units": 512, "metrics": 200, "bad": 51}


@pytest.mark.parametrize(("share", "least", "fleets"), [(0.0, 0.71, 6), (0.1, 0.94, 3)])
def test_faults_are_found_and_little_else(share, least, fleets):
    found, wrong, bad = certified(range(fleets), retest=share, **FAULTS)
    assert found >= least * bad
    assert wrong <= 0.01 * (found + wrong) + 2


@pytest.mark.parametrize(
    "changes",
    [{"drift": 2.0}, {"spread": 0.3}, {"tails": 5}, {"bins": Bins(0.2)}],
    ids=lambda one: next(iter(one)),
)
def test_faults_are_found_whatever_else_is_there(changes):
    _, wrong, bad = certified([0], **{**FAULTS, **changes})
    assert wrong <= 1
    one_shot, _, _ = certified([0], retest=0.0, **{**FAULTS, **changes})
    found, _, _ = certified([0], **{**FAULTS, **changes})
    assert found >= max(one_shot, 0.6 * bad)


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize("tails", [None, 5])
def test_healthy_fleets_are_left_alone(tails, share):
    seeds = range(2 if share else 10)
    _, wrong, _ = certified(seeds, retest=share, units=1024, metrics=60, tails=tails)
    assert wrong == 0


@pytest.mark.parametrize("part", [0.1, 0.5])
@pytest.mark.parametrize("shown", [1.0, 0.1])
def test_nobody_is_rejected_for_its_bin(part, shown):
    bins = Bins(part, metrics=shown)
    _, wrong, _ = certified(range(2), units=512, metrics=60, bins=bins)
    assert wrong == 0


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("tails", [None, 5])
def test_of_two_thousand_healthy_fleets_hardly_one_in_a_hundred_loses_a_unit(tails):
    rules = with_rules(retest=0.0)
    hurt = sum(Fleet(seed, 1024, 60, tails=tails).outcome(rules).wrong > 0 for seed in range(2000))
    assert hurt <= 20  # of 2,000: an upper 95 % limit of 1.5 %


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_hundred_fleets_with_faults():
    found, wrong, bad = certified(range(100, 200), **FAULTS)
    assert found >= 0.94 * bad
    assert found >= 0.99 * (found + wrong)


def test_two_populations_are_said_and_their_units_compared_with_their_own():
    g = np.random.default_rng(0)
    slow = np.arange(200) < 30
    value = 5 + 0.002 * g.normal(size=(1, 200)) - 0.05 * slow
    value[0, 3] -= 0.08  # a bad unit of the slower population
    found = judge(cells(value))
    assert (found.second == slow).all()
    assert np.flatnonzero(found.state == REJECT).tolist() == [3]
    assert found.effect[3] == pytest.approx(-0.08, abs=0.01)
    assert found.usual[3] == pytest.approx(4.95, abs=0.002)
    assert any("two populations" in note for note in found.notes)


@pytest.mark.parametrize(("units", "share"), [(8, 0.4), (16, 0.8)])
def test_one_unit_of_few_that_is_slow_in_all_it_does_hides_nowhere(units, share):
    rejected = []
    for seed in range(6):
        value = 0.01 * np.random.default_rng(seed).normal(size=(9, units))
        value[:, 3] -= 0.2
        found = judge(cells(value))
        assert not (found.state[found.unit != 3] == REJECT).any()
        rejected.append((found.state[found.unit == 3] == REJECT).mean())
    assert min(rejected) > 0
    assert np.mean(rejected) > share


def test_a_single_unit_has_nothing_to_compare_with():
    found = judge(cells([[3.0], [4.0]]))
    assert (found.state == INCONCLUSIVE).all()
    assert any("single unit" in note for note in found.notes)
    assert retest(found, cells([[3.0], [4.0]]), RULES, 0) is None


def test_few_units_are_judged_more_carefully_and_it_says_so():
    g = np.random.default_rng(1)
    noise = 0.01 * g.normal(size=(20, 400))
    noise[:, 0] = -0.08
    many, few = judge(cells(noise)), judge(cells(noise[:, :5]))
    width = (few.high - few.low)[few.unit == 1].mean()
    assert width > 1.3 * (many.high - many.low)[many.unit == 1].mean()
    assert (many.state[many.unit == 0] == REJECT).mean() > 0.9
    assert (few.state[few.unit == 0] == REJECT).mean() < 0.2
    assert any("fewer than 8" in note for note in few.notes)


def test_a_defect_that_all_new_units_share_shows_against_proven_ones():
    g = np.random.default_rng(2)
    new = cells(2 + 0.005 * g.normal(size=(3, 40)) - 0.1)
    proven = cells(2 + 0.005 * g.normal(size=(3, 60)), proven=True, units=np.arange(100, 160))
    assert not (judge(new).state == REJECT).any()
    found = judge(joined(new, proven))
    assert (found.state[~found.proven] == REJECT).all()
    assert (found.state[found.proven] == ACCEPT).all()


def test_small_but_sure_deviations_are_no_reason():
    g = np.random.default_rng(3)
    value = 0.001 * g.normal(size=(10, 300))
    value[:, 0] -= 0.025  # 25 standard deviations, 2.5 %
    assert not (judge(cells(value)).state == REJECT).any()


def test_one_odd_value_is_taken_back_by_the_re_test_and_a_steady_one_is_not():
    g = np.random.default_rng(4)
    sweep = 0.005 * g.normal(size=(30, 200))
    sweep[0, 7] = sweep[1, 8] = -0.15
    first = cells(sweep)
    assert np.flatnonzero(judge(first).state == REJECT).tolist() == [7, 208]
    again = cells(
        [[0.0, 0.002, -0.003], [-0.15, 0.001, 0.0]], session=1,
        units=[7, 100, 101], metrics=[0, 1],
    )  # fmt: skip
    again.unit[3] = 8
    found = judge(joined(first, again))
    assert np.flatnonzero(found.state == REJECT).tolist() == [208]


def test_a_value_that_was_hard_to_measure_is_a_suspect_not_a_reject():
    g = np.random.default_rng(5)
    value = 0.005 * g.normal(size=(20, 200))
    value[0, :2] = -0.08
    error = np.full(value.shape, 0.001)
    error[0, 1] = 0.05
    found = judge(cells(value, error=error))
    assert found.state[0] == REJECT
    assert found.state[1] != REJECT


def test_units_of_other_kinds_are_not_compared():
    g = np.random.default_rng(6)
    value = 0.005 * g.normal(size=(5, 100)) - 0.2 * (np.arange(100) >= 50)
    found = judge(cells(value, kind=np.tile(np.arange(100) // 50, 5)))
    assert (found.state == ACCEPT).all()
    assert (found.peers == 50).all()


def test_units_that_differ_for_good_are_not_measured_again_and_again():
    """Where re-tests repeat the sweep, they tell nothing, and the rest of the budget is kept."""
    spread = [Fleet(seed, 256, 40, spread=0.98, drift=0.1).outcome().extra for seed in range(3)]
    noise = [Fleet(seed, 256, 40, bad=10).outcome().extra for seed in range(3)]
    assert np.mean(spread) < 0.5 * np.mean(noise)


def test_a_request_is_within_its_budget_and_names_healthy_controls():
    fleet = Fleet(9, **FAULTS)
    found = judge(fleet.cells)
    more = retest(found, fleet.cells, RULES, 0)
    assert 0 < more.cost <= 0.1 * fleet.cells.value.size / 3
    pairs = set(zip(more.metric.tolist(), more.unit.tolist(), strict=True))
    assert len(pairs) == more.metric.size
    assert not fleet.bad[more.metric[more.control], more.unit[more.control]].any()
    assert retest(found, fleet.cells, RULES, 10**9) is None


def test_missing_values_are_counted_and_do_not_count():
    g = np.random.default_rng(7)
    value = 0.005 * g.normal(size=(4, 100))
    value[2, 5] = np.nan
    found = judge(cells(value))
    assert found.metric.size == 399
    assert any("1 value(s) are no number" in note for note in found.notes)


def test_nothing_at_all_is_judged():
    assert judge(cells(np.zeros((0, 5)))).state.size == 0


def test_values_without_noise_show_who_is_slow_however_far():
    value = np.zeros((4, 60)) + 1e-6 * np.arange(60)
    value[:, 7] = [-0.02, -0.06, -0.5, -1.9]
    found = judge(cells(value))
    assert found.state[found.unit == 7].tolist() == [ACCEPT, REJECT, REJECT, REJECT]
    assert (found.state[found.unit != 7] == ACCEPT).all()


def test_a_metric_that_the_sweep_lacks_is_inconclusive():
    g = np.random.default_rng(12)
    sweep, late = (cells(0.01 * g.normal(size=(2, 40)), session=k) for k in (0, 1))
    late.metric[:40] = 5
    found = judge(joined(sweep, late))
    assert (found.state[found.metric == 5] == INCONCLUSIVE).all()
    assert np.isnan(found.effect[found.metric == 5]).all()
    assert (found.state[found.metric < 2] == ACCEPT).all()


def test_equal_values_have_no_culprit():
    assert (judge(cells(np.full((3, 50), 2.0))).state == ACCEPT).all()


@pytest.mark.parametrize("visits", [1, 3])
@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_evidence_is_the_integral_that_it_says(visits, spread):
    g = np.random.default_rng(8)
    scale, least, tail = 0.02, 0.04, 7.0
    value = -np.array([0.02, 0.05, 0.1])[:, None] + scale * g.normal(size=(3, visits))
    same = np.ones(3)
    found = evidence(
        value, np.full_like(value, scale), spread * same, tail * same, 0 * same, 0 * same, least
    )
    x = np.linspace(-0.8, 0.4, 400_001)
    floor, edge = max(spread, 0.02 * scale), -np.log1p(-least)

    def student(t):
        return 0.3850 * (1 + t * t / tail) ** (-(tail + 1) / 2)

    for row in range(3):
        seen = np.prod([student((one - x) / scale) for one in value[row]], axis=0)
        beyond = 1 / (1 + np.exp(np.clip(1.702 * (x + edge) / floor, -500, 500)))
        bad = beyond / np.maximum(-x, edge) / np.log(LARGEST / edge)
        expected = np.log((seen * bad).sum() / (seen * student(x / floor) / floor).sum())
        assert found.ratio[row] == pytest.approx(expected, abs=0.05)


def test_the_doubtful_are_fewer_after_a_re_test():
    fleet = Fleet(10, **FAULTS, noises=NOISES[3:])
    before = np.count_nonzero(judge(fleet.cells).state == SUSPECT)
    assert fleet.outcome().left < before / 2


def test_a_population_that_is_clear_in_one_metric_is_found_in_noisier_ones():
    g = np.random.default_rng(11)
    slow = np.arange(300) < 45
    noise = np.array([0.005, 0.03])[:, None]
    found = judge(cells(noise * g.normal(size=(2, 300)) - 0.05 * slow))
    usual = found.usual[found.second].reshape(-1)
    assert (found.second[:300] == slow).all()
    assert found.usual[300:].min() == pytest.approx(-0.05, abs=0.015)
    assert not (found.state == REJECT).any()
    assert usual.size > 45
