"""What it costs to import what a site has kept: the whole command, from its start to its end."""

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import made_logs

NODES = 1000
BYTES = 100_000_000
IMPORT = """
    import os, sys, time
    start = time.perf_counter()
    from bench.cli import cli
    cli.main(["import", *sys.argv[1:]], standalone_mode=False)
    heavy = [name for name in ("torch", "ray", "triton") if name in sys.modules]
    print(time.perf_counter() - start, time.process_time(), len(heavy), file=sys.stderr)
"""


def logs(folder):
    """100 MB of nccl-tests logs: a file a node, each of many sweeps from 8 B to 8 GiB."""
    written = []
    sweeps = 0
    table = made_logs.nccl(["n"], rows=[(1 << p, *made_logs.times(1 << p)) for p in range(3, 34)])
    while sweeps * NODES * len(table) < BYTES:
        sweeps += 1
    for number in range(NODES):
        rows = [(1 << p, *made_logs.times(1 << p, seed=number)) for p in range(3, 34)]
        text = made_logs.nccl([f"gpu-{number:04}"], rows=rows)
        written.append(folder / f"gpu-{number:04}.log")
        written[-1].write_text(text * sweeps)
    return written


def test_import(benchmark, figure, tmp_path):
    """100 MB of nccl-tests logs of 1,000 nodes × 8 devices: read, checked, written as one run.

    The limits are its processor time, the interpreter's start in it, and what a person waits.
    """
    import textwrap

    files = logs(tmp_path)
    size = sum(file.stat().st_size for file in files)
    assert size >= BYTES
    out = tmp_path / "runs"
    found = []

    def once():
        shutil.rmtree(out, ignore_errors=True)
        words = [sys.executable, "-c", textwrap.dedent(IMPORT), "nccl-tests", *files, "--out", out]
        done = subprocess.run(words, capture_output=True, check=True, text=True)
        seconds, cpu, heavy = done.stderr.split()[-3:]
        found.append((float(seconds), float(cpu), int(heavy), done.stdout))

    benchmark.pedantic(once, rounds=3, warmup_rounds=1)
    seconds, cpu, heavy, said = min(found, key=lambda one: one[0])
    assert "1,000 node(s), 8,000 device(s)" in said
    assert "not understood" not in said
    waited = f"waited {seconds - cpu:.1f} s" if seconds > 1.1 * cpu else ""
    what = f"import of {size / 1e6:.0f} MB of nccl-tests logs"
    figure(what, seconds, "s", high=10, limits=(min(cpu, seconds), seconds), contended=waited)
    figure(f"{what}, of torch, Ray and Triton imported", heavy, "", high=0)
