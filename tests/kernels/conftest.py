"""Scripts that need a process of their own run on every core, ahead of the tests that read them."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from forked_scripts import Scripts


@pytest.fixture(scope="module")
def scripts(request, tmp_path_factory):
    """A function (script, arguments) → finished process.

    Started at once for all collected tests of the module: the marker ``script`` names a test's
    script, its parameters are the arguments. Workers of pytest-xdist, who share the module's tests
    and the cores, run only what they are asked for.
    """
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),
        # Tensors are small, and other scripts have the other cores.
        "OMP_NUM_THREADS": "1",
        # What was compiled of the same sources by the same compiler is known (--cache-clear).
        "COMPILED": str(request.config.cache.mkdir("compiled")),
    }
    environment.pop("TRITON_INTERPRET", None)

    if "PYTEST_XDIST_WORKER" in os.environ:
        run = Scripts(environment)
        yield run
        run.close()
        return
    wanted = [
        (mark.args[0], *(item.callspec.params.values() if hasattr(item, "callspec") else ()))
        for item in request.session.items
        if item.module is request.module and (mark := item.get_closest_marker("script"))
    ]
    threads = threading.local()
    every = []

    def begin():
        threads.run = Scripts(environment)
        every.append(threads.run)

    with ThreadPoolExecutor(os.cpu_count() or 1, initializer=begin) as pool:
        started = {one: pool.submit(lambda one=one: threads.run(*one)) for one in wanted}
        yield lambda *one: started[one].result()
        pool.shutdown(cancel_futures=True)
    for run in every:
        run.close()
