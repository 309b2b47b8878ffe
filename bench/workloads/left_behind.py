"""What killed processes left on storage: told by locks that the kernel lets go, and removed.

Whoever makes a folder holds a lock on a file for as long as it lives. The file says which boot of a
machine took it: some network file systems keep locks to each host, so one that is free here may be
held elsewhere, and what other machines made is left alone. The id of a machine would not tell them
apart: containers have that of their image.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..host.identity import boot_id, machine_id

PREFIX = ".hengsuan-"
"""Begins the name of a scratch folder, in which its lock lies."""
LOCK = "lock"
ATTEMPTS = "hengsuan-goodput-"
"""Begins the name of a folder of attempts, which their key ends. Its lock lies beside it: the ranks
make the folder, and the driver, which may be another user, holds the lock."""


def lock_of(folder: str) -> str:
    """Where the lock of a folder of attempts lies."""
    return f"{folder}.{LOCK}"


def take(lock: str) -> int:
    """Make a lock file and hold it; the descriptor to close in the end. Raises `OSError`."""
    # Locked before it has its name: one without a lock is taken for left behind.
    early = f"{lock}-new"
    held = os.open(early, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(held, _here())
        os.rename(early, lock)
    except BaseException:
        os.close(held)
        with contextlib.suppress(OSError):
            os.unlink(early)
        raise
    return held


def sweep(place: str) -> list[str]:
    """Remove what killed processes of this machine left below a directory since it was started.

    Returns the folders of attempts that were found, removed or not: what cannot be removed, as
    another user's, keeps its lock file.
    """
    found = []
    for lock in Path(place).glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), _free(lock):
            shutil.rmtree(lock.parent, ignore_errors=True)
    for lock in Path(place).glob(f"{ATTEMPTS}*.{LOCK}"):
        with contextlib.suppress(OSError), _free(lock):
            folder = lock.with_name(lock.name.removesuffix(f".{LOCK}"))
            if folder.is_dir():
                found.append(str(folder))
                shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                lock.unlink()
    return found


@contextlib.contextmanager
def _free(lock: Path) -> Iterator[None]:
    """Hold a lock that nobody holds. Raises `OSError` for one that is held, gone, or not ours."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who ends takes the name of its lock first: what it leaves then, it leaves on purpose.
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(f"{lock} was taken back")
        if os.read(descriptor, 1024) != _here():
            raise BlockingIOError(f"{lock} is another machine's")
        yield
    finally:
        os.close(descriptor)


def _here() -> bytes:
    return (boot_id() or machine_id()).encode()
