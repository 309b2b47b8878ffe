"""All results of a device in one file: what comes back from a machine that is lent, and goes there
again.

It holds the folder of results (`device.json`, runs, reports, tables that a search wrote). It is
whole at any time: whoever is killed leaves the one before.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from book import replace

TABLES = "tuned"
"""Folder of tables that a search wrote, among the results."""


def pack(out: Path, archive: Path, known: Path) -> None:
    """Write all that is below a folder of results, which may grow meanwhile.

    Args:
        out: The folder of results.
        archive: Where to.
        known: Results that there are at home: files that are the same there stay out, lest they
            come back in place of newer ones.

    Raises:
        OSError: it cannot be written.
    """
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz", compresslevel=3) as made:
        for path in sorted(out.rglob("*")):
            if path.suffix == ".part" or path.is_symlink() or not path.is_file():
                continue
            try:
                text, told = path.read_bytes(), path.stat()
            except FileNotFoundError:  # replaced or removed since it was listed
                continue
            name = path.relative_to(out)
            if out != known and _same(known / name, text):
                continue
            member = tarfile.TarInfo(name.as_posix())
            member.size, member.mtime = len(text), int(told.st_mtime)
            made.addfile(member, io.BytesIO(text))
    replace(archive, whole.getvalue())


def unpack(archive: Path, out: Path, tables: Path) -> list[str]:
    """Put what an archive holds into a folder of results, in place of what has the same name, and
    its tables into theirs.

    Args:
        archive: Of `pack`.
        out: The folder of results.
        tables: Folder of the built-in tables.

    Returns:
        Names of what was written, below ``out``.

    Raises:
        ValueError: it cannot be read, or holds what does not belong into the folder.
    """
    names = []
    try:
        with tarfile.open(archive, mode="r:gz") as given:
            members = given.getmembers()
            _check(archive, members)
            for member in members:
                content = given.extractfile(member)
                assert content is not None  # a plain file, as was checked
                replace(out / member.name, content.read())
                os.utime(out / member.name, (member.mtime, member.mtime))
                names.append(member.name)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{archive} cannot be read: {error}") from None
    for name in names:
        place = PurePosixPath(name)
        if place.parent == PurePosixPath(TABLES) and place.suffix == ".yaml":
            shutil.copy(out / name, tables / place.name)
    return names


def _check(archive: Path, members: Iterable[tarfile.TarInfo]) -> None:
    for member in members:
        place = PurePosixPath(member.name)
        if not member.isreg() or place.is_absolute() or ".." in place.parts:
            raise ValueError(f"{archive} holds {member.name!r}: it is no archive of results")


def _same(path: Path, text: bytes) -> bool:
    return path.is_file() and path.read_bytes() == text
