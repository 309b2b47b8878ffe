"""Metrics of several cases: the chain, shares, scales, pools, and what makes them absent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.derived import DERIVED
from bench.analysis.derived.declared import scale_class
from bench.analysis.scorecard import score
from bench.analysis.selection import Spans, selected
from bench.analysis.subject import Readiness, Run, Subject
from bench.configs import (
    Chip,
    Facility,
    Figure,
    ProfileMetric,
    load_model,
    load_profile,
    names,
)
from bench.configs.facility import DeviceHours, Item, ItPower, Stated
from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape, flops_per_token
from bench.records import Device, DeviceGroup, Node, ScheduleSpec

SHEET = {"source": "made up", "date": "2026-11-01", "status": "vendor"}
CHIPS = {
    name: Chip(
        name=name,
        vendor="Acme",
        flops={"bf16": Figure(value=peak, **SHEET)},
        tdp=Figure(value=500, **SHEET),
    )
    for name, peak in (("acme-1", 4e14), ("acme-2", 1e14))
}
CHIPS["acme-3"] = Chip(name="acme-3", vendor="Acme")
LAYOUT = {name: getattr(Layout(), name) for name in Layout.__dataclass_fields__}
AXES = {"model": "tiny", "batch": 4, "dtype": "bf16", "ops": "torch", "batch_of": "rank", **LAYOUT}


def value(name: str, *runs: Run, **more):
    benchmark, metric = name.split(".")
    return DERIVED[benchmark, metric].find(Subject(runs, CHIPS, **more))


def growing(
    sizes: dict[int, tuple[float, float | None]], nodes=2, devices=4, axes=(), n=9, **more
) -> Run:
    """A fleet whose training on so many devices gave (token/s of all, MFU), of ``n`` samples."""
    cases, rows, schedules = [], [], []
    for count, (rate, mfu) in sizes.items():
        schedules.append(
            ScheduleSpec(kind="growing", scope="group", arguments={"devices": count}, groups=1)
        )
        for metric, unit, amount in (
            ("tokens_per_second", "token/s", rate),
            ("mfu", "ratio", mfu),
            ("step_p50", "s", None if rate is None else count / rate),
        ):
            number = len(cases)
            cases.append(
                case(
                    number,
                    "train",
                    {**AXES, **dict(axes)},
                    metric,
                    unit,
                    scope="group",
                    schedule=len(schedules) - 1,
                )
            )
            rows.append((number, 0, amount))
    fleet = DeviceGroup(count=nodes, devices=devices, chip="acme-1")
    made = header(*cases, fleet=fleet, schedules=schedules, **more)
    found = columns(*rows)
    found.low, found.high, found.n = found.value * 0.98, found.value * 1.02, found.n * n
    return Run(made, found, CHIPS)


@pytest.mark.parametrize(
    ("kind", "batch_of", "reached"),
    # Of one batch to a rank a step should stay as it is; of one to the group fall as devices rise.
    [("weak", "rank", 684 / 800), ("strong", "group", 684 / 800 / 8)],
)
def test_scaling_is_told_at_its_largest_size_with_the_errors_of_both_ends(kind, batch_of, reached):
    run = growing(CHAIN, axes={"batch_of": batch_of})
    found = value(f"scaling.{kind}_efficiency", run)
    assert found.value == pytest.approx(reached)
    assert (found.low, found.high) == pytest.approx((reached * 0.98 / 1.02, reached * 1.02 / 0.98))
    assert (found.values, found.run) == (2, "run")
    assert found.detail.endswith("8 device(s) against 1")
    other = "strong" if kind == "weak" else "weak"
    assert "suite `scaling`" in value(f"scaling.{other}_efficiency", run).absent
    bare = growing(CHAIN, axes={"batch_of": batch_of}, n=1)
    alone = value(f"scaling.{kind}_efficiency", bare)
    assert alone.value == pytest.approx(reached)
    assert (alone.low, alone.high, alone.values) == (None, None, 0)


def test_scaling_is_of_the_latest_run_that_has_some_and_of_its_median_model():
    def models(*rates, **more):
        made = [growing({1: (100.0, None), 8: (rate, None)}, **more) for rate in rates]
        cases, rows, schedules = [], [], []
        for number, one in enumerate(made):
            for each in one.header.cases:
                axes = {**each.axes, "model": f"model-{number}"}
                at = each.schedule + len(schedules)
                cases.append(replace(each, id=len(cases), axes=axes, schedule=at))
            rows += [(len(rows) + i, 0, v) for i, v in enumerate(one.columns.value.tolist())]
            schedules += one.header.schedules
        whole = header(
            *cases,
            schedules=schedules,
            fleet=made[0].header.fleet,
            id="several",
            started="2025-03-02T10:15:00+00:00",
        )
        return Run(whole, columns(*rows), CHIPS)

    found = value("scaling.weak_efficiency", models(720.0, 400.0, 640.0), growing(CHAIN))
    assert (found.value, found.run) == (pytest.approx(0.8), "several")
    found = value("scaling.weak_efficiency", models(720.0, 400.0, 640.0, 560.0))
    assert found.value == pytest.approx(0.7)  # of an even number the lower of the two
    one = growing({1: (100.0, None)}, id="one", started="2025-03-03T10:15:00+00:00")
    assert value("scaling.weak_efficiency", one, growing(CHAIN)).run == "run"  # one size is none


def goodput(share: float) -> Run:
    one = case(0, "resumable", {}, "goodput", "ratio", scope="group")
    return Run(
        header(one, id="goodput", fleet=DeviceGroup(count=2, devices=4, chip="acme-1")),
        columns((0, 0, share)),
        CHIPS,
    )


CHAIN = {1: (100.0, 0.5), 2: (190.0, 0.475), 4: (360.0, 0.45), 8: (684.0, 0.4275)}


def test_the_chain_multiplies_what_was_measured():
    run = growing(CHAIN)
    assert value("cluster.mfu_device", run).value == pytest.approx(0.5)
    inside = value("cluster.eta_intra", run)
    assert inside.value == pytest.approx(0.9)
    assert inside.low == pytest.approx(0.9 * 0.98 / 1.02)
    assert inside.high == pytest.approx(0.9 * 1.02 / 0.98)
    assert value("cluster.eta_inter", run).value == pytest.approx(0.95)
    whole = value("cluster.end_to_end", run, goodput(0.8))
    assert whole.value == pytest.approx(0.5 * 0.9 * 0.95 * 0.8)
    # The first three are what all devices make of their peak.
    assert whole.value / 0.8 == pytest.approx(CHAIN[8][1])
    assert whole.low < whole.value < whole.high
    assert "goodput" in whole.run


@pytest.mark.parametrize(
    ("left", "missing"),
    [
        ([2, 4, 8], "MFU of one device, η inside a node"),
        ([1, 8], "η inside a node, η between nodes"),
        ([1, 2, 4], "η between nodes"),
        ([], "MFU of one device, η inside a node, η between nodes"),
    ],
)
def test_a_factor_that_nobody_measured_is_absent_and_the_product_with_it(left, missing):
    run = growing({size: CHAIN[size] for size in left})
    whole = value("cluster.end_to_end", run, goodput(0.8))
    assert (whole.value, whole.absent) == (None, f"not measured: {missing}")
    assert value("cluster.end_to_end", run).absent == f"not measured: {missing}, goodput"


def test_without_a_peak_there_is_no_mfu_and_no_chain():
    run = growing({size: (rate, None) for size, (rate, _) in CHAIN.items()})
    assert "no peak of its chip" in value("cluster.mfu_device", run).absent
    assert "no peak of its chip" in value("cluster.flops_utilization", run).absent
    assert value("cluster.end_to_end", run, goodput(1)).absent == "not measured: MFU of one device"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_node_without_devices_is_none_that_lies_between_others(place):
    """A head that only manages, or one whose driver is broken, wherever it stands."""
    device = Device(index=0, backend="x", name="x", chip="acme-1")
    nodes = [
        Node(id=name, name=name, devices=tuple(replace(device, index=i) for i in range(4)))
        for name in "ab"
    ]
    bare = Node(id="bare", name="bare", problem="its driver is broken")
    run = growing(CHAIN)
    run.header.fleet, run.header.nodes = None, [*nodes[:place], bare, *nodes[place:]]
    run = Run(run.header, run.columns, CHIPS)
    assert value("cluster.eta_intra", run).value == pytest.approx(0.9)
    assert value("cluster.eta_inter", run).value == pytest.approx(0.95)
    assert value("system.nodes", run).value == 2
    run.header.nodes = [bare, nodes[0]]
    alone = Run(run.header, run.columns, CHIPS)
    assert value("cluster.eta_inter", alone).absent == "one node: nothing lies between nodes"


def test_one_node_has_no_factor_between_nodes_and_none_is_scored():
    run = growing({size: CHAIN[size] for size in (1, 2, 4)}, nodes=1)
    good = goodput(0.8)
    good.header.fleet = run.header.fleet
    whole = value("cluster.end_to_end", run, good)
    assert whole.value == pytest.approx(0.5 * 0.9 * 0.8)
    assert "one node" in whole.detail
    assert value("cluster.eta_inter", run).absent == "one node: nothing lies between nodes"


@pytest.mark.parametrize(("failures", "there"), [(0.0, False), (3.0, True)])
def test_goodput_without_a_failure_is_none(failures, there):
    made = header(
        case(0, "resumable", {}, "goodput", "ratio", scope="group"),
        case(1, "resumable", {}, "failures", "count", better="lower", scope="group"),
    )
    run = Run(made, columns((0, 0, 0.9), (1, 0, failures)), CHIPS)
    found = value("cluster.goodput", run)
    assert (found.value is not None) == there
    assert there or found.absent == "no failure struck the training that was to be interrupted"


def test_the_two_meanings_of_utilisation_never_meet():
    run = growing(CHAIN)
    hours = DeviceHours(allocated=30, available=40, source="scheduler")
    declared = Facility(name="f", device_hours=hours)
    flops = value("cluster.flops_utilization", run, facility=declared)
    hours_ = value("cluster.device_hours_utilization", run, facility=declared)
    assert (flops.value, flops.provenance) == (pytest.approx(0.4275), "measured")
    assert (hours_.value, hours_.provenance) == (0.75, "declared")
    assert "device_hours" in value("cluster.device_hours_utilization", run).absent


def test_flops_of_a_facility_watt():
    run = growing(CHAIN)
    declared = Facility(
        name="f",
        pue=Stated(value=1.25, source="meters"),
        it_power=ItPower(value=1000, devices=8, source="meters"),
    )
    each = flops_per_token(ModelShape.of(load_model("tiny")))
    found = value("cluster.facility_flops_per_watt", run, facility=declared)
    assert found.value == pytest.approx(684.0 * each / (1000 * 1.25))
    assert found.low < found.value < found.high
    assert "pue not declared" in value("cluster.facility_flops_per_watt", run).absent
    other = Facility(
        name="f", pue=declared.pue, it_power=ItPower(value=1000, devices=16, source="meters")
    )
    said = value("cluster.facility_flops_per_watt", run, facility=other).absent
    assert said == "IT power is declared of 16 devices, and training was measured on 8"


def test_flops_of_a_device_watt_are_held_against_peak_over_design_power():
    one = case(0, "train", AXES, "energy_per_token", "J/token", better="lower", scope="group")
    run = Run(header(one), columns((0, 0, 0.5)), CHIPS)
    found = value("cluster.device_flops_per_watt", run)
    assert found.value == pytest.approx(flops_per_token(ModelShape.of(load_model("tiny"))) / 0.5)
    assert found.reference == pytest.approx(4e14 / 500)
    nothing = Run(header(case(0)), columns((0, 0, 1.0)), CHIPS)
    assert "no device says" in value("cluster.device_flops_per_watt", nothing).absent


def gemms(*chips: tuple[str, float]) -> Run:
    """A node a chip, and what its device reached in bf16, FLOP/s."""
    nodes = [
        Node(id=name, name=name, devices=(Device(index=0, backend=name, name=name, chip=name),))
        for name, _ in chips
    ]
    axes = {"shape": "64x64x64", "dtype": "bf16", "layout": "nn", "impl": "torch"}
    cases = [case(i, axes=axes, schedule=i) for i in range(len(chips))]
    schedules = [
        ScheduleSpec(kind="devices", scope="device", arguments={"on": name}, groups=1)
        for name, _ in chips
    ]
    rows = [(i, i, flops) for i, (_, flops) in enumerate(chips)]
    made = header(*cases, fleet=None, nodes=nodes, schedules=schedules)
    return Run(made, columns(*rows), CHIPS)


def items(**origins: tuple[int, str]) -> list[Item]:
    return [
        Item(name=name.replace("_", "-"), count=count, origin=origin, source="procurement")
        for name, (count, origin) in origins.items()
    ]


def test_shares_by_count_and_by_measured_flops():
    run = gemms(("acme-1", 3e14), ("acme-2", 5e13))
    declared = Facility(
        name="f", chips=items(acme_1=(100, "imported"), acme_2=(300, "self-reliant"))
    )
    count = value("system.self_reliant_chips_by_count", run, facility=declared)
    assert (count.value, count.provenance) == (0.75, "declared")
    flops = value("system.self_reliant_chips_by_flops", run, facility=declared)
    assert flops.value == pytest.approx(300 * 5e13 / (100 * 3e14 + 300 * 5e13))
    unknown = Facility(name="f", chips=items(acme_1=(1, "unknown"), acme_2=(1, "self-reliant")))
    found = value("system.self_reliant_chips_by_count", run, facility=unknown)
    assert found.value == 0.5  # what nobody declared is not counted as good
    assert "1 of unknown origin" in found.detail
    assert "SYSTEM.yaml" in value("system.self_reliant_switches_by_count", run).absent


def test_frameworks_and_switches_carry_chips():
    run = gemms(("acme-1", 3e14), ("acme-2", 5e13))
    ours = Item(name="a", count=1, origin="self-reliant", source="s", carries={"acme-1": 10})
    theirs = Item(name="b", count=9, origin="imported", carries={"acme-2": 60})
    declared = Facility(name="f", frameworks=[ours, theirs])
    assert value("system.self_reliant_frameworks_by_count", run, facility=declared).value == 0.1
    found = value("system.self_reliant_frameworks_by_flops", run, facility=declared)
    assert found.value == pytest.approx(0.5)
    silent = Facility(name="f", switches=[Item(name="s", count=1, origin="imported")])
    said = value("system.self_reliant_switches_by_flops", run, facility=silent).absent
    assert said == "SYSTEM.yaml does not say which chips s carries"
    lacking = Item(name="c", count=1, origin="imported", carries={"acme-3": 1})
    found = value("system.self_reliant_frameworks_by_flops", run,
                  facility=Facility(name="f", frameworks=[lacking]))  # fmt: skip
    assert found.absent == "no bf16 matrix product was measured on acme-3"


def test_scale_by_peak_and_by_measured_flops():
    run = gemms(("acme-1", 3e14), ("acme-2", 5e13))
    peak = value("system.peak_flops", run)
    assert (peak.value, peak.provenance) == (pytest.approx(5e14), "datasheet")
    assert value("system.measured_flops", run).value == pytest.approx(3.5e14)
    declared = Facility(name="f", chips=items(acme_1=(1000, "imported")))
    found = value("system.measured_flops", run, facility=declared)
    assert found.value == pytest.approx(3e17)
    assert found.coverage == pytest.approx(1 / 1000)  # one of them was measured
    assert "of the class 100-300 P" in found.detail
    assert value("system.peak_flops", run, facility=declared).value == pytest.approx(4e17)
    other = Facility(name="f", dtype="fp8", chips=declared.chips)
    said = value("system.peak_flops", run, facility=other).absent
    assert said == "no undisputed fp8 peak is known of acme-1"
    assert "no fp8 matrix product" in value("system.measured_flops", run, facility=other).absent


@pytest.mark.parametrize(
    ("flops", "words"),
    [
        (9.9e16, "below the class 100-300 P"),
        (1e17, "of the class 100-300 P"),
        (3e17, "of the class 100-300 P"),
        (5e17, "below the class 1,000-3,000 P"),
        (2e18, "of the class 1,000-3,000 P"),
        (4e18, "above the class 1,000-3,000 P"),
    ],
)
def test_scale_classes_of_the_plan(flops, words):
    assert scale_class(flops).startswith(words)


def pooled(rates: dict[str, float]) -> Run:
    nodes = [
        Node(id=name, name=name, devices=(Device(index=0, backend=name, name=name, chip=name),))
        for name in ("acme-1", "acme-2")
    ]
    schedules = [
        ScheduleSpec(kind="all", scope="group", arguments={"on": on}, groups=1) for on in rates
    ]
    cases = [
        case(i, "train", AXES, "tokens_per_second", "token/s", scope="group", schedule=i)
        for i in range(len(rates))
    ]
    rows = [(i, 0, rate) for i, rate in enumerate(rates.values())]
    made = header(*cases, fleet=None, nodes=nodes, schedules=schedules)
    return Run(made, columns(*rows), CHIPS)


def test_a_pool_is_held_against_its_parts():
    run = pooled({"acme-1": 300.0, "acme-2": 100.0, "acme-1+acme-2": 320.0})
    assert value("pool.efficiency", run).value == pytest.approx(0.8)
    assert value("pool.kinds", run).value == 2
    alone = pooled({"acme-1": 300.0, "acme-1+acme-2": 320.0})
    assert "each by itself" in value("pool.efficiency", alone).absent
    assert value("pool.efficiency", run).low is None  # of one sample each
    run.columns.n[:] = 9
    run.columns.low, run.columns.high = run.columns.value - 8, run.columns.value + 4
    found = value("pool.efficiency", Run(run.header, run.columns, CHIPS))
    assert (found.low, found.high) == pytest.approx(((320 - 8) / 408, (320 + 4) / 384))
    assert found.values == 9
    single = pooled({"acme-1": 300.0, "acme-2": 100.0})
    assert value("pool.kinds", single).value is None  # one kind alone is no pool


def test_readiness_is_a_projection_or_absent():
    run = gemms(("acme-1", 3e14))
    assert "no projection" in value("system.trainable_parameters", run).absent
    ready = Readiness(model="dense-1t", parameters=1e12, fits=True, days=90, mfu=0.4)
    found = value("system.trainable_parameters", run, readiness=ready)
    assert (found.value, found.provenance) == (1e12, "projected")
    assert "90 days" in found.detail
    too_large = Readiness(model="dense-1t", parameters=1e12, fits=False)
    assert value("system.trainable_parameters", run, readiness=too_large).value == 0.0


def test_reliability_counts_what_was_lost():
    cases = [
        case(0),
        case(1, "corruption", {}, "wrong_repetitions", "count", better="lower"),
        case(2, "corruption", {}, "repetitions", "count"),
    ]
    rows = columns(
        (0, 0, 1.0),
        (0, 1, None, "failed"),
        (1, 0, 0.0),
        (1, 1, 3.0, "invalid"),
        (2, 0, 50.0),
        (2, 1, 50.0, "invalid"),
    )
    run = Run(header(*cases), rows, CHIPS)
    assert value("reliability.answered", run).value == pytest.approx(0.5)
    assert value("reliability.uncorrupted", run).value == pytest.approx(0.97)
    assert value("reliability.availability", run).value == 0.5
    busy = Node(id="n", name="n", busy=("job 7",), devices=(
        Device(index=0, backend="a", name="a", chip="acme-1"),))  # fmt: skip
    run = Run(header(case(0), fleet=None, nodes=[busy]), columns((0, 0, 1.0)), CHIPS)
    assert value("reliability.availability", run).value == 0.5


def test_a_share_has_an_interval_that_narrows_with_what_was_seen():
    def answered(good, lost):
        rows = [(0, group, 1.0) for group in range(good)]
        rows += [(0, good + group, None, "failed") for group in range(lost)]
        made = header(case(0), groups=good + lost)
        made.fleet = DeviceGroup(count=1, devices=good + lost, chip="acme-1")
        return value("reliability.answered", Run(made, columns(*rows), CHIPS))

    few, many = answered(9, 1), answered(900, 100)
    for one in (few, many):
        assert one.value == pytest.approx(0.9)
        assert 0 < one.low < one.value < one.high < 1
    assert many.high - many.low < (few.high - few.low) / 5
    # Where all of eight were good, two of five may yet be bad.
    every = answered(8, 0)
    assert (every.value, every.high, every.values) == (1.0, 1.0, 8)
    assert every.low == pytest.approx(0.5977032945497365)


def test_what_is_lost_with_its_device_counts_as_one():
    """Ten cases on four devices, one of which gave none: nothing like ten of forty."""
    rows = [(number, group, 1.0) for number in range(10) for group in range(3)]
    rows += [(number, 3, None, "missing") for number in range(10)]
    made = header(*(case(number) for number in range(10)), groups=4)
    found = value("reliability.answered", Run(made, columns(*rows), CHIPS))
    assert (found.value, found.values) == (0.75, 4)
    assert found.low < 0.3


def test_attempts_that_were_let_fail_say_nothing_of_the_machine():
    """Of a training under failures the last attempt counts, and so does what it calibrated by."""
    cases = [case(0, "resumable", {}, "goodput", "ratio", scope="group", stage="calibration")]
    cases += [
        case(n, "resumable", {"key": "k"}, "goodput", "ratio", scope="group", stage=f"attempt-{n}")
        for n in (1, 2, 3)
    ]

    def answered(last, status):
        rows = [(0, 0, 0.9), (1, 0, None, "failed"), (2, 0, None, "missing"), (3, 0, last, status)]
        return value("reliability.answered", Run(header(*cases), columns(*rows), CHIPS))

    assert answered(0.8, "ok").value == 1.0
    assert answered(0.8, "ok").detail == "0 of 2 values failed, are missing or invalid"
    assert answered(None, "failed").value == 0.5  # nobody went on from there


def test_what_others_disturbed_is_no_sign_of_a_broken_device_or_compiler():
    axes = {"shape": "64x64x64", "dtype": "fp32", "layout": "nn", "impl": "triton"}
    made = header(case(0, axes=axes), groups=4)
    made.fleet = DeviceGroup(count=1, devices=4, chip="acme-1")
    rows = columns((0, 0, None, "contended"), (0, 1, 1.0), (0, 2, None, "failed"))
    run = Run(made, rows, CHIPS)
    found = value("reliability.availability", run)
    assert (found.value, found.coverage) == (pytest.approx(2 / 3), 0.75)
    assert value("software.ops_supported", run).value == 1.0
    none = columns((0, 0, None, "skipped", "no target"), (0, 1, None, "skipped"))
    skipped = Run(made, none, CHIPS)
    assert value("reliability.availability", skipped).value is None
    assert value("software.ops_supported", skipped).absent == "skipped: no target"
    failed = Run(made, columns((0, 0, None, "failed")), CHIPS)
    assert value("software.ops_supported", failed).value == 0.0


def test_stability_of_devices_steps_and_streams():
    step = {"unit": "s", "better": "lower", "scope": "group"}
    cases = [
        case(0),
        case(1, "train", AXES, "step_p50", **step),
        case(2, "train", AXES, "step_p99", **step),
        case(3, "stability", {}, "stalls", "count", better="lower", scope="pair"),
    ]
    rows = columns(
        (0, 0, 80.0), (0, 1, 100.0), (1, 0, 0.9), (2, 0, 1.2), (3, 0, 0.0), (3, 1, 2.0)
    )  # fmt: skip
    run = Run(header(*cases), rows, CHIPS)
    assert value("stability.slowest_device", run).value == pytest.approx(80 / 90)
    assert value("stability.step_steadiness", run).value == pytest.approx(0.75)
    assert value("stability.steady_streams", run).value == pytest.approx(0.5)


def test_steps_are_those_of_the_largest_training_though_others_are_over_each_node():
    step = {"unit": "s", "better": "lower", "scope": "group"}
    schedules = [
        ScheduleSpec(kind="nodes", scope="group", groups=2),
        ScheduleSpec(kind="growing", scope="group", arguments={"devices": 2}, groups=1),
        ScheduleSpec(kind="all", scope="group", groups=1),
    ]
    cases, rows = [], []
    for schedule, (middle, late) in enumerate([(0.9, 1.0), (0.8, 1.0), (0.6, 1.2)]):
        for metric, seconds in (("step_p50", middle), ("step_p99", late)):
            rows.append((len(cases), 0, seconds))
            cases.append(case(len(cases), "train", AXES, metric, schedule=schedule, **step))
    fleet = DeviceGroup(count=2, devices=4, chip="acme-1")
    run = Run(header(*cases, fleet=fleet, schedules=schedules), columns(*rows), CHIPS)
    found = value("stability.step_steadiness", run)
    assert found.value == pytest.approx(0.5)
    assert "over all" in found.detail


def test_nodes_of_a_training_are_counted_among_those_of_its_kind():
    """One node of eight devices, and two of another kind with four each."""
    shape = {"a": ("acme-1", 8), "b": ("acme-2", 4), "c": ("acme-2", 4)}
    nodes = [
        Node(
            id=name,
            name=name,
            backend=chip,
            devices=tuple(
                Device(index=i, backend=chip, name=chip, chip=chip) for i in range(count)
            ),
        )
        for name, (chip, count) in shape.items()
    ]
    on = {"on": "acme-2"}
    schedules = [
        ScheduleSpec(kind="nodes", scope="group", arguments=on, groups=2),
        ScheduleSpec(kind="all", scope="group", arguments=on, groups=1),
    ]
    cases = [
        case(i, "train", AXES, "tokens_per_second", "token/s", scope="group", schedule=i)
        for i in range(2)
    ]
    rows = columns((0, 0, 100.0), (0, 1, 100.0), (1, 0, 180.0))
    run = Run(header(*cases, fleet=None, nodes=nodes, schedules=schedules), rows, CHIPS)
    # 180 token/s of eight devices, where each four by themselves had 100.
    assert value("cluster.eta_inter", run).value == pytest.approx(0.9)


def test_software_maturity():
    axes = {"shape": "64x64x64", "layout": "nn"}
    made = [(dtype, impl) for dtype in ("fp32", "bf16") for impl in ("torch", "triton")]
    cases = [
        case(i, axes={**axes, "dtype": dtype, "impl": impl}) for i, (dtype, impl) in enumerate(made)
    ]
    cases.append(case(4, "precision", {"dtype": "bf16"}, "accuracy", "ratio"))
    cases.append(case(5, "precision", {"dtype": "fp32"}, "accuracy", "ratio"))
    rows = columns(
        (0, 0, 100.0),
        (1, 0, 80.0),
        (2, 0, 100.0),
        (3, 0, None, "skipped"),
        (4, 0, 0.9),
        (5, 0, 0.7),
    )
    run = Run(header(*cases), rows, CHIPS)
    assert value("software.triton_ratio", run).value == pytest.approx(0.8)
    supported = value("software.ops_supported", run)
    assert (supported.value, supported.detail) == (0.5, "2 asked for, without gemm bf16")
    bits = value("software.bits_kept", run)
    assert (bits.value, bits.low, bits.high) == (pytest.approx(0.8), None, None)
    rows.n[4:] = 9
    rows.low, rows.high = rows.value - 0.1, rows.value + 0.2
    bits = value("software.bits_kept", Run(header(*cases), rows, CHIPS))
    assert (bits.low, bits.high) == (pytest.approx(0.7), pytest.approx(1.0))
    # Of one format nothing is known of the error: of their median neither.
    rows.n[5] = 1
    bits = value("software.bits_kept", Run(header(*cases), rows, CHIPS))
    assert (bits.value, bits.low, bits.high) == (pytest.approx(0.8), None, None)
    # Data that is hard on a format says how it fails, not what it keeps.
    hard = {"dtype": "bf16", "distribution": "outliers"}
    cases[4] = case(4, "precision", hard, "accuracy", "ratio")
    bits = value("software.bits_kept", Run(header(*cases), rows, CHIPS))
    assert (bits.value, bits.detail) == (pytest.approx(0.7), "of fp32")
    cases[4] = case(4, "precision", {**hard, "distribution": "normal"}, "accuracy", "ratio")
    assert value("software.bits_kept", Run(header(*cases), rows, CHIPS)).detail == "of bf16, fp32"


@pytest.mark.parametrize("name", [f"{one}.{metric}" for one, metric in DERIVED])
def test_of_an_empty_run_everything_is_absent_with_a_reason(name):
    run = Run(header(case(0), fleet=None, nodes=[]), columns(), CHIPS)
    found = value(name, run)
    if name == "system.nodes":
        assert found.value == 0
        return
    assert found.value is None
    assert found.absent


@pytest.mark.parametrize("name", names("profiles"))
def test_every_profile_scores_several_kinds_of_chip_and_says_what_is_absent(name):
    profile = load_profile(name)
    for run in (
        pooled({"acme-1": 300.0, "acme-2": 100.0, "acme-1+acme-2": 320.0}),
        gemms(("acme-1", 3e14), ("acme-2", 5e13)),
        growing(CHAIN),
    ):
        card = score(Subject([run], CHIPS), profile, chain=True)
        assert 0 <= card.coverage <= 1
        for one in (metric for each in card.categories for metric in each.metrics):
            assert (one.efficiency is None) == bool(one.absent)


@pytest.mark.parametrize(
    ("kind", "arguments", "nodes", "span"),
    [
        ("devices", {}, 2, "node"),
        ("nodes", {}, 2, "node"),
        ("all", {}, 2, "nodes"),
        ("all", {}, 1, "node"),
        ("growing", {"devices": 4}, 2, "node"),
        ("growing", {"devices": 8}, 2, "nodes"),
        ("rails", {}, 2, "nodes"),
        ("pairs", {"of": "node"}, 2, "nodes"),
        ("pairs", {"of": "device"}, 2, ""),
        ("pairs", {"of": "device"}, 1, "node"),
        ("pairs", {"of": "device", "within": "node"}, 2, "node"),
        ("pairs", {"of": "device", "across": "node"}, 2, "nodes"),
        ("pairs", {"of": "device", "within": "rail"}, 2, "nodes"),
        ("pairs", {"of": "device", "across": "rail"}, 2, ""),
    ],
)
def test_a_line_may_ask_for_groups_inside_a_node_or_over_several(kind, arguments, nodes, span):
    made = header(case(0), fleet=DeviceGroup(count=nodes, devices=4, chip="acme-1"))
    spec = ScheduleSpec(kind=kind, scope="group", arguments=arguments)
    assert Spans(made).of(spec) == span
    made.schedules = [spec]
    for wanted in ("node", "nodes"):
        line = ProfileMetric(benchmark="gemm", metric="flops", where={"span": wanted})
        assert len(selected(line, made.cases, made)) == (wanted == span)
