"""Ends of derived metrics, what they rest on and what they cover: every figure by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header
from test_derived import AXES, CHAIN, CHIPS, gemms, growing, items, pooled, value

from bench.analysis.subject import Readiness, Run
from bench.configs import Facility, load_model
from bench.configs.facility import ItPower, Stated
from bench.kernels.model_costs import ModelShape, flops_per_token
from bench.records import Device, DeviceGroup, Node, ScheduleSpec

EACH = flops_per_token(ModelShape.of(load_model("tiny")))
UP, DOWN = 1.02 / 0.98, 0.98 / 1.02


def known(run: Run, low: float, high: float, samples: int = 9) -> Run:
    """The same with the interval of each row, in shares of its value."""
    made = run.columns
    made.low, made.high, made.n = made.value * low, made.value * high, made.n * 0 + samples
    return Run(run.header, made, CHIPS)


def ends(found):
    return found.value, found.low, found.high


def near(*wanted):
    return pytest.approx(wanted, rel=1e-9)


def interrupted(samples: int) -> Run:
    one = case(0, "resumable", {}, "goodput", "ratio", scope="group")
    fleet = DeviceGroup(count=2, devices=4, chip="acme-1")
    return known(Run(header(one, id="goodput", fleet=fleet), columns((0, 0, 0.8)), CHIPS), 0.9, 1.1,
                 samples)  # fmt: skip


def test_the_chain_errs_as_all_its_factors_do_in_their_worse_way():
    run = growing(CHAIN)
    middle = 0.5 * 0.9 * 0.95 * 0.8
    found = value("cluster.end_to_end", run, interrupted(7))
    assert ends(found) == near(
        middle, middle * 0.98 * DOWN * DOWN * 0.9, middle * 1.02 * UP * UP * 1.1
    )
    assert (found.values, found.run) == (7, "run, goodput")
    assert "taken as exact" not in found.detail
    # What one value is known of counts as exact, and that is said.
    found = value("cluster.end_to_end", run, interrupted(1))
    assert ends(found) == near(middle, middle * 0.98 * DOWN * DOWN, middle * 1.02 * UP * UP)
    assert found.values == 1
    assert found.detail.endswith("of goodput one value is known, taken as exact")
    found = value("cluster.end_to_end", growing(CHAIN, n=1), interrupted(1))
    assert ends(found) == (pytest.approx(middle), None, None)


def test_nodes_of_one_device_have_nothing_inside_them_to_lose():
    run = growing({1: (100.0, 0.5), 4: (300.0, 0.375)}, nodes=4, devices=1)
    assert ends(value("cluster.eta_inter", run)) == near(0.75, 0.75 * DOWN, 0.75 * UP)
    assert "several devices of one node" in value("cluster.eta_intra", run).absent
    # Of the sizes the largest counts: two of the four devices of a node are not all that it has.
    run = growing({1: (100.0, 0.5), 2: (190.0, None), 4: (300.0, None), 8: (450.0, None)})
    assert value("cluster.eta_intra", run).value == pytest.approx(0.75)
    assert value("cluster.eta_inter", run).value == pytest.approx(0.75)


def test_efficiency_of_power_errs_with_what_was_measured():
    declared = Facility(
        name="f",
        pue=Stated(value=1.25, source="meters"),
        it_power=ItPower(value=1000, devices=8, source="meters"),
    )
    found = value("cluster.facility_flops_per_watt", growing(CHAIN), facility=declared)
    usual = 684.0 * EACH / 1250
    assert ends(found) == near(usual, usual * 0.98, usual * 1.02)
    one = case(0, "train", AXES, "energy_per_token", "J/token", better="lower", scope="group")
    run = known(Run(header(one), columns((0, 0, 0.5)), CHIPS), 0.8, 1.6)
    # Less energy is more of it.
    assert ends(value("cluster.device_flops_per_watt", run)) == near(
        EACH / 0.5, EACH / 0.8, EACH / 0.4
    )


def test_scales_and_shares_err_as_all_kinds_do_in_their_worse_way():
    run = known(gemms(("acme-1", 3e14), ("acme-2", 5e13)), 0.9, 1.2)
    found = value("system.measured_flops", run)
    assert ends(found) == near(3.5e14, 0.9 * 3.5e14, 1.2 * 3.5e14)
    assert (found.values, found.coverage) == (9, 1.0)
    declared = Facility(name="f", chips=items(acme_1=(1, "imported"), acme_2=(1, "self-reliant")))
    found = value("system.self_reliant_chips_by_flops", run, facility=declared)
    assert ends(found) == near(5e13 / 3.5e14, 4.5e13 / (4.5e13 + 3.6e14), 6e13 / (6e13 + 2.7e14))
    # One device says nothing of seven, nor of two.
    for count in (2, 7):
        more = items(acme_1=(count, "imported"), acme_2=(1, "self-reliant"))
        several = Facility(name="f", chips=more)
        found = value("system.self_reliant_chips_by_flops", run, facility=several)
        assert ends(found) == (pytest.approx(5e13 / (5e13 + count * 3e14)), None, None)
        found = value("system.measured_flops", run, facility=several)
        assert (found.low, found.coverage) == (None, pytest.approx(2 / (count + 1)))
    ours = Facility(name="f", chips=items(acme_1=(1, "self-reliant"), acme_2=(1, "self-reliant")))
    found = value("system.self_reliant_chips_by_flops", run, facility=ours)
    assert ends(found) == near(1.0, 1.0, 1.0)
    # Of a kind of which nothing is known but a value the sum knows no error.
    run.columns.n[1] = 1
    found = value("system.measured_flops", Run(run.header, run.columns, CHIPS))
    assert ends(found) == (pytest.approx(3.5e14), None, None)


def test_devices_are_those_of_the_run_with_most():
    few, many = gemms(("acme-1", 3e14)), gemms(("acme-1", 3e14), ("acme-1", 3e14))
    for runs in ((few, many), (many, few)):
        assert value("system.devices", *runs).value == 2
        assert value("system.nodes", *runs).value == 2
    assert value("system.peak_flops", few, many).value == pytest.approx(8e14)
    declared = Facility(name="f", chips=[*items(acme_1=(3, "imported")), *items(acme_1=(4, "x"))])
    assert value("system.devices", few, facility=declared).value == 7
    assert value("system.peak_flops", few, facility=declared).value == pytest.approx(28e14)


def test_most_kinds_that_met_count_and_every_end_of_a_pool():
    run = pooled({"acme-1": 300.0, "acme-2": 100.0, "acme-1+acme-2": 320.0})
    bare = pooled({"acme-1": 300.0, "acme-2": 100.0, "acme-1+acme-2": 320.0})
    run.columns.n[:] = 9
    run.columns.low, run.columns.high = run.columns.value - 8, run.columns.value + 4
    run.columns.n[0] = 1  # of one part nothing is known
    found = value("pool.efficiency", Run(run.header, run.columns, CHIPS))
    assert ends(found) == (pytest.approx(0.8), None, None)
    assert value("pool.kinds", bare, pooled({"acme-1": 300.0})).value == 2
    # Another stage is another training.
    bare.header.cases[2] = case(2, "train", AXES, "tokens_per_second", "token/s", scope="group",
                                schedule=2, stage="later")  # fmt: skip
    later = Run(bare.header, bare.columns, CHIPS)
    assert "each by itself" in value("pool.efficiency", later).absent


def test_the_slowest_is_of_the_largest_product_on_most_devices():
    cases = [case(0, expected=1e14), case(1, expected=4e14), case(2, expected=9e14)]
    rows = [(0, 0, 1.0), (0, 1, 4.0), (0, 2, 4.0), (1, 0, 3.0), (1, 1, 4.0), (1, 2, 5.0)]
    fleet = DeviceGroup(count=1, devices=4, chip="acme-1")
    made = header(*cases, groups=4, fleet=fleet)
    found = value("stability.slowest_device", Run(made, columns(*rows, (2, 0, 9.0)), CHIPS))
    assert (found.value, found.coverage) == (pytest.approx(3 / 4), 0.75)
    assert ends(found)[1:] == (None, None)


def test_the_slowest_is_held_by_the_ends_of_the_least_and_of_the_median():
    made = header(case(0), groups=2)
    run = known(Run(made, columns((0, 0, 8.0), (0, 1, 10.0)), CHIPS), 0.9, 1.1)
    found = value("stability.slowest_device", run)
    # The least lies from 8·e^-0.1 up; the median of both between the ends of all, 7.2 and 11.
    assert (found.value, found.values) == (pytest.approx(8 / 9), 2)
    assert found.low == pytest.approx(8 * math.exp(-0.1) / 11, rel=1e-5)
    assert found.high == 1.0


def test_streams_steps_and_repetitions_of_several_cases_add_up():
    kept = {"unit": "count", "scope": "pair", "better": "lower"}
    cases = [case(n, "stability", {"size": n}, "stalls", **kept) for n in range(2)]
    rows = columns((0, 0, 0.0), (0, 1, 1.0), (0, 2, 0.0), (1, 0, 0.0))
    run = Run(header(*cases, groups=4), rows, CHIPS)
    found = value("stability.steady_streams", run)
    assert (found.value, found.values, found.coverage) == (0.75, 4, 0.5)
    of = {"better": "lower"}
    cases = [
        case(0, "corruption", {}, "wrong_repetitions", "count", **of),
        case(1, "corruption", {}, "repetitions", "count"),
        case(2, "collective_corruption", {}, "wrong_repetitions", "count", scope="group", **of),
        case(3, "collective_corruption", {}, "repetitions", "count", scope="group"),
        case(4, "other", {}, "repetitions", "count"),
    ]
    first = Run(
        header(*cases),
        columns(
            (0, 0, 0.0), (1, 0, 40.0), (0, 1, 2.0, "invalid"), (1, 1, 40.0, "invalid"),
            (2, 0, 1.0, "invalid"), (3, 0, 20.0, "invalid"), (4, 0, 500.0),
            (0, 0, 9.0, "contended"), (1, 0, 900.0, "failed"), (0, 1, None, "invalid"),
        ),
        CHIPS,
    )  # fmt: skip
    second = Run(header(*cases[:2], id="2"), columns((0, 0, 0.0), (1, 0, 100.0)), CHIPS)
    third = Run(header(*cases, id="3"), columns((4, 0, 100.0)), CHIPS)
    found = value("reliability.uncorrupted", first, second, third)
    assert (found.value, found.values) == (pytest.approx(197 / 200), 200)
    assert set(found.run.split(", ")) == {"run", "2"}
    assert found.detail == "3 of 200 repetitions were wrong"


def test_answers_are_counted_over_runs_and_a_share_rests_on_the_devices_met():
    good = Run(header(case(0), case(1)), columns(*((c, g, 1.0) for c in (0, 1) for g in (0, 1))),
               CHIPS)  # fmt: skip
    rows = [
        (0, 0, 1.0),
        (0, 1, None, "missing"),
        (0, 1, None, "contended"),
        (0, 0, None, "skipped"),
    ]
    bad = Run(header(case(0), id="2"), columns(*rows), CHIPS)
    found = value("reliability.answered", good, bad)
    assert (found.value, found.values) == (pytest.approx(5 / 6), 4)
    assert found.detail == "1 of 6 values failed, are missing or invalid"
    # Two schedules of one run are two sets of groups.
    spec = ScheduleSpec(kind="devices", scope="device", groups=2)
    both = Run(
        header(case(0), case(1, schedule=1), schedules=[spec, spec]),
        columns((0, 0, 1.0), (0, 1, 1.0), (0, 1, 1.0), (1, 0, 1.0)),
        CHIPS,
    )
    assert value("reliability.answered", both).values == 3


def test_counts_are_of_a_fleet_as_it_is_and_say_who_knows_them():
    run = growing(CHAIN)
    found = value("system.devices", run)
    assert (found.value, found.provenance, found.detail) == (8, "measured", "8 acme-1")
    peak = value("system.peak_flops", run)
    assert (peak.value, peak.provenance) == (pytest.approx(8 * 4e14), "datasheet")
    declared = Facility(name="f", chips=items(acme_1=(3, "imported")))
    assert value("system.devices", run, facility=declared).provenance == "declared"
    assert value("system.peak_flops", run, facility=declared).provenance == "declared"
    unknown = Facility(name="f", chips=items(other=(3, "imported")))
    said = value("system.peak_flops", run, facility=unknown).absent
    assert said == "no datasheet is known of other"


def test_what_only_somebody_can_say_is_declared_or_projected():
    run = growing(CHAIN)
    told = Facility(
        name="f",
        pue=Stated(value=1.25, source="meters"),
        storage=Stated(value=5e15, source="contract"),
    )
    for name, wanted, source in (("pue", 1.25, "meters"), ("storage_capacity", 5e15, "contract")):
        found = value(f"system.{name}", run, facility=told)
        assert (found.value, found.provenance, found.detail) == (wanted, "declared", source)
        what = name.partition("_")[0]
        for facility in (None, Facility(name="f")):
            said = value(f"system.{name}", run, facility=facility).absent
            assert said == f"{what} is not declared in SYSTEM.yaml"
    ready = Readiness(
        model="dense-1t", parameters=1.5e12, fits=True, devices=4096, days=90, mfu=0.4
    )
    found = value("system.trainable_parameters", run, readiness=ready)
    assert found.value == 1.5e12
    assert found.detail == "dense-1t, 1.5 trillion parameters, 4096 devices, mfu 40.0%, 90 days"
    none = Readiness(model="dense-1t", parameters=1e12, fits=False)
    found = value("system.trainable_parameters", run, readiness=none)
    assert found.detail == "dense-1t, 1 trillion parameters, fits at no layout"


def test_devices_that_answered_are_those_of_the_largest_run_and_of_device_cases():
    small = Run(header(case(0), id="small"), columns((0, 0, 1.0), (0, 1, None, "failed")), CHIPS)
    cases = [case(0), case(1, "train", scope="group")]
    rows = [(0, 0, 1.0), (0, 1, 1.0), (0, 2, None, "missing"), (1, 3, 1.0), (1, 0, None, "failed")]
    fleet = DeviceGroup(count=1, devices=5, chip="acme-1")
    large = Run(header(*cases, fleet=fleet), columns(*rows), CHIPS)
    for runs in ((small, large), (large, small)):
        found = value("reliability.availability", *runs)
        assert (found.value, found.coverage, found.run) == (pytest.approx(2 / 3), 0.6, "run")
    # Of two that others hold and four of its own, one of which said nothing, two answered.
    device = Device(index=0, backend="acme", name="acme-1", chip="acme-1")
    own = tuple(replace(device, index=i) for i in range(4))
    node = Node(id="n", name="n", devices=own, busy=("job 7", "job 8"))
    rows = columns((0, 0, 1.0), (0, 1, 1.0), (0, 2, None, "invalid"))
    found = value("reliability.availability", Run(header(case(0), fleet=None, nodes=[node]), rows,
                  CHIPS))  # fmt: skip
    assert (found.value, found.coverage, found.values) == (0.4, pytest.approx(5 / 6), 5)
    assert found.detail == "2 of 5 devices"


def test_the_chain_is_of_the_family_that_knows_most_and_then_of_the_largest():
    whole = growing(CHAIN)
    two = growing({1: (10.0, 0.1), 2: (10.0, 0.1)}, axes={"model": "other"}, id="two")
    wide = growing({2: (190.0, 0.4), 4: (320.0, 0.4), 8: (600.0, 0.4)}, axes={"batch": 9}, id="3")
    for runs in ((whole, two), (two, whole)):
        assert value("cluster.mfu_device", *runs).run == "run"
    for runs in ((two, wide), (wide, two)):  # each knows two: the one on most devices counts
        assert value("cluster.eta_inter", *runs).value == pytest.approx(600 / 8 / (320 / 4))


def test_a_system_is_of_one_node_where_all_its_runs_are():
    small = growing({1: (100.0, 0.5)}, nodes=1, id="small")
    for runs in ((small, growing(CHAIN)), (growing(CHAIN), small)):
        assert value("cluster.eta_inter", *runs).value == pytest.approx(0.95)


def test_what_lacks_for_power_is_named_and_what_has_no_peak_has_no_reference():
    run = growing(CHAIN)
    power = ItPower(value=1000, devices=8, source="meters")
    for facility, lacking in (
        (None, "it_power and pue"),
        (Facility(name="f"), "it_power and pue"),
        (Facility(name="f", it_power=power), "pue"),
        (Facility(name="f", pue=Stated(value=1.2, source="s")), "it_power"),
    ):
        said = value("cluster.facility_flops_per_watt", run, facility=facility).absent
        assert said == f"{lacking} not declared in SYSTEM.yaml"

    def device(axes, nodes=None):
        one = case(0, "train", {**AXES, **axes}, "energy_per_token", "J/token", better="lower")
        made = header(one, nodes=nodes, fleet=None) if nodes else header(one)
        return value("cluster.device_flops_per_watt", Run(made, columns((0, 0, 0.5)), CHIPS))

    found = device({})
    assert (found.reference, found.reference_from) == (
        pytest.approx(4e14 / 500),
        "peak over TDP, datasheet of acme-1",
    )
    found = device({"dtype": "fp8"})
    assert (found.value, found.reference, found.reference_from) == (EACH / 0.5, None, "")
    kinds = tuple(
        Device(index=i, backend="acme", name=chip, chip=chip)
        for i, chip in enumerate(("acme-1", "acme-2"))
    )
    assert device({}, [Node(id="n", name="n", devices=kinds)]).reference is None
    assert "no device says" in device({"model": "gone"}).absent
    known_ = Facility(name="f", it_power=power, pue=Stated(value=1.2, source="s"))
    gone = growing(CHAIN, axes={"model": "gone"})
    said = value("cluster.facility_flops_per_watt", gone, facility=known_).absent
    assert said == "the model gone is not known here"


def test_goodput_says_how_many_failures_struck():
    made = header(
        case(0, "resumable", {"model": "tiny"}, "goodput", "ratio", scope="group"),
        case(1, "resumable", {"model": "tiny"}, "failures", "count", better="lower", scope="group"),
    )
    run = Run(made, columns((0, 0, 0.9), (1, 0, 3.0)), CHIPS)
    assert value("cluster.goodput", run).detail == "tiny, 3 failure(s)"
    run = Run(made, columns((0, 0, 0.9)), CHIPS)
    assert value("cluster.goodput", run).detail == "tiny"
