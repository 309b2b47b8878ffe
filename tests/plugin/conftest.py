"""A third-party device for the tests: a package of its own, built and installed once."""

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
from nuomi_site import built


@pytest.fixture(scope="session", autouse=True)
def forked_processes():
    """Ranks and checks of what looks at `forked.FOLDER` are forked from one that has PyTorch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(forked.OWNER, str(forked.owner()))
        yield


@pytest.fixture(scope="session")
def site(request):
    """Where the device's package is installed."""
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler to build the device with (Debian: g++)")
    return built(request.config.cache.mkdir("nuomi"))


@pytest.fixture
def installed(site):
    """The environment of a process that finds the device, as if it were installed."""
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def nuomi(installed):
    """The same of one whose ranks, checks and whoever holds the backend are forked."""
    path = os.pathsep.join([forked.FOLDER, installed["PYTHONPATH"]])
    return {**installed, forked.ASKED: "yes", "PYTHONPATH": path}


@pytest.fixture
def hengsuan(nuomi):
    """Calls ``hengsuan WORDS`` beside the device, ``environment`` added; gives what it did."""

    def call(*words, **environment):
        return subprocess.run(
            [sys.executable, "-m", "bench", *map(str, words)],
            env={**nuomi, **environment},
            capture_output=True,
            text=True,
        )

    return call
