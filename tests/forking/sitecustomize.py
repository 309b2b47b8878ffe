"""Ranks and checks of what has this folder on its PYTHONPATH are forked (`forked`).

Python imports this module when it starts. It waits for the modules that start such processes.
"""

import importlib.abc
import importlib.machinery
import os
import sys

STARTING = ("bench.cluster.ranks", "bench.conformance.process", "workers")
if "HENGSUAN_TEST_ASKED" in os.environ:  # `forked.ASKED`
    STARTING += ("bench.backends.tools", "bench.backends.remote")


class _Starting(importlib.abc.MetaPathFinder):
    """Finds these modules as all others do, and gives them templates for `subprocess`."""

    templates = None

    def find_spec(self, name, path, target=None):
        if name not in STARTING:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def loaded(module):
            load(module)
            import forked

            _Starting.templates = _Starting.templates or forked.Templates()
            module.subprocess = _Starting.templates

        spec.loader.exec_module = loaded
        return spec


sys.meta_path.insert(0, _Starting())
