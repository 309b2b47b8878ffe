"""What it costs to list many runs: the whole command, from its start to its last line."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

import pytest

RUNS = 1000
LIST = [sys.executable, "-m", "bench", "results", "list"]


def cost(words, **environment):
    """(seconds, of these on a core, what it printed) of a command in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        words, capture_output=True, check=True, text=True, env={**os.environ, **environment}
    )
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, done.stdout


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A thousand runs of the suite quick on four simulated nodes, an hour apart."""
    folder = tmp_path_factory.mktemp("many")
    made = [sys.executable, "-m", "bench", "run", "quick", "--cluster", "small", "--quiet"]
    said = subprocess.run(
        [*made, "--json", "--out", str(folder / "one")], check=True, capture_output=True, text=True
    )
    run = folder / "one" / json.loads(said.stdout)["run"]
    header = json.loads((run / "run.json").read_text())
    results = folder / "results"
    for number in range(RUNS):
        began = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(hours=number)
        header["id"] = f"{began:%Y%m%d-%H%M%S}-quick"
        header["started"] = began.isoformat()
        path = results / header["id"]
        path.mkdir(parents=True)
        (path / "run.json").write_text(json.dumps(header, indent=1))
        os.link(run / "measurements.jsonl", path / "measurements.jsonl")
    yield results
    shutil.rmtree(folder)


def test_list(benchmark, figure, many):
    """With an index as any list leaves it, and without one.

    The limits are its processor time, the interpreter's start in it, and what a person waits.
    """
    words = [*LIST, "--out", str(many)]
    first = cost(words)
    found = []
    benchmark.pedantic(lambda: found.append(cost(words)), rounds=5, warmup_rounds=1)
    for what, (seconds, cpu, out) in (
        (f"results list over {RUNS:,} runs", min(found)),
        (f"results list over {RUNS:,} runs, without an index", first),
    ):
        assert out.count("-quick") == RUNS
        waited = f"waited {seconds - cpu:.2f} s" if seconds > 1.1 * cpu else ""
        limits = (min(cpu, seconds), seconds)
        figure(what, seconds, "s", high=0.5, limits=limits, contended=waited)
