"""Is this number normal: predictions, the models behind them, and the fleet's own scatter."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.assumptions import modelled
from bench.analysis.expectation import FEWEST, expectations
from bench.analysis.linkmodels import times
from bench.analysis.subject import Run
from bench.cli import cli
from bench.configs import Chip, Figure, load_model
from bench.kernels import messages
from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape, flops_per_token, optimizer_bytes, parameters
from bench.records import DeviceGroup, ScheduleSpec
from bench.report.language import chinese
from bench.workloads.base import Benchmark, registry

SHEET = {"source": "made up", "date": "2026-11-01", "status": "vendor"}
CHIP = Chip(
    name="acme-1",
    vendor="Acme",
    flops={"fp32": Figure(value=1e14, **SHEET)},
    memory_bandwidth=Figure(value=1e12, **SHEET),
    link=Figure(value=1e11, **SHEET),
)
CHIPS = {"acme-1": CHIP}
OPS = [*sorted(messages.PARTED - {"all_to_all_skewed"}), "all_reduce", "broadcast", "reduce"]


@given(
    st.sampled_from(OPS), st.integers(2, 4096), st.floats(1, 1e12), st.floats(1e-7, 1e-3),
    st.floats(1e8, 1e12),
)  # fmt: skip
def test_no_model_beats_what_must_pass_a_link(op, ranks, size, alpha, beta):
    found = times(op, ranks, size, alpha, beta)
    assert found
    # Of all models the least is a message and what every device's own part needs.
    least = alpha + size / beta * min(1.0, messages.bus_factor(op, ranks)) / 2
    assert min(found.values()) >= least * (1 - 1e-12)
    assert found["direct"] <= found.get("ring", math.inf) or op in ("broadcast", "reduce")


@pytest.mark.parametrize("op", [*OPS, "send_recv"])
def test_a_ring_is_what_the_benchmark_itself_expects(op):
    """The same formula in `Collectives.expected`: in one node, with α known."""
    from bench.workloads.base import Bytes, Facts
    from bench.workloads.collectives import Collectives

    facts = Facts(chip=CHIP, ranks=8, per_node=8, link=1e11, link_latency=2e-6)
    wanted = Collectives(op=op, size=Bytes(1 << 20)).expected(facts)["time"]
    found = times(op, 8, 1 << 20, 2e-6, 1e11)
    model = found["direct"] if op == "send_recv" else found.get("ring")
    if model is None:  # a root's messages to each rank follow one another
        assert wanted > found["direct"]
    else:
        assert model == pytest.approx(wanted)


def test_small_messages_prefer_trees_and_large_ones_rings():
    small, large = (times("all_reduce", 64, size, 1e-6, 1e11) for size in (1e3, 1e9))
    assert small["tree"] < small["ring"]
    assert large["ring"] < large["tree"]
    assert times("barrier", 8, 0, 1e-6, None) == {"tree": 3e-6}
    assert times("barrier", 8, 0, None, None) == times("all_reduce", 1, 9, 1e-6, 1e9) == {}
    assert times("all_reduce", 8, 1e6, 1e-6, None) == {}


def test_every_benchmark_that_predicts_anything_says_what_it_assumes():
    predicting = {
        name for name, cls in registry().items()
        if cls.expected is not Benchmark.expected and cls.__module__.startswith("bench.")
    }  # fmt: skip
    assert predicting - set(modelled()) <= {"command", "resumable", "checkpoint"}


def fleet_run(values, expected=100.0):
    made = header(
        case(0, axes={"shape": "64x64x64", "dtype": "fp32", "layout": "nn"}, expected=expected),
        groups=len(values),
        fleet=DeviceGroup(count=1, devices=len(values), chip="acme-1"),
    )
    return Run(made, columns(*((0, i, value) for i, value in enumerate(values))), CHIPS)


def test_a_measurement_stands_beside_its_prediction_and_its_fleet():
    run = fleet_run([80.0 + i % 3 for i in range(29)] + [40.0])
    (one,) = expectations(run, CHIPS)
    assert (one.measured, one.expected, one.ratio) == (81.0, 100.0, 0.81)
    assert not one.beyond
    assert one.fleet.groups == 30
    assert (one.fleet.worst, one.fleet.best, one.fleet.outside) == (40.0, 82.0, 1)
    assert one.fleet.quantiles[50] == 81.0
    assert "100 TFLOP/s fp32" in one.assumption
    assert "1 TB/s" in one.assumption
    assert one.models[0].name.startswith("measured")
    (few,) = expectations(fleet_run([80.0] * (FEWEST - 1)), CHIPS)
    assert few.fleet.outside is None
    (beyond,) = expectations(fleet_run([106.0]), CHIPS)
    assert beyond.beyond
    (unknown,) = expectations(fleet_run([80.0], expected=None), CHIPS)
    assert unknown.ratio is None
    assert "does not predict it" in unknown.absent


def test_a_healthy_fleet_has_nobody_outside_however_small_it_is():
    draw, told = np.random.default_rng(5), 0
    for _ in range(300):
        (one,) = expectations(fleet_run(draw.normal(80.0, 1.0, FEWEST).tolist()), CHIPS)
        told += one.fleet.outside > 0
    assert told <= 9  # a hundredth, and what chance adds to that


def test_an_unknown_peak_is_said_and_nothing_is_invented():
    bare = {"acme-1": Chip(name="acme-1", vendor="Acme")}
    run = fleet_run([80.0], expected=None)
    (one,) = expectations(run, bare)
    assert "an unknown figure fp32" in one.assumption
    axes = {"op": "all_reduce", "size": "1MiB", "dtype": "fp32"}
    made = header(
        case(0, "collectives", axes, "time", "s", better="lower", scope="group", schedule=1),
        fleet=DeviceGroup(count=1, devices=8, chip="acme-1"),
    )
    made.schedules.append(ScheduleSpec(kind="nodes", scope="group", groups=1))
    (one,) = expectations(Run(made, columns((0, 0, 1e-4)), bare), bare)
    assert "α an unknown figure and β an unknown figure" in one.assumption
    assert one.models == []


def test_links_of_the_run_itself_say_what_ring_and_tree_would_take():
    axes = {"op": "all_reduce", "size": "1MiB", "dtype": "fp32"}
    pair = {"size": "64MiB", "direction": "unidirectional"}
    made = header(
        case(0, "collectives", axes, "time", "s", better="lower", scope="group", schedule=1),
        case(1, "pairs", pair, "latency", "s", better="lower", scope="pair", schedule=2),
        case(2, "pairs", pair, "bandwidth", "B/s", scope="pair", schedule=2),
        fleet=DeviceGroup(count=1, devices=8, chip="acme-1"),
    )
    made.schedules += [
        ScheduleSpec(kind="nodes", scope="group", groups=1),
        ScheduleSpec(kind="pairs", scope="pair", arguments={"of": "device"}, groups=4),
    ]
    run = Run(made, columns((0, 0, 1e-4), (1, 0, 3e-6), (2, 0, 9e10)), CHIPS)
    one = expectations(run, CHIPS)[0]
    found = {model.name: model.seconds for model in one.models}
    assert found == pytest.approx(times("all_reduce", 8, 1 << 20, 3e-6, 9e10))
    assert "α 3 µs and β 90 GB/s of pairs of this run" in one.assumption
    assert [model.seconds for model in one.models] == sorted(found.values())


def test_a_step_has_a_memory_and_a_compute_model():
    layout = {name: getattr(Layout(), name) for name in Layout.__dataclass_fields__}
    axes = {"model": "tiny", "batch": 4, "dtype": "fp32", "ops": "torch", **layout}
    made = header(
        case(0, "train", axes, "step_p50", "s", better="lower", scope="group", schedule=1),
        case(1, "train", axes, "mfu", "ratio", scope="group", schedule=1),
        case(2, "train", axes, "peak_memory", "B", better="lower", scope="group", schedule=1),
        fleet=DeviceGroup(count=1, devices=8, chip="acme-1"),
    )
    made.schedules.append(ScheduleSpec(kind="all", scope="group", groups=1))
    run = Run(made, columns((0, 0, 1e-3), (1, 0, 0.5), (2, 0, 1e7)), CHIPS)
    step, mfu, memory = expectations(run, CHIPS)
    shape = ModelShape.of(load_model("tiny"))
    compute = 4 * shape.seq * flops_per_token(shape) / 1e14
    optimizer = optimizer_bytes(parameters(shape)) / 1e12
    hidden = {model.name: model.value for model in step.models}["gradients hidden"]
    assert hidden == pytest.approx(compute + optimizer)
    share = {model.name: model.value for model in mfu.models}["gradients hidden"]
    assert share == pytest.approx(compute / (compute + optimizer))
    assert "optimizer" in step.assumption
    (counted,) = memory.models
    assert counted.value > 3 * 4 * parameters(shape)  # weights and moments alone
    assert "activations" in memory.assumption


def test_the_verb_prints_and_gives_json(tmp_path):
    runner = CliRunner()
    out = ["--out", str(tmp_path)]
    done = runner.invoke(cli, ["run", "quick", "--cluster", "small", "--quiet", *out])
    assert done.exit_code == 0, done.output
    (run,) = (path.name for path in tmp_path.iterdir())
    shown = runner.invoke(cli, ["expect", run, *out])
    assert shown.exit_code == 0, shown.output
    assert "simulated, sim-a" in shown.output
    assert "roofline: the lower of" in shown.output
    assert "gradients hidden" in shown.output
    told = json.loads(runner.invoke(cli, ["expect", run, "--json", *out]).stdout)
    assert told["provenance"] == "simulated"
    assert {one["metric"] for one in told["expectations"]} > {"flops", "busbw", "mfu"}
    translated = runner.invoke(cli, ["expect", run, "--lang", "zh", *out])
    assert translated.exit_code == 0, translated.output
    assert "依据" in translated.output
    for one in told["expectations"]:
        said = [one["assumption"], one["absent"], *(model["name"] for model in one["models"])]
        left = [text for text in said if re.search(r"[a-z]{4,} [a-z]{3,} [a-z]{2,}", chinese(text))]
        assert left == []
    only = runner.invoke(cli, ["expect", run, "--only", "gemm*flops", *out])
    assert "stream" not in only.output
    wrong = runner.invoke(cli, ["expect", run, "--only", "nothing", *out])
    assert "no case fits 'nothing'" in str(wrong.exception)
    listed = runner.invoke(cli, ["results", "show", run, *out])
    assert "of it" in listed.output
