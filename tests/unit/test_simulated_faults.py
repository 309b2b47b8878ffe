"""What simulated fleets can have wrong: who is hit, which cases show it, how, and when."""

import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from bench.analysis.drift import drift
from bench.cli import cli
from bench.cluster.engine import execute
from bench.cluster.further import Further
from bench.cluster.planning import Part
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import (
    KINDS,
    Cluster,
    Entry,
    Fault,
    Noise,
    StageConfig,
    Suite,
    load_chips,
    load_cluster,
)
from bench.errors import ConfigError, UsageError
from bench.inventory import Inventory
from bench.records import STATUSES
from bench.results import RunReader
from bench.rounds import schedule_for

CHIPS = load_chips()
NODES, DEVICES = 8, 4
QUIET = {"between": 1e-4, "within": 1e-4, "efficiency": 1.0}
GEMM = Entry(benchmark="gemm", axes={"dtype": ["bf16", "fp32"]})
STREAM = Entry(benchmark="stream", axes={"op": "triad"})
PAIRS = Entry(benchmark="pairs", axes={}, place={"of": "node", "schedule": "full"})
INSIDE = Entry(benchmark="collectives", axes={"size": "64MiB"}, place={"over": "node"})


class Again:
    """A campaign of the suite's stage and one further."""

    def __init__(self, *entries, nodes, name="again"):
        self._further = Further(stage=StageConfig(name=name), parts=[Part(list(entries), nodes)])
        self.first = None

    def following(self, folder, stages):
        return [self.first, self._further, None][len(stages)]


class Found:
    """A run's rows by benchmark, metric and stage: values relative to what is expected."""

    def __init__(self, executor, reader):
        self.executor = executor
        self.header, self.columns = reader.header, reader.columns()
        inventory = Inventory(self.header.nodes, self.header.fleet)
        self._schedules = [schedule_for(spec, inventory) for spec in self.header.schedules]

    def rows(self, benchmark, metric, stage="one", **axes):
        """[(ranks, repeat), index of the row] of the cases that fit."""
        for case in self.header.cases:
            if (case.benchmark, case.metric, case.stage) != (benchmark, metric, stage):
                continue
            if any(str(case.axes[key]) != value for key, value in axes.items()):
                continue
            for row in np.flatnonzero(self.columns.case == case.id).tolist():
                ranks = self._schedules[case.schedule].members(int(self.columns.group[row]))
                yield ranks, int(self.columns.repeat[row]), case, row

    def speeds(self, benchmark, metric, stage="one", **axes):
        """Relative value by (ranks, repeat)."""
        found = {}
        for ranks, repeat, case, row in self.rows(benchmark, metric, stage, **axes):
            found[ranks, repeat] = float(self.columns.value[row]) / case.expected
        return found

    def slow(self, benchmark, metric, limit=0.97, **options):
        """The ranks of rows that are slower than the limit, with how fast they are."""
        speeds = self.speeds(benchmark, metric, **options)
        return {key: round(one, 2) for key, one in speeds.items() if one < limit}

    def statuses(self, benchmark, metric):
        """(ranks, repeat) by status."""
        found = {}
        for ranks, repeat, _, row in self.rows(benchmark, metric):
            status = STATUSES[self.columns.status[row]]
            found.setdefault(status, set()).add((ranks, repeat))
        return found

    def conditions(self, row):
        return self.header.conditions[self.columns.conditions[row]]


def measure(tmp_path, *faults, entries=(GEMM,), repeats=1, campaign=None, **options):
    known = {"nodes": NODES, "devices": DEVICES, "seed": 5, **QUIET, **options}
    made = Cluster(name="t", chip="sim-a", faults=list(faults), **known)
    suite = Suite(
        name="s", stages=[StageConfig(name="one", repeats=repeats, entries=list(entries))]
    )
    if campaign is not None:
        (stage,) = suite.stages
        campaign.first = Further(stage=stage, parts=[Part(stage.entries)])
    executor = SimulatedExecutor(made, CHIPS)
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    done = execute(
        suite, executor, folder, "r", chips=CHIPS, command=[], environment={}, campaign=campaign
    )
    return Found(executor, RunReader(done.folder))


# --- noise ---


def spread(found, benchmark, metric):
    """Standard deviations between devices and of repeats, of the logarithm."""
    speeds = found.speeds(benchmark, metric)
    first, second = (
        np.log([one for (_, r), one in sorted(speeds.items()) if r == repeat]) for repeat in (0, 1)
    )
    return np.std(first + second) / 2, np.std(first - second) / 2**0.5


def test_metrics_may_scatter_otherwise_than_the_cluster(tmp_path):
    noise = {"stream": Noise(between=0.05), "gemm.flops": Noise(within=0.02)}
    found = measure(tmp_path, entries=(GEMM, STREAM), repeats=2, nodes=128, noise=noise)
    for benchmark, metric, between, within in (
        ("stream", "bandwidth", 0.05, 1e-4),
        ("gemm", "flops", 1e-4, 0.02),
    ):
        apart, again = spread(found, benchmark, metric)
        assert again == pytest.approx(within, rel=0.15)
        assert apart == pytest.approx(np.hypot(between, within / 2**0.5), rel=0.15)


def test_of_a_range_each_metric_draws_its_own(tmp_path):
    entry = Entry(benchmark="gemm", axes={"shape": [f"{64 * n}x64x64" for n in range(1, 21)]})
    found = measure(tmp_path, entries=(entry,), repeats=2, nodes=32, within=[0.002, 0.03])
    seen = []
    for n in range(1, 21):
        speeds = found.speeds("gemm", "flops", shape=f"{64 * n}x64x64")
        ranks = sorted({ranks for ranks, _ in speeds})
        seen.append(np.std([np.log(speeds[r, 0] / speeds[r, 1]) for r in ranks]) / 2**0.5)
    assert 0.0015 < min(seen) < 0.006
    assert 0.015 < max(seen) < 0.035


def test_tails_are_as_heavy_as_they_are_said_to_be(tmp_path):
    found = measure(tmp_path, entries=(STREAM,), nodes=1000, within=0.01, tails=0.1)
    deviations = np.abs(np.log(list(found.speeds("stream", "bandwidth").values()))) / 0.01
    # Of the tenth that is five times as noisy 42 % are beyond four deviations, of others nobody.
    assert np.mean(deviations > 4) == pytest.approx(0.1 * 0.4237, rel=0.2)


def test_a_stage_drifts_as_a_whole(tmp_path):
    again = Again(STREAM, nodes=[1, 2])
    found = measure(tmp_path, entries=(STREAM,), campaign=again, sessions=0.05)
    first, second = (
        list(found.speeds("stream", "bandwidth", stage).values()) for stage in ("one", "again")
    )
    assert np.std(first) < 0.001
    assert abs(np.median(first) - np.median(second)) > 0.005


def test_a_device_deviates_in_a_re_test_as_before_and_is_measured_anew(tmp_path):
    again = Again(STREAM, nodes=[2, 6])
    noise = {"between": 0.05, "within": 0.001}
    found = measure(tmp_path, entries=(STREAM,), campaign=again, **noise)
    first = found.speeds("stream", "bandwidth")
    second = found.speeds("stream", "bandwidth", "again")
    assert {ranks for ranks, _ in second} == {(r,) for r in (8, 9, 10, 11, 24, 25, 26, 27)}
    ratios = np.array([first[key] / one for key, one in second.items()])
    assert np.all(np.abs(ratios - 1) < 0.01)
    assert np.all(ratios != 1)
    assert len(np.unique(ratios)) == 8


# --- kinds ---


def test_a_slow_chip_is_slow_in_arithmetic_alone(tmp_path):
    found = measure(tmp_path, Fault(kind="slow-chip", node=3, device=2), entries=(GEMM, STREAM))
    assert found.slow("gemm", "flops", dtype="bf16") == {((14,), 0): 0.9}
    assert found.slow("gemm", "flops", dtype="fp32") == {((14,), 0): 0.9}
    assert found.slow("stream", "bandwidth") == {}


def test_slow_memory_shows_in_streams_alone(tmp_path):
    fault = Fault(kind="slow-memory", node=3, device=0, factor=0.8)
    found = measure(tmp_path, fault, entries=(GEMM, STREAM))
    assert found.slow("stream", "bandwidth") == {((12,), 0): 0.8}
    assert found.slow("gemm", "flops") == {}


def test_a_hot_chip_is_slow_under_sustained_load_and_says_why(tmp_path):
    compute = Entry(
        benchmark="compute", axes={"op": "gemm", "mode": ["burst", "sustained"], "impl": "torch"}
    )
    found = measure(tmp_path, Fault(kind="hot-chip", node=1, device=1), entries=(compute,))
    assert found.slow("compute", "flops", mode="sustained") == {((5,), 0): 0.85}
    assert found.slow("compute", "flops", mode="burst") == {}
    seen = {}
    for ranks, _, case, row in found.rows("compute", "flops"):
        seen[ranks[0], case.axes["mode"]] = found.conditions(row)
    hot = seen.pop((5, "sustained"))
    assert hot.throttled == "temperature"
    assert hot.temperature[1] == 95
    assert {one.throttled for one in seen.values()} == {""}
    assert all(50 <= one.temperature[1] <= 80 for one in seen.values())
    assert all(one.power[1] < CHIPS["sim-a"].tdp.value for one in seen.values())
    # The same device is as warm whenever it is well.
    assert all(seen[r, "burst"] == seen[r, "sustained"] for r in range(32) if r != 5)


def test_a_bad_nic_slows_every_link_of_its_node(tmp_path):
    over = Entry(benchmark="collectives", axes={"size": "64MiB"}, place={"over": "all"})
    entries = (PAIRS, INSIDE, over)
    found = measure(tmp_path, Fault(kind="bad-nic", node=5, factor=0.6), entries=entries)
    pairs = found.slow("pairs", "bandwidth")
    assert {ranks for ranks, _ in pairs} == {
        tuple(sorted((20, 4 * node))) for node in range(NODES) if node != 5
    }
    assert set(pairs.values()) == {0.6}
    slow = {len(ranks): speed for (ranks, _), speed in found.slow("collectives", "busbw").items()}
    assert slow == {32: 0.6}, "the collective over all nodes, none inside of one"


@pytest.mark.parametrize("fault", [{"node": 2, "peer": 6}, {"count": 1}])
def test_a_link_is_the_same_in_every_schedule(tmp_path, fault):
    def pairs(size, **place):
        return Entry(benchmark="pairs", axes={"size": size}, place=place)

    entries = (
        pairs("1MiB", of="node", schedule="sample"),
        pairs("2MiB", of="device", schedule="full"),
        pairs("4MiB", of="node", schedule="full"),
    )
    campaign = Again(entries[-1], nodes=list(range(1, NODES)))
    bad = Fault(kind="bad-cable", factor=0.5, **fault)
    found = measure(tmp_path, bad, entries=entries, campaign=campaign, seed=8)
    (one,) = found.executor.injected
    ends = {int(one.nodes[0]), int(one.peers[0])}
    slow = {}
    for size, stage in (("1MiB", "one"), ("2MiB", "one"), ("4MiB", "one"), ("4MiB", "again")):
        between = {
            ranks: found.columns.value[row]
            for ranks, _, _, row in found.rows("pairs", "bandwidth", stage, size=size)
            if ranks[0] // DEVICES != ranks[1] // DEVICES
        }
        usual = max(between.values())
        slow[size, stage] = {
            rank // DEVICES for k, v in between.items() if v < 0.7 * usual for rank in k
        }
    # What is counted is drawn among what the first schedule measures; it is only a sample.
    assert slow.pop(("1MiB", "one")) in ([ends] if "count" in fault else [ends, set()])
    assert all(nodes == ends for nodes in slow.values()), slow


@pytest.mark.parametrize(("peer", "links"), [(3, 1), (None, 7)])
def test_a_flapping_link_is_slow_now_and_then(tmp_path, peer, links):
    fault = Fault(kind="flapping-link", node=1, peer=peer, repeats=0.4)
    found = measure(tmp_path, fault, entries=(PAIRS,), repeats=200)
    slow = found.slow("pairs", "bandwidth")
    pairs = [ranks for ranks, _ in slow]
    assert len(set(pairs)) == links
    assert len(pairs) / (200 * links) == pytest.approx(0.4, abs=0.1)
    assert set(slow.values()) == {0.3}


def test_a_corrupting_chip_fails_now_and_then(tmp_path):
    fault = Fault(kind="corrupting-chip", node=4, device=3, repeats=0.2)
    found = measure(tmp_path, fault, repeats=100)
    statuses = found.statuses("gemm", "flops")
    assert set(statuses) == {"ok", "invalid"}
    assert {ranks for ranks, _ in statuses["invalid"]} == {(19,)}
    # Two cases a repeat.
    rows = [row for *_, row in found.rows("gemm", "flops") if row in found.columns.reasons]
    assert len(rows) / 200 == pytest.approx(0.2, abs=0.1)
    assert found.columns.reasons[rows[0]].startswith("node-00004/3: sanity check failed")
    assert found.conditions(rows[0]).temperature[1] > 40
    assert np.isnan(found.columns.value[rows]).all()


def test_a_corrupting_chip_has_other_bits_than_its_equals(tmp_path):
    fault = Fault(kind="corrupting-chip", node=4, device=3, repeats=0.5)
    entries = (Entry(benchmark="corruption", axes={"op": "gemm"}),)
    found = measure(tmp_path, fault, entries=entries, repeats=20)
    values = {"digest": {}, "wrong_elements": {}}
    for metric, seen in values.items():
        for ranks, _, _, row in found.rows("corruption", metric):
            bad = STATUSES[found.columns.status[row]] == "invalid"
            seen.setdefault((ranks[0] == 19, bad), []).append(found.columns.value[row])
    assert set(values["digest"]) == {(False, False), (True, False), (True, True)}
    (usual,) = set(values["digest"][False, False])
    assert set(values["digest"][True, False]) == {usual}
    wrong = values["digest"][True, True]
    assert usual not in wrong
    assert len(set(wrong)) == len(wrong) > 4
    assert all(one == int(one) for one in [usual, *wrong])
    assert set(values["wrong_elements"][False, False]) == {0.0}
    assert min(values["wrong_elements"][True, True]) >= 1


def test_a_node_dies_after_some_jobs_or_from_a_stage_on(tmp_path):
    found = measure(tmp_path, Fault(kind="dying-node", node=2, after=3), repeats=3)
    # Two jobs a repeat: the fourth job and all later ones are lost.
    lost = {}
    for ranks, repeat, case, row in found.rows("gemm", "flops"):
        if STATUSES[found.columns.status[row]] == "missing":
            lost.setdefault((repeat, case.axes["dtype"]), set()).add(ranks[0] // DEVICES)
            assert found.columns.conditions[row] == -1
    assert lost == {(1, "fp32"): {2}, (2, "bf16"): {2}, (2, "fp32"): {2}}
    again = Again(GEMM, nodes=[2, 3])
    fault = Fault(kind="dying-node", node=2, stage="again")
    found = measure(tmp_path, fault, campaign=again)
    missing = found.columns.status == STATUSES.index("missing")
    stages = {found.header.cases[case].stage for case in found.columns.case[missing]}
    assert stages == {"again"}


def test_a_contended_host_keeps_its_values_and_says_so(tmp_path):
    always = Fault(kind="contended-host", node=0)
    sometimes = Fault(kind="contended-host", node=6, repeats=0.5, factor=0.7)
    bits = Entry(benchmark="corruption", axes={"op": "gemm"})
    found = measure(tmp_path, always, sometimes, entries=(GEMM, bits), repeats=20)
    assert set(found.statuses("corruption", "digest")) == {"ok"}, "bits are not timed"
    by = found.statuses("gemm", "flops")
    assert {r[0] // DEVICES for r, _ in by["contended"]} == {0, 6}
    assert not any(ranks[0] // DEVICES == 0 for ranks, _ in by["ok"])
    assert any(ranks[0] // DEVICES == 6 for ranks, _ in by["ok"])
    rows = np.flatnonzero(found.columns.status == STATUSES.index("contended")).tolist()
    assert not np.isnan(found.columns.value[rows]).any()
    assert "other processes used 20% of its cores' time" in found.columns.reasons[rows[0]]
    slow = found.slow("gemm", "flops", limit=0.75)
    assert {ranks[0] // DEVICES for ranks, _ in slow} == {6}


def test_bins_are_the_same_in_every_compute_metric_and_hit_nobody_else(tmp_path):
    bins = Fault(kind="bin", share=0.25, factor=0.95)
    found = measure(tmp_path, bins, entries=(GEMM, STREAM), repeats=2)
    sets = {
        (dtype, repeat): {
            ranks[0] for ranks, r in found.slow("gemm", "flops", dtype=dtype) if r == repeat
        }
        for dtype in ("bf16", "fp32")
        for repeat in (0, 1)
    }
    (one,) = {frozenset(ranks) for ranks in sets.values()}
    assert len(one) == NODES * DEVICES // 4
    assert len({rank // DEVICES for rank in one}) == 2, "whole nodes"
    assert found.slow("stream", "bandwidth") == {}
    (injected,) = found.executor.injected
    assert not injected.is_defect
    single = measure(tmp_path, msgspec.structs.replace(bins, of="device"))
    slow = {ranks[0] for ranks, _ in single.slow("gemm", "flops", dtype="bf16")}
    assert len(slow) == NODES * DEVICES // 4
    assert len({rank // DEVICES for rank in slow}) > 2, "single devices"


# --- who, which, what ---


def test_counted_devices_draw_their_place_and_their_factor(tmp_path):
    found = measure(tmp_path, Fault(kind="slow-chip", count=6, factor=[0.5, 0.9]))
    bf16, fp32 = (found.slow("gemm", "flops", dtype=dtype) for dtype in ("bf16", "fp32"))
    assert bf16 == fp32, "a device is as slow in every metric"
    (one,) = found.executor.injected
    ranks = one.nodes * DEVICES + one.devices
    assert {ranks[0] for ranks, _ in bf16} == set(ranks.tolist())
    assert len(bf16) == 6
    assert min(bf16.values()) >= 0.5
    assert max(bf16.values()) - min(bf16.values()) > 0.1


def test_each_of_those_that_are_drawn_is_slow_in_one_case(tmp_path):
    entry = Entry(benchmark="gemm", axes={"shape": [f"{64 * n}x64x64" for n in range(1, 11)]})
    fault = Fault(kind="slow", count=5, cases=1, factor=[0.6, 0.9])
    again = Again(entry, nodes=list(range(NODES)))
    found = measure(
        tmp_path,
        fault,
        entries=(entry, STREAM, PAIRS),
        campaign=again,
        typical={"*.error": 1e-3},
    )
    (one,) = found.executor.injected
    assert [len(cases) for cases in one.cases] == [1] * 5
    assert not any("error" in case for (case,) in one.cases), "speed does not show in it"
    for stage in ("one", "again"):
        seen = {}
        for ranks, _, case, row in found.rows("gemm", "flops", stage):
            if found.columns.value[row] < 0.95 * case.expected:
                seen.setdefault(ranks[0] // DEVICES, set()).add(f"{case.label()}/{case.metric}")
        for ranks, _ in found.slow("stream", "bandwidth"):
            seen.setdefault(ranks[0] // DEVICES, set()).add(one.cases[0])
        told = {
            node: set(cases)
            for node, cases in zip(one.nodes.tolist(), one.cases, strict=True)
            if "stream" not in cases[0]
        }
        assert {n: c for n, c in seen.items() if n in told} == told
    assert found.slow("pairs", "bandwidth") == {}, "a pair would not say whose it is"


def test_a_share_of_all_means_all(tmp_path):
    fault = Fault(kind="slow-memory", of="node", share=1, factor=0.93)
    found = measure(tmp_path, fault, entries=(STREAM,))
    assert len(found.slow("stream", "bandwidth")) == NODES * DEVICES


def test_more_that_are_drawn_are_the_same_and_others():
    def drawn(count):
        faults = [Fault(kind="slow", count=count, factor=0.9)]
        made = Cluster(name="t", chip="sim-a", nodes=50, devices=1, faults=faults)
        return set(SimulatedExecutor(made, CHIPS).injected[0].nodes.tolist())

    assert drawn(5) < drawn(10) < drawn(20)
    assert len(drawn(20)) == 20


def test_what_no_datasheet_predicts_may_be_typical(tmp_path):
    launch = Entry(benchmark="launch", axes={"op": "empty", "view": "host"})
    typical = {"launch.time": 6e-6, "*.error": 1e-3}
    fault = Fault(kind="slow", node=2, factor=0.5)
    found = measure(tmp_path, fault, entries=(GEMM, launch), typical=typical)
    times = {r[0]: found.columns.value[row] for r, _, _, row in found.rows("launch", "time")}
    slow = {rank for rank, time in times.items() if time == pytest.approx(12e-6, rel=0.01)}
    assert slow == set(range(8, 12))
    assert all(times[rank] == pytest.approx(6e-6, rel=0.01) for rank in times.keys() - slow)
    errors = [found.columns.value[row] for *_, row in found.rows("gemm", "error")]
    assert errors == pytest.approx([1e-3] * 64, rel=0.01), "an error does not follow the speed"


def test_facts_that_drift_are_found(tmp_path):
    facts = {"drivers": {"a": "5.2", "b": "1"}, "pcie": {"slot": {"width": 16}}, "memory": 1e12}
    found = measure(
        tmp_path,
        Fault(kind="drift", node=[1, 6], facts={"drivers": {"a": "5.1"}}),
        Fault(kind="drift", node=6, facts={"pcie": {"slot": {"width": 8}}}),
        facts=facts,
    )
    seen = {(one.node, one.fact): (one.value, one.majority) for one in drift(found.header)}
    assert seen == {
        ("node-00001", "drivers.a"): ("5.1", "5.2"),
        ("node-00006", "drivers.a"): ("5.1", "5.2"),
        ("node-00006", "pcie.slot.width"): (8, 16),
    }
    shared = Fault(kind="drift", share=1, facts={"memory": 5e11})
    assert drift(measure(tmp_path, shared, facts=facts).header) == []
    most = Fault(kind="drift", share=0.75, facts={"memory": 5e11})
    rest = drift(measure(tmp_path, most, facts=facts).header)
    assert [one.value for one in rest] == [1e12, 1e12], "the fleet is what most of it is"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(kind="slo", node=1, factor=0.9), "did you mean slow"),
        (Fault(kind="slow", node=1), "needs the key 'factor'"),
        (Fault(kind="slow", node=1, factor=-1), "must be positive"),
        (Fault(kind="bad-nic", share=2), "at most 1"),
        (Fault(kind="bad-cable", node=1, peer=9), r"faults\[0\].peer: names 9; must be 0 to 7"),
    ],
)
def test_faults_that_make_no_sense_are_refused(tmp_path, fault, words):
    with pytest.raises(ConfigError, match=words):
        measure(tmp_path, fault)


def test_a_benchmark_that_nobody_declares_is_refused(tmp_path):
    with pytest.raises(UsageError, match="did you mean gemm"):
        measure(tmp_path, Fault(kind="slow", node=1, factor=0.9, benchmark=["gem"]))


def test_every_kind_of_fault_is_in_the_mixed_fleet_or_another():
    names = ("sim-mixed-faults-64", "sim-bins-256", "sim-fleet-512", "fleet-10240")
    faults = [fault for name in names for fault in load_cluster(name).faults]
    assert {fault.kind for fault in faults} == set(KINDS)
    (judged,) = load_cluster("sim-fleet-512").faults
    assert (judged.count, judged.cases) == (51, 1)


def test_commands_tell_what_can_be_declared_and_what_nodes_state(tmp_path):
    shown = json.loads(CliRunner().invoke(cli, ["show", "clusters", "--json"]).stdout)
    by = {one["cluster"]: one for one in shown["clusters"]}
    assert (by["sim-bins-256"]["nodes"], by["sim-bins-256"]["faults"]) == (256, 1)
    assert [one["fault"] for one in shown["faults"]] == list(KINDS)
    plain = CliRunner().invoke(cli, ["show", "clusters"])
    assert plain.exit_code == 0
    assert "throttled: temperature" in " ".join(plain.stdout.split())
    fault = Fault(kind="drift", node=3, facts={"memory": 5})
    measure(tmp_path, fault, facts={"memory": 10})
    words = ["results", "facts", "r", "--out", str(tmp_path / "0")]
    assert "node-00003" in CliRunner().invoke(cli, words).stdout
    for node, memory in (("node-00003", 5), ("node-00004", 10)):
        told = CliRunner().invoke(cli, [*words, "--node", node, "--json"])
        assert json.loads(told.stdout)[0]["facts"] == {"memory": memory}
    wrong = CliRunner().invoke(cli, [*words, "--node", "node-00009"])
    assert "unknown node" in str(wrong.exception)


# --- what each rank says of itself ---

STEP = Entry(benchmark="train", axes={"dtype": "bf16"})


def by_rank(found, metric):
    """Values of the one case, by rank; and what is expected of it."""
    rows = list(found.rows("train", metric))
    values = {ranks[0]: float(found.columns.value[row]) for ranks, _, _, row in rows}
    return np.array([values[rank] for rank in sorted(values)]), rows[0][2].expected


def test_a_slow_chip_computes_long_and_the_others_wait_for_it(tmp_path):
    slow = Fault(kind="slow-chip", node=2, device=1, factor=0.8)
    found = measure(tmp_path, slow, entries=(STEP,))
    (compute, usual), (wait, least) = by_rank(found, "compute"), by_rank(found, "wait")
    assert compute.size == wait.size == NODES * DEVICES
    late = 2 * DEVICES + 1
    others = np.delete(np.arange(compute.size), late)
    assert compute[late] == pytest.approx(usual / 0.8, rel=1e-3)
    assert compute[others] == pytest.approx(usual, rel=1e-3)
    assert wait[late] == pytest.approx(least, rel=1e-3)
    assert wait == pytest.approx(least + compute[late] - compute, rel=1e-3)


def test_a_slow_network_is_no_rank_that_computes_long(tmp_path):
    found = measure(tmp_path, Fault(kind="bad-nic", node=3), entries=(STEP,))
    compute, usual = by_rank(found, "compute")
    assert compute == pytest.approx(usual, rel=1e-3)
    assert found.slow("train", "tokens_per_second")


def test_of_a_step_that_failed_no_rank_has_a_value_and_of_a_busy_host_the_others(tmp_path):
    crash = measure(tmp_path, Fault(kind="crash", node=1), entries=(STEP,))
    (failed,) = crash.statuses("train", "compute").items()
    assert (failed[0], len(failed[1])) == ("failed", NODES * DEVICES)
    busy = measure(tmp_path, Fault(kind="contended-host", node=1), entries=(STEP,))
    assert set(busy.statuses("train", "tokens_per_second")) == {"contended"}
    statuses = busy.statuses("train", "wait")
    mine = {((rank,), 0) for rank in range(DEVICES, 2 * DEVICES)}
    assert statuses.pop("contended") == mine
    assert [len(rest) for rest in statuses.values()] == [(NODES - 1) * DEVICES]


def test_a_run_that_was_cut_off_between_ranks_goes_on_to_the_same_rows(tmp_path):
    from bench.cluster.executor import Done
    from bench.cluster.journal import trim

    cluster = Cluster(name="t", chip="sim-a", nodes=NODES, devices=DEVICES, seed=5)
    suite = Suite(name="s", stages=[StageConfig(name="one", entries=[GEMM, STEP])])
    given = {"chips": CHIPS, "command": [], "environment": {}}
    folder = execute(suite, SimulatedExecutor(cluster, CHIPS), tmp_path, "r", **given).folder
    path = folder / "measurements.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: -NODES * DEVICES]))  # amid the rows of each rank
    header = RunReader(folder).header
    trim(folder, header.cases)
    rows = list(RunReader(folder).rows())
    assert {header.cases[row.case].benchmark for row in rows} == {"gemm"}
    done = Done({(row.case, row.group, row.repeat) for row in rows})
    again = SimulatedExecutor(cluster, CHIPS)
    execute(suite, again, tmp_path, "r", resume=(header, done, 0.0), **given)
    assert sorted(r.case for r in RunReader(folder).rows()) == sorted(
        msgspec.json.decode(line)[0] for line in lines
    )
