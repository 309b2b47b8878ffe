"""Ranks that are lost, or late, in groups over several nodes: who is named, and what goes on."""

import asyncio
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

from bench.cluster import party
from bench.cluster.agent import Agent, AgentSpec
from bench.cluster.agents import AgentExecutor
from bench.cluster.orders import Order
from bench.cluster.ranks import RankLost
from bench.errors import Exit


def when_inside(file, rank, act):
    """Call ``act`` with the process id of a rank, a moment after it went into its collective."""

    def wait():
        path = Path(f"{file}.{rank}")
        stop = time.monotonic() + 280
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
    ("number", "why"),
    [(signal.SIGKILL, "crashed with SIGKILL"), (signal.SIGSTOP, "is stopped, as by SIGSTOP")],
)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_lost_inside_a_collective_is_named(tmp_path, victim, number, why):
    file = tmp_path / "pid"
    # The victim waits inside the call, and the others do not join it for an hour.
    axes = {"file": str(file), "late": 1 - victim}
    made = suite([("inside", axes, {"over": "all"}), ("inside", {}, {"over": "all"})], limit=600.0)
    thread = when_inside(file, victim, lambda pid: os.kill(pid, number))
    finished, rows = run(made, AgentExecutor(Several(2), {}), tmp_path)
    thread.join()
    broken, healthy = rows["inside", "time"]
    assert broken.status == "failed", broken.reason
    assert f"rank {victim} (n{victim}/0): " in broken.reason
    assert why in broken.reason
    (lost,) = finished.lost
    assert lost.startswith(f"n{victim}: inside: ")  # not the node that leads the group
    assert healthy.status in ("ok", "contended"), healthy.reason
    assert finished.exit is Exit.INFRASTRUCTURE
    (found,) = [one for one in findings(finished.folder) if one[0] == "failed"]
    assert "inside" in found[1]
    assert f"rank {victim} (n{victim}/0)" in found[2]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_never_returns_is_told_from_those_that_wait_for_it(tmp_path, victim):
    axes, over = {"victim": victim}, {"over": "all"}
    stuck = ("faultygroup", {"kind": "stuck", **axes}, over, {"limit": 8.0})
    made = suite([stuck, ("faultygroup", {"kind": "none", **axes}, over)])
    _, rows = run(made, AgentExecutor(Several(2), {}), tmp_path)
    broken, healthy = rows["faultygroup", "time"]
    what, _, part = broken.reason.partition(", in its ")
    assert what == f"rank {victim} (n{victim}/0): hangs: no sign of life after 8 s"
    assert part in ("warm-up", "samples")  # whichever its fourth call falls into
    assert healthy.status in ("ok", "contended"), healthy.reason


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_fails_at_the_very_end_costs_its_own_job_only(tmp_path, victim):
    """The others have left their last call well: they must not stay in the broken group."""
    axes = {"kind": ["late", "none"], "victim": victim}
    made = suite([("faultygroup", axes, {"over": "all"})], limit=60.0)
    _, rows = run(made, AgentExecutor(Several(2), {}), tmp_path)
    broken, healthy = rows["faultygroup", "time"]
    assert (
        broken.reason == f"rank {victim} (n{victim}/0): ValueError: the driver returned error 719"
    )
    assert healthy.status in ("ok", "contended"), healthy.reason


def test_the_library_waits_as_long_as_the_job_may_take(tmp_path, monkeypatch):
    """A rank that comes late, within the job's limit, is no fault."""
    monkeypatch.setattr(party, "OPEN_LIMIT", 10.0)
    axes = {"file": str(tmp_path / "pid"), "late": 1, "seconds": 12.0}
    made = suite([("inside", axes, {"over": "all"})], limit=60.0)
    _, rows = run(made, AgentExecutor(Several(2), {}), tmp_path)
    (row,) = rows["inside", "time"]
    assert row.status in ("ok", "contended"), row.reason


def test_a_rank_that_is_killed_while_it_starts_is_started_again(tmp_path):
    agent = Agent(AgentSpec(token="t", backend="cpu"))

    async def killed_and_asked_for():
        starting = asyncio.create_task(agent.supply(0))
        while not agent.rank_pids():
            await asyncio.sleep(0.01)
        first = agent.rank_pids()
        agent.replace(0)
        with pytest.raises(RankLost, match="did not start: was killed"):
            await starting
        again = await agent.supply(0)
        assert again.pid not in (None, *first)

    try:
        node = agent.describe()
        agent._order = Order(
            node=0,
            stage="s",
            jobs=[],
            visits=[],
            steps=(0, 0),
            names={0: node.name},
            addresses={},
            beside=[0],
            offset=0.0,
            seed=0,
            provenance="stand-in",
        )
        agent._call(asyncio.wait_for(killed_and_asked_for(), 60))
    finally:
        agent.close()
