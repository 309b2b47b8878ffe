"""Ranks that are killed or stopped inside a collective over several nodes, from outside."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import run, suite
from several import Several

from bench.analysis.scorecard import scorecard
from bench.cluster.agents import AgentExecutor
from bench.configs import load_profile
from bench.errors import Exit
from bench.results import RunReader


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


def findings(folder):
    """(kind, name, text) of what the scorecard says of a run."""
    reader = RunReader(folder)
    card = scorecard(reader.header, reader.columns(), load_profile("default"), {})
    return [(one.kind, one.name, one.text) for one in card.findings]


@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize(
    ("number", "limit", "why"),
    [
        (signal.SIGKILL, 60.0, "crashed with SIGKILL"),
        (signal.SIGSTOP, 8.0, "no sign of life after 8 s"),
    ],
)
def test_a_rank_lost_inside_a_collective_is_named(tmp_path, victim, number, limit, why):
    file = tmp_path / "pid"
    # The victim waits inside the call for rank 1, which comes when it can wait no longer.
    axes = {"file": str(file), "late": 1, "seconds": 1.0 if number == signal.SIGKILL else 3600.0}
    made = suite([("inside", axes, {"over": "all"}), ("inside", {}, {"over": "all"})], limit=limit)
    thread = when_inside(file, victim, lambda pid: os.kill(pid, number))
    began = time.monotonic()
    finished, rows = run(made, AgentExecutor(Several(), {}), tmp_path)
    thread.join()
    assert time.monotonic() - began < 120
    broken, healthy = rows["inside", "time"]
    assert broken.status == "failed"
    assert f"rank {victim} (n{victim}/0): " in broken.reason
    assert why in broken.reason
    assert healthy.status in ("ok", "contended"), healthy.reason
    assert finished.exit is Exit.INFRASTRUCTURE
    (found,) = [one for one in findings(finished.folder) if one[0] == "failed"]
    assert "inside" in found[1]
    assert f"rank {victim} (n{victim}/0)" in found[2]
