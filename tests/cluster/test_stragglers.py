"""Ranks inside a training step over nodes: real processes, one of which is late."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runs import rows_of, run, suite
from several import Several

from bench.cluster import coordinator
from bench.cluster.agents import AgentExecutor
from bench.cluster.executor import Done
from bench.results import RunReader

CORRUPTING = str(Path(__file__).parent / "corrupting")
STEP = ("train", {"model": "tiny", "batch": 1}, {"over": "all"})
LATE = 0.15


@pytest.fixture
def late(monkeypatch):
    """The last rank of every group is late in every step."""
    paths = [CORRUPTING, os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("HENGSUAN_TEST_FLIPS", "0")
    monkeypatch.setenv("HENGSUAN_TEST_LATE", str(LATE))


def test_the_rank_that_all_wait_for_is_named(tmp_path, late):
    made = suite([STEP], budget=2.0)
    finished, rows = run(made, AgentExecutor(Several(2), {}), tmp_path)
    (step,) = rows["train", "tokens_per_second"]
    compute, wait = rows["train", "compute"], rows["train", "wait"]
    assert [row.group for row in compute] == [row.group for row in wait] == [0, 1]
    assert step.status in ("ok", "contended"), step.reason
    assert compute[1].value > LATE
    assert compute[1].value > compute[0].value
    assert wait[0].value > wait[1].value
    if step.status == "ok":  # of other work on the cores the row says that instead
        assert step.reason.startswith("rank 1 holds up the others")
    header = RunReader(finished.folder).header
    # Each has the conditions of its own device.
    cores = [header.conditions[row.conditions].affinity for row in compute]
    assert len(set(cores)) == 2
    # A job whose rows are there is not measured again.
    keys = {(row.case, row.group, row.repeat) for every in rows.values() for row in every}
    resume = (header, Done(keys), 9.0)
    again, _ = run(made, AgentExecutor(Several(2), {}), tmp_path, resume=resume)
    assert again.counts == {}
    assert rows_of(again.folder) == rows


def test_of_a_group_that_lost_a_node_every_rank_lacks_its_value(tmp_path, monkeypatch):
    monkeypatch.setattr(coordinator, "LATE", 1.0)  # until somebody looks where it is
    _, rows = run(suite([STEP]), AgentExecutor(Several(3, dead=(2,)), {}), tmp_path)
    for metric, groups in (("compute", [0, 1, 2]), ("wait", [0, 1, 2]), ("step_p50", [0])):
        found = rows["train", metric]
        assert [row.group for row in found] == groups
        assert {row.status for row in found} == {"missing"}
        assert all("node n2" in row.reason for row in found)
