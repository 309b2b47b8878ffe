"""What it costs to judge a big fleet: reading the run and deciding."""

import json
import subprocess
import sys
import textwrap

PRODUCE = """
    import sys
    from pathlib import Path
    from bench.cluster.engine import execute
    from bench.cluster.simulated import SimulatedExecutor
    from bench.configs import Cluster, Entry, Fault, StageConfig, Suite, load_chips
    axes = {"op": ["copy", "scale", "add", "triad"], "dtype": ["fp32", "bf16", "fp16"],
        "size": ["256MiB", "512MiB", "1GiB", "2GiB", "4GiB"]}
    entry = Entry(benchmark="stream", axes=axes)
    suite = Suite(name="sixty", stages=[StageConfig(name="device", entries=[entry])])
    fault = Fault(kind="slow", node=77, device=3, factor=0.8)
    cluster = Cluster(name="f", chip="sim-a", nodes=10240, devices=8, seed=2, faults=[fault])
    finished = execute(suite, SimulatedExecutor(cluster, load_chips()), Path(sys.argv[1]), "run",
        chips=load_chips(), command=[], environment={})
    print(finished.folder)
"""
JUDGE = """
    import json, resource, sys, time
    start = time.perf_counter()
    from bench.analysis.certify.cells import Rules
    from bench.analysis.certify.examine import examine
    from bench.analysis.certify.verdicts import certification
    from bench.configs import Profile, ProfileMetric
    from bench.results import RunReader
    line = ProfileMetric(benchmark="stream", metric="bandwidth", reference="none")
    profile = Profile(name="sixty", categories={"memory": [line]})
    reader = RunReader(sys.argv[1])
    columns = reader.columns()
    read = time.perf_counter() - start
    found = examine(reader.header, columns, profile, Rules())
    made = certification(found, stages=["device"], profile="sixty")
    print(json.dumps({"seconds": time.perf_counter() - start, "read": read,
        "values": int(found.cells.value.size), "metrics": len(found.table.metrics),
        "found": [one.node for one in made.nodes if one.verdict != "accept"],
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def test_certify(benchmark, figure, tmp_path):
    """10,240 nodes × 8 devices × 60 metrics, simulated: read and judged in one process."""
    produce = [sys.executable, "-c", textwrap.dedent(PRODUCE), tmp_path]
    done = subprocess.run(produce, stdout=subprocess.PIPE, check=True, text=True)
    run = done.stdout.strip().splitlines()[-1]
    found = {}

    def once():
        judge = [sys.executable, "-c", textwrap.dedent(JUDGE), run]
        found.update(json.loads(subprocess.run(judge, stdout=subprocess.PIPE, check=True).stdout))

    benchmark.pedantic(once, rounds=1)
    assert found["metrics"] == 60
    assert "node-00077" in found["found"]
    figure("certify 10,240 × 8 × 60, values", found["values"] / 1e6, "million", low=4.9)
    figure("certify 10,240 × 8 × 60, read", found["read"], "s", high=10)
    figure("certify 10,240 × 8 × 60, read and decided", found["seconds"], "s", high=10)
    figure("certify 10,240 × 8 × 60, memory", found["memory"] / 1e9, "GB", high=2)
