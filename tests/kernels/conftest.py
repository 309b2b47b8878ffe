"""Scripts that need a process of their own run on every core, ahead of the tests that read them.

They are forked from one that has PyTorch, but not Triton yet: its interpreter is chosen when it is
imported.
"""

import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "forking"))
import forked

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def scripts(request, tmp_path_factory):
    """A function (script, arguments) → finished process.

    Started at once for all collected tests of the module: the marker ``script`` names a test's
    script, its parameters are the arguments. Workers of pytest-xdist, who share the module's tests
    and the cores, run only what they are asked for.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(shared / "triton"),
        # Tensors are small, and other scripts have the other cores.
        "OMP_NUM_THREADS": "1",
        # What was compiled of the same sources by the same compiler is known (--cache-clear).
        "COMPILED": str(request.config.cache.mkdir("compiled")),
    }
    environment.pop("TRITON_INTERPRET", None)
    with contextlib.closing(forked.Templates()) as templates:

        def run(script, *arguments):
            return templates.script([str(HERE / script), *arguments], environment)

        if "PYTEST_XDIST_WORKER" in os.environ:
            yield run
        else:
            yield from ahead(request, run)


def ahead(request, run):
    """What `scripts` gives where all are started at once."""
    wanted = [
        (mark.args[0], *(item.callspec.params.values() if hasattr(item, "callspec") else ()))
        for item in request.session.items
        if item.module is request.module and (mark := item.get_closest_marker("script"))
    ]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        started = {one: pool.submit(run, *one) for one in wanted}
        yield lambda *one: started[one].result()
        pool.shutdown(cancel_futures=True)
