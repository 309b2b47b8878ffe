"""``hengsuan run`` in a process of its own: started, waited for, resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

SUITE = """
name: long
rule: {budget: 100ms, warmup: 10ms, min_samples: 3}
stages:
  - name: first
    benchmarks:
      - fixed: {tag: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]}
  - name: second
    benchmarks:
      - faultygroup: {kind: none, over: node}
"""


def hengsuan(patience=""):
    """The command line, after statements that make it less patient, say."""
    return [sys.executable, "-c", f"{patience}\nfrom bench.cli import main\nmain()"]


def start(folder, *more, executor="local", patience=""):
    """A driver in a process of its own, its rows on their way to ``folder``."""
    suite = folder / "long.yaml"
    suite.write_text(SUITE)
    return subprocess.Popen(
        [
            *hengsuan(patience),
            "run",
            str(suite),
            "--executor",
            executor,
            "--backend",
            "cpu",
            "--out",
            str(folder / "runs"),
            "--json",
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_minding,
    )


def _minding():
    """As from a terminal: who runs the tests behind it, or with ``nohup``, ignores these."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_for_rows(folder, process, count):
    """Until ``count`` lines are in the journal."""
    stop = time.monotonic() + 240
    while time.monotonic() < stop:
        for path in (folder / "runs").glob("*/measurements.jsonl"):
            if path.read_bytes().count(b"\n") >= count:
                return path.parent
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("no rows in time")


def resume(folder, *more, executor="local"):
    """Continue the run in ``folder`` to its end."""
    command = [*hengsuan(), "run", "--executor", executor, "--backend", "cpu"]
    return subprocess.run(
        [*command, "--resume", str(folder), "--json", "-q", *more], capture_output=True, text=True
    )
