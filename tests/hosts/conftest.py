"""Two hosts of a Ray cluster, and a third that is not in it yet; the second's clock is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "forking"))
import forked
from hosts import Hosts, missing

HERE = Path(__file__).parent
PLUGIN = HERE.parent / "cluster" / "plugin"
SKEW = 3 * 3600
"""Seconds by which the second host's clock is ahead, where a compiler is there to arrange it."""


@pytest.fixture(scope="session")
def possible():
    """Skips where hosts cannot be made."""
    why = missing()
    if why:
        pytest.skip(why)


@pytest.fixture(scope="session")
def skewed(possible, tmp_path_factory):
    """The environment of a host whose clock is wrong; empty without a compiler."""
    if shutil.which("cc") is None:
        return {}
    library = tmp_path_factory.mktemp("skew") / "skew.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "skew.c", "-ldl"]
    subprocess.run(command, check=True)
    return {"LD_PRELOAD": str(library), "SKEW": str(SKEW)}


@pytest.fixture(scope="module")
def cluster(skewed):
    """Three hosts, raylets on the first two; ranks are forked from a process of their host."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with Hosts(3, measure=2) as hosts:
        for host in hosts:
            host.environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, [forked.FOLDER, str(PLUGIN), os.environ.get("PYTHONPATH")])
            )
            host.environment[forked.OWNER] = "1"  # the host's first process
        hosts.start_ray(hosts[0])
        hosts.start_ray(hosts[1], skewed)
        yield hosts
