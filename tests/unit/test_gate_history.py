"""Many runs: change points of their metrics, the first bad run, and what is not compared."""

import json
import math
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from made_runs import case, header

from bench.analysis.gate.change_points import change_points, farthest
from bench.analysis.gate.differences import differences
from bench.analysis.gate.history import history
from bench.cli import cli
from bench.errors import UsageError
from bench.headers import RUN
from bench.records import DeviceGroup, Row, ScheduleSpec
from bench.results import ROWS

FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
FLOPS, TIME = "gemm flops", "launch time"


class Runs:
    """Runs of one node with two devices, a day apart; noise of 0.5 %."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.draw = np.random.default_rng(3)
        self.count = 0

    def run(self, by=1.0, *, day=None, sources=("0", "0"), value=None, **changes) -> Path:
        """One more run, whose devices take ``by`` of the usual time.

        ``value`` stands for the value of every row of flops instead.
        """
        number, self.count = self.count, self.count + 1
        began = FIRST + timedelta(days=number if day is None else day)
        status = changes.pop("status", "ok")
        cases = changes.pop("cases", None) or [
            case(0, title="gemm", source=sources[0]),
            case(1, "launch", metric="time", unit="s", better="lower", source=sources[1]),
        ]
        rest = {"id": f"run-{number:02d}", "nodes": [node("gpu-0")], "fleet": None}
        one = header(*cases, **{**rest, "started": began.isoformat(), **changes})
        devices = sum(len(each.devices) for each in one.nodes) or 2
        rows = []
        for rank in range(devices):
            slower = by[rank] if isinstance(by, (list, tuple)) else by
            noise = np.exp(self.draw.normal(0, 0.005, 2))
            flops = float(1e14 / slower * noise[0]) if value is None else value
            values = flops, float(1e-5 * slower * noise[1])
            rows += [
                Row(number, rank, 0, 1.0, each, each, each, 9, status, -1, one.provenance, "")
                for number, each in enumerate(values[: len(cases)])
            ]
        path = self.folder / one.id
        path.mkdir(parents=True)
        (path / RUN).write_bytes(msgspec.json.encode(one))
        (path / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(rows))
        return path

    def runs(self, count, *words, **changes):
        for _ in range(count):
            self.run(*words, **changes)

    def said(self, **changes):
        return history(self.folder, **changes)

    def metric(self, name=FLOPS, **changes):
        (found,) = [one for one in self.said(**changes).metrics if one.metric == name]
        return found


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


# ---- change points ----


def wavy(n, seed=0, noise=0.01):
    return np.exp(np.random.default_rng(seed).normal(0, noise, n))


def test_the_split_is_where_the_definition_has_its_maximum():
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=17)
        x[6:] += seed
        best, place = -np.inf, 0
        for a in range(2, 16):
            one, other = x[:a], x[a:]
            b = other.size

            def within(values):
                pairs = np.triu_indices(values.size, 1)
                return np.abs(values[pairs[0]] - values[pairs[1]]).mean()

            between = np.abs(one[:, None] - other).mean()
            q = a * b / (a + b) * (2 * between - within(one) - within(other))
            if q > best:
                best, place = q, a
        assert farthest(x) == place


def test_a_step_has_its_place_its_size_and_its_levels():
    values = 200 * wavy(40)
    values[25:] *= 1.1
    (found,) = change_points(values)
    assert found.index == 25
    assert found.low < 0.1 < found.high
    assert found.change == pytest.approx(0.1, abs=0.01)
    assert (found.before, found.after) == pytest.approx((200, 220), rel=0.01)
    assert found.chance < 1e-9
    assert found.after / found.before - 1 == pytest.approx(found.change)


def test_several_changes_are_found_in_order():
    values = wavy(90)
    values[30:] *= 1.1
    values[60:] *= 0.9
    assert [one.index for one in change_points(values)] == [30, 60]


@pytest.mark.parametrize("at", [0, 1, 17, 38, 39])
def test_one_run_is_an_outlier_wherever_it_is(at):
    values = wavy(40)
    values[at] *= 1.5
    assert change_points(values) == []


def test_two_runs_are_a_change_while_they_last_and_none_once_they_are_over():
    values = wavy(42)
    values[38:40] *= 1.2
    assert [one.index for one in change_points(values[:40])] == [38]
    assert change_points(values[:39]) == []
    assert change_points(values) == []


def test_a_change_below_the_least_is_none():
    values = wavy(60, noise=0.003)
    values[30:] *= 1.02
    assert change_points(values) == []
    assert [one.index for one in change_points(values, least=0.01)] == [30]


def test_equal_values_and_few_have_no_change():
    assert change_points(np.full(30, 7.0)) == []
    assert change_points([1, 1, 1, 2, 2]) == []
    assert change_points([]) == []
    assert [one.index for one in change_points([1] * 10 + [2] * 10)] == [10]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_a_value_without_a_logarithm_is_refused(bad):
    with pytest.raises(ValueError, match="above 0"):
        change_points([1, 1, bad, 1, 1, 1, 1])


def test_ten_thousand_runs_take_seconds_and_give_the_same_twice():
    values = wavy(10_000)
    for at in (1000, 1060, 5000, 9990):
        values[at:] *= 1.08
    began = time.process_time()
    found = change_points(values)
    assert time.process_time() - began < 10
    assert [one.index for one in found] == [1000, 1060, 5000, 9990]
    assert found == change_points(values)


# ---- runs ----


def test_steady_runs_are_steady(made):
    made.runs(12)
    found = made.said()
    assert [(one.metric, one.verdict) for one in found.metrics] == [
        (FLOPS, "steady"), (TIME, "steady")
    ]  # fmt: skip
    assert (found.exit, found.notes) == (0, [])
    assert found.metrics[0].runs == [f"run-{number:02d}" for number in range(12)]
    assert found.metrics[0].values == pytest.approx([1e14] * 12, rel=0.02)
    assert found.metrics[0].where == "acme-1"
    assert 0.03 < found.metrics[0].caught < 0.08


def test_the_first_bad_run_is_named_and_what_changed_before_it(made):
    other = msgspec.structs.replace(
        node("gpu-0"), facts={"versions": {"driver": "550.2"}, "kernel": "6.8"}
    )
    made.runs(10, environment={"versions": {"torch": "2.7"}})
    made.runs(5, 1.1, environment={"versions": {"torch": "2.8"}}, nodes=[other])
    found = made.said()
    assert found.exit == 1
    for one in found.metrics:
        assert one.verdict == "regressed"
        assert (one.now.last, one.now.first) == ("run-09", "run-10")
        assert one.now.low < 0.1 < one.now.high
        assert one.now.change == pytest.approx(0.1, abs=0.01)
        assert one.changes == [one.now]
        assert one.differs == ["torch 2.7 → 2.8", "node driver 535.1 → 550.2"]


def test_faster_is_improved_whichever_way_the_metric_goes(made):
    made.runs(10)
    made.runs(5, 0.9)
    assert {one.verdict for one in made.said().metrics} == {"improved"}
    assert made.said().exit == 0
    assert made.metric().now.change == pytest.approx(-0.1, abs=0.01)


def test_half_a_repair_is_a_regression_and_a_whole_one_is_none(made):
    made.runs(10)
    made.runs(8, 1.2)
    made.runs(8, 1.1)
    half = made.metric(TIME)
    assert (half.verdict, half.now.first) == ("regressed", "run-10")
    assert half.now.change == pytest.approx(0.1, abs=0.01)
    assert [one.change > 0 for one in half.changes] == [True, False]
    made.runs(8)
    assert made.metric(TIME).verdict == "improved"


def test_a_change_in_the_last_run_only_is_not_yet_persistent(made):
    made.runs(12)
    made.run(1.1)
    one = made.metric(TIME)
    assert (one.verdict, one.changes, made.said().exit) == ("steady", [], 0)
    assert one.pending == pytest.approx(0.1, abs=0.02)
    assert "run-12, is" in one.notes[0]
    assert "not yet persistent" in one.notes[0]
    made.runs(2, 1.1)
    assert made.metric(TIME).now.first == "run-12"


@pytest.mark.parametrize(
    ("by", "word"), [(0.8, "better"), (1.2, "worse"), (0.96, None), (1.04, None)]
)
def test_the_newest_run_alone_is_told_where_it_is_far_off_either_way(made, by, word):
    """Farther than what counts as a change, and than the others differ."""
    made.runs(12)
    made.run(by)
    for name in (TIME, FLOPS):
        one = made.metric(name, least=0.05)
        assert (one.verdict, one.changes) == ("steady", [])
        assert one.pending == (pytest.approx(by - 1, abs=0.02) if word else None)
        assert [f"% {word}: not yet persistent" in note for note in one.notes] == [True] * bool(
            word
        )
    assert made.metric(TIME, least=0.5).pending is None


def test_what_falls_to_next_to_nothing_is_as_much_worse_as_can_be(made):
    for value in (1e25, 1e-25):  # of which the change is -1, as far as a float tells
        for _ in range(8):
            made.run(value=value * (1 + 0.001 * made.count))
    one = made.metric(FLOPS)
    assert (one.verdict, one.now.change, one.now.first) == ("regressed", math.inf, "run-08")


def test_one_run_is_no_change_and_no_note_once_it_is_over(made):
    made.runs(8)
    made.run(1.5)
    made.runs(8)
    one = made.metric(TIME)
    assert (one.verdict, one.changes, one.pending, one.notes) == ("steady", [], None, [])


def test_runs_are_ordered_by_time_and_not_by_name(made):
    for number in range(20):
        day = 19 - number  # names fall as time goes on
        made.run(1.1 if day >= 12 else 1.0, day=day)
    one = made.metric()
    assert one.runs == [f"run-{number:02d}" for number in reversed(range(20))]
    assert (one.now.last, one.now.first) == ("run-08", "run-07")


def test_zones_of_clocks_do_not_change_the_order(made):
    made.run(started="2026-01-01T00:30:00+08:00")
    made.run(started="2025-12-31T17:00:00Z")
    assert made.said().runs == ["run-00", "run-01"]
    made.run(started="yesterday")
    assert made.said().notes == [
        f"{made.folder}/run-02 is left out: 'yesterday' is no time at which it began"
    ]


def test_a_run_whose_rows_are_cut_off_has_no_place_in_a_history(made):
    made.run()
    counted = {"name": "device", "began": 0.0, "seconds": 1.0, "rows": {"ok": 4}}
    cut = made.run(stages=[counted])
    assert made.said().runs == ["run-00", "run-01"]
    lines = (cut / ROWS).read_bytes().splitlines(keepends=True)
    (cut / ROWS).write_bytes(b"".join(lines[:-1]))
    found = made.said()
    assert found.runs == ["run-00"]
    assert found.notes == [
        f"{cut} is left out: 1 of its 4 rows are not in measurements.jsonl any more: "
        "copy the run again"
    ]


def test_few_runs_say_so_and_exit_with_3(made):
    made.runs(3)
    made.runs(2, 2.0)
    found = made.said()
    assert found.exit == 3
    assert {one.verdict for one in found.metrics} == {"too few runs"}
    assert found.metrics[0].notes == ["5 run(s): at least 6 are needed"]


def test_only_the_newest_are_asked(made):
    made.runs(10)
    made.runs(10, 1.1)
    assert made.said(last=8).exit == 0
    assert len(made.said(last=8).runs) == 8


def test_a_changed_source_begins_a_new_history_and_is_said(made):
    made.runs(10)
    made.runs(7, 1.3, sources=("1", "0"))
    flops, launch = made.metric(FLOPS), made.metric(TIME)
    assert (flops.verdict, len(flops.runs)) == ("steady", 7)
    assert "10 run(s) of another source" in flops.notes[0]
    assert "begins with run-10" in flops.notes[0]
    assert (launch.verdict, launch.notes) == ("regressed", [])


def test_kinds_of_chip_have_histories_of_their_own(made):
    for number in range(24):
        chip, by = ("acme-1", 1.0) if number % 2 else ("acme-2", 2.0)
        made.run(by * (1.1 if chip == "acme-2" and number >= 12 else 1), nodes=[node("a", chip)])
    found = [one for one in made.said().metrics if one.metric == FLOPS]
    assert [(one.where, one.verdict) for one in found] == [
        ("acme-2", "regressed"), ("acme-1", "steady")
    ]  # fmt: skip
    assert (found[0].now.last, found[0].now.first) == ("run-10", "run-12")


def test_kinds_in_one_run_are_told_apart_by_device(made):
    both = [node("a", "acme-1"), node("b", "acme-2")]
    made.runs(10, [1, 1, 2, 2], nodes=both)
    made.runs(5, [1, 1, 2.2, 2.2], nodes=both)
    found = [one for one in made.said().metrics if one.metric == FLOPS]
    assert [(one.where, one.verdict) for one in found] == [
        ("acme-2", "regressed"), ("acme-1", "steady")
    ]  # fmt: skip
    assert found[0].values[0] == pytest.approx(0.5e14, rel=0.02)


def test_groups_of_other_sizes_and_other_provenances_are_not_compared(made):
    spec = [ScheduleSpec(kind="all", scope="group", groups=1)]
    whole = [case(0, title="sum", scope="group")]
    for nodes in (1, 2):
        for _ in range(6):
            path = made.run(
                nodes=[node(name) for name in "ab"[:nodes]], cases=whole, schedules=spec
            )
            rows = (path / ROWS).read_bytes().splitlines(keepends=True)
            (path / ROWS).write_bytes(rows[0])  # there is one group
    for _ in range(6):
        fleet = DeviceGroup(count=1, devices=2, chip="acme-1")
        made.run(2.0, provenance="simulated", fleet=fleet, nodes=[])
    found = {(one.where, one.provenance) for one in made.said().metrics}
    assert {one.verdict for one in made.said().metrics} == {"steady"}
    assert found == {
        ("2 x acme-1", "measured"), ("4 x acme-1", "measured"), ("acme-1", "simulated")
    }  # fmt: skip


def test_what_does_not_count_has_no_place(made):
    made.runs(8)
    made.run(3.0, status="contended")
    made.run(3.0, provenance="measured", state="running")
    made.run(value=0.0)
    made.runs(3)
    one = made.metric()
    assert len(one.runs) == 11
    assert one.verdict == "steady"
    assert made.said().notes == [
        f"{made.folder}/run-09 is left out: it has not ended",
        "values of 0 or below are left out, no change is relative to them: gemm flops in 1 run(s)",
    ]


def test_nothing_measured_is_a_gap_and_said_where_it_is_the_newest(made):
    made.runs(7)
    path = made.run()
    lines = (path / ROWS).read_bytes().splitlines()
    nothing = [line.replace(b"[0,", b"[0,", 1) for line in lines if line.startswith(b"[1,")]
    nan = [[0, rank, 0, 1.0, None, None, None, 0, "ok", -1, "measured", ""] for rank in (0, 1)]
    written = b"".join(one + b"\n" for one in [*nothing, *map(msgspec.json.encode, nan)])
    (path / ROWS).write_bytes(written)
    one = made.metric()
    assert len(one.runs) == 7
    assert one.notes == ["not measured in the newest 1 run(s), last in run-06"]
    assert len(made.metric(TIME).runs) == 8
    made.run(suite="another", cases=[case(0, title="other")])
    assert made.metric(TIME).notes == []


def test_what_the_newest_run_was_to_measure_and_did_not_is_missing(made):
    made.runs(8)
    # A suite that no longer asks for it loses nothing.
    made.run(cases=[case(0, title="gemm")])
    assert {one.verdict for one in made.said().metrics} == {"steady"}
    made.run(status="failed")
    found = made.said()
    assert {one.verdict for one in found.metrics} == {"missing"}
    assert found.exit == 3
    made.run(cases=[case(0, title="gemm")])
    verdicts = {one.metric: one.verdict for one in made.said().metrics}
    assert verdicts == {FLOPS: "steady", TIME: "missing"}
    # What is slower and then gone is slower.
    made.runs(4, 1.2)
    made.run(status="invalid")
    verdicts = {one.metric: one.verdict for one in made.said().metrics}
    assert verdicts == {FLOPS: "regressed", TIME: "regressed"}


def test_damaged_and_foreign_folders_are_a_sentence_each(made):
    made.runs(8)
    (made.folder / "reference").mkdir()
    (made.folder / "notes.txt").write_text("nothing")
    rows, declared, schema = (made.run(9.0) for _ in range(3))
    (rows / ROWS).write_bytes(b"[1, 2]\n")
    (declared / RUN).write_bytes(b"{")
    (schema / RUN).write_bytes(b'{"schema": 99}')
    found = made.said()
    assert len(found.runs) == 8
    assert found.exit == 0
    assert len(found.notes) == 4
    for name, why in (
        ("reference", "it holds no run.json"),
        (rows.name, "this line is no measurement"),
        (declared.name, "run.json is damaged"),
        (schema.name, "results of schema 99"),
    ):
        assert any(f"{name} is left out: {why}" in note for note in found.notes)


def test_a_copy_of_a_run_counts_once(made):
    path = made.run()
    copy = made.folder / "copy"
    copy.mkdir()
    for file in path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert made.said().runs == ["run-00"]
    assert "it is a copy of" in made.said().notes[0]


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        history(tmp_path / "nowhere")


def test_differences_are_of_software_nodes_and_suite():
    facts = {"versions": {"driver": "1"}, "kernel": "6.8", "boot": "x", "memory": 5}
    a, b = (msgspec.structs.replace(node(name), facts=facts) for name in "ab")
    good = header(nodes=[a], fleet=None, suite_text="x", environment={"kernel": "6.8"})
    later = {**facts, "kernel": "6.9", "boot": "y", "memory": 6}
    bad = header(
        nodes=[a, msgspec.structs.replace(b, facts=later)],
        fleet=None,
        suite_text="y",
        environment={"kernel": "6.8", "variables": {"OMP_NUM_THREADS": "1"}},
    )
    assert differences(good, bad) == [
        "node kernel 6.8 → 6.8, 6.9",
        "OMP_NUM_THREADS none → 1",
        "the text of suite quick",
        "nodes that are new: b",
    ]
    assert differences(good, good) == []


def test_differences_are_of_firmware_and_of_simulated_fleets():
    def flashed(*versions):
        one = node("a")
        devices = [
            msgspec.structs.replace(device, firmware=version)
            for device, version in zip(one.devices, versions, strict=True)
        ]
        return header(nodes=[msgspec.structs.replace(one, devices=tuple(devices))], fleet=None)

    assert differences(flashed("1.2", "1.2"), flashed("1.3", "1.2")) == ["firmware 1.2 → 1.2, 1.3"]
    assert differences(flashed("", ""), flashed("1.3", "1.3")) == ["firmware none → 1.3"]

    def fleet(count, **facts):
        return header(fleet=DeviceGroup(count=count, devices=2, chip="acme-1", facts=facts))

    assert differences(fleet(4), fleet(1)) == ["4 → 1 simulated nodes"]
    assert differences(fleet(4), header(nodes=[node("a")], fleet=None)) == [
        "node driver none → 535.1",
        "node kernel none → 6.8",
        "nodes that are new: a",
        "4 → 0 simulated nodes",
    ]
    assert differences(fleet(4, kernel="6.8"), fleet(4, kernel="6.9")) == ["node kernel 6.8 → 6.9"]


# ---- the verb ----


def asked(made, *words):
    words = ["gate", "history", str(made.folder), *words]
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, done.output


def test_the_verb_prints_the_worst_first_and_exits_with_1(made, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    made.runs(10)
    made.runs(5, 1.1)
    code, said = asked(made)
    assert code == 1
    assert "regressed since run run-10 (first bad run)" in said
    assert "last good run run-09" in said
    assert "changed between the two: nothing that their headers tell" in said
    assert "15 run(s) in" in said
    assert "a slowdown that lasts for 3 runs is found from" in said
    assert "2 regressed" in said
    monkeypatch.setenv("COLUMNS", "60")
    assert "since run: run-10" in asked(made)[1]


def test_the_verb_gives_json_and_takes_its_options(made):
    made.runs(10)
    made.runs(6, 1.1)
    code, said = asked(made, "--json", "--min-change", "20%")
    found = json.loads(said)
    assert code == 0
    assert found["least"] == pytest.approx(0.2)
    assert [one["verdict"] for one in found["metrics"]] == ["steady", "steady"]
    assert asked(made, "--last", "4")[0] == 3
    assert "and 1 more: 4 run(s): at least 6 are needed" in asked(made, "--last", "4")[1]


@pytest.mark.parametrize("words", [["--last", "0"], ["--min-change", "much"]])
def test_bad_options_are_usage_errors(words):
    done = CliRunner().invoke(cli, ["gate", "history", *words])
    assert done.exit_code == 2
    assert "Invalid value" in done.output
