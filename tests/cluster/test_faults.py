"""Ranks that are killed or stopped inside a collective over several nodes, from outside."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import findings, run, suite
from several import Several

from bench.cluster.agents import AgentExecutor
from bench.errors import Exit


def when_inside(file, rank, act):
    """Call ``act`` with the process id of a rank, a moment after it went into its collective."""

    def wait():
        path = Path(f"{file}.{rank}")
        stop = time.monotonic() + 90
        while time.monotonic() < stop:
            if path.exists() and (text := path.read_text()):
                time.sleep(0.2)  # the call that follows the note is made within microseconds
                act(int(text))
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("number", "limit", "why"),
    [
        (signal.SIGKILL, 60.0, "crashed with SIGKILL"),
        (signal.SIGSTOP, 6.0, "no sign of life after 6 s"),
    ],
)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_lost_inside_a_collective_is_named(tmp_path, victim, number, limit, why):
    file = tmp_path / "pid"
    # The victim waits inside the call, and the others do not join it for an hour.
    axes = {"file": str(file), "late": 1 - victim}
    made = suite([("inside", axes, {"over": "all"}), ("inside", {}, {"over": "all"})], limit=limit)
    thread = when_inside(file, victim, lambda pid: os.kill(pid, number))
    finished, rows = run(made, AgentExecutor(Several(2), {}), tmp_path)
    thread.join()
    broken, healthy = rows["inside", "time"]
    assert broken.status == "failed"
    assert f"rank {victim} (n{victim}/0): " in broken.reason
    assert why in broken.reason
    (lost,) = finished.lost
    assert lost.startswith(f"n{victim}: inside: ")  # not the node that leads the group
    assert healthy.status in ("ok", "contended"), healthy.reason
    assert finished.exit is Exit.INFRASTRUCTURE
    (found,) = [one for one in findings(finished.folder) if one[0] == "failed"]
    assert "inside" in found[1]
    assert f"rank {victim} (n{victim}/0)" in found[2]
