"""A side of a gate as the command line says it, and how it is started."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..campaigns.revisions import installed
from ..campaigns.sides import Started
from ..errors import UsageError

HERE = (sys.executable, "-m", "bench")
AS_IT_IS = "."
KINDS = {
    "env": "a Python environment, as env:/opt/new",
    "git": "a revision of the repository here, as git:HEAD~1",
    "var": "a variable, as var:NCCL_ALGO=Ring",
    "lib": "a folder whose libraries come first, as lib:/opt/new/lib",
    "axis": "an axis of the suite, as axis:impl=triton",
    "run": "a command that is hengsuan, as run:'docker run -i --rm image hengsuan'",
}


def started(name: str, said: Sequence[str]) -> Started:
    """How a side is started; without a word, or with `AS_IT_IS`, it is what runs this.

    Raises:
        UsageError: a word of no known kind, an environment without Python, two ways to start it.
        InfraError: a revision that cannot be installed.
    """
    words: Sequence[str] = HERE
    ways = 0
    environment: dict[str, str] = {}
    options: list[str] = []
    directory: str | None = None
    for one in said:
        if one == AS_IT_IS:
            continue
        kind, colon, value = one.partition(":")
        if not colon or kind not in KINDS or not value:
            known = "; ".join(KINDS.values())
            raise UsageError(f"--{name} {one}: no such kind of side", hint=f"write {known}")
        if kind in ("env", "git", "run"):
            ways += 1
        if kind == "env":
            python = Path(value, "bin", "python").absolute()
            if not os.access(python, os.X_OK):
                raise UsageError(f"--{name} {one}: there is no {python}")
            # Python looks in the working directory first, which may hold another version of us.
            words, directory = (str(python), "-m", "bench"), str(python.parent)
        elif kind == "git":
            folder = installed(value)
            environment["PYTHONPATH"], directory = str(folder), str(folder)
        elif kind == "run":
            words = shlex.split(value)
        elif kind == "axis":
            options += ["--set", value]
        elif kind == "lib":
            before = os.environ.get("LD_LIBRARY_PATH", "")
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, (value, before)))
        else:
            variable, equals, content = value.partition("=")
            if not variable or not equals:
                raise UsageError(f"--{name} {one}: write var:NAME=VALUE")
            environment[variable] = content
    if ways > 1:
        raise UsageError(f"--{name}: one of env:, git: and run: starts a side, and here are {ways}")
    return Started(name, words, environment, options, directory)
