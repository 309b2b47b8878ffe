"""A training one of whose hosts loses power: it goes on elsewhere, and the account adds up.

Nothing closes the host's sockets, so that only silence tells, and the time since boot, by which
the hosts' clocks go, differs by ten days.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hosts import Hosts
from running import HENGSUAN

from bench.cluster.wire import SILENCE
from bench.results import RunReader
from bench.workloads.attempts import read_log

pytestmark = pytest.mark.timeout(600)


def wait_for_steps(place, process):
    """Until the first attempt has a checkpoint and a step behind it."""
    stop = time.monotonic() + 200
    while time.monotonic() < stop:
        for path in place.glob("hengsuan-goodput-*/attempt-00000.jsonl"):
            kinds = [line.what for line in read_log(path)]
            if "saved" in kinds and kinds[-1] == "step":
                return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    raise AssertionError("no steps in time")


def test_a_host_that_loses_power_is_done_without(possible, tmp_path):
    """It is the first rank's, which keeps the log: another host's goes on with it."""
    pytest.importorskip("ray", reason="Ray is not installed")
    place = tmp_path / "checkpoints"
    place.mkdir()
    with Hosts(3, measure=2) as hosts:
        for host in hosts:
            hosts.start_ray(host, {"RAY_raylet_start_wait_time_s": "120"})
        words = ("--nodes", "host2,host3", "--model", "tiny", "--batch", "1", "--path", place)
        often = ("--work", "6s", "--interval", "1s", "--mtbf", "100h")
        where = ("--address", hosts.ray, "--backend", "cpu", "--out", tmp_path / "runs")
        process = hosts[0].start(
            [HENGSUAN, "goodput", *where, *words, *often, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        wait_for_steps(place, process)
        hosts[1].cut()  # or the kernel would close its sockets
        hosts[1].power_off()
        said, told = process.communicate(timeout=400)
    found = json.loads(said)
    assert process.returncode == found["exit"] == 0, told
    account = found["goodput"]
    assert (account["failures"], account["interrupted"]) == (1, 0)
    lost = account["losses"]
    assert account["productive"] + sum(lost.values()) == pytest.approx(account["total"], rel=1e-3)
    # Of ten days between the hosts' clocks nothing is left, and the silence is no work.
    assert SILENCE / 2 < lost["detection"] < account["total"] < 1000
    assert lost["lost_work"] >= 0
    assert "without node host2" in told
    header = RunReader(found["folder"]).header
    assert [one["node"] for one in header.events if one["kind"] == "agent-lost"] == ["host2"]
    assert list(place.iterdir()) == []
