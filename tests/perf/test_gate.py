"""Real gates on the cores here: the same code on both sides, and a loop with 5 % more work."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from made_runs import case, columns, header

from bench.analysis.gate.series import series
from bench.analysis.gate.stored import check
from bench.configs import Gate, GateLine

PLUGIN = Path(__file__).parents[1] / "cluster" / "plugin"
SAME, MORE = (int(os.environ.get(name, usual)) for name, usual in (("SAME", 100), ("MORE", 20)))
"""Gates of each kind; fewer of them give an impression."""
SUITE = """
name: spin
rule: {budget: 60ms, warmup: 10ms, precision: 0.000001}
stages:
  - name: device
    benchmarks: [spin: {}]
"""
GATE = """
name: spin
suite: {suite}
blocks: [10, 20, 40]
metrics: [{{match: "spin*", margin: 3%}}]
"""


def _words(folder, count, work):
    """States of so many gates, the candidate with so much work."""
    (folder / "spin.yaml").write_text(SUITE)
    (folder / "gate.yaml").write_text(GATE.format(suite=folder / "spin.yaml"))
    found = Counter()
    for number in range(count):
        words = ["gate", "pair", "--gate", "gate.yaml", "--candidate", f"var:SPIN_WORK={work}"]
        place = ["--executor", "local", "--json", "-q", "--out", f"gate-{work}-{number}"]
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words, *place],
            env={**os.environ, "PYTHONPATH": str(PLUGIN)},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.stdout, done.stderr
        (one,) = json.loads(done.stdout)["report"]["judged"]
        found[one["state"]] += 1
    return found


def test_gate(figure, tmp_path):
    same = _words(tmp_path, SAME, "1.0")
    figure(f"gates of the same code, REGRESSED of {SAME}", same["REGRESSED"], high=SAME // 100)
    figure(f"gates of the same code, PASS of {SAME}", same["PASS"], low=0.8 * SAME)
    more = _words(tmp_path, MORE, "1.05")
    figure(f"gates of 5 % more work, REGRESSED of {MORE}", more["REGRESSED"], low=0.75 * MORE)
    figure(f"gates of 5 % more work, PASS of {MORE}", more["PASS"], high=0)


def test_gate_stored(figure, benchmark):
    """A thousand metrics of stored runs: three baselines and the run that is judged."""
    draw = np.random.default_rng(1)
    cases = [case(number, axes={"n": number}) for number in range(1000)]
    made = []
    for _ in range(4):
        values = np.exp(draw.normal(0, 0.01, (1000, 8)))
        rows = [(n, group, values[n, group]) for n in range(1000) for group in range(8)]
        made.append((header(*cases, groups=8), columns(*rows)))
    gate = Gate(name="g", metrics=[GateLine(match="*", margin=0.05)])
    spans = []

    def judge():
        start = time.perf_counter()
        *before, after = (series(*one) for one in made)
        assert len(check(gate, before, after)) == 1000
        spans.append(time.perf_counter() - start)

    benchmark.pedantic(judge, rounds=3)
    figure("1,000 metrics of stored runs, judged", float(np.median(spans)), "s", high=3.0)
