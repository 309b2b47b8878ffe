"""Telemetry of real runs: beside real ranks, through Ray, over a kill and a resume."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import resume, start, wait_for_rows

from bench.results import RunReader
from bench.telemetry import TELEMETRY, read_telemetry

pytestmark = [pytest.mark.alone, pytest.mark.forked]

OFTEN = ("--telemetry", "100ms")


def check(folder):
    """What every run's telemetry must be; all of it."""
    found = read_telemetry(folder)
    header = RunReader(folder).header
    assert found.period == 0.1
    assert set(found.nodes.node.tolist()) == {0}
    assert set(found.devices.device.tolist()) == set(range(len(header.nodes[0].devices)))
    assert (np.diff(found.nodes.time) > 0).all()
    for series in (found.nodes.values["cpu"], found.devices.values["utilisation"]):
        known = series[~np.isnan(series)]
        assert known.size > 0
        assert ((known >= 0) & (known <= 1)).all()
    assert (found.nodes.values["memory_used"] > 1 << 20).all()
    assert np.nanmedian(found.nodes.values["cost"]) < 0.1, "a look ten times a second"
    return found


def test_a_run_is_looked_at_over_a_kill_and_a_resume(tmp_path):
    process = start(tmp_path, *OFTEN)
    folder = wait_for_rows(tmp_path, process, 9)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = check(folder)
    assert len(before.nodes) >= 2
    with (folder / TELEMETRY).open("ab") as torn:
        torn.write(b"[0,1.0")
    again = resume(folder, *OFTEN)
    assert again.returncode == 0, again.stderr
    found = check(folder)
    count = len(before.nodes)
    assert found.nodes.time[:count].tolist() == before.nodes.time.tolist()
    last = max(row.time for row in RunReader(folder).rows())
    assert abs(found.nodes.time[-1] - last) < 3
    gaps = np.diff(found.nodes.time[count:])
    assert 0.05 < np.median(gaps) < 0.5


def test_agents_under_ray_look_too(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    process = start(tmp_path, *OFTEN, executor="ray")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(check(folder).nodes) >= 5
