"""The models beside a measurement, from figures of a run that can be worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.assumptions import Assumptions
from bench.analysis.linkmodels import times
from bench.analysis.subject import Run
from bench.configs import Chip, Figure, load_model
from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape, flops_per_token, parameters
from bench.records import Device, DeviceGroup, Node, ScheduleSpec

SHEET = {"source": "made up", "date": "2026-11-01", "status": "vendor"}
FIGURES = {"memory_bandwidth": 1e12, "link": 1e11, "network": 5e10, "host_link": 2e10}
CHIPS = {
    "acme-1": Chip(
        name="acme-1",
        vendor="Acme",
        match=["acme one"],
        flops={"fp32": Figure(value=1e14, **SHEET)},
        **{name: Figure(value=value, **SHEET) for name, value in FIGURES.items()},
    )
}
DEVICES, NODES, ALL, WITHIN, BETWEEN, MIXED, RAILS = range(7)
SCHEDULES = [
    ScheduleSpec(kind="devices", scope="device"),
    ScheduleSpec(kind="nodes", scope="group"),
    ScheduleSpec(kind="all", scope="group"),
    ScheduleSpec(kind="pairs", scope="pair", arguments={"of": "device", "within": "node"}),
    ScheduleSpec(kind="pairs", scope="pair", arguments={"of": "node"}),
    ScheduleSpec(kind="pairs", scope="pair", arguments={"of": "device"}),
    ScheduleSpec(kind="rails", scope="group"),
]
REDUCE = {"op": "all_reduce", "dtype": "fp32"}


def assumed(*measured, chips=CHIPS, **changes):
    """What each of (benchmark, metric, axes, schedule, value, unit) rests on: 2 nodes of 8."""
    cases, rows = [], []
    for number, (benchmark, metric, axes, schedule, value, unit) in enumerate(measured):
        scope = SCHEDULES[schedule].scope
        made = case(
            number,
            benchmark,
            axes,
            metric,
            unit,
            schedule=schedule,
            scope=scope,
            stage=f"of-{schedule}",
        )
        cases.append(made)
        rows.append((number, 0, value))
    fleet = DeviceGroup(count=2, devices=8, chip="acme-1")
    made = header(*cases, **{"schedules": SCHEDULES, "fleet": fleet, **changes})
    models = Assumptions(Run(made, columns(*rows), chips), chips)
    return [models.of(one) for one in cases]


def pair(metric, size, value, schedule, direction="unidirectional"):
    unit = "s" if metric == "latency" else "B/s"
    return "pairs", metric, {"size": size, "direction": direction}, schedule, value, unit


PAIRS = [
    pair("latency", "8", 2e-6, WITHIN),
    pair("latency", "1MiB", 9e-3, WITHIN),
    pair("bandwidth", "1MiB", 3e10, WITHIN),
    pair("bandwidth", "64MiB", 9e10, WITHIN),
    pair("bandwidth", "256MiB", 1.7e11, WITHIN, "bidirectional"),
    pair("latency", "8", 5e-6, BETWEEN),
    pair("bandwidth", "64MiB", 4e10, BETWEEN),
    pair("latency", "1", 7e-6, MIXED),
    pair("bandwidth", "1GiB", 7e10, MIXED),
]


def test_a_pair_takes_the_latency_of_the_smallest_message_and_a_datasheets_bandwidth():
    size = "1000000"
    asked = [
        pair("bandwidth", size, 5e10, WITHIN),
        pair("bandwidth", size, 5e10, WITHIN, "bidirectional"),
        pair("bandwidth", size, 5e10, BETWEEN),
        pair("latency", size, 1e-5, WITHIN),
        pair("bandwidth", size, 5e10, MIXED),
    ]
    near, both, far, time, mixed = assumed(*asked, *PAIRS)[:5]
    # 2 µs and 10^6 B over 10^11 B/s are 12 µs; 5 µs and over half of that 25 µs.
    assert [(m.value, m.seconds) for m in near.models] == [pytest.approx((1e6 / 12e-6, 12e-6))]
    assert [(m.value, m.seconds) for m in both.models] == [pytest.approx((2e6 / 12e-6, 12e-6))]
    assert [(m.value, m.seconds) for m in far.models] == [pytest.approx((1e6 / 25e-6, 25e-6))]
    assert time.models == mixed.models == []
    assert near.text.startswith("α + S/β of the device's link in the node: β 100 GB/s")
    assert far.text.startswith("α + S/β of the node's network: β 50 GB/s")
    assert mixed.text == "pairs inside nodes and between them: no one link predicts all"
    assert assumed(pair("bandwidth", size, 5e10, WITHIN))[0].models == []  # without any α


def collective(schedule, size="1MiB", metric="time", value=1e-4, unit="s", **axes):
    return "collectives", metric, {**REDUCE, "size": size, **axes}, schedule, value, unit


def seconds(told):
    return {model.name: model.seconds for model in told.models}


def test_a_collective_takes_the_pairs_of_where_it_is():
    near, far = assumed(collective(NODES), collective(ALL), *PAIRS)[:2]
    assert seconds(near) == pytest.approx(times("all_reduce", 8, 1 << 20, 2e-6, 9e10))
    assert seconds(far) == pytest.approx(times("all_reduce", 16, 1 << 20, 5e-6, 4e10))
    assert "on 8 ranks inside a node: 14 step(s) × α, then S × 1.75 over" in near.text
    assert "on 16 ranks between nodes: 30 step(s) × α, then S × 1.88 over" in far.text
    assert "α 2 µs and β 90 GB/s of pairs of this run" in near.text


def test_a_bandwidth_is_the_size_over_the_time_and_on_the_bus_what_a_link_carries():
    asked = [collective(NODES, metric=name, value=1e10, unit="B/s") for name in ("algbw", "busbw")]
    algbw, busbw = assumed(*asked, *PAIRS)[:2]
    for one, share in ((algbw, 1.0), (busbw, 1.75)):
        for model in one.models:
            assert model.value == pytest.approx(share * (1 << 20) / model.seconds)
    assert algbw.models[0].value == max(model.value for model in algbw.models)


def test_without_pairs_lines_through_collectives_give_a_step_and_a_link():
    """14 steps of 3 µs inside a node, 30 of 6 µs over both; the other op has steps of 1 and 2. The
    medians are those of two, and of three."""
    lines = [
        collective(schedule, size, value=alpha + int(size) * factor / beta, op=op)
        for op, schedule, alpha, factor, beta in (
            ("all_reduce", NODES, 14 * 3e-6, 1.75, 8e10),
            ("all_gather", NODES, 7 * 1e-6, 0.875, 6e10),
            ("all_reduce", ALL, 30 * 6e-6, 1.875, 3e10),
            ("all_gather", ALL, 15 * 2e-6, 0.9375, 2e10),
            ("all_reduce", RAILS, 2 * 5e-6, 1.0, 1e10),  # of two ranks, and over both all the same
        )
        for size in (str(1 << 12), str(1 << 18), str(1 << 24))
    ]
    asked = (collective(schedule, dtype="bf16") for schedule in (NODES, ALL))
    near, far = (assumed(one, *lines)[0].text for one in asked)
    said = "models take α {} µs and β {} GB/s of lines through this run's collectives"
    assert said.format(2, 70) in near
    assert said.format(5, 20) in far
    (none,) = assumed(collective(NODES))
    assert "β 100 GB/s of datasheet" in none.text
    assert none.models == []
    assert "β 50 GB/s of datasheet" in assumed(collective(ALL))[0].text


def train(metric, unit, **changes):
    plain = {name: getattr(Layout(), name) for name in Layout.__dataclass_fields__}
    axes = {"model": "tiny", "batch": 8, "dtype": "fp32", "ops": "torch", **plain, **changes}
    return "train", metric, axes, ALL, 1.0, unit


def test_a_step_waits_for_its_pipeline_its_optimizer_and_what_is_exchanged():
    """16 ranks: 2 stages of 2 tensor-parallel ranks leave 4 that share out the data.

    Two stages and four microbatches idle a quarter of the time that they compute.
    """
    wide = {"pp": 2, "stages": 2, "microbatches": 4, "tp": 2}
    asked = [train("step_p50", "s", **wide), train("tokens_per_second", "1/s", **wide)]
    asked += [train("mfu", "ratio", **wide), train("step_p50", "s", batch_of="group", **wide)]
    step, rate, mfu, group = assumed(*asked, *PAIRS)[:4]
    shape = ModelShape.of(load_model("tiny"))
    tokens, weights = 8 * 4 * shape.seq, parameters(shape) / 4
    compute = 1.25 * tokens * flops_per_token(shape) / (16 * 1e14)
    hidden = compute + 28 * weights / 1e12
    exposed = hidden + min(times("all_reduce", 4, 4 * weights, 5e-6, 4e10).values())
    names = ["gradients hidden", "gradients exposed"]
    assert [model.name for model in step.models] == names
    assert [model.value for model in step.models] == pytest.approx([hidden, exposed], rel=1e-6)
    wanted = [tokens / hidden, tokens / exposed]
    assert [model.value for model in rate.models] == pytest.approx(wanted, rel=1e-6)
    wanted = [compute / hidden, compute / exposed]
    assert [model.value for model in mfu.models] == pytest.approx(wanted, rel=1e-6)
    assert group.models[0].value == pytest.approx(hidden - 0.75 * compute, rel=1e-6)
    assert ", but 20.0% of the step in the pipeline; a step at least: compute" in step.text
    (alone,) = assumed(train("step_p50", "s", pp=2, stages=2, microbatches=4, tp=8), *PAIRS)[:1]
    assert [model.name for model in alone.models] == names[:1]  # nobody to exchange with
    (two,) = assumed(train("step_p50", "s", dp="fsdp", tp=8), *PAIRS)[:1]
    compute = 8 * 2 * shape.seq * flops_per_token(shape) / (16 * 1e14)
    hidden = compute + 28 * parameters(shape) / (8 * 2) / 1e12  # two share the weights
    assert [model.name for model in two.models] == names
    assert two.models[0].value == pytest.approx(hidden, rel=1e-6)
    (other,) = assumed(train("loss", "1"))
    assert other.models == []
    assert "pipeline" not in other.text


def test_memory_is_of_a_ranks_own_share_of_the_batch():
    asked = [train("peak_memory", "B"), train("peak_memory", "B", batch=128, batch_of="group")]
    one, group = assumed(*asked)
    assert one.models == group.models != []
    (vendor,) = assumed(train("peak_memory", "B", ops="compile"))
    assert vendor.models == []
    assert "not counted" in vendor.text


def gemm(shape, value):
    axes = {"shape": shape, "dtype": "fp32", "layout": "nn", "impl": "torch"}
    return "gemm", "flops", axes, DEVICES, value, "FLOP/s"


def test_a_product_may_be_as_fast_as_the_fastest_of_its_run():
    fast, slow = assumed(gemm("4096x4096x4096", 8e13), gemm("2048x2048x2048", 4e13))
    assert [model.value for model in slow.models] == [pytest.approx(8e13)]
    assert slow.models[0].name.startswith("measured")
    assert [model.value for model in fast.models] == [pytest.approx(8e13)]


def test_the_host_link_is_said_in_both_directions_where_both_are_used():
    one, both = assumed(
        *(("transfer", "bandwidth", {"direction": d}, DEVICES, 1e10, "B/s") for d in ("in", "both"))
    )
    assert one.text == "the host link: 20 GB/s"
    assert both.text == "the host link: 20 GB/s, in both directions at once"


def test_a_datasheet_is_of_the_devices_of_nodes_and_of_none_where_they_differ():
    def node(name, chip):
        devices = tuple(Device(index=i, backend="acme", name="x", chip=chip) for i in range(8))
        return Node(id=name, name=name, devices=devices)

    same = [node("a", "acme-1"), node("b", "acme-1")]
    (told,) = assumed(pair("bandwidth", "1MiB", 1e10, BETWEEN), fleet=None, nodes=same)
    assert "β 50 GB/s" in told.text
    other = [node("a", "acme-1"), node("b", "acme-2")]
    (told,) = assumed(pair("bandwidth", "1MiB", 1e10, BETWEEN), fleet=None, nodes=other)
    assert "β an unknown figure" in told.text


@pytest.mark.parametrize("chips", [{}, {"acme-1": Chip(name="acme-1", vendor="Acme")}])
def test_what_no_datasheet_says_is_unknown_and_nothing_is_invented(chips):
    host = ("transfer", "bandwidth", {"direction": "in"}, DEVICES, 1e10, "B/s")
    asked = [
        pair("bandwidth", "1MiB", 1e10, BETWEEN),
        collective(NODES),
        train("step_p50", "s"),
        gemm("64x64x64", float("nan")),
        host,
    ]
    for one in assumed(*asked, chips=chips):
        assert "an unknown figure" in one.text
        assert one.models == []
    bare = Chip(name="acme-1", vendor="Acme", flops={"fp32": Figure(value=1e14, **SHEET)})
    (step,) = assumed(train("step_p50", "s"), chips={"acme-1": bare})
    assert "optimizer" not in step.text
    assert [model.name for model in step.models] == ["gradients hidden"]


def test_groups_of_several_sizes_have_no_one_model():
    nodes = [
        Node(
            id=name,
            name=name,
            devices=tuple(
                Device(index=i, backend="acme", name="x", chip="acme-1") for i in range(size)
            ),
        )
        for name, size in (("a", 8), ("b", 4))
    ]
    (told,) = assumed(collective(NODES), *PAIRS, fleet=None, nodes=nodes)[:1]
    assert told.text == "groups of several sizes or places: no one model holds for all"
    assert told.models == []
