"""Writing a file so that nobody ever reads half of it, and digests of what was written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import IO, Any

import msgspec

_BLOCK = 1 << 20


def followed(path: Path) -> Path:
    """Where a path leads, through links: who writes there keeps the link. Raises OSError for a link
    that leads to itself."""
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return place


def replace_file(path: Path, data: bytes, mode: int | None = None) -> None:
    """Put ``data`` in the place of a file at once, on the disk before it has the name.

    ``mode`` are its permissions; None: as the umask says. Raises OSError; then the file is what it
    was before.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # of one who died
        # The name can be guessed: a link that somebody laid there is not followed.
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(made, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # whoever interrupts it finds nothing left behind either
        with contextlib.suppress(OSError):  # a full disk has no room for the half of it
            temporary.unlink()
        raise


def create_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that must not be there yet, with these permissions from its first moment on.

    Raises FileExistsError if there is one, other OSErrors if it cannot be written.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask says
        file.write(data)


def read_regular(path: Path) -> IO[bytes]:
    """Open a file to read its bytes. Raises OSError, also for a pipe or a device: whoever opens a
    pipe that nobody writes would wait for ever."""
    # Not to wait says nothing to a file, and a pipe opens at once.
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def silence(stream: IO[str]) -> None:
    """Let what is written to a stream, and what it still holds, go nowhere from now on.

    For one whose reader has left, or whose disk is full: Python would complain once more at exit.
    """
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, stream.fileno())
    os.close(nobody)


def readable(text: str) -> str:
    """Text that any file takes: bytes of a name or a command line that are no text are written out
    (``\\xff``)."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def document(value: Any) -> bytes:
    """A value as indented JSON, with a newline at the end; names that are no text are `readable`.

    Raises TypeError for what `msgspec` does not write.
    """
    try:
        text = msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = msgspec.json.encode(_readable(msgspec.to_builtins(value, str_keys=True)))
    return msgspec.json.format(text, indent=1) + b"\n"


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {readable(key): _readable(one) for key, one in value.items()}
    return [_readable(one) for one in value] if isinstance(value, (list, tuple)) else value


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
