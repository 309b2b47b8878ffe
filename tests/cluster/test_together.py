"""Nodes that keep step: groups of a round at the same time, or one while all others rest."""

import itertools
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import run, suite
from several import Several

from bench.cluster.agents import AgentExecutor


def spans(folder, budget, **place):
    """(begin, end) of every group's measurement, in the order of beginnings, and the rows."""
    file = folder / "times"
    made = suite(
        [("witness", {"file": str(file)}, {"over": "node", **place})], budget=budget, precision=1e-9
    )
    hub = Several()
    _, rows = run(made, AgentExecutor(hub, {}), folder)
    found = [tuple(map(float, line.split())) for line in file.read_text().splitlines()]
    return sorted(found), rows["witness", "time"]


def test_alone_means_that_all_others_rest(tmp_path):
    found, rows = spans(tmp_path, 0.5, together=False)
    assert {row.group for row in rows} == {0, 1, 2}
    assert all(row.value for row in rows)
    for before, after in itertools.pairwise(found):
        assert after[0] >= before[1]


@pytest.mark.alone
def test_together_means_at_the_same_time(tmp_path):
    found, rows = spans(tmp_path, 2.0, together=True)
    assert {row.group for row in rows} == {0, 1, 2}
    latest, earliest = max(begin for begin, _ in found), min(end for _, end in found)
    # Where they take turns, none has begun when another ends.
    assert earliest > latest


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


class Falling(Several):
    """Its first node, which keeps the others in step, ends when so many lines are in a file."""

    def __init__(self, file, lines, **options):
        super().__init__(**options)
        self.file, self.lines = file, lines

    def poll(self, timeout):
        if not self.dead and self.file.exists() and len(self.file.open().readlines()) >= self.lines:
            self.dead = (0,)
            self.agents[0].close()
        return super().poll(timeout)


def test_groups_are_alone_also_when_the_node_that_keeps_step_is_lost(tmp_path):
    """The others would all go on at once, and say that they were alone."""
    file = tmp_path / "times"
    entry = ("witness", {"file": str(file)}, {"over": "node", "together": False})
    made = suite([entry], budget=0.3, precision=1e-9)
    made.stages[0] = msgspec.structs.replace(made.stages[0], repeats=4)
    finished, rows = run(made, AgentExecutor(Falling(file, 2, count=4), {}), tmp_path)
    found = sorted(tuple(map(float, line.split())) for line in file.read_text().splitlines())
    for before, after in itertools.pairwise(found):
        assert after[0] >= before[1]
    by_node = {
        node: [row for row in rows["witness", "time"] if row.group == node] for node in range(4)
    }
    for node in (1, 2, 3):
        assert [row.repeat for row in by_node[node]] == [0, 1, 2, 3]
        assert all(row.value for row in by_node[node]), by_node[node]
    assert "missing" in {row.status for row in by_node[0]}
    assert all(row.reason for row in by_node[0] if row.status == "missing")
    assert len(by_node[0]) == 4
    fell = [event for event in finished.header.events if "fell out of step" in event["text"]]
    assert {event["node"] for event in fell} == {"n1", "n2", "n3"}
