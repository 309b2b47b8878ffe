"""What losing a rank costs a run, and what a thousand agents cost the driver."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[1] / "cluster"
SENDERS = Path(__file__).with_name("page_senders.py")

LIMIT = 10.0
"""Seconds of wall time that a job may take."""


@contextlib.contextmanager
def plugin(monkeypatch):
    """The faulty benchmarks, found by this process and by the ranks that it starts."""
    from bench.workloads import base

    monkeypatch.setenv("PYTHONPATH", str(CLUSTER / "plugin"))
    monkeypatch.syspath_prepend(str(CLUSTER / "plugin"))
    monkeypatch.syspath_prepend(str(CLUSTER))
    base._load_plugins.cache_clear()
    yield
    base._load_plugins.cache_clear()


@pytest.mark.parametrize(("name", "number"), [("killed", signal.SIGKILL), ("stopped", 19)])
def test_lost_rank(benchmark, figure, tmp_path, monkeypatch, name, number):
    """From the signal to the third call of the next job, on two nodes; the worst of three.

    New ranks import torch meanwhile, which takes the longer, the busier the machine is.
    """
    spans = []

    def once():
        from runs import run, suite
        from several import Several

        from bench.cluster.agents import AgentExecutor

        folder = tmp_path / str(len(spans))
        folder.mkdir()
        first, second = folder / "first", folder / "second"

        def strike():
            pid = int(appears(folder / "first.0"))
            time.sleep(0.2)  # by now it waits inside the collective, for a rank that sleeps
            began = time.monotonic()
            os.kill(pid, number)
            appears(folder / "second.0")
            spans.append(time.monotonic() - began)

        thread = threading.Thread(target=strike)
        thread.start()
        jobs = [("inside", {"file": str(first), "late": 1}, {"over": "all"})]
        jobs.append(("inside", {"file": str(second)}, {"over": "all"}))
        _, rows = run(suite(jobs, limit=LIMIT), AgentExecutor(Several(2), {}), folder)
        thread.join()
        lost, after = rows["inside", "time"]
        assert lost.status == "failed"
        assert "rank 0 (n0/0)" in lost.reason
        assert after.value

    with plugin(monkeypatch):
        benchmark.pedantic(once, rounds=3)
    figure(f"rank {name} in a collective, plan goes on after", max(spans), "s", high=LIMIT + 5)


def appears(path):
    """The text of a file, once it is there."""
    stop = time.monotonic() + 120
    while time.monotonic() < stop:
        with contextlib.suppress(FileNotFoundError):
            if text := path.read_text():
                return text
        time.sleep(0.005)
    raise AssertionError(f"no {path}")


def test_collect(benchmark, figure, tmp_path):
    """A stage's pages, 200 kB a node, from 1,000 agents to one driver; the better of two."""
    found = []

    def once():
        words = [sys.executable, str(SENDERS)]
        with contextlib.ExitStack() as stack:
            serving = []
            for _ in range(4):
                one = subprocess.Popen([*words, "serve", "200000", "250"], stdout=subprocess.PIPE)
                stack.callback(one.wait)
                stack.callback(one.kill)
                serving.append(one)
            addresses = [one.stdout.readline().decode().strip() for one in serving]
            folder = tmp_path / str(len(found))
            collect = [*words, "collect", str(folder), "1000", *addresses]
            done = subprocess.run(collect, stdout=subprocess.PIPE, check=True)
        found.append(json.loads(done.stdout))

    benchmark.pedantic(once, rounds=2)
    for one in found:
        assert one["lost"] == 0
        assert set(one["rows"]) == {"ok"}
        assert one["starts"] == 1
    best = min(found, key=lambda one: one["seconds"])
    largest, memory = (max(one[what] for one in found) for what in ("largest", "memory"))
    figure("1,000 agents, pages a node", best["bytes"] / 1e6, "kB", low=200)
    figure("1,000 agents, largest page", largest / 1e3, "kB", high=65)
    figure(
        "1,000 agents, pages collected",
        best["seconds"],
        "s",
        high=10,
        contended=best["contended"],
    )
    figure("1,000 agents, driver's processor time", best["processor"], "s", high=10)
    figure("1,000 agents, driver's memory", memory / 1e6, "MB", high=500)
