"""Simulated fleets: deterministic, marked, with the faults that were injected and no others."""

import sys

import numpy as np
import pytest

from bench.cluster.engine import execute
from bench.cluster.simulated import SimulatedExecutor
from bench.configs import Cluster, Entry, Fault, StageConfig, Suite, load_chips
from bench.errors import ConfigError, Exit
from bench.records import STATUSES
from bench.results import RunReader

SUITE = Suite(
    name="sim",
    stages=[
        StageConfig(
            name="device",
            repeats=2,
            entries=[
                Entry(benchmark="gemm", axes={"dtype": ["bf16", "fp32"]}),
                Entry(benchmark="stream", axes={"op": "triad"}),
            ],
        ),
        StageConfig(
            name="fabric",
            needs=["device"],
            entries=[
                Entry(benchmark="collectives", axes={"size": "64MiB"}, place={"over": "node"}),
                Entry(benchmark="pairs", axes={}, place={"of": "node", "schedule": "full"}),
            ],
        ),
    ],
)


def cluster(*faults, **options):
    return Cluster(name="t", chip="sim-a", nodes=8, devices=4, faults=list(faults), **options)


def run(folder, made, name="run", **options):
    finished = execute(
        SUITE,
        SimulatedExecutor(made, load_chips()),
        folder,
        name,
        chips=load_chips(),
        command=[],
        environment={},
        **options,
    )
    reader = RunReader(finished.folder)
    return finished, reader, reader.columns()


def cases(reader, benchmark, metric):
    return [c.id for c in reader.header.cases if (c.benchmark, c.metric) == (benchmark, metric)]


def test_the_same_file_gives_the_same_run(tmp_path):
    _, _, one = run(tmp_path, cluster(seed=3), "a")
    _, _, two = run(tmp_path, cluster(seed=3), "b")
    _, _, other = run(tmp_path, cluster(seed=4), "c")
    assert np.array_equal(one.value, two.value, equal_nan=True)
    assert not np.array_equal(one.value, other.value, equal_nan=True)


def test_every_record_is_marked_and_near_what_is_expected(tmp_path):
    finished, reader, columns = run(tmp_path, cluster(efficiency=0.8))
    assert finished.exit is Exit.OK
    assert {row.provenance for row in reader.rows()} == {"simulated"}
    for case in cases(reader, "gemm", "flops"):
        values = columns.value[columns.case == case]
        assert values.size == 8 * 4 * 2
        assert np.median(values) == pytest.approx(
            0.8 * reader.header.cases[case].expected, rel=0.02
        )
    (time,) = cases(reader, "collectives", "time")
    slow = columns.value[columns.case == time]
    assert np.median(slow) == pytest.approx(reader.header.cases[time].expected / 0.8, rel=0.05)


def test_noise_has_the_size_that_was_asked_for(tmp_path):
    _, reader, columns = run(tmp_path, cluster(between=0.05, within=0.001))
    case = cases(reader, "gemm", "flops")[0]
    mine = columns.case == case
    first, second = (np.log(columns.value[mine & (columns.repeat == r)]) for r in (0, 1))
    assert np.std(first) == pytest.approx(0.05, rel=0.5)
    assert np.std(first - second) == pytest.approx(0.001 * 2**0.5, rel=0.5)


def test_a_slow_device_is_slow_in_its_benchmark_alone(tmp_path):
    fault = Fault(kind="slow", node=3, device=1, benchmark="gemm", factor=0.5)
    _, reader, columns = run(tmp_path, cluster(fault))
    for case in cases(reader, "gemm", "flops"):
        mine = (columns.case == case) & (columns.repeat == 0)
        values = columns.value[mine][np.argsort(columns.group[mine])]
        assert values.argmin() == 3 * 4 + 1
        assert values.min() == pytest.approx(np.median(values) / 2, rel=0.1)
    (stream,) = cases(reader, "stream", "bandwidth")
    values = columns.value[columns.case == stream]
    assert values.min() > 0.9 * np.median(values)


def test_a_slow_link_slows_one_pair(tmp_path):
    _, reader, columns = run(tmp_path, cluster(Fault(kind="bad-cable", node=2, peer=5, factor=0.5)))
    (case,) = cases(reader, "pairs", "bandwidth")
    mine = columns.case == case
    values = columns.value[mine]
    assert (values < 0.75 * np.median(values)).sum() == 1


def test_pairs_of_devices_have_the_links_that_they_use(tmp_path, monkeypatch):
    place = {"of": "device", "schedule": "full"}
    entry = Entry(benchmark="pairs", axes={"size": "64MiB"}, place=place)
    suite = Suite(name="sim", stages=[StageConfig(name="one", entries=[entry])])
    monkeypatch.setattr(sys.modules[__name__], "SUITE", suite)
    finished, reader, columns = run(tmp_path, cluster(between=1e-6, within=1e-6, efficiency=1.0))
    assert finished.exit is Exit.OK
    (case,) = cases(reader, "pairs", "bandwidth")
    mine = columns.case == case
    assert mine.sum() == 32 * 31 // 2
    chip = load_chips()["sim-a"]
    inside = columns.value[mine] > chip.network.value
    assert inside.sum() == 8 * 4 * 3 // 2
    # Latency takes a little of both.
    assert columns.value[mine][inside] == pytest.approx(chip.link.value, rel=0.05)
    assert columns.value[mine][~inside] == pytest.approx(chip.network.value, rel=0.05)
    assert reader.header.cases[case].expected is None, "no figure holds for all of them"


def test_counted_faults_are_drawn_by_the_seed(tmp_path):
    faults = (
        Fault(kind="slow", count=2, benchmark="pairs", factor=0.5),
        Fault(kind="bad-cable", count=3, benchmark="pairs", factor=0.7),
    )
    quiet = {"between": 0.001, "within": 0.001}

    def slow(seed, name):
        _, reader, columns = run(tmp_path, cluster(*faults, seed=seed, **quiet), name)
        (case,) = cases(reader, "pairs", "bandwidth")
        mine = columns.case == case
        value = columns.value[mine][np.argsort(columns.group[mine])]
        return np.round(value / np.median(value[value > 0.9 * value.max()]), 1)

    one = slow(1, "a")
    assert np.array_equal(one, slow(1, "b"))
    assert not np.array_equal(one, slow(2, "c"))
    # Two of eight nodes are in 13 of 28 pairs; links are drawn between the others.
    assert (one == 0.5).sum() == 13
    assert (one == 0.7).sum() == 3
    assert (one < 0.9).sum() == 16


def test_counted_nodes_are_not_those_that_are_named(tmp_path):
    faults = (Fault(kind="dying-node", node=0), Fault(kind="slow", count=7, factor=0.5))
    executor = SimulatedExecutor(cluster(*faults), load_chips())
    assert executor.injected[1].nodes.tolist() == list(range(1, 8))


def test_wrong_crashing_and_dead_nodes_have_their_statuses(tmp_path):
    finished, reader, columns = run(
        tmp_path,
        cluster(
            Fault(kind="wrong", node=0, device=0, benchmark="gemm"),
            Fault(kind="crash", node=1, device=0, benchmark="stream"),
            Fault(kind="dying-node", node=2, stage="fabric"),
        ),
    )
    assert finished.counts["invalid"] == 2 * 2 * 2
    assert finished.counts["failed"] == 2
    missing = columns.status == STATUSES.index("missing")
    assert missing.any()
    fabric = [c.id for c in reader.header.cases if c.stage == "fabric"]
    assert set(columns.case[missing]) <= set(fabric)
    assert finished.exit is Exit.INFRASTRUCTURE
    assert "node-00002: answers no more" in next(
        iter(columns.reasons[i] for i in np.flatnonzero(missing))
    )


@pytest.mark.parametrize(
    "fault",
    [Fault(kind="slow", node=8, factor=0.9), Fault(kind="slow", node=0, device=4, factor=0.9)],
)
def test_faults_of_what_is_not_there_are_refused(fault):
    with pytest.raises(ConfigError, match="names"):
        SimulatedExecutor(cluster(fault), load_chips())


def test_an_unknown_chip_is_refused():
    with pytest.raises(ConfigError, match="no datasheet"):
        SimulatedExecutor(cluster(), {})
