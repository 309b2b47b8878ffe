"""What it costs to score a big fleet: the whole command, from its start to its last line."""

import json
import subprocess
import sys
import textwrap

import pytest

PRODUCE = """
    import sys
    from pathlib import Path
    from bench.cluster.engine import execute
    from bench.cluster.simulated import SimulatedExecutor
    from bench.configs import Cluster, load_chips, load_suite
    chips = load_chips()
    cluster = Cluster(name="f", chip="sim-a", nodes=1000, devices=8, seed=2,
        labels={"site": 500}, typical={"*.error": 1e-3, "launch.time": 6e-6})
    for suite in sys.argv[2:]:
        finished = execute(load_suite(suite), SimulatedExecutor(cluster, chips), Path(sys.argv[1]),
            suite, chips=chips, command=[], environment={})
        print(finished.folder)
"""
SCORE = """
    import sys, time
    start = time.perf_counter()
    from bench.cli import cli
    cli.main(["score", *sys.argv[1:], "--json"], standalone_mode=False)
    heavy = [name for name in ("torch", "ray", "triton") if name in sys.modules]
    print(time.perf_counter() - start, time.process_time(), len(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize("suites", [("quick", "scaling", "sites"), ("standard",)], ids=" ".join)
def test_score(benchmark, figure, tmp_path, suites):
    """1,000 nodes × 8 devices, simulated: read, scored and printed in one process.

    The limits are its processor time, the interpreter's start in it, and what a person waits.
    """
    produce = [sys.executable, "-c", textwrap.dedent(PRODUCE), tmp_path, *suites]
    runs = subprocess.run(produce, stdout=subprocess.PIPE, check=True, text=True)
    folders = runs.stdout.split()
    found = []

    def once():
        score = [sys.executable, "-c", textwrap.dedent(SCORE), *folders]
        done = subprocess.run(score, capture_output=True, check=True, text=True)
        seconds, cpu, heavy = done.stderr.split()[-3:]
        found.append((float(seconds), float(cpu), int(heavy), json.loads(done.stdout)))

    benchmark.pedantic(once, rounds=3, warmup_rounds=1)
    best = min(found, key=lambda one: one[0])
    seconds, cpu, heavy, told = best
    (card,) = told["scorecards"]
    assert card["overall"] > 0
    assert heavy == 0
    said = f"score 1,000 × 8, {' + '.join(suites)}"
    # It has one thread: beyond its processor time it waited, for a core or for the disk.
    waited = f"waited {seconds - cpu:.1f} s" if seconds > 1.1 * cpu else ""
    limits = (min(cpu, seconds), seconds)
    figure(said, seconds, "s", high=2, limits=limits, contended=waited)
    figure(f"{said}, of torch, Ray and Triton imported", heavy, "", high=0)
