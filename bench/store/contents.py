"""What a run's folder holds: its files with digests, and which run of all it is.

A run's id is a time and a suite, so two clusters that begin on the hour may share one. ``uid``
tells them apart, and stays what it is while the run goes on, is resumed or is judged; ``digest`` is
of the files as they are.
"""

from __future__ import annotations

import hashlib
import re
import stat
from pathlib import Path

import msgspec

from ..files import sha256
from ..headers import RUN, read_header, uid_of, unreadable
from ..records import Header
from ..results import ROWS
from ..runs import being_measured, held

NAME = re.compile(r"\w[\w.-]{0,199}")
"""Names that files of runs, and runs themselves, may have: those of suites, in any script."""
PULLED = ".pulled-"
"""Begins the name of a folder that is being pulled: it is no run yet."""


class File(msgspec.Struct, kw_only=True, frozen=True):
    """A file of a run: its size in bytes, and its SHA-256."""

    name: str
    size: int
    sha256: str


class Contents(msgspec.Struct, kw_only=True, frozen=True):
    """A run's folder: ``uid`` and ``digest`` as above; ``left`` names what else is in it."""

    folder: Path
    header: Header
    uid: str
    digest: str
    files: list[File]
    left: list[str]


def contents(folder: Path) -> Contents:
    """What a run's folder holds.

    Raises:
        UsageError: there is no run, or it is of another schema.
        InfraError: it cannot be read.
    """
    header = read_header(folder)
    paths, left = files_of(folder)
    try:
        files = [File(name=p.name, size=p.stat().st_size, sha256=sha256(p)) for p in paths]
    except OSError as error:
        raise unreadable(folder, error) from None
    return Contents(
        folder=folder,
        header=header,
        uid=uid_of(header),
        digest=digest_of(files),
        files=files,
        left=left,
    )


def files_of(folder: Path) -> tuple[list[Path], list[str]]:
    """The files of a run, `RUN` first, and the names of what is none: folders, links, the rest.

    Raises `InfraError` if the folder cannot be read.
    """
    kept, left = [], []
    try:
        for path in sorted(folder.iterdir(), key=lambda path: (path.name != RUN, path.name)):
            regular = stat.S_ISREG(path.lstat().st_mode)
            if regular and NAME.fullmatch(path.name):
                kept.append(path)
            elif not path.name.startswith("."):  # what is half written
                left.append(path.name)
    except OSError as error:
        raise unreadable(folder, error) from None
    return kept, left


def digest_of(files: list[File]) -> str:
    """Of all files together, by name: SHA-256 in hexadecimal."""
    lines = (f"{one.name} {one.sha256}\n" for one in sorted(files, key=lambda one: one.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_ended(folder: Path) -> None:
    """Raises `UsageError` where a run is being measured, `InfraError` if it cannot be read."""
    try:
        if held(folder / ROWS):
            raise being_measured(folder)
    except OSError as error:
        raise unreadable(folder, error) from None
