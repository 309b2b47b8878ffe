"""A side of a gate as the command line says it, and how it is started."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
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
    "image": "a container of an image that has hengsuan, as image:registry/stack:2",
    "run": "a command that is hengsuan, as run:'ssh -T other hengsuan'",
}
WAYS = ("env", "git", "image", "run")
"""Kinds that start a side; the others change how it is started."""
ENGINES = ("docker", "podman")
CONTAINER = "HENGSUAN_CONTAINER"
"""Variable with further words for the engine, as what gives a container the devices."""


def started(name: str, said: Sequence[str], out: Path) -> Started:
    """How a side is started; without a word, or with `AS_IT_IS`, it is what runs this.

    Args:
        name: ``baseline`` or ``candidate``.
        said: Words of the command line.
        out: Where its run goes, which a container must see.

    Raises:
        UsageError: a word of no known kind, an environment without Python, no container engine, two
            ways to start it.
        InfraError: a revision that cannot be installed.
    """
    words: Sequence[str] = HERE
    ways = 0
    environment: dict[str, str] = {}
    options: list[str] = []
    directory: str | None = None
    image = ""
    for one in said:
        if one == AS_IT_IS:
            continue
        kind, colon, value = one.partition(":")
        if not colon or kind not in KINDS or not value:
            known = "; ".join(KINDS.values())
            raise UsageError(f"--{name} {one}: no such kind of side", hint=f"write {known}")
        if kind in WAYS:
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
        elif kind == "image":
            image = value
        elif kind == "run":
            words = _split(f"--{name} {one}", value)
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
        kinds = ", ".join(f"{kind}:" for kind in WAYS)
        raise UsageError(f"--{name}: one of {kinds} starts a side, and here are {ways}")
    if image:
        return Started(
            name, _container(f"--{name} image:{image}", image, environment, out), {}, options
        )
    return Started(name, words, environment, options, directory)


def _split(said: str, text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{said}: {error}") from None
    if not words:
        raise UsageError(f"{said}: there is no command")
    return words


def _container(said: str, image: str, environment: Mapping[str, str], out: Path) -> list[str]:
    """How an image is started: results and this folder under their own paths, no other file.

    An engine knows no more of the side's variables than it is told.
    """
    engine = next((found for one in ENGINES if (found := shutil.which(one))), None)
    if engine is None:
        raise UsageError(f"{said}: there is no {' and no '.join(ENGINES)} on the PATH")
    out.mkdir(parents=True, exist_ok=True)
    here, place = Path.cwd(), out.absolute()
    words = [engine, "run", "--interactive", "--rm", *_split_further()]
    words += [
        "--volume",
        f"{here}:{here}:ro",
        "--volume",
        f"{place}:{place}",
        "--workdir",
        str(here),
    ]
    for variable, value in environment.items():
        words += ["--env", f"{variable}={value}"]
    return [*words, image, "hengsuan"]


def _split_further() -> list[str]:
    further = os.environ.get(CONTAINER, "")
    return _split(f"{CONTAINER}={further}", further) if further.strip() else []
