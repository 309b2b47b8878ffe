"""Commands in a process that has imported already what verbs import (`forked.commands`)."""

import contextlib
import importlib
import io
import os
import pkgutil
import sys

from ending import ended

PACKAGES = (
    "bench.cli",
    "bench.analysis",
    "bench.report",
    "bench.cluster",
    "bench.configs",
    "bench.certificates",
    "bench.submissions",
    "bench.backends",
)


def imported():
    """Import all of them that need no accelerator stack."""
    for name in importlib.import_module("bench.workloads").BUILT_IN:
        importlib.import_module(f"bench.workloads.{name}")
    for name in PACKAGES:
        package = importlib.import_module(name)
        for one in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not one.name.endswith("_main"):
                importlib.import_module(one.name)
    with contextlib.suppress(ImportError):
        importlib.import_module("psycopg")
        importlib.import_module("bench.store.connection")
    assert not {"torch", "ray", "triton"} & set(sys.modules)


imported()


def stream(descriptor, mode, **settings):
    """As Python opens its own when it starts."""
    like = sys.stdin if mode == "rb" else sys.stderr if descriptor == 2 else sys.stdout
    inner = open(descriptor, mode, closefd=False)  # noqa: SIM115  (until the process ends)
    return io.TextIOWrapper(inner, like.encoding, like.errors, **settings)


def main():
    """Do what the words behind this module ask for."""
    sys.stdin = sys.__stdin__ = stream(0, "rb")
    sys.stdout = sys.__stdout__ = stream(1, "wb", line_buffering=os.isatty(1))
    sys.stderr = sys.__stderr__ = stream(2, "wb", line_buffering=True)
    ended(importlib.import_module("bench.cli").main)
