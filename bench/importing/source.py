"""The text of a log, whatever it went through: launchers' prefixes, encodings, compression.

What stands before lines, and tells processes apart, `prefixes` reads away. Bytes that are no UTF-8
become question marks of their own, and are no reason to leave a line unread.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..errors import UsageError
from ..files import readable
from ..headers import unreadable
from ..host.cores import memory_available
from ..units import format_size
from .prefixes import moment, prefixed, unlabelled

STDIN = "-"
_BLOCK = 4 << 20
_LINE = 1 << 20
"""Characters beyond which a line is none: what follows up to its end is passed over."""
_ROOM = 6
"""Bytes of memory that a byte of printed tables takes as rows, about."""
MOST = 1 << 30
"""Bytes of a document that has to be read as a whole, or comes through a pipe."""
_PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_SEALED = (
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
)
"""Where files that hold others, or that nothing here unpacks, say so, and what they are."""
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ESCAPE = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


def room(names: Sequence[str]) -> None:
    """Raise `UsageError` where memory will not hold what is in these files.

    Nothing is known of what compressed files hold but that it is more.
    """
    size = 0
    for name in names:
        with contextlib.suppress(OSError):  # said when it is read
            size += Path(name).stat().st_size if name != STDIN else 0
    free = memory_available()
    if free and _ROOM * size > free:
        raise UsageError(
            f"{format_size(size)} of logs take about {format_size(_ROOM * size)} of memory, and "
            f"{format_size(free)} are free here",
            hint="import fewer files at a time, as those of a day",
        )


class Lines(NamedTuple):
    """Some lines of one process: ``numbers`` counts them from 1 within the file."""

    stream: str
    text: list[str]
    numbers: Sequence[int]


class Source:
    """One file, or standard input.

    Attributes:
        name: As it was given, with bytes that are no text written out.
        when: When its first line with a time before it was printed; None where none has one.
        problem: Why its end is missing, in a sentence, once it has been read; empty otherwise.
    """

    def __init__(self, name: str) -> None:
        self.name, self.problem = readable(name), ""
        self.when: datetime | None = None
        self._given = name
        self._kept: bytes | None = None

    @property
    def path(self) -> Path | None:
        """Where it lies; None for standard input."""
        return None if self._given == STDIN else Path(self._given)

    def lines(self) -> Iterator[Lines]:
        """Its lines in their order, block by block, those of each process together.

        Raises:
            UsageError: there is no such file, or it is no text.
            InfraError: it cannot be read.
        """
        number, rest, inside = 1, "", False
        for text in self._text():
            text = rest + text
            whole, newline, rest = text.rpartition("\n")
            if newline:
                listed = whole.split("\n")
                if inside:  # the rest of a line that was too long
                    listed[0], inside = "", False
                yield from self._by_stream(listed, number)
                number += len(listed)
            if len(rest) > _LINE:
                if not inside:
                    yield Lines(
                        "", [f"{rest[:80]}... (a line of over {_LINE:,} characters)"], [number]
                    )
                rest, inside = "", True
        if rest and not inside:
            yield from self._by_stream([rest], number)

    def whole(self) -> str:
        """All of it, for documents that are not read by the line. Raises as `lines` does."""
        parts, size = [], 0
        for text in self._text():
            parts.append(text)
            size += len(text)
            if size > MOST:
                raise UsageError(
                    f"a document of more than {MOST >> 30} GiB is not read as a whole",
                    where=self.name,
                    hint="import the files that it was put together from",
                )
        return "".join(parts)

    def _text(self) -> Iterator[str]:
        try:
            with self._opened() as file:
                yield from self._decoded(file)
        except FileNotFoundError:
            raise UsageError("no such file", where=self.name) from None
        except IsADirectoryError:
            raise UsageError("is a folder", where=self.name, hint="name its files") from None
        except OSError as error:
            raise unreadable(Path(self.name), error) from None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with self._plain() as file:
            head = file.read(8)
            file.seek(0)
            opened = next((one for magic, one in _PACKED.items() if head.startswith(magic)), None)
            if opened is None:
                yield file
            else:
                with opened(file, "rb") as packed:
                    yield packed

    def _plain(self) -> IO[bytes]:
        """Its bytes from the first one on, however often they are asked for.

        What comes through a pipe comes once, and a format is told by a look at its beginning.
        """
        path = self.path
        if self._kept is None:
            if path is not None:
                file: IO[bytes] = path.open("rb")
                if file.seekable():
                    return file
            elif sys.stdin is None:
                raise UsageError("standard input is closed", where=self.name)
            else:
                file = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 - closed below
            with file:
                self._kept = file.read(MOST + 1)
            if len(self._kept) > MOST:
                raise UsageError(
                    f"more than {MOST >> 30} GiB come through a pipe",
                    where=self.name,
                    hint="write them into a file, and import that",
                )
        return io.BytesIO(self._kept)

    def _decoded(self, file: IO[bytes]) -> Iterator[str]:
        decoder = None
        while block := self._read(file):
            if decoder is None:
                for start, magic, what in _SEALED:
                    if block.startswith(magic, start):
                        raise UsageError(
                            f"is {what}", where=self.name, hint="unpack it, and give what is in it"
                        )
                encoding = next((name for mark, name in _MARKS if block.startswith(mark)), "utf-8")
                if encoding != "utf-16" and b"\0" in block:
                    raise UsageError(
                        "is no text: it holds zero bytes",
                        where=self.name,
                        hint="give the log that the tool printed",
                    )
                decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
            yield decoder.decode(block)
        if decoder is not None:
            yield decoder.decode(b"", final=True)

    def _read(self, file: Any) -> bytes:
        try:
            # Not `read`, which gives nothing of a block whose end is missing.
            block: bytes = file.read1(_BLOCK)
            return block
        except _BROKEN as error:
            why = "it was cut off" if isinstance(error, EOFError) else str(error)
            self.problem = f"{self.name}: its compression ends early ({why}): the rest is lost"
            return b""

    def _by_stream(self, listed: list[str], first: int) -> Iterator[Lines]:
        """Lines by the process that printed them, without what launchers put before them."""
        text = "\n".join(listed)
        if "\x1b" in text:
            text = _ESCAPE.sub("", text)
        if "\r" in text:
            text = text.replace("\r\n", "\n").removesuffix("\r").replace("\r", " ")
        listed = text.split("\n")
        if not prefixed(text):
            yield Lines("", listed, range(first, first + len(listed)))
            return
        found: dict[str, tuple[list[str], list[int]]] = {}
        for number, line in enumerate(listed, first):
            stream, text, time = unlabelled(line)
            if time and self.when is None:
                self.when = moment(time)
            texts, numbers = found.setdefault(stream, ([], []))
            texts.append(text)
            numbers.append(number)
        # First what nobody is said to have printed: command lines, which speak of the others.
        for stream, (texts, numbers) in sorted(found.items(), key=lambda one: one[0] != ""):
            yield Lines(stream, texts, numbers)
