"""A node against its own past, through runs on disk."""

import math
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from made_runs import case, columns, header

from bench.analysis.history import Past, declines, earlier_runs, pasts
from bench.analysis.table import Metric, table
from bench.analysis.trend import trend
from bench.configs import Profile, ProfileMetric
from bench.headers import RUN
from bench.records import DeviceGroup, Row, ScheduleSpec
from bench.results import ROWS, RunReader
from bench.stats import student_tail

PROFILE = Profile(
    name="p",
    categories={
        "compute": [
            ProfileMetric(benchmark="gemm", metric="flops", reference="none"),
            ProfileMetric(benchmark="launch", metric="time", reference="none"),
        ]
    },
)
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
NAMES = [f"gpu-{index:02d}" for index in range(12)]


class Fleet:
    """Runs of twelve nodes with two devices each, a week apart."""

    def __init__(self, folder: Path, noise: float = 0.003) -> None:
        self.folder = folder
        self.draw = np.random.default_rng(7)
        self.noise = noise
        self.runs = 0
        self.nodes = [node(name) for name in NAMES]

    def run(self, factor=None, **changes) -> Path:
        """One more run; ``factor[rank]`` is what the flops of a rank are multiplied with."""
        number, self.runs = self.runs, self.runs + 1
        began = FIRST + timedelta(days=7 * number)
        rest = {"id": f"run-{number:02d}", "nodes": self.nodes, "fleet": None}
        scope = changes.pop("scope", "device")
        cases = [
            case(0, source=changes.pop("source", "0"), scope=scope),
            case(1, "launch", metric="time", unit="s", better="lower", scope=scope),
        ]
        one = header(*cases, **{**rest, "started": began.isoformat(), **changes})
        size = 24 if one.fleet else (2 if scope == "device" else 1) * len(self.nodes)
        one.schedules = [ScheduleSpec(kind=f"{scope}s", scope=scope, groups=size)]
        scale = np.ones(size)
        for rank, by in (factor or {}).items():
            scale[rank] = by
        rows = [
            Row(number, rank, repeat, 1.0, value, value, value, 9, "ok", -1, one.provenance, "")
            for repeat in range(3)
            for rank in range(size)
            for number, value in (
                (0, float(1e14 * scale[rank] * np.exp(self.draw.normal(0, self.noise)))),
                (1, float(1e-5 / scale[rank] * np.exp(self.draw.normal(0, self.noise)))),
            )
        ]
        path = self.folder / one.id
        path.mkdir(parents=True)
        (path / RUN).write_bytes(msgspec.json.encode(one))
        (path / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(rows))
        return path

    def asked(self, path: Path):
        reader = RunReader(path)
        rows = reader.columns()
        earlier = earlier_runs(self.folder, reader.header)
        now = table(reader.header, rows, PROFILE)
        made, notes = pasts(reader.header, rows, now, PROFILE, earlier)
        known = list(made)
        found, more = declines(known, now)
        return known, found, [*notes, *more]


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path / "results")


def test_a_healthy_fleet_declines_nowhere_and_has_its_medians_with_dates(fleet):
    for _ in range(6):
        fleet.run()
    known, found, notes = fleet.asked(fleet.run())
    assert (found, notes) == ([], [])
    flops = known[0]
    assert flops.runs == [f"run-{number:02d}" for number in range(7)]
    assert np.diff(flops.days) == pytest.approx([7] * 6)
    assert flops.values.shape == (7, 24)
    assert flops.values == pytest.approx(1e14, rel=0.02)


def test_a_device_that_is_slower_than_it_was_is_found_in_every_metric(fleet):
    for _ in range(4):
        fleet.run()
    _, found, notes = fleet.asked(fleet.run({5: 0.95}))
    assert notes == []
    assert {(one.device, one.metric.case.metric) for one in found} == {
        ("gpu-02/1", "flops"), ("gpu-02/1", "time")
    }  # fmt: skip
    for one in found:
        worse = 0.05 if one.metric.case.better == "higher" else 1 / 0.95 - 1
        assert one.effect == pytest.approx(worse, abs=0.012)
        assert one.low < worse < one.high
        assert (one.node, one.past, one.since) == (2, 4, "2026-01-01")
        said = one.evidence("inconclusive")
        assert (said.against, said.device, said.verdict) == ("history", "gpu-02/1", "inconclusive")
        assert "of its own past" in said.text
        assert said.expected == pytest.approx(1e14 if said.better == "higher" else 1e-5, rel=0.01)


def test_a_slow_decline_is_found_with_its_slope(fleet):
    for number in range(8):
        path = fleet.run({0: 0.99**number})
    _, found, _ = fleet.asked(path)
    assert {one.device for one in found} == {"gpu-00/0"}
    flops = next(one for one in found if one.metric.case.metric == "flops")
    assert flops.slope == pytest.approx(0.01 * 30 / 7, abs=0.01)
    assert "worse in 30 days" in flops.evidence("reject").text


def test_what_all_nodes_share_is_no_nodes_decline(fleet):
    for _ in range(5):
        fleet.run()
    _, found, notes = fleet.asked(fleet.run(dict.fromkeys(range(24), 0.94)))
    assert found == []
    assert len(notes) == 2
    assert "all 24 units together are 6." in notes[0]


def test_what_all_share_is_a_share_of_what_it_was(tmp_path):
    fleet = Fleet(tmp_path, noise=0.0)
    for _ in range(4):
        fleet.run()
    rates, times = fleet.asked(fleet.run(dict.fromkeys(range(24), 0.94)))[2]
    assert "all 24 units together are 6.0% worse" in rates
    assert "all 24 units together are 6.4% worse" in times  # 1 / 0.94


def test_a_better_value_is_no_decline(fleet):
    for _ in range(5):
        fleet.run()
    assert fleet.asked(fleet.run({3: 1.10}))[1] == []


def test_a_renamed_node_keeps_its_past_and_a_swapped_card_begins_anew(fleet):
    for _ in range(5):
        fleet.run()
    renamed = msgspec.structs.replace(fleet.nodes[2], name="renamed")
    card = msgspec.structs.replace(fleet.nodes[3].devices[0], serial="brand-new")
    swapped = msgspec.structs.replace(fleet.nodes[3], devices=(card, fleet.nodes[3].devices[1]))
    fleet.nodes[2:4] = [renamed, swapped]
    known, found, _ = fleet.asked(fleet.run({5: 0.95, 6: 0.95}))
    assert {one.device for one in found} == {"renamed/1"}
    assert 6 not in known[0].units
    assert 7 in known[0].units


def test_a_card_takes_its_past_to_another_node(fleet):
    for _ in range(5):
        fleet.run({0: 0.9})
    a, b = fleet.nodes[:2]
    fleet.nodes[:2] = [
        msgspec.structs.replace(a, devices=(b.devices[0], a.devices[1])),
        msgspec.structs.replace(b, devices=(a.devices[0], b.devices[1])),
    ]
    known, found, _ = fleet.asked(fleet.run({2: 0.9}))
    assert found == []
    assert known[0].values[:, known[0].units == 2] == pytest.approx(0.9e14, rel=0.02)


def test_two_nodes_that_cannot_be_told_apart_have_no_past(fleet):
    bare = [
        msgspec.structs.replace(
            one,
            machine="",
            devices=tuple(msgspec.structs.replace(d, serial="") for d in one.devices),
        )
        for one in fleet.nodes[:2]
    ]
    fleet.nodes[:2] = bare
    for _ in range(4):
        path = fleet.run({0: 0.9})
    known, _, _ = fleet.asked(path)
    assert set(range(4)).isdisjoint(known[0].units)


def test_a_node_has_a_past_of_its_own_unless_nothing_identifies_it(fleet):
    fleet.nodes[-1] = node("no")
    fleet.nodes[-1] = msgspec.structs.replace(
        fleet.nodes[-1],
        machine="",
        devices=tuple(msgspec.structs.replace(d, serial="") for d in fleet.nodes[-1].devices),
    )
    for _ in range(4):
        fleet.run(scope="node")
    known, found, _ = fleet.asked(fleet.run({3: 0.9}, scope="node"))
    assert known[0].units.tolist() == list(range(24, 35))
    assert {(one.node, one.device) for one in found} == {(3, "")}


def test_nodes_of_one_image_have_no_past(fleet):
    """The same machine id and the same serials: a value of either would be held against both."""
    fleet.nodes[1] = msgspec.structs.replace(fleet.nodes[0], id="ray-other", name="other")
    for _ in range(4):
        fleet.run({0: 0.5, 1: 0.5})
    known, found, _ = fleet.asked(fleet.run())
    assert known[0].units.tolist() == list(range(4, 24))
    assert found == []


@pytest.mark.parametrize(
    "rows",
    [
        {"status": "failed"},
        {"status": "contended"},
        {"value": 0.0, "low": 0.0, "high": 0.0},
        {"provenance": "simulated"},
    ],
    ids=lambda rows: "-".join(map(str, rows.values())),
)
def test_what_is_no_good_value_is_no_past(fleet, rows):
    kept(fleet.run(), 0, **rows)
    assert fleet.asked(fleet.run())[0] == []


def test_what_is_of_other_hardware_or_another_metric_is_no_past(fleet):
    kept(fleet.run(source="1", scope="node"), 0)
    own, fleet.nodes = fleet.nodes, [node(f"other-{name}") for name in NAMES]
    kept(fleet.run(scope="node"), 1)
    fleet.nodes = own
    assert fleet.asked(fleet.run(scope="node"))[0] == []


def test_units_have_a_past_where_any_earlier_run_and_the_last_one_measured_them(fleet):
    for lost in (5, 6, 7):
        path = fleet.run()
        kept(path, 0, lost=lost)
    (flops,) = fleet.asked(path)[0]
    assert flops.units.tolist() == [*range(7), *range(8, 24)]
    assert np.isnan(flops.values[:, [5, 6]]).tolist() == [[True, False], [False, True], [False] * 2]


def kept(path, number, lost=-1, **changes):
    """Only the rows of one case of a run, but for a rank's, with changes."""
    rows = [msgspec.json.decode(line, type=Row) for line in (path / ROWS).read_bytes().splitlines()]
    made = [
        msgspec.structs.replace(row, **changes)
        for row in rows
        if row.case == number and row.group != lost
    ]
    (path / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(made))


def test_days_are_of_one_clock_and_without_a_zone_utc(fleet, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    for began in ("2026-01-01T00:00:00", "2026-01-02T00:00:00Z", "2026-01-03T08:00:00+08:00"):
        fleet.run(started=began)
    known, _, _ = fleet.asked(fleet.run(started="2026-01-04T00:00:00+00:00"))
    monkeypatch.undo()
    time.tzset()
    assert known[0].days.tolist() == [20454.0, 20455.0, 20456.0, 20457.0]


@pytest.mark.parametrize(
    "changes",
    [{"provenance": "simulated"}, {"state": "running"}, {"source": "1"}],
    ids=["provenance", "running", "source"],
)
def test_other_runs_are_not_its_past(fleet, changes):
    for _ in range(5):
        fleet.run(dict.fromkeys(range(24), 1.5), **changes)
    known, found, _ = fleet.asked(fleet.run({1: 0.5}))
    assert [one.metric.case.metric for one in known] == (["time"] if "source" in changes else [])
    assert not any(one.metric.case.metric == "flops" for one in found)


def test_later_runs_are_not_its_past(fleet):
    first = fleet.run()
    fleet.run()
    assert fleet.asked(first)[0] == []


def test_a_damaged_run_is_left_out_and_said(fleet):
    for _ in range(4):
        path = fleet.run()
    (path / ROWS).write_bytes(b"[1, 2]\n")
    known, _, notes = fleet.asked(fleet.run())
    assert len(notes) == 1
    assert f"{path} is left out of the history: this line is no measurement" in notes[0]
    assert len(known[0].runs) == 4


def test_only_the_newest_are_read(fleet):
    for _ in range(5):
        path = fleet.run()
    found = earlier_runs(fleet.folder, RunReader(path).header, most=2)
    assert [one.name for one in found] == ["run-02", "run-03"]
    assert earlier_runs(fleet.folder / "nowhere", RunReader(path).header) == []


def test_a_simulated_fleet_has_a_past_by_name(fleet):
    changes = {
        "provenance": "simulated", "nodes": [],
        "fleet": DeviceGroup(count=12, devices=2, chip="sim-a"),
    }  # fmt: skip
    for _ in range(4):
        fleet.run(**changes)
    _, found, _ = fleet.asked(fleet.run({5: 0.95}, **changes))
    assert {one.device for one in found} == {"node-00002/1"}


def test_three_nodes_are_held_against_themselves_alone(fleet):
    fleet.nodes = fleet.nodes[:3]
    for _ in range(7):
        fleet.run({}, fleet=None)
    _, found, _ = fleet.asked(fleet.run({5: 0.85}))
    assert {one.device for one in found} == {"gpu-02/1"}


def declined(*series, better="higher"):
    """Declines of made series, more being worse, a week apart, each as those of one metric."""
    pasts, count = [], 0
    for y in series:
        metric = Metric(
            key=b"", name="gemm", case=case(0, better=better), cases=(0,), category="compute",
            line=ProfileMetric(benchmark="gemm", metric="flops"),
        )  # fmt: skip
        units = np.arange(count, count + y.shape[1])
        days, values = np.arange(len(y)) * 7.0, np.exp(-y if better == "higher" else y)
        pasts.append(Past(metric=metric, units=units, runs=[""] * len(y), days=days, values=values))
        count += units.size
    fleet = DeviceGroup(count=count, devices=1, chip="sim-a")
    now = table(header(fleet=fleet), columns(), PROFILE)
    return declines(pasts, now)[0]


def told(y):
    """Which units of made series are told, as `declines` tells them for one metric."""
    return {one.node for one in declined(y)}


def fallen(t, e=0.01):
    """A series whose last value lies ``t`` standard errors above its past, with 3 degrees.

    The past has no slope: its variance is 4 e² / 3, and that of the distance from its median
    (1 + π/2 / 5) times that.
    """
    error = e * math.sqrt(4 / 3 * (1 + math.pi / 10))
    return np.array([e, -e, 0.0, -e, e, t * error])[:, None], error


def test_one_unit_is_told_at_one_percent_of_both_questions():
    """Student's t of 3 degrees exceeds 5.841 with 0.5 %."""
    assert declined(fallen(5.83)[0]) == []
    y, error = fallen(5.85)
    (one,) = declined(y)
    change, reach = 5.85 * error, 3.1824 * error  # t of 2.5 %
    assert one.expected == pytest.approx(1.0)
    assert one.value == pytest.approx(math.exp(-change))
    wanted = [1 - math.exp(-each) for each in (change, change - reach, change + reach)]
    assert [one.effect, one.low, one.high] == pytest.approx(wanted, rel=1e-4)
    (one,) = declined(y, better="lower")
    wanted = [math.exp(each) - 1 for each in (change, change - reach, change + reach)]
    assert [one.effect, one.low, one.high] == pytest.approx(wanted, rel=1e-4)
    assert (one.past, one.since) == (5, "1970-01-01")


def test_the_likeliest_of_several_are_told_first():
    """Of four, steps at 0.25, 0.5, 0.75 %: a chance of 0.6 % is told third, and not second."""
    material, some, none = fallen(1.0, e=0.05)[0], fallen(7.0)[0], fallen(0.0)[0]
    sure = fallen(60.0)[0]
    assert [one.node for one in declined(material, some, sure, none)] == [2]
    assert [one.node for one in declined(sure, some, sure, none)] == [0, 2, 1]


def test_a_straight_fall_has_its_slope_and_the_worst_comes_first():
    y = np.outer(np.arange(6) * 7.0, [0.001, 0.003, 0.002])
    for better, sign in (("higher", -1), ("lower", 1)):
        made = declined(y, better=better)
        assert [one.node for one in made] == [1, 2, 0]
        for one, each in zip(made, (0.003, 0.002, 0.001), strict=True):
            assert one.slope == pytest.approx(sign * math.expm1(sign * 30 * each))
            assert one.chance < 1e-20
    said = made[0].evidence("reject").text
    assert said.endswith("; 9.4% worse in 30 days")
    few = declined(np.array([[0.0], [0.0], [0.0], [0.05]]))[0]
    assert few.slope is None
    assert few.chance == 0.0  # against a past without any spread
    assert "30 days" not in few.evidence("reject").text


def test_a_fall_in_steps_is_told_by_its_slope_alone():
    """Eight that all rise have a chance of 1/8!, while the last lies within its past's spread."""
    y = np.array([0, 0.001, 0.002, 0.003, 0.05, 0.051, 0.052, 0.053])[:, None]
    steps = np.repeat(y, 7, axis=1)
    steps[:, 1:] = 0.0
    (one,) = declined(steps)
    assert one.node == 0
    assert one.chance == pytest.approx(2 / math.factorial(8))
    assert declined(steps / 4) == []  # as sure, and of no matter


def uneven(seed, runs, noise=0.005, units=400):
    """Series of units whose own noise differs, in runs that shift all of them."""
    draw = np.random.default_rng(seed)
    own = noise * np.sqrt(8 / draw.chisquare(8, units))
    return draw.normal(0, 1, (runs, units)) * own + draw.normal(0, 0.02, (runs, 1))


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_healthy_fleets_decline_hardly_ever(noise):
    """The rate is 1 %: that more than five of 120 fleets have any has a chance of 0.2 %."""
    wrong = sum(bool(told(uneven(seed, runs, noise))) for runs in (4, 6, 9) for seed in range(40))
    assert wrong <= 5


def test_a_clear_decline_is_found_nearly_always():
    found, false = 0, 0
    for seed in range(40):
        y = uneven(seed, 7)
        y[-1, :4] += 0.08
        units = told(y)
        found += len(units & set(range(4)))
        false += len(units - set(range(4)))
    assert found >= 0.95 * 160
    assert false <= 8


def told_one_by_one(y):
    """`told`, with every chance worked out, and the steps of Benjamini and Hochberg in a loop."""
    one = trend(np.arange(len(y)) * 7.0, y)
    chances = {}
    for unit in range(y.shape[1]):
        found = []
        if one.change[unit] >= 0.02:
            t = float(one.change[unit] / one.error[unit])
            found.append(student_tail(t, float(one.degrees[unit])))
        if one.slope[unit] * one.span[unit] >= 0.02 and one.slope_low[unit] > 0:
            found.append(float(one.chance[unit]))
        if found:
            chances[unit] = min(1.0, 2 * min(found))
    units = sorted(chances, key=chances.__getitem__)
    steps = [k for k, unit in enumerate(units, 1) if chances[unit] <= 0.01 * k / y.shape[1]]
    return set(units[: max(steps, default=0)])


def test_what_is_told_is_what_a_loop_over_all_units_tells():
    count = 0
    for seed in range(30):
        y = uneven(seed, 4 + seed % 5, units=40)
        y[-1, :4] += 0.01 * (seed % 6)
        y[:, 5] += np.linspace(0, 0.01 * (seed % 8), len(y))
        y[0, 6] = np.nan
        assert told(y) == told_one_by_one(y)
        count += len(told(y))
    assert count > 30


def test_a_run_whose_rows_are_cut_off_is_no_past(fleet):
    """Half of its repeats would be what a node fell from."""
    cut = fleet.run(stages=[{"name": "device", "began": 0.0, "seconds": 1.0, "rows": {"ok": 144}}])
    lines = (cut / ROWS).read_bytes().splitlines(keepends=True)
    (cut / ROWS).write_bytes(b"".join(lines[:96]))
    fleet.run()
    known, _, notes = fleet.asked(fleet.run())
    assert {tuple(one.runs) for one in known} == {("run-01", "run-02")}
    assert notes == [
        f"{cut} is left out of the history: 48 of its 144 rows are not in measurements.jsonl any "
        "more: copy the run again"
    ]
