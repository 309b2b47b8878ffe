"""Measuring where nobody else works: waiting, giving way at once, going on later."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import SUITE, hengsuan
from runs import busy

from bench.cluster import idle
from bench.results import RunReader
from bench.runs import list_runs

pytestmark = pytest.mark.forked

METER = str(Path(__file__).parent / "meter")
# Whatever else this machine does is no matter here: only what uses the devices.
PATIENT = """
from bench.cluster import idle
idle.SETTLED, idle.CORES = 0.5, 1000.0
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Starts somebody else's job on the devices; every one ends with the test."""
    monkeypatch.setenv("METER_JOB", str(tmp_path / "job"))
    started = []

    def start():
        process = subprocess.Popen([sys.executable, "-c", "import time\ntime.sleep(600)"])
        started.append(process)
        (tmp_path / "job").write_text(str(process.pid))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def schedule(folder, *more):
    suite = folder / "long.yaml"
    suite.write_text(SUITE)
    path = os.pathsep.join([METER, os.environ["PYTHONPATH"]])
    where = ["--executor", "local", "--backend", "meter", "--out", str(folder / "runs"), "-q"]
    return subprocess.Popen(
        [*hengsuan(PATIENT), "run", str(suite), *where, "--idle-only", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def until(condition, process, limit=240.0):
    stop = time.monotonic() + limit
    while not (found := condition()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < stop, "not in time"
        time.sleep(0.05)
    return found


def rows(folder):
    return sum(
        path.read_bytes().count(b"\n") for path in (folder / "runs").glob("*/measurements.jsonl")
    )


@pytest.mark.alone
def test_it_waits_gives_way_at_once_and_goes_on(tmp_path, job):
    first = job()
    process = schedule(tmp_path)
    said = process.stderr.readline()
    assert "waiting until this machine is idle: device 0 is in use by job" in said
    assert not (tmp_path / "runs").exists()
    first.kill()
    first.wait()

    until(lambda: rows(tmp_path) >= 4, process)
    second = job()
    arrived = time.monotonic()
    (run,) = list_runs(tmp_path / "runs")
    state = until(lambda: list_runs(tmp_path / "runs")[0].state != "running", process)
    assert state
    assert time.monotonic() - arrived < 15
    kept = list(RunReader(run.path).rows())
    assert len(kept) >= 4
    assert RunReader(run.path).header.state == "interrupted"
    said = [process.stderr.readline() for _ in range(2)]
    assert (
        f"gave way: device 0 is in use by job ({second.pid}), and {run.id} is continued" in said[0]
    )
    assert "waiting until" in said[1]
    time.sleep(1.5)
    assert RunReader(run.path).header.state == "interrupted", "while the job lives nobody measures"
    second.kill()
    second.wait()

    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out
    (again,) = list_runs(tmp_path / "runs")
    assert again.id == run.id
    reader = RunReader(run.path)
    found = list(reader.rows())
    assert reader.header.state == "complete"
    assert found[: len(kept)] == kept
    keys = [(row.case, row.group, row.repeat) for row in found]
    assert len(keys) == len(set(keys)) == 20 * 2 + 1


def test_a_signal_ends_the_waiting(tmp_path, job):
    job()
    process = schedule(tmp_path, "--every", "1h")
    assert "waiting" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.alone
def test_work_on_the_cores_is_somebody_elses_or_ours(monkeypatch):
    """A process of another parent is found; our own, however busy, never."""
    monkeypatch.setattr(idle, "LOOKS", 1)
    watch = idle.Idle("cpu")
    watch._most = 0.25
    spin = [sys.executable, "-c", "while True: pass"]
    with busy([0]):
        watch.begin()
        time.sleep(1.0)
        ours = watch._cores.end()
    # A daemon: its parent ends at once.
    daemon = ["sh", "-c", 'exec "$@" >/dev/null 2>&1 & echo $!', "sh", *spin]
    pid = int(subprocess.run(daemon, capture_output=True, text=True, check=True).stdout)
    try:
        watch.begin()
        time.sleep(1.0)
        theirs = watch._cores.end()
    finally:
        os.kill(pid, signal.SIGKILL)
    assert theirs.foreign - ours.foreign > 0.1 or ours.foreign > 0.5
    watch.begin()
    time.sleep(0.1)
    monkeypatch.setattr(watch, "_most", -1.0)
    assert "other processes use" in watch.work(measuring=False)


def test_processes_of_ours_that_a_plugin_cannot_know_are_ours():
    mine, first = os.getpid(), 1
    assert idle._ours(f"rank ({mine})")
    assert not idle._ours(f"rank ({mine}), job ({first})")
    assert not idle._ours("somebody")
