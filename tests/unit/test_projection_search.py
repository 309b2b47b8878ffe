"""The search of layouts, what limits them, and what a run says of a chip."""

import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, columns, header

from bench.analysis.projection.bottleneck import bottleneck
from bench.analysis.projection.calibration import calibrate, typical
from bench.analysis.projection.fitting import Constant, Fitted
from bench.analysis.projection.machine import Level, Machine, machine_of
from bench.analysis.projection.measured import from_one
from bench.analysis.projection.memory import USABLE
from bench.analysis.projection.plan import Plan
from bench.analysis.projection.project import Wanted, layout_of, project
from bench.analysis.projection.rates import Efficiency, Rates
from bench.analysis.projection.search import plans, search, usual_batch
from bench.analysis.projection.software import STACKS
from bench.analysis.projection.step import step
from bench.analysis.projection.workload import Decoder
from bench.cli import main
from bench.configs import Operation, load_chip, load_cluster, load_model
from bench.errors import UsageError
from bench.kernels import costs
from bench.kernels.model_costs import ModelShape, parameters
from bench.records import Device, DeviceGroup, Node, Row, ScheduleSpec

SOFTWARE = STACKS[2024]
USUAL = Efficiency()


def decoder(name):
    return Decoder(ModelShape.of(load_model(name)))


def machine(name="plan-16384", dtype="bf16"):
    cluster = load_cluster(name)
    return machine_of(
        load_chip(cluster.chip), cluster, dtype, link=USUAL.link, network=USUAL.network
    )


@pytest.mark.parametrize("name", ["dense-1t", "moe-1t"])
def test_the_best_layout_is_the_fastest_that_fits_and_found_at_once(name):
    model, rates = decoder(name), Rates(machine(), USUAL)
    batch = usual_batch(model, 16384)
    start = time.process_time()
    found = search(model, batch, rates, SOFTWARE)
    assert time.process_time() - start < 10
    assert found.best.plan.chips == 16384
    assert found.best.plan.tp <= 8
    assert found.best.memory.total <= rates.machine.memory * USABLE
    assert 0 < found.fitting <= found.looked_at
    assert found.best.step.seconds <= found.runner_up.step.seconds
    assert "slower" in found.why[0]
    found.best.plan.check(model)
    fresh = step(model, found.best.plan, Rates(machine(), USUAL), SOFTWARE)
    assert fresh.seconds == pytest.approx(found.best.step.seconds)


def test_every_layout_goes_with_the_model():
    model = decoder("moe-1t")
    looked = list(plans(model, 4096, 1024, 8))
    assert len(looked) == len(set(looked)) > 100
    for plan in looked:
        plan.check(model)
        assert plan.chips == 1024


def test_a_hundred_thousand_chips():
    levels = (Level("node", 8, 4e11, 1e-5), Level("cluster", 100_000, 4e10, 2e-5))
    large = Machine("m", 1e15, 1.4e11, 4e12, levels)
    model = decoder("dense-1t")
    batch = usual_batch(model, 100_000)
    found = search(model, batch, Rates(large, USUAL), SOFTWARE)
    assert found.best.plan.chips == 100_000


def test_a_model_that_fits_at_no_layout_says_what_is_short():
    with pytest.raises(UsageError, match=r"fits at no layout .* GB are short"):
        search(decoder("dense-1t"), 64, Rates(machine("small"), USUAL), SOFTWARE)
    with pytest.raises(UsageError, match="no layout divides"):
        search(decoder("tiny"), 7, rates(), SOFTWARE)


def test_more_of_what_limits_brings_most():
    model, plan = decoder("llama-70b"), Plan(2048, tp=8, pp=4, virtual=4, dp=512)
    found = bottleneck(model, plan, rates(), SOFTWARE)
    assert [one.gain for one in found] == sorted((one.gain for one in found), reverse=True)
    gains = {one.resource: one.gain for one in found}
    assert 0.04 < gains["FLOPS"] < 0.1
    assert all(gain >= -1e-9 for gain in gains.values())
    slow = replace(machine(), levels=tuple(replace(o, bandwidth=1e9) for o in machine().levels))
    gains = bottleneck(model, plan, Rates(slow, USUAL), SOFTWARE)
    assert gains[0].resource.startswith("bandwidth")


def rates():
    return Rates(machine(), USUAL)


def test_a_layout_in_words():
    plan = layout_of("tp=8, pp=4,virtual=2,micro=2,recompute=full,sharding=none", 512, 1024)
    assert plan == Plan(
        512, tp=8, pp=4, virtual=2, micro=2, dp=32, recompute="full", sharding="none"
    )
    for text, why in (
        ("tp=3", "does not divide 1024"),
        ("tq=3", "unknown part of a layout 'tq'"),
        ("tp=x", "a whole number above 0, of at most 9 digits, not 'x'"),
        (f"tp={'9' * 5000}", "a whole number above 0, of at most 9 digits, not '9999"),
        ("recompute=some", "unknown recompute 'some'"),
    ):
        with pytest.raises(UsageError, match=why):
            layout_of(text, 512, 1024)


def test_a_projection_says_what_it_rests_on_and_doubts():
    cluster = load_cluster("plan-16384")
    chip = load_chip(cluster.chip)
    wanted = Wanted(layout="tp=8,pp=32,virtual=5", batch=2048)
    made = project("dense-1t", decoder("dense-1t"), cluster, chip, typical(), wanted)
    assert not made.fits
    assert set(made.sources.values()) == {"typical"}
    assert 0.05 < made.doubt < 0.4
    measured = replace(typical(), sources=dict.fromkeys(typical().sources, "measured: a run"))
    surer = project("dense-1t", decoder("dense-1t"), cluster, chip, measured, wanted)
    assert surer.doubt < made.doubt
    with pytest.raises(UsageError, match="unknown dtype of a training 'int8'"):
        project("tiny", decoder("tiny"), cluster, chip, typical(), Wanted(dtype="int8"))


def test_what_nobody_measured_or_declared_is_said_with_its_figure_and_source():
    cluster = load_cluster("plan-16384")
    chip = load_chip(cluster.chip)
    model = decoder("dense-1t")
    layout = "tp=8,pp=32,virtual=5"
    made = project("dense-1t", model, cluster, chip, typical(), Wanted(layout=layout))
    assert made.assumed["matrix products"].startswith("70% of the peak inside tiles, ± 15%")
    assert "Dao, FlashAttention-2" in made.assumed["attention"]
    assert made.assumed["the batch"].startswith(f"{made.plan.batch} sequences")
    assert "Hoffmann" in made.assumed["the tokens"]
    assert "operation.recovery" in made.assumed["failures"]
    assert "not declared" not in made.assumed["energy"]
    # Nothing is assumed that was asked for, declared or measured.
    given = Wanted(layout=layout, batch=2048, tokens=1e12)
    measured = replace(
        typical(),
        sources=dict.fromkeys(typical().sources, "measured: a run"),
        latency=(1e-6, 1e-6),
    )
    quiet = msgspec.structs.replace(cluster, operation=Operation())
    sure = project("dense-1t", model, quiet, chip, measured, given)
    assert list(sure.assumed) == ["memory that can be used"]
    # A third party's figure is one that somebody else believes.
    figure = msgspec.structs.replace(chip.memory, status="third-party", source="a forum")
    doubtful = msgspec.structs.replace(chip, memory=figure)
    found = project("dense-1t", model, quiet, doubtful, measured, given)
    assert found.assumed["the memory of sim-a"] == "as a third party says: a forum"
    alone = msgspec.structs.replace(cluster, operation=Operation(pue=1.2))
    found = project("dense-1t", model, alone, chip, measured, given)
    assert "(operation.node_power) are not declared, and left out" in found.assumed["energy"]


SHAPE = (8192, 6144, 4096)


def run(*, provenance="measured", chip="sim-a", group=0, **changes):
    """Products at two shapes, streams, attention, reductions and steps of two nodes of two."""
    of = "x".join(map(str, SHAPE))
    cases = [
        case(0, axes={"shape": of, "dtype": "bf16", "layout": "nt", "impl": "triton"}),
        case(1, axes={"shape": of, "dtype": "bf16", "layout": "nt", "impl": "torch"}),
        case(2, "stream", {"op": "triad", "size": "256MiB", "dtype": "fp32"}, "bandwidth", "B/s"),
        case(3, "train", {"model": "tiny"}, "jitter", "ratio", schedule=1, scope="group"),
    ]
    rows = [(0, 0, 2.0e14), (1, 0, 2.4e14), (2, 0, 1.6e12), (3, 0, 1.1)]
    for index, (schedule, size, seconds) in enumerate(
        (schedule, size, 1e-5 + size / beta)
        for schedule, beta in ((1, 8e10), (2, 4e10))
        for size in (1 << 16, 1 << 20, 1 << 24)
    ):
        axes = {"op": "all_reduce", "size": str(size), "dtype": "fp32"}
        kwargs = {"schedule": schedule, "scope": "group", "stage": f"net{schedule}"}
        cases.append(case(4 + index, "collectives", axes, "time", "s", **kwargs))
        rows.append((4 + index, 0, seconds))
    made = header(
        *cases,
        provenance=provenance,
        fleet=DeviceGroup(count=2, devices=2, chip=chip),
        schedules=[
            ScheduleSpec(kind="devices", scope="device", groups=4),
            ScheduleSpec(kind="nodes", scope="group", groups=2),
            ScheduleSpec(kind="all", scope="group", groups=1),
        ],
        **changes,
    )
    return made, columns(*((*row, "ok", "", provenance) for row in rows))


def declared():
    cluster = load_cluster("plan-16384")
    return machine_of(load_chip("sim-a"), cluster, "bf16", link=1.0, network=1.0)


def test_a_run_gives_efficiencies_and_shapes():
    found = calibrate(*run(), load_chip("sim-a"), declared(), "bf16")
    flops = costs.cost("gemm", SHAPE, "nt", "bf16").flops
    key = ("gemm", SHAPE, "nt", "bf16")
    assert found.measured[key] == pytest.approx(flops / 2.4e14)
    assert found.efficiency.memory == pytest.approx(1.6e12 / 2e12)
    assert found.efficiency.gemm == pytest.approx(2.4e14 / 4e14, rel=0.1)
    assert found.efficiency.link == pytest.approx(8e10 / 2e11)
    assert found.latency[0] == pytest.approx(5e-6)
    # Two of a node carry together what leaves it; four ranks move 1.5 of the array.
    assert found.efficiency.network == pytest.approx(1.5 * 4e10 / (5e10 * 2))
    assert found.efficiency.jitter > 0
    assert found.sources["matrix products"].startswith("measured")
    assert found.sources["attention"] == "typical"


LARGE = {"shape": "4096x4096x4096", "dtype": "bf16", "layout": "nt", "impl": "torch"}
NORM = {"op": "rmsnorm", "shape": "8192x4096", "dtype": "bf16", "variant": "forward"}
CAUSAL = {"op": "attention", "shape": "1x8x8x4096x128", "dtype": "bf16", "variant": "causal"}
BACKWARD = {**CAUSAL, "variant": "causal_backward"}
TRIAD = {"op": "triad", "size": "256MiB", "dtype": "fp32"}


def calibrated(*measured, began=None):
    """From (benchmark, metric, axes, value, further fields), on a chip of 400 TFLOP/s, 2 TB/s."""
    cases, rows = [], []
    for number, (benchmark, metric, axes, value, *more) in enumerate(measured):
        changes = dict(*more)
        status = changes.pop("status", "ok")
        cases.append(case(number, benchmark, axes, metric, "1", **changes))
        rows.append((number, 0, value, status))
    made = header(
        *cases,
        fleet=DeviceGroup(count=2, devices=2, chip="sim-a"),
        schedules=[ScheduleSpec(kind="devices", scope="device", groups=4)],
    )
    return calibrate(made, columns(*rows), load_chip("sim-a"), declared(), "bf16", began)


def test_shares_of_the_peaks_are_geometric_means_of_what_counts():
    found = calibrated(
        ("memory", "bandwidth", NORM, 1.6e12),
        ("memory", "bandwidth", {**NORM, "shape": "8192x8192"}, 0.9e12),
        ("stream", "bandwidth", TRIAD, 1.9e12),
        ("compute", "flops", CAUSAL, 2e14),
        ("compute", "flops", BACKWARD, 1e14),
        ("compute", "flops", {**CAUSAL, "dtype": "fp16"}, 4e13),
        ("compute", "flops", {**CAUSAL, "variant": "full"}, 4e13),
    ).efficiency
    assert found.memory == pytest.approx(math.sqrt(0.8 * 0.45))  # no plain stream beside them
    assert found.attention == pytest.approx((0.5, 0.25))
    assert found.gemm == USUAL.gemm


def test_of_implementations_the_fastest_counts_whichever_comes_first():
    fast, slow = ("gemm", "flops", LARGE, 3e14), ("gemm", "flops", {**LARGE, "impl": "x"}, 1e14)
    key = ("gemm", (4096, 4096, 4096), "nt", "bf16")
    for order in ((fast, slow), (slow, fast)):
        assert calibrated(*order).measured[key] == pytest.approx(2 * 4096**3 / 3e14)


@pytest.mark.parametrize(
    "axes",
    [{"shape": "512x512x512"}, {"dtype": "fp16"}, {"dtype": "unknown"}],
    ids=lambda axes: "-".join(axes.values()),
)
def test_the_share_of_products_is_of_large_ones_in_the_dtype_that_is_asked_for(axes):
    found = calibrated(("gemm", "flops", {**LARGE, **axes}, 1e14))
    assert found.efficiency == USUAL
    assert set(found.sources.values()) == {"typical"}


def test_what_a_group_measured_together_and_half_of_attention_say_nothing():
    found = calibrated(
        ("gemm", "flops", LARGE, 1e14, {"scope": "group"}),
        ("gemm", "time", LARGE, 1e-3),
        ("compute", "flops", CAUSAL, 2e14),
        ("train", "jitter", {}, 9.9, {"status": "contended"}),
        ("train", "efficiency", {}, 0.1),
        ("overlap", "jitter", {}, 9.9),
    )
    assert found.efficiency == USUAL


def test_waiting_and_hiding_are_as_measured():
    """A p95 of 1.645 deviations: 16.45 % are a deviation of a tenth, 0.3723 of it a doubling."""
    found = calibrated(("train", "jitter", {}, 1.1645), ("overlap", "efficiency", {}, 0.9))
    assert found.efficiency.jitter == pytest.approx(0.03723, rel=1e-3)
    assert found.efficiency.overlap == 0.9
    said = {what: text for what, text in found.sources.items() if text != "typical"}
    assert said == {"waiting": "measured: steps of run", "overlap": "measured: overlap of run"}
    steady = calibrated(("train", "jitter", {}, 0.99), ("overlap", "efficiency", {}, 1.2))
    assert (steady.efficiency.jitter, steady.efficiency.overlap) == (0.0, 1.0)
    assert calibrated(("overlap", "efficiency", {}, -0.1)).efficiency.overlap == 0.0


def test_what_published_runs_say_is_of_their_chips_and_a_run_says_more():
    kinds = (("gemm", "acme", 0.6), ("gemm", "sim-a", 0.65), ("memory", "", 0.75))
    fitted = Fitted(tuple(Constant(n, c, v, 0.01, 0.7) for n, c, v in kinds), 12)
    begun = typical(fitted, "sim-a")
    assert (begun.efficiency.gemm, begun.efficiency.memory) == (0.65, 0.75)
    told = {what for what, text in begun.sources.items() if "12 small published" in text}
    assert told == {"matrix products", "memory"}
    assert typical(fitted, "other").sources["matrix products"] == "typical"
    found = calibrated(("stream", "bandwidth", TRIAD, 1.6e12), began=begun)
    assert (found.efficiency.gemm, found.efficiency.memory) == (0.65, 0.8)
    assert found.sources["memory"] == "measured: 1 case(s) of run"
    assert found.sources["matrix products"] == begun.sources["matrix products"]


def reduced(near, times):
    """A run of 16 nodes with reductions over (ranks, operation): seconds of a size."""
    node, grown = near.size, {"kind": "growing", "scope": "group", "groups": 1}
    schedules = {
        node: ScheduleSpec(kind="nodes", scope="group", groups=16),
        4 * node: ScheduleSpec(**grown, arguments={"devices": 4 * node}),
        16 * node: ScheduleSpec(kind="all", scope="group", groups=1),
        16: ScheduleSpec(kind="rails", scope="group", groups=node),
    }
    cases, rows = [], []
    for (ranks, op), seconds in times.items():
        for size in (1 << 12, 1 << 16, 1 << 20, 1 << 24):
            axes = {"op": op, "size": str(size), "dtype": "fp32"}
            kwargs = {"schedule": [*schedules].index(ranks), "scope": "group", "stage": f"n{ranks}"}
            rows.append((len(cases), 0, seconds(size)))
            cases.append(case(len(cases), "collectives", axes, "time", "s", **kwargs))
    fleet = DeviceGroup(count=16, devices=node, chip="sim-a")
    return header(*cases, fleet=fleet, schedules=[*schedules.values()]), columns(*rows)


@pytest.mark.parametrize("order", [1, -1])
def test_reductions_of_a_modelled_machine_give_its_links_again(order):
    """What a machine's own model says that they take, calibrates to that machine."""
    near, *beyond = declared().levels
    near = replace(near, bandwidth=1e12)  # the network is what is tight
    said = replace(declared(), levels=(near, *beyond))
    inside = replace(near, bandwidth=0.8 * near.bandwidth, latency=4e-6)
    outside = (replace(one, bandwidth=0.9 * one.bandwidth, latency=9e-6) for one in beyond)
    true = replace(said, levels=(inside, *outside))
    times = {
        (nodes * near.size, "all_reduce"): lambda size, ranks=nodes * near.size, slower=slower: (
            slower * true.seconds("all_reduce", size, ranks)
        )
        for nodes, slower in ((1, 1), (4, 3), (16, 1))[::order]  # the widest one counts
    }
    times[16 * near.size, "all_gather"] = lambda size: 1e-3 + size / 1e6
    found = calibrate(*reduced(near, times), load_chip("sim-a"), said, "bf16")
    assert found.efficiency.link == pytest.approx(0.8)
    assert found.efficiency.network == pytest.approx(0.9)
    assert found.latency == pytest.approx((4e-6, 9e-6))
    del times[16 * near.size, "all_reduce"], times[4 * near.size, "all_reduce"]
    # Rails have more ranks than a node, and neither lie in one nor take all its devices.
    times[16, "all_reduce"] = lambda size: 1e-3 + size / 1e6
    found = calibrate(*reduced(near, times), load_chip("sim-a"), said, "bf16")
    assert found.latency == (pytest.approx(4e-6), None)
    assert found.efficiency.network == USUAL.network


@pytest.mark.parametrize("measured", [True, False])
def test_links_that_are_tighter_than_the_network_say_the_least_that_it_carries(measured):
    """Of eight devices at 1e11 B/s each, whose node has eight times 5e10 beyond it."""
    near, *beyond = declared().levels
    near = replace(near, bandwidth=1e11)
    said = replace(declared(), levels=(near, *beyond))
    true = replace(said, levels=(replace(near, bandwidth=0.9e11), *beyond))
    times = {
        (nodes * near.size, "all_reduce"): lambda size, ranks=nodes * near.size: true.seconds(
            "all_reduce", size, ranks
        )
        for nodes in (1, 16)
    }
    if not measured:
        del times[near.size, "all_reduce"]
    found = calibrate(*reduced(near, times), load_chip("sim-a"), said, "bf16")
    assert found.efficiency.link == (pytest.approx(0.9) if measured else USUAL.link)
    assert found.efficiency.network == USUAL.network > 0.9e11 / (5e10 * near.size)


def test_a_device_is_the_chip_that_it_is_judged_as():
    device = Device(index=0, backend="acme", name="Sim A 64G", chip="sim-a")
    nodes = [Node(id="n", name="n", devices=(device,))]
    made = header(case(0, "gemm", LARGE), fleet=None, nodes=nodes)
    found = calibrate(made, columns((0, 0, 3e14)), load_chip("sim-a"), declared(), "bf16")
    assert found.sources["matrix products"].startswith("measured")


def test_nothing_that_was_measured_is_faster_than_the_peak():
    """A value above the peak is a finding of its run: what rests on it would be one too."""
    head, cols = run()
    cols.value[: len(cols)] = np.where(cols.value > 1e13, 1e18, cols.value)
    found = calibrate(head, cols, load_chip("sim-a"), declared(), "bf16")
    assert found.efficiency.gemm == 1.0
    rates = Rates(declared(), found.efficiency, "bf16", measured=found.measured)
    flops = 2 * math.prod(SHAPE)
    assert rates.gemm(*SHAPE) == pytest.approx(flops / declared().flops)
    heads = (1, 8, 8, 4096, 128)
    quick = {("attention", heads, "causal", "bf16"): 1e-12}
    rates = Rates(declared(), found.efficiency, "bf16", measured=quick)
    assert rates.attention(4e12, shape=heads) == pytest.approx(4e12 / declared().flops)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"provenance": "simulated"}, "was simulated"),
        ({"provenance": "stand-in"}, "ran on a stand-in"),
        ({"chip": "h100-sxm"}, "measured h100-sxm, the cluster has sim-a"),
    ],
)
def test_runs_that_say_nothing_of_the_chip_are_refused(changes, why):
    with pytest.raises(UsageError, match=why):
        calibrate(*run(**changes), load_chip("sim-a"), declared(), "bf16")


def steps(*, provenance="stand-in", beta=1e9, name="core", **axes):
    """One rank's step, and reductions over two."""
    said = {"model": "tiny", "dp": "ddp", **axes}
    cases = [
        case(0, "train", said, "step_p50", "s", schedule=1, scope="group"),
        case(1, "train", said, "jitter", "ratio", schedule=1, scope="group"),
        case(2, "train", said, "optimizer", "s", schedule=1, scope="group"),
    ]
    rows = [(0, 0, 0.020), (1, 0, 1.0), (2, 0, 0.007)]
    for index, size in enumerate((1 << 16, 1 << 20, 1 << 24)):
        axes = {"op": "all_reduce", "size": str(size), "dtype": "fp32"}
        cases.append(case(3 + index, "collectives", axes, "time", "s", schedule=2, scope="group"))
        rows.append((3 + index, 0, 1e-4 + size / beta))
    device = Device(index=0, backend="cpu", name=name, weak=True)
    node = Node(id="n", name="n", devices=(device, replace_index(device, 1)))
    made = header(
        *cases,
        provenance=provenance,
        fleet=None,
        nodes=[node],
        schedules=[
            ScheduleSpec(kind="devices", scope="device", groups=2),
            ScheduleSpec(kind="growing", scope="group", arguments={"devices": 1}, groups=1),
            ScheduleSpec(kind="all", scope="group", groups=1),
        ],
    )
    return made, columns(*((*row, "ok", "", provenance) for row in rows))


def replace_index(device, index):
    return Device(index=index, backend=device.backend, name=device.name, weak=True)


def test_a_step_of_two_ranks_from_that_of_one():
    (found,) = from_one([steps()], 2)
    size = 4 * parameters(ModelShape.of(load_model("tiny")))
    calls = 1 if size <= 1 << 20 else 2
    assert found.alone == pytest.approx(0.020)
    assert found.exchange == pytest.approx(calls * 1e-4 + size / 1e9, rel=1e-3)
    assert found.late == 0
    # AdamW reads and writes seven vectors of the weights' size in 7 ms; two copies are four.
    assert found.copies == pytest.approx(0.004)
    assert found.seconds == pytest.approx(found.alone + found.exchange + found.copies)


def test_what_a_step_of_several_ranks_cannot_be_made_of():
    for pairs, ranks, why in (
        ([steps()], 4, "no line of all_reduce over 4 ranks"),
        ([steps(provenance="simulated")], 2, "simulated"),
        ([steps(), steps(provenance="measured")], 2, "they never mix"),
        ([steps(tp=2)], 2, "no run has a step"),
        ([steps(), steps(name="other core")], 2, "runs are of core and other core"),
    ):
        with pytest.raises(UsageError, match=why):
            from_one(pairs, ranks)


def stored(folder, made):
    """A run folder of a header and columns."""
    head, cols = made
    folder.mkdir()
    (folder / "run.json").write_bytes(msgspec.json.encode(head))
    rows = [
        Row(int(c), int(g), 0, 0.0, float(v), float(v), float(v), 1, "ok", -1, head.provenance, "")
        for c, g, v in zip(cols.case, cols.group, cols.value, strict=True)
    ]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    (folder / "measurements.jsonl").write_bytes(lines)
    return str(folder)


def asked(capsys, monkeypatch, *words):
    """Exit code, and what `hengsuan project` prints."""
    monkeypatch.setattr(sys, "argv", ["hengsuan", "project", *words])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code or 0, capsys.readouterr().out


def test_the_verb_calibrates_with_a_run(tmp_path, capsys, monkeypatch):
    words = ("llama-8b", "--cluster", "plan-16384", "--layout", "tp=8,micro=1")
    folder = stored(tmp_path / "own", run())
    code, before = asked(capsys, monkeypatch, *words)
    assert code == 0
    assert "measured" not in before
    code, after = asked(capsys, monkeypatch, *words, "--calibrate", folder)
    assert code == 0
    assert "matrix products: measured: 1 case(s) of run" in after
    assert "worth measuring, for --calibrate: gemm bf16" in after


def test_the_verb_projects_from_one_rank(tmp_path, capsys, monkeypatch):
    folder = stored(tmp_path / "own", steps())
    code, said = asked(capsys, monkeypatch, "tiny", "--ranks", "2", "--calibrate", folder)
    assert code == 0
    assert "from measured steps and collectives (stand-in)" in said
    code, said = asked(capsys, monkeypatch, "tiny", "--ranks", "2", "--calibrate", folder, "--json")
    assert msgspec.json.decode(said)["steps"][0]["ranks"] == 2
