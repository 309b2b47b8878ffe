"""Helpers of the cluster tests: suites written in place, runs, and their rows by benchmark."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from bench.analysis.scorecard import scorecard
from bench.backends.cpu import Cpu
from bench.cluster.agent import AgentSpec, new_token
from bench.cluster.agents import AgentExecutor
from bench.cluster.engine import execute
from bench.cluster.local import LocalHub
from bench.configs import Entry, StageConfig, Suite, load_profile
from bench.results import RunReader

RULE = {"budget": 0.05, "warmup": 0.01, "min_samples": 3, "limit": 120.0}


def suite(*stages, **rule):
    """A suite of stages, each a list of (benchmark, axes), with a place or a place and a rule."""
    return Suite(
        name="test",
        rule={**RULE, **rule},
        stages=[
            StageConfig(
                name=f"stage{number}",
                entries=[
                    Entry(
                        benchmark=entry[0],
                        axes=entry[1],
                        place=entry[2] if len(entry) > 2 else {},
                        rule=entry[3] if len(entry) > 3 else {},
                    )
                    for entry in entries
                ],
            )
            for number, entries in enumerate(stages)
        ],
    )


def local_executor(**options):
    """An executor on this machine alone."""
    return AgentExecutor(LocalHub(AgentSpec(token=new_token(), backend="cpu", **options)), {})


@contextlib.contextmanager
def busy(devices):
    """A core of each of these devices (places) is used by a process that never rests."""
    known = Cpu().devices()
    spin = "import os, sys\nos.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"
    cores = [str(known[place].facts["cpus"][0]) for place in devices]
    others = [subprocess.Popen([sys.executable, "-c", spin, core]) for core in cores]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run(made, executor, folder, **options):
    """Execute a suite; (finished, rows by (benchmark, metric))."""
    finished = execute(
        made, executor, folder, "run", chips={}, command=["test"], environment={}, **options
    )
    return finished, rows_of(finished.folder)


def rows_of(folder):
    """Rows of a run by label and metric, in the order written."""
    reader = RunReader(folder)
    found = {}
    for row in reader.rows():
        case = reader.header.cases[row.case]
        found.setdefault((case.benchmark, case.metric), []).append(row)
    return found


def findings(folder):
    """(kind, name, text) of what the scorecard says of a run."""
    reader = RunReader(folder)
    card = scorecard(reader.header, reader.columns(), load_profile("default"), {})
    return [(one.kind, one.name, one.text) for one in card.findings]
