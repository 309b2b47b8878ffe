"""A Ray cluster whose head dies under a run, and a node that joins when the run has begun."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import hengsuan, wait_for_rows

from bench.results import RunReader

ray = pytest.importorskip("ray", reason="Ray is not installed")

SUITE = """
name: long
rule: {budget: 50ms, warmup: 10ms, min_samples: 3}
stages:
  - name: first
    benchmarks:
      - fixed: {tag: [0, 1, 2, 3, 4, 5]}
      - patient: {file: FILE}
"""

PATIENCE = """
from bench.cluster import ray_head
ray_head.LOOK, ray_head.HEAD_LIMIT = 0.5, 6.0
"""


@pytest.fixture
def cluster(plugin, monkeypatch):
    """A head that only manages, and a node of one core."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    made = Cluster()
    made.add_node(num_cpus=0, include_dashboard=False, object_store_memory=80_000_000)
    made.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield made
    made.shutdown()


def drive(folder, *words):
    """``hengsuan run`` on a cluster, in a process of its own."""
    command = [*hengsuan(PATIENCE), "run", "--backend", "cpu", "--json"]
    out, err = (folder / "out").open("w"), (folder / "err").open("w")
    with out, err:
        return subprocess.Popen(
            [*command, *map(str, words)], stdout=out, stderr=err, start_new_session=True
        )


def test_a_run_whose_head_dies_is_resumed_on_a_new_one(cluster, tmp_path):
    suite = tmp_path / "long.yaml"
    go = tmp_path / "go"
    suite.write_text(SUITE.replace("FILE", str(go)))
    address = cluster.address
    process = drive(tmp_path, suite, "--address", address, "--out", tmp_path / "runs")
    folder = wait_for_rows(tmp_path, process, 6)
    late = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    stop = time.monotonic() + 240
    while "joined after the run had begun" not in (tmp_path / "err").read_text():
        assert time.monotonic() < stop, (tmp_path / "err").read_text()
        assert process.poll() is None
        time.sleep(0.1)
    cluster.remove_node(cluster.head_node, allow_graceful=False)
    assert process.wait(timeout=120) == 4
    err = (tmp_path / "err").read_text()
    assert f"node {os.uname().nodename} (Ray id {late.node_id}) joined" in err
    assert f"{address}: the head of the Ray cluster has not answered for 6 s" in err
    assert f"hengsuan run --resume {folder}" in err
    assert "Traceback" not in err
    said = json.loads((tmp_path / "out").read_text())
    assert said["exit"] == 4
    assert "has not answered" in said["error"]
    before = list(RunReader(folder).rows())
    assert RunReader(folder).header.state == "failed"
    assert 6 <= len(before) <= 2 * 6
    assert all(row.status in ("ok", "contended") for row in before), "nothing for the late node"

    go.touch()
    again = drive(tmp_path, "--address", "local", "--resume", folder)
    assert again.wait(timeout=120) == 0, (tmp_path / "err").read_text()
    assert json.loads((tmp_path / "out").read_text())["state"] == "complete"
    rows = list(RunReader(folder).rows())
    assert rows[: len(before)] == before
    keys = [(row.case, row.group, row.repeat) for row in rows]
    assert len(keys) == len(set(keys)) == 2 * 7
