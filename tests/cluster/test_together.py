"""Nodes that keep step: groups of a round at the same time, or one while all others rest."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import run, suite
from several import Several

from bench.cluster.agents import AgentExecutor


def spans(folder, **place):
    """(begin, end) of every group's measurement, in the order of beginnings, and the rows."""
    file = folder / "times"
    made = suite(
        [("witness", {"file": str(file)}, {"over": "node", **place})], budget=0.5, precision=1e-9
    )
    hub = Several()
    _, rows = run(made, AgentExecutor(hub, {}), folder)
    found = [tuple(map(float, line.split())) for line in file.read_text().splitlines()]
    return sorted(found), rows["witness", "time"]


def test_alone_means_that_all_others_rest(tmp_path):
    found, rows = spans(tmp_path, together=False)
    assert {row.group for row in rows} == {0, 1, 2}
    assert all(row.value for row in rows)
    for before, after in itertools.pairwise(found):
        assert after[0] >= before[1]


@pytest.mark.alone
def test_together_means_at_the_same_time(tmp_path):
    found, rows = spans(tmp_path, together=True)
    assert {row.group for row in rows} == {0, 1, 2}
    latest, earliest = max(begin for begin, _ in found), min(end for _, end in found)
    # All are measured during most of the half second that each takes.
    assert earliest - latest > 0.25


@pytest.mark.timeout(90)
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dead", [0, 2])
def test_a_node_that_never_comes_does_not_hold_up_the_others(tmp_path, monkeypatch, dead, frozen):
    """Its address leads nowhere, or to nobody: whoever waits for it finds out and goes on."""
    from bench.cluster import coordinator

    monkeypatch.setattr(coordinator, "LATE", 1.0)
    monkeypatch.setattr(coordinator, "DIAL", 2.0)
    axes = {"file": str(tmp_path / "times")}
    made = suite([("witness", axes, {"over": "node", "together": False})])
    _, rows = run(made, AgentExecutor(Several(dead=(dead,), frozen=frozen), {}), tmp_path)
    missing = {row.group for row in rows["witness", "time"] if row.status == "missing"}
    measured = {row.group for row in rows["witness", "time"] if row.value}
    assert missing == {dead}
    assert measured == {0, 1, 2} - {dead}
