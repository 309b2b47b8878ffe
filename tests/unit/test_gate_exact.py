"""Counts: compared exactly, by one mechanism whatever is counted."""

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.gate.judging import judge
from bench.analysis.gate.paired import order_of, paired, stage_of
from bench.analysis.gate.series import series
from bench.analysis.gate.stored import check, unresolved
from bench.configs import Gate, GateLine, load_gate
from bench.records import Device, DeviceGroup, Node
from bench.report.gate.words import circumstances, overall, sentence, worse_by


def counted(*values, which=0, blocks=1, exact=True, better="lower", unit="count", **more):
    """A side that counted the same in every stage, a value for each device."""
    cases, rows = [], []
    for block in range(1, blocks + 1):
        for side, half in order_of(block):
            if side == which:
                number = len(cases)
                changes = {"metric": "spills", "unit": unit, "better": better, "exact": exact}
                cases.append(case(number, "counts", stage=stage_of(block, half), **changes))
                rows += [(number, group, value) for group, value in enumerate(values)]
    return series(header(*cases, **more), columns(*rows))


def gate(margin=0.0, exact=False):
    return Gate(name="g", metrics=[GateLine(match="counts*", margin=margin, exact=exact)])


def judged(before, after, how=None):
    how = how or gate()
    return judge(how, before, after, lambda a, b, sign: paired(a, b, sign, 1))


@pytest.mark.parametrize(
    ("old", "new", "margin", "state", "reason"),
    [
        (95, 95, 0.0, "PASS", ""),
        (95, 96, 0.0, "REGRESSED", "from 95 to 96"),
        (96, 95, 0.0, "IMPROVED", "from 96 to 95"),
        (100, 105, 0.05, "PASS", "from 100 to 105"),
        (100, 106, 0.05, "REGRESSED", "from 100 to 106"),
        (0, 0, 0.0, "PASS", ""),
        (0, 8, 0.5, "REGRESSED", "from 0 to 8"),  # no share of nothing is accepted
        (8, 0, 0.0, "IMPROVED", "from 8 to 0"),
        (2**50, 2**50 + 1, 0.0, "REGRESSED", "from 1,125,899,906,842,624 to 1,125,899,906,842,625"),
    ],
)
def test_one_block_decides_what_has_no_noise(old, new, margin, state, reason):
    (one,) = judged(counted(old), counted(new, which=1), gate(margin))
    assert (one.state, one.reason, one.exact) == (state, reason, True), one
    (stored,) = check(gate(margin), [counted(old)], counted(new))
    assert (stored.state, stored.reason) == (state, reason)
    assert unresolved(gate(margin), [stored]) == []


def test_where_more_is_better_less_is_worse():
    (one,) = judged(counted(9, better="higher"), counted(8, which=1, better="higher"))
    assert (one.state, one.reason) == ("REGRESSED", "from 9 to 8")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ((5, 0, 5), (50, 8, 6), "from 0 to 8"),  # from nothing is worse than any share
        ((0, 0, 5), (8, 9, 5), "from 0 to 9"),
        ((100, 10, 50), (109, 11, 49), "from 10 to 11"),
        ((8, 5, 5), (0, 5, 5), ""),
        ((8, 9, 5), (0, 8, 4), "from 9 to 8"),  # to nothing is the best of all
    ],
)
def test_the_worst_of_several_devices_is_told(old, new, reason):
    there = {"groups": 3, "fleet": DeviceGroup(count=1, devices=3, chip="acme-1")}
    (one,) = judged(counted(*old, **there), counted(*new, which=1, **there))
    assert one.reason == reason
    known = not reason.startswith("from 0 ")
    assert [value is not None for value in (one.change, one.low, one.high)] == [known] * 3


def test_a_gate_file_declares_what_its_benchmark_does_not():
    before, after = counted(5, exact=False), counted(6, which=1, exact=False)
    (one,) = judged(before, after, gate(exact=True))
    assert (one.state, one.exact) == ("REGRESSED", True)
    (one,) = judged(before, after, gate(margin=0.1))
    assert (one.state, one.exact) == ("INCONCLUSIVE", False)  # one block decides nothing
    assert load_gate("counts").line("counts gemm sm_90 spills").exact


def test_what_one_side_does_not_count_as_exact_is_compared_with_statistics():
    for exact in (True, False):
        before, after = counted(5, exact=exact), counted(5, which=1, exact=not exact)
        assert not judged(before, after, gate(margin=0.1))[0].exact


def test_counts_take_no_share_of_the_error_from_what_is_noisy():
    def noisy(which):
        rows = [(number, 0, 100.0) for number in range(20)]
        stages = [stage_of(b, h) for b in range(1, 11) for s, h in order_of(b) if s == which]
        cases = [case(number, stage=stage) for number, stage in enumerate(stages)]
        return series(header(*cases), columns(*rows))

    before, after = noisy(0), noisy(1)
    for number in range(20):
        for side, which in ((before, 0), (after, 1)):
            (one,) = counted(7, which=which).values()
            side[f"counts {number}"] = one
    lines = [GateLine(match="counts*", margin=0.0), GateLine(match="gemm*", margin=0.03)]
    found = judge(
        Gate(name="g", metrics=lines), before, after, lambda a, b, sign: paired(a, b, sign, 10)
    )
    assert {one.state for one in found} == {"PASS"}, found


@pytest.mark.parametrize(
    ("after", "state", "reason"),
    [
        (counted(math.nan, which=1), "INVALID", "its value is no number"),
        ({}, "MISSING", "the candidate does not measure it"),
        (
            counted(5, which=1, groups=1),
            "MISSING",
            "the candidate has no count of device 1 of node-00000",
        ),
    ],
)
def test_what_was_not_counted_does_not_pass(after, state, reason):
    (one,) = judged(counted(5, 5), after)
    assert (one.state, reason in one.reason, one.exact) == (state, True, True), one


def test_a_count_that_is_none_is_invalid():
    after = counted(5, which=1)
    (stages,) = (one.stages for one in after.values())
    stages["block-001b"] = {(0, 0): 6.0}
    (one,) = judged(counted(5), after)
    assert (one.state, one.reason) == (
        "INVALID",
        "a count is compared exactly, and the candidate gives 5 and 6",
    )


def test_a_single_value_of_each_side_decides():
    before, after = counted(5), counted(6, which=1)
    for series_of in (before, after):
        del series_of["counts spills"].stages["block-001b"]
    (one,) = judged(before, after)
    assert (one.state, one.baseline, one.candidate, one.blocks) == ("REGRESSED", 5.0, 6.0, 1)
    assert (one.low, one.change, one.high) == (pytest.approx(0.2),) * 3


def test_a_count_that_wavers_on_one_of_several_devices_names_it():
    there = {"nodes": nodes(), "fleet": None, "groups": 4}
    before, after = counted(5, 5, 5, 5, **there), counted(5, 5, 5, 5, which=1, **there)
    before["counts spills"].stages["block-001b"][1, 0] = 4.0
    (one,) = judged(before, after)
    assert one.reason == (
        "a count is compared exactly, and the baseline gives 4 and 5 on device 1 of a"
    )


def nodes():
    return [
        Node(
            id=name,
            name=name,
            devices=tuple(Device(index=index, backend="cpu", name="cpu") for index in range(2)),
        )
        for name in ("a", "b")
    ]


def test_the_place_is_named_where_it_is_not_everywhere():
    there = {"nodes": nodes(), "fleet": None, "groups": 4}
    before = counted(5, 5, 5, 5, **there)
    (one,) = judged(before, counted(5, 5, 5, 7, which=1, **there))
    assert (one.state, one.where, one.reason) == ("REGRESSED", "device 1 of b", "from 5 to 7")
    (one,) = judged(before, counted(5, 6, 7, 5, which=1, **there))
    assert one.where == "device 1 of a, device 0 of b"
    (one,) = judged(before, counted(6, 6, 6, 6, which=1, **there))
    assert one.where == ""
    assert "on device 1 of a" in sentence(judged(before, counted(5, 6, 5, 5, which=1, **there))[0])


def test_reports_say_that_there_was_no_error_to_share(tmp_path):
    from bench.cli.gate_outputs import give, reported

    found = judged(counted(0), counted(8, which=1))
    report = reported(gate(), "pair", ("a", "b"), found, ["cpu"], "stand-in", [])
    assert worse_by(found[0]) == "–"
    assert sentence(found[0]) == "no ratio, margin 0%, 0 → 8 (lower is better)"
    assert overall(report) == ""
    assert "compared exactly, without statistics: 1 of 1 metrics" in circumstances(report)
    assert not any("probability" in line for line in circumstances(report))
    assert give(report, tmp_path, as_json=False) == 1
    assert "from 0 to 8" in (tmp_path / "gate.xml").read_text()
    assert "from 0 to 8" in (tmp_path / "gate.md").read_text()
