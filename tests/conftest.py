"""For all tests: their output is nobody's screen, and what is dear is made once for all workers."""

import fcntl
import os
import shutil

import pytest

# Workers of pytest-xdist are told the width of theirs, which tables would be folded to.
os.environ.pop("COLUMNS", None)


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
