"""Streams that stood still and receivers shared unevenly: named, worst first, by what counts."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.scorecard import scorecard
from bench.analysis.steadiness import NAMED, unsteady
from bench.analysis.summary import summarize
from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Entry, Profile, StageConfig, Suite, load_chips
from bench.records import STATUSES, DeviceGroup, ScheduleSpec
from bench.results import RunReader

PAIRS = ScheduleSpec(kind="pairs", scope="pair", arguments={"of": "node", "schedule": "full"})
NODES = ScheduleSpec(kind="nodes", scope="group")


def streams(*rows):
    """A run of streams between all pairs of six nodes, from (group, stalls, gap[, status])."""
    cases = [
        case(n, "stability", {"size": "1MiB"}, metric, unit, scope="pair", better="lower")
        for n, (metric, unit) in enumerate((("stalls", "count"), ("longest_gap", "s")))
    ]
    made = header(*cases, schedules=[PAIRS], fleet=DeviceGroup(count=6, devices=2, chip="acme-1"))
    full = [(*row, *("ok",)[len(row) - 3 :]) for row in rows]
    return made, columns(
        *((0, group, stalls, status) for group, stalls, _, status in full),
        *((1, group, gap, status) for group, _, gap, status in full),
    )


def said(made, rows):
    return [(one.kind, one.text) for one in unsteady(made, rows, summarize(made, rows))]


def test_a_stall_names_the_pair_and_the_longest_comes_first():
    made, rows = streams((0, 0, 0.001), (1, 2, 0.3), (2, 1, 1.5), (3, 4, 9.0, "invalid"))
    ((kind, text),) = said(made, rows)
    assert kind == "stall"
    assert text.startswith("2 of 3 streams stood still: ")
    assert text.index("for 1.5 s") < text.index("for 300 ms")
    assert "9" not in text  # what does not count is not told
    assert text.count(" – ") == 2
    card = scorecard(made, rows, Profile(name="p", categories={}), {})
    assert [one.text for one in card.findings if one.kind == "stall"] == [text]


def test_one_repeat_with_a_stall_is_enough():
    made, rows = streams((0, 0, 0.001), (0, 1, 0.5), (0, 0, 0.001))
    ((_, text),) = said(made, rows)
    assert text.startswith("1 of 1 streams stood still: ")
    assert text.endswith("for 500 ms")


def test_few_are_named_and_the_rest_counted():
    made, rows = streams(*((group, 1, 0.1 + group) for group in range(NAMED + 3)))
    ((_, text),) = said(made, rows)
    assert text.endswith(" and 3 more")
    assert text.count(" – ") == NAMED


def test_a_steady_run_says_nothing():
    assert said(*streams((0, 0, 0.001), (1, 0, 0.002))) == []
    made, _ = streams((0, 0, 0.001))
    assert said(made, columns()) == []


def test_uneven_receivers_are_named_by_their_node():
    fair = case(0, "incast", {"size": "1MiB"}, "fairness", "ratio", scope="group")
    made = header(fair, schedules=[NODES], fleet=DeviceGroup(count=4, devices=8, chip="acme-1"))
    ((kind, text),) = said(made, columns((0, 0, 0.99), (0, 1, 0.5), (0, 2, 0.3), (0, 3, 0.81)))
    assert kind == "uneven"
    assert text == (
        "in 2 of 4 groups senders share a receiver unevenly (1 is even): "
        "node-00002/0 – … – node-00002/7 at 0.30, node-00001/0 – … – node-00001/7 at 0.50"
    )


def test_an_even_receiver_says_nothing_and_four_fifths_are_even_enough():
    fair = case(0, "incast", {"size": "1MiB"}, "fairness", "ratio", scope="group")
    made = header(fair, schedules=[NODES], fleet=DeviceGroup(count=2, devices=3, chip="acme-1"))
    assert said(made, columns((0, 0, 0.8), (0, 1, 1.0))) == []
    ((_, text),) = said(made, columns((0, 0, 0.79), (0, 1, 1.0), (0, 0, 0.75)))
    assert text.endswith(": node-00000/0 – … – node-00000/2 at 0.77")
    made.fleet = DeviceGroup(count=2, devices=2, chip="acme-1")
    ((_, text),) = said(made, columns((0, 0, 0.5), (0, 1, 1.0)))
    assert text.endswith(": node-00000/0 – node-00000/1 at 0.50")


def test_a_stall_whose_gap_nobody_knows_is_told_last():
    made, rows = streams((0, 1, 0.2), (1, 1, 0.001), (2, 0, 5.0))
    gaps = np.flatnonzero((rows.case == 1) & (rows.group == 0))
    rows.status[gaps] = STATUSES.index("failed")
    ((_, text),) = said(made, rows)
    assert text.startswith("2 of 3 streams stood still: ")
    assert text.index("for 1 ms") < text.index("for –")


def test_a_simulated_fleet_answers_all_of_them(tmp_path):
    axes = {"size": "16MiB"}
    entries = [
        Entry(
            benchmark="overlap",
            axes={**axes, "shape": "fitting", "calls": 2},
            place={"over": "node"},
        ),
        Entry(benchmark="incast", axes=axes, place={"over": "node"}),
        Entry(benchmark="stability", axes=axes, place={"of": "node", "schedule": "full"}),
        Entry(benchmark="transfer", axes={"direction": ["h2d", "both"], "numa": "each"}),
    ]
    suite = Suite(name="s", stages=[StageConfig(name="fabric", entries=entries)])
    cluster = Cluster(name="t", chip="sim-a", nodes=4, devices=4)
    done = execute(
        suite,
        SimulatedExecutor(cluster, load_chips()),
        tmp_path,
        "run",
        chips=load_chips(),
        command=[],
        environment={},
    )
    reader = RunReader(done.folder)
    found = summarize(reader.header, reader.columns())
    for benchmark, metrics in (
        ("overlap", {"efficiency", "compute_time", "communication_time", "together_time"}),
        ("incast", {"bandwidth", "slowest_receiver"}),
        ("stability", {"bandwidth", "stalls", "low_share"}),
        ("transfer", {"bandwidth"}),
    ):
        of = [one for one in found if one.case.benchmark == benchmark]
        assert {one.case.metric for one in of if one.groups} == metrics, benchmark
        assert all(
            one.reasons.get("skipped") == "nothing predicts it" for one in of if not one.groups
        )
    twice, once = (
        one.median
        for axis in ("both", "h2d")
        for one in found
        if one.case.axes.get("direction") == axis
    )
    assert 1.8 < twice / once < 2.2
    assert unsteady(reader.header, reader.columns(), found) == []
