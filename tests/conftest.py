"""For all tests: their output is nobody's screen, and what is dear is made once for all workers."""

import fcntl
import math
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "forking"))
import forked

# Workers of pytest-xdist are told the width of theirs, which tables would be folded to.
os.environ.pop("COLUMNS", None)

# Processes by the hundred read the same sources, and images often say that no bytecode is kept: a
# third of what a command takes would be compiling them anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Threads of OpenMP that wait burn a core, which where workers share few is what they wait for: of
# some tests that was three quarters. Before PyTorch is imported, here and in what tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell's job in the background ignores Ctrl-C, and one of nohup that the terminal is gone: so
# would every run that these tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Hypothesis draws the same each time and has no limit of milliseconds, so that a busy machine and
# chance fail nobody's change; `make test-full` draws anew.
settings.load_profile("ci")
settings.register_profile("anew", derandomize=False)

USUAL = 300
"""Seconds that a test may take which says nothing else (``timeout`` in ``pyproject.toml``)."""


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Call with a name and what fills a folder: the folder, filled once for this run of tests.

    Workers of pytest-xdist share it: the first makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def call(name, fill):
        folder, made = shared / name, shared / f"{name}.made"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                fill(folder)
                made.touch()
        return folder

    return call


@pytest.fixture(scope="module", autouse=True)
def warm(request):
    """Commands of modules that are marked ``warm`` are forked from one that has imported verbs."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("warm"):
            for name, value in forked.commands().items():
                patch.setenv(name, value)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Two workers more than cores: many tests wait for other processes, or for a limit to pass."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_collection_modifyitems(items):
    """Workers begin with what may take longest, so that none is left with it at the end."""

    def patience(item):
        mark = item.get_closest_marker("timeout")
        limit = (mark.args[0] or math.inf) if mark else 0
        return limit if limit > USUAL else 0

    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=patience, reverse=True)
