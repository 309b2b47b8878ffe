"""What a run remembers about the software and variables that it ran with."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import __version__
from ..files import readable

PACKAGES = ("torch", "triton", "ray", "numpy", "msgspec")
_VARIABLES = re.compile(r"(OMP|MKL|GLOO|TORCH|TRITON|RAY|HENGSUAN|[A-Z]+CCL)_|.*_VISIBLE_DEVICES$")
_SECRETS = ("TOKEN", "SECRET", "PASSWORD", "KEY", "HENGSUAN_STORE")


def command_line() -> list[str]:
    """The command as it was typed, for the record."""
    return ["hengsuan", *recorded(sys.argv[1:])]


def recorded(words: Iterable[str]) -> list[str]:
    """Words of a command line as a run keeps them: without ``--store``, whose URL may hold a
    password, and which changes nothing that is measured; bytes that are no text written out."""
    kept = []
    given = iter(words)
    for word in given:
        if word == "--store":
            next(given, None)
        elif not word.startswith("--store="):
            kept.append(readable(word))
    return kept


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, without importing any of them."""
    found = {"hengsuan": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def environment() -> dict[str, Any]:
    """Versions, digests of plugins, kernel, and the variables that change what libraries do.

    Never a secret.
    """
    from ..submissions.plugins import digests

    variables = {
        name: readable(value)
        for name, value in sorted(os.environ.items())
        if _VARIABLES.match(name) and not any(word in name for word in _SECRETS)
    }
    return {
        "versions": versions(),
        "plugins": digests(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "variables": variables,
    }
