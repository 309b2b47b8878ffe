"""A folder of one's own at the path that is measured, gone when the measurement is.

A path is a directory, or a URL that fsspec knows (``s3://bucket/prefix``, ``memory://``). Of a
directory, ``~`` and ``$NAME`` are replaced on the node itself, so that nodes may differ.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import uuid
from typing import Any

from ..errors import Unmeasurable
from ..units import format_value
from .base import Context
from .left_behind import LOCK, PREFIX, sweep, take
from .runner import all_or_none

SLACK = 1.05
"""Room that is asked for, in sizes of what is written: file systems keep accounts of their own."""


def place_of(path: str) -> str:
    """Where a path leads on this node; an empty one to the folder for temporary files.

    Raises `Unmeasurable` for a variable that this node's environment has not.
    """
    if is_url(path):
        return path
    place = os.path.expandvars(os.path.expanduser(path or tempfile.gettempdir()))
    if "$" in place:
        raise Unmeasurable(f"path {path}: this node's environment has no such variable")
    return os.path.abspath(place)


def must_be_directory(place: str) -> None:
    """Raise `Unmeasurable`, with the reason, where a path of this node is no directory."""
    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError:
        why = "there is no such directory on this node"
    except OSError as error:  # a loop of links, a name too long, a folder that is not ours
        why = f"cannot be used on this node: {error.strerror}"
    else:
        why = "" if stat.S_ISDIR(mode) else "is no directory on this node"
    if why:
        raise Unmeasurable(f"path {place}: {why}")


def is_url(path: str) -> bool:
    """Whether fsspec is to be asked."""
    return "://" in path


class Scratch:
    """A folder beneath a path; whoever made it removes it with all that is in it (`close`).

    Folders of processes that were killed are removed by whoever comes next (`left_behind`): each
    holds a lock on a file in its own.

    Args:
        folder: Path or URL of the folder.
        owner: Whether this process made it.
    """

    def __init__(self, folder: str, owner: bool = False) -> None:
        self.folder, self.owner = folder, owner
        self._lock: int | None = None

    @classmethod
    def make(cls, path: str) -> Scratch:
        """A new one. Raises `Unmeasurable` where there is no such place, or one may not write."""
        place = place_of(path)
        if is_url(place):
            gap = "" if place.endswith("/") else "/"
            made = cls(f"{place}{gap}{PREFIX}{uuid.uuid4().hex}", owner=True)
            made._try_url(place)
            return made
        must_be_directory(place)
        sweep(place)
        made = cls(os.path.join(place, PREFIX + uuid.uuid4().hex), owner=True)
        try:
            os.mkdir(made.folder, 0o700)
            made._lock = take(os.path.join(made.folder, LOCK))
        except OSError as error:
            made.close()
            raise Unmeasurable(f"path {place} cannot be written: {error.strerror}") from None
        return made

    @property
    def url(self) -> bool:
        """Whether it is fsspec's."""
        return is_url(self.folder)

    def there(self) -> bool:
        """Whether this process sees it: not in a directory that belongs to another node."""
        if self.url:
            return bool(self._files().exists(f"{self.folder}/{LOCK}"))
        return os.path.exists(os.path.join(self.folder, LOCK))

    def needs(self, size: int) -> None:
        """Raise `Unmeasurable` unless ``size`` bytes have room; a URL does not say."""
        if self.url:
            return
        free = shutil.disk_usage(self.folder).free
        if size * SLACK > free:
            place = os.path.dirname(self.folder)
            raise Unmeasurable(
                f"path {place} has {format_value(free, 'B')} free, and "
                f"{format_value(size * SLACK, 'B')} are needed"
            )

    def remove(self, path: str) -> None:
        """Remove a part of it, with all that is in it; nothing if there is none."""
        if self.url:
            with contextlib.suppress(FileNotFoundError):
                self._files().rm(path, recursive=True)
        else:
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Remove it, if this process made it."""
        if not self.owner:
            return
        self.owner = False
        with contextlib.suppress(Exception):  # storage that failed may fail here again
            self.remove(self.folder)
        if self._lock is not None:
            os.close(self._lock)

    def _files(self) -> Any:
        return _file_system(self.folder)

    def _try_url(self, place: str) -> None:
        try:
            files = _file_system(place)
            local = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
            if local == "file":  # elsewhere a prefix needs no folder: this one would be made
                must_be_directory(files._strip_protocol(place))
            files.makedirs(self.folder, exist_ok=True)
            with files.open(f"{self.folder}/{LOCK}", "wb") as file:
                file.write(b"hengsuan")
        except Unmeasurable:
            raise
        except Exception as error:  # every storage has errors of its own
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise Unmeasurable(f"path {place} cannot be written: {said}") from None


def shared(context: Context, path: str) -> Scratch:
    """A scratch folder that all ranks of the group see; rank 0 makes it.

    Raises `Unmeasurable` on every rank if it cannot be made, or one rank does not see it.
    """
    made: Scratch | None = None
    problem = ""
    try:
        made = Scratch.make(path) if context.rank == 0 else None
    except Unmeasurable as error:
        problem = error.message
    all_or_none(context, problem)
    if context.size == 1:
        assert made is not None
        return made
    try:
        folder = broadcast(context, made.folder if made is not None else None)
        found = made or Scratch(folder)
        if not found.there():
            problem = f"path {path} is not the same place for all ranks: it must be shared storage"
        all_or_none(context, problem)
    except BaseException:
        if made is not None:
            made.close()
        raise
    return found


def broadcast(context: Context, value: Any) -> Any:
    """Rank 0's value on every rank of a group, over the host network."""
    import torch.distributed as dist

    carried = [value]
    root = dist.get_global_rank(context.control, 0)
    dist.broadcast_object_list(carried, root, group=context.control)
    return carried[0]


def _file_system(url: str) -> Any:
    """fsspec's file system of a URL. Raises `Unmeasurable` with what is to be installed."""
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)[0]
    except (ImportError, ValueError) as error:
        said = " ".join(str(error).split())
        raise Unmeasurable(f"path {url}: {said} (URLs need fsspec and its driver)") from None
