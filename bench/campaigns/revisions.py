"""Revisions of the repository here, each installed into a folder of its own and kept."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from ..backends.tools import run
from ..errors import InfraError, UsageError

LIMIT = 600.0
"""Seconds that building and installing may take."""
_BUILDING = ".building-"


def cache() -> Path:
    """The folder of all that is installed, by the revision's hash."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home, "hengsuan", "revisions")


def installed(revision: str) -> Path:
    """A folder that Python finds this package in as it was at a revision.

    What it depends on is that of the environment that runs this.

    Raises:
        UsageError: no repository here, or no such revision in it.
        InfraError: it does not build, with what pip said last.
    """
    commit = _commit(revision)
    folder = cache() / f"{commit}-{sys.implementation.cache_tag}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_BUILDING) as place:
        source, site = Path(place, "source"), Path(place, "site")
        archive = Path(place, "source.tar")
        _said(["git", "archive", "--output", str(archive), commit])
        with tarfile.open(archive) as tar:
            tar.extractall(source, filter="fully_trusted")  # our own repository's
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        where = ["--no-deps", "--no-build-isolation", "--target", str(site), str(source)]
        # What pip starts ends with it, and what it leaves goes with this folder.
        scratch = Path(place, "scratch")
        scratch.mkdir()
        done = run([*pip, *where], LIMIT, {**os.environ, "TMPDIR": str(scratch)})
        if done.code is None:
            raise InfraError(
                f"revision {revision} cannot be installed: not done after {LIMIT:.0f} s"
            )
        if done.code:
            last = "\n".join(done.err.strip().splitlines()[-3:])
            raise InfraError(f"revision {revision} cannot be installed: {last}")
        try:
            site.rename(folder)
        except OSError:  # somebody else was faster
            if not folder.is_dir():
                raise
            shutil.rmtree(site, ignore_errors=True)
    return folder


def _sweep(folder: Path) -> None:
    """Remove what builds left that were killed: folders older than any that still builds."""
    for place in folder.glob(f"{_BUILDING}*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone by now
            if time.time() - place.stat().st_mtime > 3 * LIMIT:
                shutil.rmtree(place, ignore_errors=True)


def between(good: str, bad: str) -> list[str]:
    """The commits after a revision up to another, the oldest first, along first parents.

    Raises `UsageError` for one that is none, or a good one that the bad one does not follow.
    """
    first, last = _commit(good), _commit(bad)
    if _said(["git", "merge-base", first, last]) != first:
        raise UsageError(f"{bad} does not follow {good}")
    return _said(["git", "rev-list", "--reverse", "--first-parent", f"{first}..{last}"]).split()


def _commit(revision: str) -> str:
    if revision.startswith("-"):
        raise UsageError(f"{revision!r} is no revision")
    return _said(["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], revision)


def _said(words: list[str], revision: str = "") -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)
    except OSError as error:
        raise UsageError(f"git cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise InfraError(f"git was not done after {LIMIT:.0f} s") from None
    if done.returncode:
        why = done.stderr.strip() or f"there is no revision {revision!r} in this repository"
        raise UsageError(why.splitlines()[-1])
    return done.stdout.strip()
