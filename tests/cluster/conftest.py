"""Runs of the real engine on real processes, with benchmarks that fail on purpose."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "forking"))
import forked
from processes import ranks

from bench.cluster import ranks as starting

PLUGIN = str(Path(__file__).parent / "plugin")


@pytest.fixture(autouse=True)
def nobody_is_left_behind():
    """No test leaves a rank process."""
    before = ranks()
    yield
    stop = time.monotonic() + 60
    while (left := ranks() - before) and time.monotonic() < stop:
        time.sleep(0.05)  # the kernel kills them when their agent has died
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"rank processes left behind: {left}"


@pytest.fixture(scope="module", autouse=True)
def forked_ranks(request):
    """Ranks of agents in this process are forked from one that has PyTorch.

    So are all others, of a command line and of Ray, in modules and tests that are marked
    ``forked``.
    """
    templates = forked.Templates()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting, "subprocess", templates)
        patch.setenv(forked.OWNER, str(forked.owner()))
        if request.node.get_closest_marker("forked"):
            patch.setenv("PYTHONPATH", forked.FOLDER, prepend=os.pathsep)
        yield
    templates.close()


@pytest.fixture(autouse=True)
def forked_in_one_test(request, monkeypatch):
    """The same of a single test that is marked so."""
    if any(mark.name == "forked" for mark in request.node.own_markers):
        monkeypatch.setenv("PYTHONPATH", forked.FOLDER, prepend=os.pathsep)


@contextlib.contextmanager
def faulty():
    """The faulty benchmarks, found through their entry point by every process we start."""
    from bench.workloads import base

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PLUGIN, prepend=os.pathsep)
        patch.syspath_prepend(PLUGIN)
        base._load_plugins.cache_clear()  # other tests may have looked already
        yield
    # A worker may go on with tests of other folders, which know none of them.
    base._load_plugins.cache_clear()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(PLUGIN):
            del sys.modules[name]
            for cls in [one for one in base._REGISTRY.values() if one.__module__ == name]:
                del base._REGISTRY[cls.name]


@pytest.fixture(scope="module", autouse=True)
def plugin():
    """What `faulty` says, for all tests of a module."""
    with faulty():
        yield


@pytest.fixture(scope="session")
def edition_run(once, tmp_path_factory):
    """A run of the edition ``test`` (`submitted`): its folder, and configurations to add to."""
    from submitted import make_edition, measure

    def fill(folder):
        make_edition(folder / "configs", "test")
        with faulty(), pytest.MonkeyPatch.context() as patch:
            patch.setenv("HENGSUAN_CONFIG_PATH", str(folder / "configs"))
            measure(folder / "results")

    folder = once("edition", fill)
    (run,) = (folder / "results").iterdir()
    return run, shutil.copytree(folder / "configs", tmp_path_factory.mktemp("edition") / "configs")


@pytest.fixture(scope="module")
def configs(edition_run):
    """A folder of configurations with editions of our own, found by all that is started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HENGSUAN_CONFIG_PATH", str(edition_run[1]))
        yield edition_run[1]
