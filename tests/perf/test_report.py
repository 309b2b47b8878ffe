"""What it costs to write the page of a big fleet's run: the whole command, from its start."""

import subprocess
import sys
import textwrap

PRODUCE = """
    import sys
    from pathlib import Path
    from bench.cluster.engine import execute
    from bench.cluster.simulated import SimulatedExecutor
    from bench.configs import Cluster, load_chips, load_suite
    chips = load_chips()
    cluster = Cluster(name="f", chip="sim-a", nodes=1024, devices=8, seed=2,
        labels={"rack": 32}, typical={"*.error": 1e-3, "launch.time": 6e-6})
    finished = execute(load_suite("standard"), SimulatedExecutor(cluster, chips), Path(sys.argv[1]),
        "standard", chips=chips, command=[], environment={})
    print(finished.folder)
"""
REPORT = """
    import resource, sys, time
    start = time.perf_counter()
    from bench.cli import cli
    cli.main(["report", *sys.argv[1:]], standalone_mode=False)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(time.perf_counter() - start, time.process_time(), most, file=sys.stderr)
"""


def test_report(benchmark, figure, tmp_path):
    """1,024 nodes × 8 devices × 60 metrics and more, simulated: read, judged and drawn."""
    produce = [sys.executable, "-c", textwrap.dedent(PRODUCE), tmp_path]
    made = subprocess.run(produce, stdout=subprocess.PIPE, check=True, text=True)
    folder, page = made.stdout.split()[-1], tmp_path / "page.html"
    found = []

    def once():
        report = [sys.executable, "-c", textwrap.dedent(REPORT), folder, "--output", str(page)]
        done = subprocess.run(report, capture_output=True, check=True, text=True)
        found.append(tuple(map(float, done.stderr.split()[-3:])))

    benchmark.pedantic(once, rounds=3, warmup_rounds=1)
    seconds, cpu, _ = min(found)
    from bench.report.html.nodes import Grid
    from bench.report.html.source import Source
    from bench.results import RunReader

    metrics = len(Grid(Source(RunReader(folder), {})).metrics)
    said = f"HTML of 1,024 nodes × {metrics} metrics"
    # It has one thread: beyond its processor time it waited, for a core or for the disk.
    waited = f"waited {seconds - cpu:.1f} s" if seconds > 1.1 * cpu else ""
    figure(said, seconds, "s", high=10, limits=(min(cpu, seconds), seconds), contended=waited)
    figure(f"{said}, size", page.stat().st_size / 1e6, "MB", high=15)
    figure(f"{said}, memory", max(most for _, _, most in found) / 1e9, "GB", high=1)
    figure(f"{said}, metrics", metrics, "", low=60)
