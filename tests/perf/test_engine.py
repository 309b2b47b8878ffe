"""What the engine costs: another benchmark, a collective call, the loop, a big plan."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from collective_ratio import compare, geometric_mean, median

from bench.workloads.collectives import Op

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "cluster" / "plugin"
HENGSUAN = Path(sys.executable).with_name("hengsuan")


def _environment():
    return {**os.environ, "PYTHONPATH": str(PLUGIN)}


def test_marginal(benchmark, figure, tmp_path):
    """Slope of the wall time from N to N + 10 benchmarks of fixed duration, above that duration."""
    budget, counts, spans = 0.05, (5, 15, 25), {}

    def suite(count):
        path = tmp_path / f"fixed{count}.yaml"
        path.write_text(
            "name: fixed\n"
            "rule: {budget: 50ms, warmup: 10ms, precision: 0.000001}\n"
            "stages:\n  - name: device\n    benchmarks:\n"
            f"      - fixed: {{seconds: 0.001, tag: {list(range(count))}}}\n"
        )
        return path

    def once(count):
        path = suite(count)
        start = time.perf_counter()
        subprocess.run(
            [HENGSUAN, "run", path, "--executor", "local", "--out", tmp_path / "runs", "--quiet"],
            check=True,
            env=_environment(),
            capture_output=True,
        )
        spans.setdefault(count, []).append(time.perf_counter() - start)

    def sweep():
        for count in counts:
            once(count)

    benchmark.pedantic(sweep, rounds=5)
    medians = [float(np.median(spans[count])) for count in counts]
    slope = float(np.polyfit(counts, medians, 1)[0])
    devices = _devices()
    # Each device of a lane measures in turn: a benchmark's own duration is devices × its time.
    own = devices * (budget + 0.01)
    figure("one more benchmark in a suite, per device", (slope - own) / devices, "s", high=0.05)
    figure("one more benchmark in a suite, in all", slope - own, "s", high=0.05)


def _devices():
    from bench.backends.cpu import Cpu

    return len(Cpu().devices())


def test_quick(benchmark, figure, tmp_path):
    """Wall time and memory (sum of proportional set sizes) of the quick suite after install."""
    from bench.host import pss_tree

    peak = 0

    def quick():
        nonlocal peak
        process = subprocess.Popen(
            [HENGSUAN, "run", "quick", "--out", tmp_path / f"{time.time_ns()}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            peak = max(peak, pss_tree(process.pid))
            time.sleep(1.0)
        assert process.returncode == 0

    benchmark.pedantic(quick, rounds=1)
    figure("quick suite, embedded Ray", benchmark.stats.stats.max, "s", high=90)
    figure("quick suite, memory", peak / 1e9, "GB", high=3)


def test_plan(benchmark, figure):
    """Plan `standard` for 10,240 nodes × 8 devices and walk every group of it once."""
    script = """
        import json, resource, time
        start = time.perf_counter()
        from bench.inventory import Inventory
        from bench.cluster.plan import schedules_of, steps
        from bench.cluster.planning import plan
        from bench.configs import load_chips, load_suite
        from bench.records import DeviceGroup
        inventory = Inventory(fleet=DeviceGroup(count=10240, devices=8, chip="sim-a"))
        made = plan(load_suite("standard"), inventory, load_chips())
        schedules = schedules_of(made, inventory)
        walked = jobs = 0
        for stage in made.stages:
            for step in steps(stage, schedules):
                for job in stage.blocks[step.block].jobs:
                    jobs += 1
                    for batch in step.groups:
                        for group, ranks in zip(batch.ids, batch.ranks):
                            walked += 1
        cases = len({(c.benchmark, c.stage, str(c.axes)) for c in made.cases})
        print(json.dumps({"seconds": time.perf_counter() - start, "groups": walked,
            "cases": cases,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
    """
    found = {}

    def once():
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=True
        )
        found.update(json.loads(done.stdout))

    benchmark.pedantic(once, rounds=3)
    assert found["cases"] >= 60
    assert found["groups"] > 10240 * 8 * 40
    figure("plan and walk 10,240 × 8, `standard`", found["seconds"], "s", high=10)
    figure("plan and walk, memory", found["memory"] / 1e9, "GB", high=1)


def test_fleet(benchmark, figure, tmp_path):
    """The same fleet through the simulated executor: produced, written and read back."""
    script = """
        import json, resource, sys, time
        from pathlib import Path
        start = time.perf_counter()
        from bench.cluster.engine import execute
        from bench.cluster.simulated import SimulatedExecutor
        from bench.configs import load_chips, load_cluster, load_suite
        from bench.results import RunReader
        chips = load_chips()
        executor = SimulatedExecutor(load_cluster("fleet-10240"), chips)
        finished = execute(load_suite("standard"), executor, Path(sys.argv[1]), "fleet",
            chips=chips, command=[], environment={})
        columns = RunReader(finished.folder).columns()
        size = (finished.folder / "measurements.jsonl").stat().st_size
        print(json.dumps({"seconds": time.perf_counter() - start, "rows": len(columns),
            "bytes": size / len(columns),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
    """
    found = {}

    def once():
        folder = tmp_path / str(time.time_ns())
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), folder], capture_output=True, check=True
        )
        found.update(json.loads(done.stdout))

    benchmark.pedantic(once, rounds=1)
    figure("simulated fleet, rows", found["rows"] / 1e6, "million", low=4.9)
    figure("simulated fleet, produced, written, read", found["seconds"], "s", high=60)
    figure("simulated fleet, memory", found["memory"] / 1e9, "GB", high=2)
    figure("simulated fleet, bytes a row", found["bytes"], "B", high=100)


def test_loop(benchmark, figure):
    """Added by the measuring loop per call, on the `fake` process group."""
    import torch
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from bench.timing import HostTimer

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        tensor = torch.zeros(256)
        group = dist.group.WORLD

        def step():
            dist.all_reduce(tensor, group=group)

        timer = HostTimer()
        bare, looped = [], []
        for _ in range(200):
            start = time.perf_counter()
            for _ in range(200):
                step()
            bare.append((time.perf_counter() - start) / 200)
            start = time.perf_counter()
            timer.run(step, 1, 200, None)
            looped.append((time.perf_counter() - start) / 200)
        benchmark(lambda: timer.run(step, 1, 10, None))
    finally:
        dist.destroy_process_group()
    added = float(np.median(looped) - np.median(bare))
    figure("measuring loop, added per call", added * 1e6, "µs", high=2)


@pytest.mark.parametrize(
    ("op", "size", "middle"),
    [
        *((op, "1B" if op == "barrier" else "16MiB", median) for op in get_args(Op)),
        ("all_reduce", "1KiB", median),
        ("all_reduce", "1MiB", geometric_mean),
    ],
)
def test_collectives(benchmark, figure, op, size, middle):
    """Each through the harness against a bare call, alternating call by call at random."""
    low, high, found = 0.97, 1.03, []
    benchmark.pedantic(lambda: found.append(compare(op, size, low, high, middle)), rounds=1)
    (one,) = found
    figure(
        f"{op} {size}, harness over bare",
        one.ratio,
        low=low,
        high=high,
        limits=(one.low, one.high),
        contended=one.contended,
    )
