"""The gate's statistics and states, without measuring."""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.gate.judging import judge
from bench.analysis.gate.paired import order_of, paired, stage_of
from bench.analysis.gate.sequential import (
    blocks_for,
    decide,
    smallest_margin,
)
from bench.analysis.gate.series import series
from bench.analysis.gate.signed_rank import estimate, least_blocks, limit_place
from bench.analysis.gate.stored import check, unresolved
from bench.campaigns.selftests import keep, known, place, refuse, untested
from bench.cli import cli
from bench.configs import Gate, GateLine, load_gate
from bench.errors import Exit, UsageError
from bench.gates import GateReport, Judged, ordered, read_gate, write_gate
from bench.records import THROTTLED, DeviceGroup, ScheduleSpec


@pytest.mark.parametrize("n", [1, 5, 8, 10])
@pytest.mark.parametrize("tail", [0.2, 0.05, 0.005])
def test_places_of_limits_are_those_of_all_signs(n, tail):
    ranks = np.arange(1, n + 1)
    sums = [int(ranks @ np.array(signs)) for signs in itertools.product((0, 1), repeat=n)]
    wanted = sum(np.mean(np.array(sums) <= j) <= tail for j in range(n * (n + 1) // 2 + 1))
    assert limit_place(n, tail) == wanted
    assert (limit_place(n, tail) > 0) == (n >= least_blocks(tail))


def test_the_estimate_is_that_of_all_averages():
    found = estimate([1.0, 2.0, 6.0], 0.2)
    assert (found.centre, found.low, found.high) == (2.75, 1.0, 6.0)
    assert estimate([1.0, 2.0], 0.01).low == -math.inf
    assert estimate(np.zeros(12), 0.01) == (0.0, 0.0, 0.0)


def test_limits_hold_as_often_as_they_say():
    draw, below = np.random.default_rng(7), 0
    for _ in range(2000):
        below += estimate(draw.standard_t(2, 12), 0.05).low > 0
    assert 0.03 < below / 2000 < 0.06


def test_words():
    blocks = np.random.default_rng(1).normal(0, 0.002, 40)
    words = {change: decide(blocks + change, 0.03).word for change in (-0.1, 0.0, 0.0296, 0.1)}
    assert words == {-0.1: "IMPROVED", 0.0: "PASS", 0.0296: "INCONCLUSIVE", 0.1: "REGRESSED"}
    assert decide(blocks[:5], 0.03).word == "INCONCLUSIVE"  # no look is reached
    assert decide([0.5], 0.03).blocks == 1
    assert decide(blocks, 0.03).blocks == 10  # the first look was enough
    for margin, some in ((0.0, blocks), (-0.1, blocks), (0.03, [])):
        with pytest.raises(ValueError, match="margin"):
            decide(some, margin)
    # Of many metrics together ten blocks decide nothing.
    assert [decide(blocks[:10], 0.03, family=many).word for many in (1, 20)] == [
        "PASS",
        "INCONCLUSIVE",
    ]
    assert smallest_margin(0.008) == pytest.approx(math.expm1(0.032 / math.sqrt(40)))
    assert blocks_for(0.008, smallest_margin(0.008)) in (40, 41)


def test_a_first_look_by_hand():
    """Three of 1024 signs of ten give a rank sum of at most 2, and five one of at most 3.

    At 1 % over three looks, 3.4 are allowed: limits are the third averages of two, from below 2 of
    1, 1.5, 2, 2.5 and from above 320 of 512, 384, 320, 288.
    """
    powers = 1e-4 * 2.0 ** np.arange(10)
    made = decide(powers, 0.05)
    assert (made.word, made.blocks) == ("PASS", 10)
    assert (made.low, made.high) == pytest.approx((math.expm1(2e-4), math.expm1(320e-4)))
    # Of the distances from the median, 24, half are up to 22, half from 23 on.
    assert made.noise == pytest.approx(1.4826 * 22.5e-4)
    assert made.caught == pytest.approx(1.05 * math.exp(4 * made.noise / math.sqrt(10)) - 1)


def test_what_no_look_decides_is_told_as_the_last_one_saw_it():
    made = decide(math.log(1.03) + 0.01 * np.linspace(-1, 1, 25)[np.arange(25) * 7 % 25], 0.03)
    assert (made.word, made.blocks) == ("INCONCLUSIVE", 20)


def side(name="gemm", metric="flops", source="0", blocks=10, value=100.0, drift=0.0, **more):
    """A run of a side: two devices, the stages of `paired` in the order measured."""
    cases, rows, time = [], [], 0
    for block in range(1, blocks + 1):
        for which, half in order_of(block):
            time += 1
            if which != more.get("which", 0):
                continue
            number = len(cases)
            stage = stage_of(block, half)
            cases.append(case(number, name, metric=metric, source=source, stage=stage))
            for group in range(more.get("groups", 2)):
                told = value(block) if callable(value) else value
                told *= more.get("by", {}).get(group, 1.0)
                status = more.get("status", "ok")
                status = status(block, group) if callable(status) else status
                reason = more.get("reason", "busy")
                rows.append((number, group, told * math.exp(drift * time), status, reason))
    there = header(*cases)
    if "groups" in more:
        there = header(
            *cases,
            groups=more["groups"],
            fleet=DeviceGroup(count=1, devices=more["groups"], chip="acme-1"),
        )
    return series(there, columns(*rows), contended=more.get("contended", True))


GATE = Gate(name="g", metrics=[GateLine(match="gemm flops", margin=0.03)])


def judged(before, after, gate=GATE, blocks=10):
    return judge(gate, before, after, lambda a, b, sign: paired(a, b, sign, blocks))


def test_an_even_drift_is_no_change():
    before, after = side(drift=0.01), side(drift=0.01, which=1)
    (one,) = judged(before, after)
    assert one.state == "PASS"
    assert one.change == pytest.approx(0, abs=1e-12)
    slower = side(drift=0.01, which=1, value=90.0)
    (one,) = judged(before, slower)
    assert (one.state, one.change) == ("REGRESSED", pytest.approx(100 / 90 - 1))


def test_where_it_is_slower_is_told_the_worst_first():
    slow = {0: 0.7, 1: 0.8, 3: 0.75, 4: 0.79, 5: 0.99}
    (one,) = judged(side(groups=6), side(groups=6, which=1, by=slow))
    devices = [f"device {device} of node-00000" for device in (0, 3, 4, 1)]
    assert (one.state, one.where) == ("REGRESSED", ", ".join(devices))
    (one,) = judged(side(groups=6), side(groups=6, which=1, by=dict.fromkeys(range(6), 0.8)))
    assert (one.state, one.where) == ("REGRESSED", "")  # everywhere
    (one,) = judged(side(groups=6), side(groups=6, which=1, by={0: 0.7, 1: 0.8}))
    assert (one.state, one.where) == ("PASS", "")  # not of the median over its devices
    slow = dict.fromkeys(range(5), 0.8)
    (one,) = judged(side(groups=6), side(groups=6, which=1, by=slow))
    assert one.where.endswith("device 3 of node-00000 and 1 more")


@pytest.mark.parametrize(
    ("blocks", "family", "needed"), [(1, 1, 10), (8, 3, 10), (9, 5, 20), (10, 5, 20)]
)
def test_how_many_blocks_so_many_metrics_need_is_a_look_of_the_gate(blocks, family, needed):
    """Ten blocks are just enough for three metrics, and eleven, which five would take, no look."""

    def several(which):
        sides = [side(source=str(number), blocks=blocks, which=which) for number in range(family)]
        return {f"gemm {number}": one["gemm flops"] for number, one in enumerate(sides)}

    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.03)])
    found = judged(several(0), several(1), gate, blocks)
    assert {(one.state, one.low, one.high) for one in found} == {("INCONCLUSIVE", -1.0, None)}
    assert {one.reason for one in found} == {
        f"{blocks} block(s) decide nothing: with {family} metric(s) {needed} are needed"
    }


def ruled(ratios, whole=None, beside=(0.0, 0.0)):
    """The one metric of two sides, as these log-ratios of blocks have it."""
    before, after = side(blocks=1), side(blocks=1, which=1)
    for series_of, share in zip((before, after), beside, strict=True):
        series_of["gemm flops"].beside = share
    blocks = list(ratios), len(ratios) if whole is None else whole
    (one,) = judge(GATE, before, after, lambda *_: blocks)
    return one


def test_what_is_not_sure_says_between_what_and_what_it_lies():
    # Blocks evenly within ±1 % about the margin, at every look: neither above nor below it.
    ratios = math.log(1.03) + 0.01 * np.linspace(-1, 1, 40)[np.arange(40) * 17 % 40]
    one = ruled(ratios)
    assert (one.state, one.blocks, one.change) == ("INCONCLUSIVE", 40, pytest.approx(0.03))
    assert one.low < 0.03 < one.high
    assert one.reason == (
        f"after 40 blocks the change lies between {one.low:+.1%} and {one.high:+.1%}, and 3.0% "
        "are accepted"
    )
    for change, state in ((0.2, "REGRESSED"), (-0.2, "IMPROVED"), (0.0, "PASS")):
        one = ruled(np.full(10, math.log1p(change)))
        assert (one.state, one.reason) == (state, "")
        assert (one.low, one.change, one.high) == (pytest.approx(change),) * 3


def test_half_of_the_blocks_must_count():
    assert ruled([0.0] * 10, 20).state == "PASS"
    one = ruled([0.0] * 10, 21)
    assert (one.state, one.reason) == ("INVALID", "11 of 21 blocks have no value: no rows")
    assert ruled([], 0).state == "INVALID"


def test_sides_beside_other_work_in_unlike_shares_are_not_compared():
    for beside in ((0.6, 0.6), (0.5, 0.0), (0.0, 0.5)):
        assert ruled([0.0] * 10, beside=beside).state == "PASS"
    for before, after in ((0.6, 0.0), (0.0, 0.6)):
        one = ruled([0.0] * 10, beside=(before, after))
        assert one.state == "INVALID"
        assert f"in {after:.0%} of what the candidate measured, and in {before:.0%}" in one.reason


def test_a_device_that_one_side_lacks_is_not_where_it_is_slower():
    before, after = side(groups=3), side(groups=4, which=1, by={0: 0.7, 1: 0.8, 2: 0.99})
    before["gemm flops"].asked = 4
    (one,) = judged(before, after)
    assert (one.state, one.where) == (
        "REGRESSED",
        "device 0 of node-00000, device 1 of node-00000",
    )


def test_halves_of_a_block_are_met_where_a_device_has_both():
    before, after = side(), side(which=1)
    (one,) = after.values()
    for block in range(1, 11):  # device 1 is in the first half only, and four times as slow there
        one.stages[stage_of(block, "a")][1, 0] = 25.0
        del one.stages[stage_of(block, "b")][1, 0]
    assert paired(before["gemm flops"], one, -1.0, 10) == ([0.0] * 10, 10)
    for block in range(1, 11):  # half as fast, and twice: as fast
        one.stages[stage_of(block, "a")][0, 0] = 50.0
        one.stages[stage_of(block, "b")][0, 0] = 200.0
    assert paired(before["gemm flops"], one, -1.0, 10)[0] == pytest.approx([0.0] * 10, abs=1e-12)
    one.stages[stage_of(7, "a")][0, 0] = 0.0  # of nothing there is no geometric mean
    one.stages[stage_of(8, "a")][0, 0] = -50.0
    assert paired(before["gemm flops"], one, -1.0, 10)[0][6:8] == pytest.approx(
        [0.0, math.log(100 / 75)]
    )


@pytest.mark.parametrize(
    ("after", "state", "reason"),
    [
        ({}, "MISSING", "the candidate does not measure it"),
        (side(source="1", which=1), "CHANGED", "the code that defines the measurement differs"),
        (side(status="invalid", which=1), "INVALID", "the candidate has no value of it: invalid"),
        (side(status="skipped", which=1), "MISSING", "the candidate has no value of it: skipped"),
        (side(status="contended", which=1), "INVALID", "others used the cores in 100%"),
        (side(value=math.nan, which=1), "INVALID", "its value is no number"),
        (side(value=0.0, which=1), "INVALID", "one side is zero and the other is not"),
        (
            side(value=lambda block: 0.0 if block == 3 else 100.0, which=1),
            "INVALID",
            "one side is zero and the other is not",
        ),
        (
            side(value=lambda block: math.nan if block > 4 else 100.0, which=1),
            "INVALID",
            "its value is no number (device 0 of node-00000)",
        ),
        (
            side(status=lambda block, group: "missing" if block > 4 else "ok", which=1),
            "INVALID",
            "6 of 10 blocks have no value",
        ),
        # One wrong result is not made good by those that were right.
        (
            side(status=lambda block, group: "invalid" if block == 3 and group else "ok", which=1),
            "INVALID",
            "of the candidate one was invalid: busy (device 1 of node-00000)",
        ),
        (
            side(status=lambda block, group: "failed" if group else "ok", which=1),
            "INVALID",
            "of the candidate one was failed: busy",
        ),
        # Nor is a device that gives nothing by the others.
        (
            side(status=lambda block, group: "skipped" if group else "ok", which=1),
            "MISSING",
            "values of 1 of 2 groups only: skipped: busy",
        ),
    ],
)
def test_what_is_not_sound_has_a_state_of_its_own(after, state, reason):
    (one,) = judged(side(), after)
    assert (one.state, reason in one.reason) == (state, True), one
    (one,) = judged({}, side(which=1))
    assert one.state == "NO_BASELINE"
    assert judged(side(name="launch"), side(name="launch")) == []  # no line fits


def test_what_a_throttled_device_did_not_give_is_a_lost_block_only():
    why = f"node-00000/0: {THROTTLED} (power cap)"
    lost = {"status": lambda block, group: "invalid" if block < 4 else "ok", "reason": why}
    (one,) = judged(side(blocks=14), side(blocks=14, which=1, **lost), blocks=14)
    assert (one.state, one.blocks) == ("PASS", 10)


def test_a_baseline_that_was_wrong_once_loses_a_block():
    before = side(status=lambda block, group: "invalid" if block == 3 else "ok", blocks=12)
    (one,) = judged(before, side(blocks=12, which=1), blocks=12)
    assert (one.state, one.blocks) == ("PASS", 10)
    before = side(status=lambda block, group: "invalid" if block > 3 else "ok", blocks=12)
    (one,) = judged(before, side(blocks=12, which=1), blocks=12)
    assert one.reason == "9 of 12 blocks have no value: invalid: busy"


def test_one_block_decides_nothing_and_two_zeros_are_equal():
    (one,) = judged(side(blocks=1), side(blocks=1, which=1), blocks=1)
    assert one.state == "INCONCLUSIVE"
    (one,) = judged(side(value=0.0), side(value=0.0, which=1))
    assert (one.state, one.change) == ("PASS", 0.0)


def stored(*values, source="0", **changes):
    made = [case(number, metric="flops", source=source) for number in range(1)]
    rows = ((0, group, one) for group, one in enumerate(values))
    return series(header(*made, **changes), columns(*rows))


def test_runs_over_other_numbers_of_devices_are_no_baselines():
    whole = {"schedules": [ScheduleSpec(kind="all", scope="group", groups=1)]}
    few, many = (DeviceGroup(count=n, devices=2, chip="acme-1") for n in (1, 4))
    before = stored(100.0, **whole, fleet=few)
    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.2)])
    (one,) = check(gate, [before], stored(99.0, **whole, fleet=few))
    assert one.state == "PASS"
    (one,) = check(gate, [before], stored(300.0, **whole, fleet=many))
    assert one.state == "NO_BASELINE"
    assert "the baseline measured it over 2 devices, the candidate over 8" in one.reason
    (one,) = check(
        gate, [before, stored(299.0, **whole, fleet=many)], stored(300.0, **whole, fleet=many)
    )
    assert (one.state, one.blocks) == ("PASS", 1)


def test_a_run_that_lost_a_device_does_not_pass():
    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.2)])
    (one,) = check(gate, [stored(100.0, 101.0)], stored(100.0))
    assert one.state == "MISSING"
    assert "values of 1 of 2 groups only: no rows of the others" in one.reason
    (one,) = check(gate, [stored(100.0)], stored(100.0, 101.0))
    assert one.state == "PASS"


def test_a_run_lacks_no_more_devices_than_one_of_its_baselines():
    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.2)])
    whole, half, none = stored(100.0, 101.0), stored(100.0), stored()
    (one,) = check(gate, [whole, half, none], stored(100.0))
    assert (one.state, one.blocks) == ("PASS", 2)
    (one,) = check(gate, [whole, none], stored(100.0))
    assert one.state == "MISSING"


def test_a_gate_file_may_say_which_way_is_better():
    for better, change, state in (("declared", -1 / 3, "IMPROVED"), ("lower", 0.5, "REGRESSED")):
        gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.2, better=better)])
        (one,) = check(gate, [stored(100.0)], stored(150.0))
        assert (one.state, one.change) == (state, pytest.approx(change))
        assert one.better == ("lower" if better == "lower" else "higher")


def test_limits_of_runs_of_their_own_by_hand():
    """Student's t of 4 degrees exceeds 3.7469 with 1 %, the normal's z 2.3263."""
    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.1)])
    logs = [0.0, 0.01, -0.01, 0.02, -0.02]
    sigma = math.sqrt(0.001 / 4)
    (one,) = check(gate, [stored(100 * math.exp(each)) for each in logs], stored(98.0))
    change, half = math.log(100 / 98), 3.7469 * sigma * math.sqrt(1 + 1 / 5)
    assert one.noise == pytest.approx(sigma)
    assert one.baseline == pytest.approx(100.0)
    wanted = [math.expm1(change + by * half) for by in (-1, 0, 1)]
    assert [one.low, one.change, one.high] == pytest.approx(wanted, rel=1e-4)
    power = 1.6449 * sigma * math.sqrt(1 + 1 / 5)
    assert one.caught == pytest.approx(1.1 * math.exp(half + power) - 1, rel=1e-4)
    assert (one.state, one.reason) == ("PASS", "")
    (one,) = check(gate, [stored(100.0)], stored(100.0))
    assert one.high == pytest.approx(math.expm1(2.3263 * 0.02 * math.sqrt(2)), rel=1e-4)
    # Of two metrics each has half of the error: 2.5758.
    metric = stored(100.0)["gemm flops"]
    two = {"gemm flops": metric, "gemm time": metric}
    for one in check(gate, [two], two):
        assert one.high == pytest.approx(math.expm1(2.5758 * 0.02 * math.sqrt(2)), rel=1e-4)


def test_zeros_of_runs_of_their_own_are_equal_and_have_no_ratio_to_anything_else():
    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.2)])
    (one,) = check(gate, [stored(0.0), stored(0.0), stored(0.0)], stored(0.0))
    assert (one.state, one.change, one.baseline, one.candidate) == ("PASS", 0.0, 0.0, 0.0)
    for before, after in (((0.0, 100.0), 100.0), ((0.0,), 5.0), ((5.0,), 0.0)):
        (one,) = check(gate, [stored(each) for each in before], stored(after))
        assert one.state == "INVALID"
        assert "that has no ratio" in one.reason
        assert unresolved(gate, [one]) == []  # no margin would hold it


def test_what_runs_of_their_own_leave_open_is_said_with_its_limits():
    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.1)])
    (one,) = check(gate, [stored(100.0)], stored(93.0))
    assert one.state == "INCONCLUSIVE"
    assert one.low < one.change < one.high
    assert one.reason.startswith(
        f"runs of their own leave it between {one.low:+.1%} and {one.high:+.1%}, and 10.0% are"
    )


def test_baselines_that_nothing_holds_together_are_no_crash():
    gate = Gate(name="g", metrics=[GateLine(match="gemm*", margin=0.2)])
    judged = check(gate, [stored(one, one) for one in (1e-300, 1.0, 1e300)], stored(1.0, 1.0))
    assert [one.state for one in judged] == ["INCONCLUSIVE"]
    assert unresolved(gate, judged) == ["gemm flops: 20.0% is asked for, none can be held"]


def test_runs_of_their_own_have_the_sessions_in_their_limits():
    line = [GateLine(match="gemm flops", margin=0.1)]
    wide = Gate(name="g", metrics=line)
    (one,) = check(wide, [stored(100.0)], stored(99.0))
    assert one.state == "PASS"
    assert one.noise == 0.02
    (one,) = check(wide, [stored(100.0)], stored(80.0))
    assert one.state == "REGRESSED"
    narrow = Gate(name="g", metrics=[GateLine(match="gemm flops", margin=0.03)])
    (problem,) = unresolved(narrow, check(narrow, [stored(100.0)], stored(99.0)))
    assert "3.0% is asked for, 6." in problem
    # Baselines that agree make the limits narrow; those that do not, wide.
    near = [stored(value) for value in (100.0, 100.1, 99.9, 100.05, 99.95)]
    assert check(narrow, near, stored(99.9))[0].state == "PASS"
    far = [stored(value) for value in (100.0, 110.0, 90.0, 105.0, 95.0)]
    assert unresolved(narrow, check(narrow, far, stored(99.9)))
    assert check(wide, [stored(100.0, source="1")], stored(99.0))[0].state == "CHANGED"
    assert check(wide, [{}], stored(99.0))[0].state == "NO_BASELINE"
    assert check(wide, [stored(100.0)], {})[0].state == "MISSING"


def test_the_report_orders_ends_and_is_read_back(tmp_path):
    def one(state, change=None):
        return Judged(name=state, state=state, unit="s", better="lower", margin=0.03, change=change)

    def ends(*states, inconclusive="fail"):
        report = GateReport(
            gate="g",
            how="pair",
            baseline="a",
            candidate="b",
            created="2026-11-26T00:00:00+00:00",
            alpha=0.01,
            inconclusive=inconclusive,
            judged=ordered([one(state) for state in states]),
        )
        write_gate(tmp_path / "gate.json", report)
        assert read_gate(tmp_path / "gate.json") == report
        return report.exit

    assert ends("PASS", "IMPROVED") is Exit.OK
    assert ends("PASS", "REGRESSED") is Exit.FINDING
    assert ends("INVALID", "REGRESSED") is Exit.INFRASTRUCTURE
    for state in ("MISSING", "NO_BASELINE", "CHANGED", "INCONCLUSIVE"):
        assert ends("PASS", state) is Exit.INCONCLUSIVE
    assert ends("PASS", "INCONCLUSIVE", inconclusive="warn") is Exit.OK
    assert ends("MISSING", inconclusive="warn") is Exit.INCONCLUSIVE
    assert ends() is Exit.INCONCLUSIVE
    worst = ordered([one("PASS"), one("REGRESSED", 0.1), one("REGRESSED", 0.2)])
    assert [each.change for each in worst] == [0.2, 0.1, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metrics: [{match: a, margin: 0%}]", "must be above 0"),
        ("metrics: [{match: a, margin: fast}]", "is not a share"),
        ("metrics: [{match: a}]", "margin"),
        ("metrics: []", "must be a list of lines"),
        ("metrics: [{match: a, margin: 5%}]\nblocks: [20, 10]", "must be rising"),
        ("metrics: [{match: a, margin: 5%}]\nalpha: 60%", "below 50%"),
        ("metrics: [{match: a, margin: 5%}]\nbudget: soon", "is not a duration"),
        ("metrics: [{match: a, margin: 5%}]\nbloks: [2]", "did you mean blocks"),
    ],
)
def test_a_gate_file_that_is_wrong_names_its_line(tmp_path, text, said):
    (tmp_path / "g.yaml").write_text(f"name: g\n{text}\n")
    with pytest.raises(UsageError, match=r"g\.yaml:\d") as error:
        load_gate(tmp_path / "g.yaml")
    assert said in str(error.value)


def test_every_gate_here_is_sound():
    gate = load_gate("default")
    assert gate.line("gemm 512x512x512 fp32 torch flops").margin == 0.05
    assert gate.line("gemm 512x512x512 fp32 torch error") is None


def test_a_pytest_benchmark_waits_for_the_device_and_says_its_conditions(tmp_path, monkeypatch):
    from bench import pytest_plugin

    waited = []

    class Accelerator:
        def is_available(self):
            return True

        def synchronize(self):
            waited.append(1)

    with monkeypatch.context() as patched:
        patched.setattr("torch.accelerator", Accelerator(), raising=False)
        first, second = pytest_plugin.timer(), pytest_plugin.timer()
    assert second >= first
    assert len(waited) == 2
    (tmp_path / "test_it.py").write_text("def test_it(benchmark):\n    benchmark(sum, range(10))\n")
    words = ["-p", "bench.pytest_plugin", "--benchmark-timer=bench.pytest_plugin.timer"]
    out = tmp_path / "found.json"
    # Options of the run that this test is of (workers side by side) are not that one's.
    inherited = {name: one for name, one in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words, f"--benchmark-json={out}", "test_it.py"],
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.read_text())["machine_info"]["hengsuan"]
    assert told["cores"]
    assert set(told) == {"cores", "nice", "governor", "omp_num_threads", "torch", "device"}


def test_selftests_of_several_gates_are_remembered_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    devices = ["cpu A on a"]
    assert known(devices) == {}
    keep(devices, {"gemm flops": 0.5})
    keep(devices, {"launch time": 0.001})
    assert known(devices) == {"gemm flops": 0.5, "launch time": 0.001}
    with pytest.raises(UsageError, match=r"gemm flops: 3\.0% is asked for"):
        refuse(GATE, known(devices))
    refuse(Gate(name="g", metrics=[GateLine(match="launch*", margin=0.03)]), known(devices))
    two = [
        Judged(name=name, state="PASS", unit="s", better="lower", margin=0.1, noise=0.01)
        for name in ("launch time", "other")
    ]
    assert untested(known(devices), two[:1]) == ""
    assert "of the last 24 hours of 1 of 2 metrics on these" in untested(known(devices), two)
    assert "of the last 24 hours on these" in untested({}, two)
    counted = [Judged(name="n", state="PASS", unit="", better="lower", margin=0.0, exact=True)]
    assert untested({}, counted) == ""
    place(devices).write_bytes(b"[1]")
    assert known(devices) == {}


@pytest.mark.parametrize("budget", ["0s", "-1m", "soon", "inf"])
def test_no_time_at_all_is_refused_before_a_side_is_made(budget):
    words = ["gate", "pair", "--candidate", "var:A=1", "--budget", budget]
    with pytest.raises(UsageError, match="--budget"):
        cli.main(words, standalone_mode=False)
