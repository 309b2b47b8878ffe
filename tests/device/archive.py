"""All results of a device in one file: what comes back from a machine that is lent, and goes there
again.

It holds the folder of results (`device.json`, runs, reports, tables that a search wrote). It is
whole at any time: whoever is killed leaves the one before.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from book import replace, unwritable

from bench.kernels.tables import TableError, read

STATE = "device.json"
"""What says which stages were done."""
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
            if out != known and name != Path(STATE) and _same(known / name, text):
                continue
            member = tarfile.TarInfo(name.as_posix())
            member.size, member.mtime = len(text), int(told.st_mtime)
            made.addfile(member, io.BytesIO(text))
    replace(archive, whole.getvalue())


Contents = list[tuple[tarfile.TarInfo, bytes]]


def contents(archive: Path) -> Contents:
    """All that an archive of `pack` holds.

    Raises ValueError where it cannot be read whole, or holds what does not belong among results.
    """
    try:
        # All of it first: who reads members alone never comes to the sum behind them.
        whole = io.BytesIO(gzip.decompress(archive.read_bytes()))
        with tarfile.open(fileobj=whole) as given:
            members = given.getmembers()
            _check(archive, members)
            found = []
            for member in members:
                content = given.extractfile(member)
                assert content is not None  # a plain file, as was checked
                found.append((member, content.read()))
            return found
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise ValueError(f"{archive} cannot be read: {error}") from None


def unpack(found: Contents, out: Path, tables: Path) -> tuple[list[str], list[str]]:
    """Put what an archive holds into a folder of results, in place of what has the same name, and
    its tables into theirs.

    Args:
        found: Of `contents`.
        out: The folder of results.
        tables: Folder of the built-in tables.

    Returns:
        Names of what was written, below ``out``; why tables among them were left out of theirs.

    Raises:
        InfraError: it cannot be written.
    """
    refused = []
    try:
        for member, text in found:
            place = out / member.name
            replace(place, text)
            os.utime(place, (member.mtime, member.mtime))
            if PurePosixPath(member.name).parent == PurePosixPath(TABLES):
                try:
                    read(place)
                except TableError as error:  # of other sources: no kernel would find a table then
                    refused.append(f"{error.where} is no table of these kernels: {error}")
                else:
                    replace(tables / place.name, text)
    except OSError as error:
        raise unwritable(error, out) from None
    return [member.name for member, _ in found], refused


def _check(archive: Path, members: Iterable[tarfile.TarInfo]) -> None:
    names = set[str]()
    for member in members:
        place = PurePosixPath(member.name)
        if not member.isreg() or place.is_absolute() or ".." in place.parts:
            raise ValueError(f"{archive} holds {member.name!r}: it is no archive of results")
        names.add(member.name)
    if STATE not in names:
        raise ValueError(f"{archive} holds no {STATE}: it is no archive of results")


def _same(path: Path, text: bytes) -> bool:
    return path.is_file() and path.read_bytes() == text
