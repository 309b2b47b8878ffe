"""Packed token sets: one file of tokens back to back; who reads them, by place and ahead of time.

A file is a header of 4096 bytes and then ``count`` unsigned integers, little-endian, of two bytes
where the vocabulary has at most 65,536 tokens, else of four:

======  =======  ==================================================
offset  type     what
======  =======  ==================================================
0       8 bytes  ``HSTOKENS``
8       uint32   version, 1
12      uint32   bytes of a token, 2 or 4
16      uint64   ``count``, tokens
24      uint64   ``vocab``, all tokens are below it
32      uint64   ``seed`` of the content
======  =======  ==================================================

Sets are synthetic: token number i is ``synthetic(seed, i)``, so that whatever is read can be
compared with what must be there, and nobody's text is needed.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import struct
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..errors import InfraError, UsageError
from ..units import format_size

MAGIC = b"HSTOKENS"
VERSION = 1
HEADER = 4096
"""Bytes before the first token: a page, so that tokens of a page are whole."""
_FIELDS = struct.Struct("<8sIIQQQ")
_BLOCK = 1 << 20
"""Tokens that are made, or compared, at a time."""


def synthetic(seed: int, start: int, count: int, vocab: int) -> Any:
    """Tokens ``start`` to ``start + count`` of a text: uint64[count], each below ``vocab``.

    SplitMix64 (Steele, Lea & Flood, 2014) of the position, scaled by a multiplication (Lemire,
    2019): as random as can be told, and known at every position without the ones before.
    """
    position = np.arange(start, start + count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = position + np.uint64(seed)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return ((z >> np.uint64(32)) * np.uint64(vocab)) >> np.uint64(32)


class TokenSet(msgspec.Struct, frozen=True):
    """A packed set on disk."""

    path: str
    width: int
    count: int
    vocab: int
    seed: int

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return HEADER + self.width * self.count

    def place(self, start: int, count: int) -> tuple[int, int]:
        """(offset, length) in bytes of some tokens."""
        return HEADER + start * self.width, count * self.width

    def wrong(self, start: int, found: Any) -> str:
        """What differs in the tokens found from ``start`` on, as a sentence; empty if none does."""
        wanted = synthetic(self.seed, start, len(found), self.vocab)
        places = np.flatnonzero(found.astype(np.uint64) != wanted)
        if not places.size:
            return ""
        first = int(places[0])
        return (
            f"{places.size} of {len(found)} tokens are not what was written, first token "
            f"{start + first}: {int(found[first])} instead of {int(wanted[first])}"
        )

    def verify(self, say: Callable[[int], None] = lambda done: None) -> str:
        """Compare the whole set; what differs in the first block that does, empty if none does.

        ``say`` is told how many tokens are compared. Raises `InfraError` for a file that cannot be
        read to its end, or has become shorter.
        """
        # Not mapped: of a file that becomes shorter, a page that is gone kills the process.
        try:
            with open(self.path, "rb") as file:
                file.seek(HEADER)
                for start in range(0, self.count, _BLOCK):
                    length = min(_BLOCK, self.count - start)
                    data = file.read(length * self.width)
                    if len(data) < length * self.width:
                        raise InfraError("became shorter while it was read", where=self.path)
                    if wrong := self.wrong(start, np.frombuffer(data, f"<u{self.width}")):
                        return wrong
                    say(start + length)
        except OSError as error:
            raise InfraError(f"cannot be read: {error.strerror}", where=self.path) from None
        return ""


def open_set(path: str | Path) -> TokenSet:
    """A set by its file.

    Raises:
        UsageError: no such file, or not such a file; cut short, with how much is missing.
    """
    name = str(path)
    if os.path.exists(name) and not os.path.isfile(name):  # a pipe would be waited for
        raise UsageError("is no regular file", where=name)
    try:
        with open(path, "rb") as file:
            head = file.read(_FIELDS.size)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UsageError(
            f"{error.strerror}",
            where=name,
            hint=f"hengsuan tokens new {name} --size 1GiB" if error.errno == errno.ENOENT else "",
        ) from None
    if len(head) < _FIELDS.size or head[:8] != MAGIC:
        raise UsageError("is no packed token set: it does not begin with HSTOKENS", where=name)
    _, version, width, count, vocab, seed = _FIELDS.unpack(head)
    if version != VERSION:
        raise UsageError(f"is of version {version}; this code reads {VERSION}", where=name)
    if width not in (2, 4) or not count or not 1 < vocab <= 256**width:
        raise UsageError(
            f"its header is damaged: {count} tokens of {width} bytes below {vocab}", where=name
        )
    found = TokenSet(name, width, count, vocab, seed)
    if size != found.bytes:
        raise UsageError(
            f"has {size} bytes, and its header says {found.bytes}: "
            f"{'cut short' if size < found.bytes else 'something was appended'}",
            where=name,
        )
    return found


def write_set(
    path: str | Path,
    count: int,
    vocab: int,
    seed: int = 0,
    say: Callable[[int], None] = lambda done: None,
) -> TokenSet:
    """Write a synthetic set; it is on the disk, whole, before it has its name.

    Args:
        path: The file; one that is there is replaced.
        count: Tokens.
        vocab: Tokens are below it; it decides their width.
        seed: Of the content, below 2^63.
        say: Told how many tokens are written.

    Raises:
        UsageError: a count, vocabulary or seed that cannot be.
        InfraError: no room for it, or the file cannot be written.
    """
    if not 1 < vocab <= 1 << 32:
        raise UsageError(f"the vocabulary must be between 2 and 2^32 tokens, not {vocab}")
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"the seed must be between 0 and 2^63 - 1, not {seed}")
    width = 2 if vocab <= 1 << 16 else 4
    if count < 1:
        raise UsageError(f"a set has at least one token, of {width} bytes: ask for a larger size")
    made = TokenSet(str(path), width, count, vocab, seed)
    # Not by the process's number, which another host's or container's writer may have as well.
    early = Path(path).with_name(f".{Path(path).name}.{uuid.uuid4().hex[:12]}")
    try:
        free = shutil.disk_usage(early.parent).free
        if made.bytes > free:
            raise InfraError(
                f"{format_size(made.bytes)} are needed and {format_size(free)} are free",
                where=str(path),
            )
        with early.open("xb") as file:
            head = _FIELDS.pack(MAGIC, VERSION, width, count, vocab, seed)
            file.write(head.ljust(HEADER, b"\0"))
            for start in range(0, count, _BLOCK):
                part = synthetic(seed, start, min(_BLOCK, count - start), vocab)
                file.write(part.astype(f"<u{width}").tobytes())
                say(start + len(part))
            file.flush()
            os.fsync(file.fileno())
        early.replace(path)
    except OSError as error:
        raise InfraError(f"cannot be written: {error.strerror}", where=str(path)) from None
    finally:
        with contextlib.suppress(OSError):  # what could not be made cannot be removed
            early.unlink()
    return made


class Sequences:
    """Which sequence of a set comes when, for one of several readers that share it.

    Sequence k begins at token ``k * seq`` and has ``seq + 1`` tokens: the last is only predicted.
    Shuffled, number i is ``(step * i + seed) mod n`` with a step near n over the golden ratio
    that shares no factor with n: a permutation without memory, whose neighbours are far apart.

    Args:
        tokens: The set.
        seq: Tokens of a sequence.
        shuffled: Else in the order of the file.
        reader: Number of this reader of ``readers``: each has every so-manieth sequence.

    Raises `UsageError` for a set that has no sequence for each reader.
    """

    def __init__(
        self, tokens: TokenSet, seq: int, *, shuffled: bool, reader: int = 0, readers: int = 1
    ) -> None:
        self.tokens, self.seq = tokens, seq
        self.total = (tokens.count - 1) // seq
        if self.total < readers:
            raise UsageError(
                f"has {self.total} sequence(s) of {seq} tokens, and {readers} reader(s) need one "
                "each: take a larger set or shorter sequences",
                where=tokens.path,
            )
        self._reader, self._readers = reader, readers
        self._step = 1
        if shuffled:
            self._step = max(1, int(self.total * 0.6180339887))
            while math.gcd(self._step, self.total) != 1:
                self._step += 1

    def start(self, number: int) -> int:
        """The first token of this reader's sequence ``number``; after the last comes the first."""
        turn = (number * self._readers + self._reader) % self.total
        return (self._step * turn + self.tokens.seed) % self.total * self.seq


class Reader:
    """Sequences of a set by their first tokens, for several threads at once.

    By `os.pread`, not through a mapping: of a file that becomes shorter, a page that is gone kills
    the process, and a sequence in a random place is one request and not one for each page.

    Args:
        tokens: The set.
        random: Whether nothing is read beyond what is asked for, else far ahead.

    Raises `InfraError` for a file that cannot be opened.
    """

    def __init__(self, tokens: TokenSet, *, random: bool) -> None:
        self._tokens = tokens
        try:
            self._file = os.open(tokens.path, os.O_RDONLY)
        except OSError as error:
            raise InfraError(f"cannot be read: {error.strerror}", where=tokens.path) from None
        with contextlib.suppress(OSError):  # some file systems take no advice
            advice = os.POSIX_FADV_RANDOM if random else os.POSIX_FADV_SEQUENTIAL
            os.posix_fadvise(self._file, 0, 0, advice)

    def batch(self, starts: Sequence[int], length: int) -> Any:
        """int64[len(starts), length]: ``length`` tokens from each start.

        Raises `InfraError` for a file that cannot be read any more, or has become shorter.
        """
        tokens, made = self._tokens, np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(made, starts, strict=True):
            offset, size = tokens.place(start, length)
            row[:] = np.frombuffer(self._read(offset, size), f"<u{tokens.width}")
        return made

    def _read(self, offset: int, size: int) -> bytes:
        found = b""
        while len(found) < size:  # a call gives less than 2 GiB, and network storage may give less
            try:
                more = os.pread(self._file, size - len(found), offset + len(found))
            except OSError as error:
                raise InfraError(
                    f"cannot be read: {error.strerror}", where=self._tokens.path
                ) from None
            if not more:
                raise InfraError("became shorter while it was read", where=self._tokens.path)
            found += more
        return found

    def close(self) -> None:
        """Let go of the file, when no thread reads from it any more."""
        os.close(self._file)


def batches(
    reader: Reader,
    starts: Iterable[Sequence[int]],
    length: int,
    pool: ThreadPoolExecutor,
    ahead: int,
) -> Iterator[Any]:
    """Batches in order, read by the pool's threads up to ``ahead`` of who takes them.

    Args:
        reader: Of the set.
        starts: First tokens of the sequences, batch by batch; may be without end.
        length: Tokens of a sequence.
        pool: Whose threads read. Reading and copying do not hold the interpreter's lock.
        ahead: Batches that are read before they are wanted.

    Yields:
        int64[batch, length]. Raises what `Reader.batch` raises.
    """
    waiting: deque[Future[Any]] = deque()
    for one in starts:
        waiting.append(pool.submit(reader.batch, one, length))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
