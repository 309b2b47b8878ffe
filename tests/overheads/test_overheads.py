"""What the engine costs, in short: `make gate` times this beside an earlier revision.

Both sides run these very tests, so they use what revisions have in common. Figures with their
bounds are in ``tests/perf``; here only the change counts, and a round takes a fraction of a second.
Processor time is counted, of this process and its children: it hardly depends on who else computes.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

import bench
from bench.analysis.gate.series import series
from bench.analysis.summary import summary
from bench.cluster.plan import schedules_of, steps
from bench.cluster.planning import plan
from bench.configs import load_chips, load_suite
from bench.headers import RUN
from bench.inventory import Inventory
from bench.records import Case, DeviceGroup, Header, Row, ScheduleSpec
from bench.results import ROWS, RunReader
from bench.timing import HostTimer, Rule, measure

NODES, CASES = 64, 50


def processor_time() -> float:
    """Seconds that this process and the children which it has waited for have computed."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


pytestmark = pytest.mark.benchmark(timer=processor_time)


def test_planning_a_fleet(benchmark):
    """The suite `standard` for 64 nodes of 8 devices, every group of it walked."""
    chips, suite = load_chips(), load_suite("standard")
    fleet = DeviceGroup(count=NODES, devices=8, chip="sim-a")

    def once():
        inventory = Inventory(fleet=fleet)
        made = plan(suite, inventory, chips)
        schedules = schedules_of(made, inventory)
        return sum(
            batch.ids.size
            for stage in made.stages
            for step in steps(stage, schedules)
            for batch in step.groups
        )

    assert benchmark.pedantic(once, rounds=5, warmup_rounds=1) > NODES


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 25,600 rows."""
    folder = tmp_path_factory.mktemp("run")
    cases = [
        Case(
            id=number,
            stage="device",
            benchmark="gemm",
            axes={"n": number},
            scope="device",
            metric="flops",
            unit="FLOP/s",
            better="higher",
            source="0",
            schedule=0,
        )
        for number in range(CASES)
    ]
    header = Header(
        id="run",
        suite="made",
        started="2026-01-01T00:00:00+00:00",
        executor="simulated",
        provenance="simulated",
        state="complete",
        fleet=DeviceGroup(count=NODES, devices=8, chip="sim-a"),
        cases=cases,
        schedules=[ScheduleSpec(kind="devices", scope="device", groups=NODES * 8)],
    )
    values = np.random.default_rng(0).normal(100, 1, (CASES, NODES * 8))
    rows = [
        Row(case, group, 0, 1.0, value, value, value, 9, "ok", -1, "simulated", "")
        for case in range(CASES)
        for group, value in enumerate(values[case].tolist())
    ]
    (folder / RUN).write_bytes(msgspec.json.encode(header))
    (folder / ROWS).write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return folder


def test_reading_a_run(benchmark, run):
    """25,600 rows as columns."""
    found = benchmark.pedantic(lambda: RunReader(run).columns(), rounds=9, warmup_rounds=1)
    assert len(found) == CASES * NODES * 8


def test_summing_a_run_up(benchmark, run):
    """What `results show` needs of them."""
    reader = RunReader(run)
    assert len(benchmark.pedantic(summary, (reader,), rounds=9, warmup_rounds=1)) == CASES


def test_series_of_a_run(benchmark, run):
    """What the gate needs of them."""
    reader = RunReader(run)
    columns = reader.columns()
    found = benchmark.pedantic(lambda: series(reader.header, columns), rounds=9, warmup_rounds=1)
    assert len(found) == CASES


def test_the_measuring_loop(benchmark):
    """So many calls that do nothing, each timed by itself: what is timed is the loop."""
    rule = Rule(precision=1e-9, budget=60.0, warmup=0.0, min_samples=5_000, max_samples=5_000)

    def once():
        return measure(lambda: None, HostTimer(None), rule, per_sample=True)

    found = benchmark.pedantic(once, rounds=9, warmup_rounds=1)
    assert found.seconds.size == 5_000


def test_saying_help(benchmark, tmp_path):
    """A process that says what it can do, of the package that this one has found."""
    environment = {**os.environ, "PYTHONPATH": str(Path(bench.__file__).parents[1])}

    def once():
        return subprocess.run(
            [sys.executable, "-m", "bench", "--help"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
        )

    assert b"Usage" in benchmark.pedantic(once, rounds=9, warmup_rounds=1).stdout
