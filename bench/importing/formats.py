"""The formats that can be imported, each a module of its name that is loaded on use.

A module has ``read(source, asked) -> Log``, ``EXPECTED``, what such a file looks like, and
``TAKES``, the options that say what it may leave open.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from ..errors import unknown
from .found import Asked, Log
from .source import Source

FORMATS = {
    "nccl-tests": "nccl_tests",
    "osu": "osu",
    "superbench": "superbench",
    "pytest-benchmark": "pytest_benchmark",
}
"""Names as they are typed, and modules of this package."""


class Format(NamedTuple):
    """How files of a format are read, what was expected where nothing is understood, and which
    options it takes."""

    name: str
    read: Callable[[Source, Asked], Log]
    expected: str
    takes: tuple[str, ...]


def format_of(name: str) -> Format:
    """A format by name. Raises `UsageError` for one that there is not."""
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    module = import_module(f"{__package__}.{FORMATS[name]}")
    return Format(name, module.read, module.EXPECTED, module.TAKES)
