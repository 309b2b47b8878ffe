"""The device beside a node of CPU cores on real raylets: its own Ray resource and library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from complete import exit_of

from bench.results import RunReader

pytest.importorskip("ray", reason="Ray is not installed")

SUITE = """
name: mixed
rule: {budget: 50ms, warmup: 10ms, min_samples: 3, limit: 60s}
stages:
  - name: device
    benchmarks:
      - gemm: {shape: 64x64x64, dtype: fp32}
  - name: fabric
    benchmarks:
      - collectives: {op: all_reduce, size: 64KiB, over: all}
      - pairs: {size: 64KiB, of: device, schedule: full}
"""


@pytest.fixture
def cluster(installed, monkeypatch):
    """A node of CPU cores and one of two devices; each raylet knows one backend."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("PYTHONPATH", installed["PYTHONPATH"])
    made = Cluster()
    made.add_node(num_cpus=0, include_dashboard=False, object_store_memory=80_000_000)
    for backend, resources in (("cpu", {}), ("nuomi", {"NUOMI": 2})):
        made.add_node(
            num_cpus=1,
            resources=resources,
            wait=False,
            object_store_memory=80_000_000,
            env_vars={"HENGSUAN_BACKENDS": backend},
        )
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.mark.timeout(400)
def test_each_kind_meets_in_its_own_library_and_both_over_gloo(cluster, installed, tmp_path):
    given = tmp_path / "mixed.yaml"
    given.write_text(SUITE)
    words = ["run", given, "--address", cluster.address, "--json", "-q", "--out", tmp_path / "runs"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        env={**os.environ, **installed},
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    reader = RunReader(tmp_path / "runs" / json.loads(done.stdout)["run"])
    assert done.returncode == exit_of(reader), done.stderr
    header = reader.header
    kinds = {node.backend: node for node in header.nodes}
    assert set(kinds) == {"cpu", "nuomi"}
    # Ray counts them and gives no ids: the agent has both.
    assert [device.serial for device in kinds["nuomi"].devices] == ["NUOMI-0", "NUOMI-1"]
    found = {}
    for row in reader.rows():
        case = header.cases[row.case]
        assert row.status in ("ok", "contended"), (case, row)
        on = header.schedules[case.schedule].arguments["on"]
        library = header.conditions[row.conditions].library
        found.setdefault(case.benchmark, set()).add((on, library))
    (mix,) = {on for on, _ in found["collectives"] if "+" in on}
    assert set(mix.split("+")) == {"cpu", "nuomi"}
    assert found["gemm"] == {("cpu", ""), ("nuomi-one", "")}
    assert {("cpu", "gloo"), ("nuomi-one", "nuccl"), (mix, "gloo")} == found["collectives"]
    assert found["collectives"] == found["pairs"]
