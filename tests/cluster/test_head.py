"""A Ray cluster whose head dies or stops under a run, and a node that joins during it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import hengsuan, wait_for_rows

from bench.results import RunReader

ray = pytest.importorskip("ray", reason="Ray is not installed")

pytestmark = pytest.mark.forked

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


def drive(folder, *words, patience=PATIENCE):
    """``hengsuan run`` on a cluster, in a process of its own."""
    command = [*hengsuan(patience), "run", "--backend", "cpu", "--json"]
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


SHORT = """
from bench.cluster import ray_head, ray_hub, ray_reach
ray_head.LOOK, ray_head.HEAD_LIMIT, ray_hub.LEAVE, ray_reach.ANSWER = 0.5, 6.0, 3.0, 3.0
"""


def test_a_run_whose_head_stops_ends_all_the_same_and_none_begins(cluster, tmp_path):
    """Its kernel takes connections, and nobody answers: as of a host that swaps, or is frozen."""
    suite = tmp_path / "long.yaml"
    suite.write_text(SUITE.replace("FILE", str(tmp_path / "go")))
    words = (suite, "--address", cluster.address, "--out", tmp_path / "runs")
    process = drive(tmp_path, *words, patience=SHORT)
    folder = wait_for_rows(tmp_path, process, 6)
    head = cluster.head_node.all_processes["gcs_server"][0].process.pid
    os.kill(head, signal.SIGSTOP)
    try:
        assert process.wait(timeout=120) == 4, (tmp_path / "err").read_text()
        said = json.loads((tmp_path / "out").read_text())
        assert said["exit"] == 4
        assert "has not answered for 6 s" in said["error"]
        assert RunReader(folder).header.state == "failed"
        assert len(list(RunReader(folder).rows())) >= 6
        assert drive(tmp_path, *words, patience=SHORT).wait(timeout=120) == 4
        err = (tmp_path / "err").read_text()
        assert f"cannot join Ray at {cluster.address}: no answer in 3 s" in err
    finally:
        os.kill(head, signal.SIGCONT)


def test_a_port_at_which_something_else_listens_is_told(plugin, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_greeting, args=(server,), daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        process = drive(tmp_path, "quick", "--address", address, "--out", tmp_path / "runs")
        assert process.wait(timeout=120) == 4
    assert f"what listens at {address} is no Ray head" in (tmp_path / "err").read_text()


def _greeting(server):
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
