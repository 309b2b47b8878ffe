"""The scorecard: arithmetic that can be done by hand, and what it must refuse to say."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.scorecard import Scorecard, scorecard
from bench.configs import Chip, Profile, ProfileMetric
from bench.errors import Exit, UsageError
from bench.records import (
    STATUSES,
    Device,
    Node,
    ScheduleSpec,
)

CHIPS = {"acme-1": Chip(name="acme-1", vendor="Acme")}


def profile(**categories) -> Profile:
    return Profile(
        name="p",
        categories={
            name: [ProfileMetric(**line) for line in lines] for name, lines in categories.items()
        },
    )


GEMM = {"benchmark": "gemm", "metric": "flops"}
STREAM = {"benchmark": "stream", "metric": "bandwidth"}
LAUNCH = {"benchmark": "launch", "metric": "time"}


def test_scores_are_weighted_geometric_means():
    made = header(
        case(0, expected=100.0),
        case(1, "stream", metric="bandwidth", unit="B/s", expected=10.0),
        case(2, "launch", metric="time", unit="s", better="lower", expected=1.0),
    )
    rows = columns((0, 0, 70.0), (0, 1, 90.0), (1, 0, 5.0), (1, 1, 5.0), (2, 0, 4.0), (2, 1, 4.0))
    card = scorecard(
        made, rows, profile(compute=[{**GEMM, "weight": 3}, LAUNCH], memory=[STREAM]), CHIPS
    )
    compute, memory = card.categories
    gemm, launch = compute.metrics
    assert (gemm.achieved, gemm.reference, gemm.efficiency) == (80.0, 100.0, 0.8)
    assert gemm.reference_from == "datasheet of acme-1"
    assert launch.efficiency == 0.25  # lower is better
    assert compute.score == pytest.approx(100 * (0.8**3 * 0.25) ** (1 / 4))
    assert memory.score == pytest.approx(50)
    assert card.overall == pytest.approx(100 * (0.8**3 * 0.25 * 0.5) ** (1 / 5))
    assert card.coverage == compute.coverage == memory.coverage == 1.0
    assert (card.findings, card.provenance) == ([], "measured")
    assert msgspec.json.decode(msgspec.json.encode(card), type=Scorecard) == card


def test_coverage_counts_groups_that_did_not_answer_and_lines_that_could_not_be_scored():
    made = header(
        case(0, expected=100.0), case(1, "stream", metric="bandwidth", unit="B/s"), groups=4
    )
    rows = columns((0, 0, 80.0), (0, 1, 80.0), (1, 0, 5.0))
    card = scorecard(made, rows, profile(a=[GEMM], b=[{**STREAM, "weight": 3}]), CHIPS)
    a, b = card.categories
    assert (a.coverage, b.coverage, card.coverage) == (0.5, 0.0, 0.125)
    assert (a.score, b.score, card.overall) == (80.0, None, 80.0)
    assert "datasheet of acme-1 does not predict it" in b.metrics[0].absent


@pytest.mark.parametrize("status", [one for one in STATUSES if one != "ok"])
def test_only_ok_counts_and_the_rest_is_listed(status):
    made = header(case(0, expected=100.0), case(1, metric="error", unit="", better="lower"))
    rows = columns((0, 0, 80.0), (0, 1, 1.0, status, "why it is so"), (1, 1, 1.0, status))
    card = scorecard(made, rows, profile(a=[GEMM]), CHIPS)
    assert card.overall == 80.0
    assert card.coverage == 0.5
    (finding,) = card.findings  # two metrics of one benchmark share one fate
    assert (finding.kind, finding.name) == (status, "gemm")
    assert finding.text == f"1 of 2 measurements {status}: why it is so"


def judged(*rows, **changes):
    """(the exit code, (name, text) of what is undecided): gemm and two cases of stream."""
    made = header(
        case(0),
        case(1, "stream", axes={"op": "copy"}, metric="bandwidth", unit="B/s"),
        case(2, "stream", axes={"op": "triad"}, metric="bandwidth", unit="B/s"),
        **changes,
    )
    card = scorecard(made, columns(*rows), profile(a=[GEMM, STREAM]), CHIPS)
    return card.exit, [(one.name, one.text) for one in card.findings if one.kind == "undecided"]


BUSY = (None, "contended", "rank 0: others used 9%")


def test_some_contended_values_pass_and_a_benchmark_without_any_other_does_not():
    some = [(0, 0, 8.0, "contended"), (0, 1, 8.0), (1, 0, *BUSY), (2, 0, 5.0)]
    assert judged(*some) == (Exit.OK, [])
    copy_and_triad = [(0, 0, 8.0), (1, 0, *BUSY), (2, 0, None, "contended")]
    code, [(name, text)] = judged(*copy_and_triad)
    assert (code, name) == (Exit.INCONCLUSIVE, "stream")
    said = "no value of any of its cases counts, all were contended"
    assert text == f"{said}: rank 0: others used 9%"
    failed = [(0, 0, 8.0), (1, 0, *BUSY), (2, 0, None, "failed", "crashed with SIGKILL")]
    _, [(_, text)] = judged(*failed)
    said = "no value of any of its cases counts, those that have any were contended"
    assert text == f"{said}: rank 0: others used 9%"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([(0, 0, None, "skipped", "no timer"), (1, 0, None, "skipped")], "skipped: no timer"),
        ([], "not reached"),
    ],
)
def test_what_cannot_be_measured_here_is_no_doubt_unless_nothing_else_is_left(rows, text):
    assert judged(*rows, (2, 0, 5.0)) == (Exit.OK, [])
    assert judged(*rows) == (Exit.INCONCLUSIVE, [("run", f"no value counts: {text}")])
    assert judged(*rows, state="interrupted") == (Exit.OK, [])  # the run says that by its own code


def test_what_a_good_value_says_of_itself_is_a_finding():
    made = header(case(0, expected=100.0), case(1, metric="error", unit="", better="lower"))
    rows = columns(
        (0, 0, 80.0, "ok", "judged by 0.05"), (0, 1, 80.0), (1, 0, 1.0, "ok", "judged by 0.05")
    )
    card = scorecard(made, rows, profile(a=[GEMM]), CHIPS)
    assert card.overall == 80.0
    (finding,) = card.findings
    assert (finding.kind, finding.name, finding.text) == ("note", "gemm", "judged by 0.05")


def test_nothing_measured_is_absent_with_the_reason():
    made = header(case(0, axes={"impl": "triton"}, expected=1.0))
    rows = columns((0, 0, None, "skipped", "no Triton target"), (0, 1, None, "skipped"))
    card = scorecard(made, rows, profile(a=[GEMM, STREAM]), CHIPS)
    gemm, stream = card.categories[0].metrics
    assert gemm.absent == "skipped: no Triton target"
    assert stream.absent == "the suite quick does not measure it"
    assert (card.overall, card.coverage, card.categories[0].score) == (None, 0.0, None)


def test_a_stage_that_was_not_reached_and_a_schedule_without_groups():
    made = header(case(0), case(1, "stream", metric="bandwidth", unit="B/s", schedule=1))
    made.schedules.append(ScheduleSpec(kind="pairs", scope="pair", groups=0))
    made.state = "interrupted"
    card = scorecard(made, columns(), profile(a=[GEMM, STREAM]), CHIPS)
    assert [one.absent for one in card.categories[0].metrics] == [
        "not reached",
        "no group for it here",
    ]
    assert [one.kind for one in card.findings] == ["incomplete"]


def test_without_a_counted_schedule_the_groups_that_were_seen_are_expected():
    made = header(case(0, expected=100.0), groups=None)
    rows = columns((0, 0, 80.0), (0, 5, None, "failed"), (0, 9, 80.0), (0, 9, 80.0))
    card = scorecard(made, rows, profile(a=[GEMM]), CHIPS)
    assert card.categories[0].metrics[0].expected_groups == 3
    assert card.coverage == pytest.approx(2 / 3)


def test_no_datasheet_no_score():
    devices = (Device(index=0, backend="cpu", name="Some CPU"),)
    node = Node(id="n", name="n", devices=devices)
    made = header(case(0), fleet=None, nodes=[node], groups=1)
    card = scorecard(made, columns((0, 0, 80.0)), profile(a=[GEMM]), CHIPS)
    (metric,) = card.categories[0].metrics
    assert (metric.achieved, metric.efficiency, card.overall) == (80.0, None, None)
    assert metric.absent == "no reference: no datasheet of 'Some CPU' is known"

    other = Device(index=1, backend="acme", name="Acme One", chip="acme-1")
    made.nodes = [node, Node(id="m", name="m", devices=(other,))]
    card = scorecard(made, columns((0, 0, 80.0)), profile(a=[GEMM]), CHIPS)
    absent = card.categories[0].metrics[0].absent
    assert absent == "no common reference: devices of several kinds (Some CPU, acme-1)"


def test_beyond_the_reference_is_a_finding_and_lifts_nothing():
    made = header(
        case(0, expected=100.0),
        case(1, "stream", metric="bandwidth", unit="B/s", expected=10.0),
        case(2, "launch", metric="time", unit="s", better="lower", expected=1.0),
    )
    rows = columns((0, 0, 120.0), (0, 1, 130.0), (1, 0, 10.4), (2, 0, 0.5))
    card = scorecard(made, rows, profile(a=[GEMM, STREAM]), CHIPS)
    assert card.overall == pytest.approx(100)
    assert card.categories[0].metrics[0].efficiency == 1.25
    first, second = card.findings  # 10.4 of 10 is within the tolerance
    assert (first.kind, first.name, second.name) == ("above-reference", "gemm", "launch")
    assert "130 FLOP/s is 30% better than the 100 FLOP/s" in first.text
    assert "500 ms is 100% better than the 1 s" in second.text


def test_targets_and_lines_that_are_only_shown():
    made = header(case(0), case(1, "stream", metric="bandwidth", unit="B/s", expected=10.0))
    rows = columns((0, 0, 0.4), (1, 0, 5.0))
    lines = [
        {**GEMM, "reference": "target", "target": 1.0},
        {**STREAM, "reference": "none", "weight": 9},
    ]
    card = scorecard(made, rows, profile(a=lines), CHIPS)
    target, shown = card.categories[0].metrics
    assert (target.efficiency, target.reference_from) == (0.4, "profile")
    assert (shown.achieved, shown.reference, shown.efficiency) == (5.0, None, None)
    assert shown.absent
    assert (card.overall, card.coverage) == (pytest.approx(40), 0.5)


def test_lines_select_by_axes():
    shapes = ["512x512x512", "64x64x4096", "1024x1024x1024"]
    cases = [
        case(index, axes={"shape": shape, "impl": impl, "size": size, "batch": 8}, expected=100.0)
        for index, (shape, impl, size) in enumerate(
            [
                (shapes[0], "torch", "1KiB"),
                (shapes[1], "torch", "900KiB"),
                (shapes[2], "torch", "1MiB"),
                (shapes[2], "triton", "1000KiB"),
            ]
        )
    ]
    made = header(*cases)

    def selected(**where):
        card = scorecard(made, columns(), profile(a=[{**GEMM, "where": where}]), CHIPS)
        return [metric.case for metric in card.categories[0].metrics]

    assert selected() == [0, 1, 2, 3]
    assert selected(impl="torch", shape="largest") == [2]
    assert selected(shape="largest") == [2, 3]
    assert selected(size="largest") == [2]
    assert selected(shape=["512x512x512", "64x64x4096"]) == [0, 1]
    assert selected(batch=8) == [0, 1, 2, 3]
    assert selected(batch="largest", impl="triton") == [3]
    assert selected(impl="cuda") == selected(colour="red") == [None]
    with pytest.raises(UsageError, match="no largest impl: 'torch'"):
        selected(impl="largest")


def test_cases_of_one_line_share_its_weight():
    made = header(
        case(0, axes={"a": 1}, expected=100.0),
        case(1, axes={"a": 2}, expected=100.0),
        case(2, "stream", metric="bandwidth", unit="B/s", expected=100.0),
    )
    rows = columns((0, 0, 81.0), (1, 0, 49.0), (2, 0, 10.0))
    card = scorecard(made, rows, profile(a=[{**GEMM, "weight": 2}, STREAM]), CHIPS)
    assert [one.weight for one in card.categories[0].metrics] == [1.0, 1.0, 1.0]
    assert card.overall == pytest.approx(100 * (0.81 * 0.49 * 0.1) ** (1 / 3))


def test_names_say_who_takes_part():
    made = header(
        case(0, "collectives", scope="group", metric="busbw"),
        case(1, "collectives", scope="group", metric="busbw", schedule=1),
        case(2, "pairs", scope="pair", metric="busbw", schedule=2),
    )
    made.schedules = [
        ScheduleSpec(kind="nodes", scope="group"),
        ScheduleSpec(kind="label", scope="group", arguments={"key": "rack"}),
        ScheduleSpec(kind="pairs", scope="pair", arguments={"of": "node"}),
    ]
    lines = [{"benchmark": name, "metric": "busbw"} for name in ("collectives", "pairs")]
    card = scorecard(made, columns(), profile(a=lines), CHIPS)
    assert [one.name for one in card.categories[0].metrics] == [
        "collectives over node",
        "collectives over rack",
        "pairs of nodes",
    ]


def test_provenances_never_mix():
    made = header(case(0, expected=100.0))
    rows = columns((0, 0, 80.0, "ok", "", "measured"), (0, 1, 80.0, "ok", "", "simulated"))
    with pytest.raises(UsageError, match=r"several provenances \(measured, simulated\)"):
        scorecard(made, rows, profile(a=[GEMM]), CHIPS)
    only = columns((0, 0, 80.0, "ok", "", "stand-in"), (0, 1, None, "missing", "", "measured"))
    assert scorecard(made, only, profile(a=[GEMM]), CHIPS).provenance == "stand-in"


finite = st.floats(0, 1e18) | st.none()
drawn_row = st.tuples(
    st.integers(0, 2), st.integers(0, 3), finite, st.sampled_from(STATUSES), st.just("")
)


@settings(max_examples=200)
@given(
    rows=st.lists(drawn_row, max_size=20),
    expected=st.lists(st.floats(0, 1e18) | st.none(), min_size=3, max_size=3),
)
def test_scores_stay_within_their_range(rows, expected):
    cases = [
        case(0, expected=expected[0]),
        case(1, "stream", metric="bandwidth", unit="B/s", expected=expected[1]),
        case(2, "launch", metric="time", unit="s", better="lower", expected=expected[2]),
    ]
    card = scorecard(
        header(*cases, groups=4), columns(*rows), profile(a=[GEMM, LAUNCH], b=[STREAM]), CHIPS
    )
    for one in (card, *card.categories):
        score = one.overall if isinstance(one, Scorecard) else one.score
        assert score is None or 0 <= score <= 100 * (1 + 1e-9)
        assert 0 <= one.coverage <= 1 + 1e-9
    for metric in (metric for one in card.categories for metric in one.metrics):
        assert (metric.efficiency is None) == bool(metric.absent)
        assert metric.efficiency is None or not math.isnan(metric.efficiency)
    msgspec.json.encode(card)
