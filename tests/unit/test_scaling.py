"""Scaling: groups that grow, efficiency and where it is lost, lines and what lies beyond them."""

import io
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.scaling import scaling, valueless
from bench.cli.results_verb import command
from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Entry, Fault, StageConfig, Suite, load_chips
from bench.inventory import Inventory
from bench.kernels.layout import Layout
from bench.records import STATUSES, DeviceGroup, ScheduleSpec
from bench.report.scaling import print_scaling
from bench.results import RunReader
from bench.rounds import schedule_for

AXES = {name: getattr(Layout(), name) for name in Layout.__dataclass_fields__}


def grown(nodes, each, **arguments):
    inventory = Inventory([], DeviceGroup(count=nodes, devices=each, chip="sim-a"))
    return schedule_for(ScheduleSpec(kind="growing", scope="group", arguments=arguments), inventory)


@pytest.mark.parametrize(
    ("nodes", "devices", "sizes"),
    [
        (1, 1, [1]),
        (1, 2, [1, 2]),
        (1, 6, [1, 2, 4, 6]),
        (4, 8, [1, 2, 4, 8, 16, 32]),
        (5, 3, [1, 2, 3, 6, 12, 15]),
    ],
)
def test_groups_double_within_a_node_and_then_by_nodes(nodes, devices, sizes):
    schedule = grown(nodes, devices)
    assert [len(schedule.members(group)) for group in range(schedule.size)] == sizes
    assert schedule.classes == tuple(("devices", size) for size in sizes)
    alone = grown(nodes, devices, devices=sizes[-1])
    assert (alone.size, alone.members(0)) == (1, tuple(range(sizes[-1])))


def test_groups_that_hold_each_other_are_rounds_of_their_own():
    rounds = [[batch.ranks.shape for batch in whole] for whole in grown(2, 2).walk()]
    assert rounds == [[(1, 1)], [(1, 2)], [(1, 4)]]


def made(steps, *, strong=False, computes=None, bubbles=None, contended=(), **axes):
    """A run with these steps by devices; ``computes`` has each rank's own time, ``bubbles`` what a
    pipeline waits, by devices. Sizes that were ``contended`` do not count."""
    axes = {**AXES, "batch_of": "group" if strong else "rank", **axes}
    cases, rows, schedules = [], [], []
    for devices, step in steps.items():
        schedules += [
            ScheduleSpec(kind="growing", scope=scope, arguments={"devices": devices}, groups=1)
            for scope in ("group", "rank")
        ]
        wanted = {"step_p50": [step], "tokens_per_second": [devices / step]}
        if bubbles:
            wanted["bubble"] = [bubbles[devices]]
        for metric, values in {**wanted, "compute": (computes or {}).get(devices, [])}.items():
            by_rank = metric == "compute"
            status = ("contended", "others work there") if devices in contended else ("ok", "")
            rows += [(len(cases), rank, value, *status) for rank, value in enumerate(values)]
            cases.append(
                case(
                    len(cases),
                    "train",
                    axes,
                    metric,
                    scope="rank" if by_rank else "group",
                    schedule=len(schedules) - 2 + by_rank,
                )
            )
    fleet = DeviceGroup(count=1, devices=max(steps), chip="sim-a")
    return header(*cases, schedules=schedules, fleet=fleet), columns(*rows)


def test_what_is_lost_adds_up_and_says_where():
    found = made({1: 1.0, 2: 1.25}, computes={1: [1.0], 2: [1.0, 1.2]})
    (one,) = scaling(*found)
    size = one.sizes[1]
    assert (one.kind, one.base, size.efficiency) == ("weak", 1, pytest.approx(0.8))
    parts = size.slower, size.spread, size.communication
    assert parts == pytest.approx((0.1 / 1.25, 0.1 / 1.25, 0.05 / 1.25))
    assert sum(parts) == pytest.approx(1 - size.efficiency)
    assert one.further == [] and "1, 2 device(s) only" in one.problem


def test_sizes_without_a_value_are_said_with_the_reason():
    steps = {1: 1.0, 2: 1.1, 4: 1.2, 8: 1.3}
    (whole,) = scaling(*made(steps))
    assert whole.lacking == {}
    (one,) = scaling(*made(steps, contended=[1, 4]))
    assert (one.base, [size.devices for size in one.sizes]) == (2, [2, 8])
    why = "contended: others work there"
    assert one.lacking == {1: why, 4: why}
    said = io.StringIO()
    print_scaling(Console(file=said, width=120), [one])
    assert f"without a value on 4 device(s): {why}" in said.getvalue()
    found = made(steps, contended=steps)
    assert scaling(*found) == []
    assert [why for _, why in valueless(*found)] == [why] * 4


@pytest.mark.parametrize("step", [math.nan, 0.0, -1.0])
def test_a_step_that_is_no_time_is_of_a_size_without_a_value(step):
    header, columns = made({1: 1.0, 2: 1.1, 4: 1.2, 8: 1.3})
    for one in header.cases:
        devices = header.schedules[one.schedule].arguments["devices"]
        if one.metric == "step_p50" and devices in (1, 8):
            columns.value[columns.case == one.id] = step
    (one,) = scaling(header, columns)
    assert (one.base, [size.devices for size in one.sizes]) == (2, [2, 4])
    assert one.lacking == dict.fromkeys((1, 8), "measured, but it gave no value")


def test_strong_scaling_refers_to_a_part_of_the_base():
    (one,) = scaling(*made({2: 1.0, 4: 0.5, 8: 0.4}, strong=True))
    assert (one.kind, one.base) == ("strong", 2)
    assert [size.efficiency for size in one.sizes] == pytest.approx([1.0, 1.0, 0.625])
    assert one.sizes[0].slower is None


def test_without_noise_laws_are_found():
    sizes = [1, 2, 4, 8, 16]
    (weak,) = scaling(*made({n: 2.0 + 0.1 * math.log2(n) for n in sizes}), beyond=[1024])
    assert (weak.fixed, weak.growing) == pytest.approx((2.0, 0.1))
    assert weak.further[0].efficiency == pytest.approx(2.0 / 3.0)
    (strong,) = scaling(*made({n: 0.1 + 0.9 / n for n in sizes}, strong=True))
    assert (strong.fixed, strong.growing) == pytest.approx((0.1, 0.9))
    assert [far.devices for far in strong.further] == [32, 64, 128]
    for far in strong.further:
        assert far.efficiency == pytest.approx(1 / (1 + 0.1 * (far.devices - 1)))


def test_a_line_and_what_it_says_of_more_devices_by_hand():
    """Of steps a·(1 + r) the errors r over a leave both sums of the fit at zero, so that it is a.

    Fitted are 1, 2 and 3 s on 2, 4 and 8 devices, by errors of 1, -4 and 3 %: with weights 1/f²
    the matrix of the fit is ((49, 17), (17, 25)) / 36, its inverse ((25, -17), (-17, 49)) / 26, and
    the square of the residual 26e-4. So 16 devices (x = 3, 4 s) have a variance of
    (25 - 102 + 441 + 26·16)·1e-4, and Student's t with one degree of freedom is 12.7062.
    """
    steps = {2: 1.01, 4: 2 * 0.96, 8: 3 * 1.03}
    (one,) = scaling(*made(steps), beyond=[16, 1024])
    assert (one.base, one.fixed, one.growing) == (2, pytest.approx(1), pytest.approx(1))
    assert one.residual == pytest.approx(0.01 * math.sqrt(26))
    assert one.provenance == "measured"
    assert one.problem == ""
    near, far = one.further
    error = 12.7062047 * 0.01 * math.sqrt(780)
    assert near.devices == 16
    assert (near.efficiency, near.low, near.high) == pytest.approx(
        (1.01 / 4, 1.01 / (4 + error), 1.01 / (4 - error))
    )
    error = 12.7062047 * 0.01 * math.sqrt(25 - 306 + 81 * 49 + 2600)
    assert (far.efficiency, far.low) == pytest.approx((1.01 / 10, 1.01 / (10 + error)))
    assert far.high is None  # its error is more than all of it
    # Strong: 1 + 4·2/n is 5, 3 and 2 s, by errors of 5, -9 and 4 %.
    steps = {2: 5 * 1.05, 4: 3 * 0.91, 8: 2 * 1.04}
    (one,) = scaling(*made(steps, strong=True), beyond=[16])
    assert (one.fixed, one.growing) == (pytest.approx(1), pytest.approx(4))
    assert one.residual == pytest.approx(0.01 * math.sqrt(25 + 81 + 16))
    assert one.further[0].efficiency == pytest.approx(5.25 * 2 / 16 / 1.5)
    assert [size.efficiency for size in one.sizes] == pytest.approx(
        [1, 5.25 / 2 / 2.73, 5.25 / 4 / 2.08]
    )


def test_what_strong_scaling_loses_is_less_than_its_part_of_the_base():
    """Of 1 s on two devices 0.75 s were computed in the mean, 0.05 s waited and 0.2 s exchanged;
    half of each is what four devices, in 0.8 s, would have without loss."""
    computes = {2: [0.7, 0.8], 4: [0.4, 0.4, 0.4, 0.6]}
    (one,) = scaling(*made({2: 1.0, 4: 0.8}, strong=True, computes=computes))
    base, four = one.sizes
    assert (base.slower, base.spread, base.communication) == pytest.approx((0, 0, 0))
    assert four.efficiency == pytest.approx(0.5 / 0.8)
    assert four.slower == pytest.approx((0.45 - 0.75 / 2) / 0.8)
    assert four.spread == pytest.approx((0.15 - 0.05 / 2) / 0.8)
    assert four.communication == pytest.approx((0.2 - 0.2 / 2) / 0.8)
    assert four.bubble is None
    assert [size.rate for size in one.sizes] == pytest.approx([2.0, 5.0])
    head, rows = made({1: 1.0, 2: 1.25})
    head.cases[:] = [replace(one, metric=one.metric.replace("tokens", "x")) for one in head.cases]
    assert [math.isnan(size.rate) for size in scaling(head, rows)[0].sizes] == [True, True]


def test_only_trainings_over_growing_groups_scale():
    head, rows = made({1: 1.0, 2: 1.25})
    (one,) = scaling(head, rows)
    growing = head.schedules[0]
    head.schedules += [ScheduleSpec(kind="all", scope="group", groups=1), growing]
    for benchmark, schedule in (("train", len(head.schedules) - 2), ("model", 0)):
        step = case(len(head.cases), benchmark, AXES, "step_p50", scope="group", schedule=schedule)
        head.cases.append(step)
    more = [(row, 0, 9.0) for row in (len(head.cases) - 2, len(head.cases) - 1)]
    old = zip(rows.case.tolist(), rows.group.tolist(), rows.value.tolist(), strict=True)
    (two,) = scaling(head, columns(*old, *more))
    assert two == one
    # Ranks whose own times are known make no size where their step has none.
    head, rows = made({1: 1.0, 2: 1.25}, computes={1: [1.0], 2: [1.0, 1.2]})
    steps = [one.id for one in head.cases if one.metric == "step_p50"]
    rows.status[np.isin(rows.case, steps)] = STATUSES.index("failed")
    assert scaling(head, rows) == []


def test_intervals_hold_95_of_100_further_measurements():
    draw, sizes, noise, runs = np.random.default_rng(5), [1, 2, 4, 8, 16, 32], 0.02, 400
    hits = 0
    for _ in range(runs):
        steps = {n: (2.0 + 0.1 * math.log2(n)) * draw.normal(1, noise) for n in sizes}
        (one,) = scaling(*made(steps), beyond=[128])
        further = 2.7 * draw.normal(1, noise)
        hits += one.further[0].low <= steps[1] / further <= one.further[0].high
    assert 0.92 < hits / runs < 0.98


def test_a_pipelines_bubble_is_a_part_of_what_is_lost():
    bubbles, computes = {2: 0.25, 4: 0.33}, {2: [0.6, 0.7], 4: [0.5, 0.6, 0.7, 0.6]}
    steps = {2: 1.0, 4: 1.1}
    (one,) = scaling(*made(steps, computes=computes, bubbles=bubbles, pp=2, microbatches=4))
    assert one.bubble == pytest.approx(0.2)
    first, size = one.sizes
    # Nothing is lost against itself, whatever the base waits for.
    assert (first.slower, first.spread, first.communication, first.bubble) == (0, 0, 0, 0)
    parts = size.slower, size.spread, size.communication, size.bubble
    assert size.bubble == pytest.approx((0.33 - 0.25) / 1.1)
    assert size.communication == pytest.approx((1.1 - 0.7 - 0.33 - (1.0 - 0.7 - 0.25)) / 1.1)
    assert sum(parts) == pytest.approx(1 - size.efficiency)


def suite(over="growing", **axes):
    axes = {"model": "tiny", "dtype": "fp32", **axes}
    return Suite(
        name="s",
        stages=[
            StageConfig(
                name="weak",
                entries=[Entry(benchmark="train", axes=axes, place={"over": over})],
            )
        ],
        rule={"budget": 0.2, "warmup": 0.05},
    )


def executed(suite, executor, folder):
    return execute(suite, executor, folder, "run", chips=load_chips(), command=[], environment={})


def test_a_simulated_fleet_loses_what_its_slow_device_costs(tmp_path):
    slow = Fault(kind="slow-chip", node=3, device=1, factor=0.5)
    fleet = Cluster(name="t", chip="sim-a", nodes=4, devices=4, faults=[slow])
    executed(suite(dtype="bf16"), SimulatedExecutor(fleet, load_chips()), tmp_path)
    reader = RunReader(tmp_path / "run")
    (one,) = scaling(reader.header, reader.columns())
    assert [size.devices for size in one.sizes] == [1, 2, 4, 8, 16]
    assert one.provenance == "simulated"
    assert one.sizes[3].efficiency > 0.8 > 0.7 > one.sizes[4].efficiency
    assert one.sizes[4].spread > 0.3 > one.sizes[3].spread
    shown = CliRunner().invoke(command, ["scaling", str(tmp_path / "run")])
    assert shown.exit_code == 0, shown.output
    assert "weak scaling against 1 device(s), simulated" in shown.output
    told = CliRunner().invoke(command, ["scaling", str(tmp_path / "run"), "--json", "--to", "64"])
    assert json.loads(told.stdout)["scaling"][0]["further"][0]["devices"] == 64


def test_sizes_that_a_layout_does_not_divide_are_said(tmp_path):
    fleet = Cluster(name="t", chip="sim-a", nodes=1, devices=4)
    finished = executed(suite(dtype="bf16", tp=2), SimulatedExecutor(fleet, load_chips()), tmp_path)
    reader = RunReader(finished.folder)
    (one,) = scaling(reader.header, reader.columns())
    assert [size.devices for size in one.sizes] == [2, 4]
    assert any("not over 1 device(s)" in one["text"] for one in reader.header.events)


def test_a_run_without_growing_groups_says_so(tmp_path):
    fleet = Cluster(name="t", chip="sim-a", nodes=1, devices=2)
    executed(suite("all", dtype="bf16"), SimulatedExecutor(fleet, load_chips()), tmp_path)
    shown = CliRunner().invoke(command, ["scaling", str(tmp_path / "run")])
    assert "nothing is known of how it scales" in shown.stderr
