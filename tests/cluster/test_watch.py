"""What happens to the host during a stage becomes an event of the run."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import local_executor, run, suite

from bench.analysis.health import incidents
from bench.backends.base import Health
from bench.backends.cpu import Cpu
from bench.host.kernel_log import problem


def test_errors_that_a_device_counts_during_a_stage_are_an_incident(tmp_path, monkeypatch):
    """The agent asks the backend; the ranks, in processes of their own, are not concerned."""
    asked = []

    def health(self, index):
        asked.append(index)
        return Health(errors={"ecc_uncorrected": 4 if asked.count(index) == 1 else 7})

    monkeypatch.setattr(Cpu, "health", health)
    finished, _ = run(suite([("fixed", {})]), local_executor(), tmp_path)
    (one,) = [event for event in finished.header.events if "ecc" in event["text"]]
    assert one["kind"] == "counters"
    assert one["stage"] == "stage0"
    for place in range(len(finished.header.nodes[0].devices)):
        assert one["changes"][f"device{place} ecc_uncorrected"] == 3
    (told,) = [i for i in incidents(finished.header) if i.kind == "errors"]
    assert "device0 ecc_uncorrected +3" in told.text


def test_a_device_that_asks_for_repair_is_told_once(tmp_path, monkeypatch):
    def health(self, index):
        return Health(problem="a row waits for a reset" if index == 1 else "")

    monkeypatch.setattr(Cpu, "health", health)
    finished, _ = run(suite([("fixed", {})], [("fixed", {})]), local_executor(), tmp_path)
    (one,) = [event for event in finished.header.events if event["kind"] == "device"]
    assert (one["stage"], one["text"]) == ("stage0", "device1: a row waits for a reset")
    told = [i.text for i in incidents(finished.header) if i.kind == "errors"]
    assert "in stage stage0: device1: a row waits for a reset" in told


def test_telemetry_that_raises_costs_nothing(tmp_path, monkeypatch):
    def broken(self, index):
        raise RuntimeError("no telemetry today")

    monkeypatch.setattr(Cpu, "telemetry", broken)
    monkeypatch.setattr(Cpu, "health", broken)
    finished, _ = run(suite([("fixed", {})]), local_executor(), tmp_path)
    assert finished.header.state == "complete"
    assert not [event for event in finished.header.events if event["kind"] == "agent-lost"]


@pytest.mark.root
@pytest.mark.skipif(bool(problem()), reason=f"the kernel's log: {problem()}")
def test_a_line_of_the_kernel_log_during_a_stage_is_an_incident(tmp_path, monkeypatch):
    word = f"hengsuan-test-{os.getpid()}"
    monkeypatch.setattr(Cpu, "kernel_patterns", {"driver": word}, raising=False)

    def speak():
        rows = tmp_path / "run" / "measurements.jsonl"
        stop = time.monotonic() + 240
        while time.monotonic() < stop and not (rows.exists() and rows.stat().st_size):
            time.sleep(0.02)
        with contextlib.suppress(OSError), Path("/dev/kmsg").open("w") as file:
            for number in range(3):
                file.write(f"<6>{word}: fault {number}\n")
                file.flush()

    speaker = threading.Thread(target=speak)
    speaker.start()
    finished, _ = run(suite([("fixed", {"tag": list(range(20))})]), local_executor(), tmp_path)
    speaker.join()
    (one,) = [event for event in finished.header.events if event["kind"] == "kernel-log"]
    assert one["changes"] == {"driver": 3}
    assert one["text"] == f"driver: {word}: fault 0 (and 2 more like it)"


def test_a_look_that_hangs_in_a_driver_holds_nobody_at_the_end():
    script = (
        "import asyncio, time\n"
        "from bench.cluster.in_thread import in_thread\n"
        "async def look():\n"
        "    assert await in_thread(lambda: 7) == 7\n"
        "    try:\n"
        "        await asyncio.wait_for(in_thread(lambda: time.sleep(3600)), 0.1)\n"
        "    except asyncio.TimeoutError:\n"
        "        print('went on')\n"
        "asyncio.run(look())\n"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
