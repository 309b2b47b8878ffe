"""The archive: a plain tar in one form, read as if its author were hostile.

A submission is a POSIX ustar without compression. Of every member the header is a function of its
name and size alone (owner 0, mode 0644, time 0), the manifest and its signature come first, the
rest in alphabetical order, and after the last there are zeros up to a whole record: the archive's
bytes are a function of its members, and a reader that forms each header again needs no library to
interpret what an attacker wrote. There is nothing to decompress, no link, device, long name or
sparse file, no name twice, nothing before, between or behind the members.

Nothing is written to a disk here; members are handed out as bytes.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np

MANIFEST, SIGNATURE, SYSTEM = "manifest.json", "manifest.sig", "system.json"
FIRST = (MANIFEST, SIGNATURE)
"""What must be known before anything else is looked at."""
NAME = re.compile(
    r"manifest\.json|manifest\.sig|system\.json|chips/[a-z0-9][a-z0-9._-]{0,62}\.json"
    r"|runs/[0-9]{1,3}/(?:run\.json|measurements\.jsonl|conditions\.jsonl|samples\.jsonl)"
)
"""The names that members may have."""

MOST_BYTES = 256 << 20
"""Of all members together: they are read into memory."""
MOST_MEMBERS = 500
MOST_JSON = 32 << 20
"""Of one member that is a single JSON value."""
MOST_LINE = 1 << 20
"""Of one line of those that hold one a line."""
MOST_DEPTH = 64
"""Brackets in brackets in one JSON value."""
_BLOCK = 512
_RECORD = tarfile.RECORDSIZE
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a pipe",
    b"x": "an extended header",
    b"g": "an extended header",
    b"L": "a long name",
    b"K": "a long link name",
    b"S": "a sparse file",
}


class Refused(Exception):
    """An archive that is not read any further: the ``rule`` that it breaks, and why, in words."""

    def __init__(self, rule: str, text: str, where: str = "") -> None:
        super().__init__(text)
        self.rule, self.text, self.where = rule, text, where


def write(members: Mapping[str, bytes], file: IO[bytes]) -> None:
    """Write an archive of these members: equal members, equal bytes.

    Raises ValueError for what `read` would refuse: such an archive is not made.
    """
    try:
        _check_numbers(len(members), sum(map(len, members.values())))
        for name in members:
            _check_name(name)
    except Refused as error:
        raise ValueError(f"{error.where}: {error.text}" if error.where else error.text) from None
    written = 0
    for name in sorted(members, key=_place):
        data = members[name]
        whole = header(name, len(data)) + data + bytes(-len(data) % _BLOCK)
        file.write(whole)
        written += len(whole)
    file.write(bytes(_closing(written)))


def read(file: IO[bytes]) -> dict[str, bytes]:
    """The members of an archive, by name.

    Reads forward only, and no further than the limits allow.

    Raises:
        Refused: it is not in the one form, or beyond the limits.
    """
    return dict(_members(file))


def _members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    position, total, count, before = 0, 0, 0, None
    while True:
        raw = file.read(_BLOCK)
        if position == 0:
            _check_beginning(raw)
        if raw == bytes(_BLOCK):
            break
        if len(raw) < _BLOCK:
            raise Refused("A1", "it ends in the middle: it was cut off")
        name, size = _read_header(raw)
        count, total = count + 1, total + size
        _check_numbers(count, total)
        if before is not None and _place(name) <= _place(before):
            twice = "a second member of this name" if name == before else f"it follows {before}"
            raise Refused("A2", f"{twice}: members come once each and in order", name)
        data = file.read(size)
        padding = file.read(-size % _BLOCK)
        if len(data) < size or len(padding) < -size % _BLOCK:
            raise Refused("A1", "it ends in the middle: it was cut off", name)
        if any(padding):
            raise Refused("A1", "something is hidden behind its end", name)
        yield name, data
        before = name
        position += _BLOCK + size + len(padding)
    rest = _closing(position) - _BLOCK
    if file.read(rest + 1) != bytes(rest):
        raise Refused("A1", "something follows the last member, or its end is cut off")


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member, a function of its name and size."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _read_header(raw: bytes) -> tuple[str, int]:
    """Name and size. Raises `Refused` unless it is what `header` gives for them."""
    name = raw[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
    kind = raw[156:157]
    if kind in _KINDS:
        raise Refused("A2", f"{_KINDS[kind]} is no file of a submission", name)
    _check_name(name)
    digits = raw[124:135]
    if not re.fullmatch(rb"[0-7]{11}", digits):
        raise Refused("A1", "its size is not written as pack writes it", name)
    size = int(digits, 8)
    if raw != header(name, size):
        raise Refused("A1", "its header is not in the form that pack writes", name)
    return name, size


def _check_beginning(raw: bytes) -> None:
    for magic, what in _COMPRESSED.items():
        if raw.startswith(magic):
            raise Refused("A1", f"it is compressed ({what}): a submission is a plain tar")
    if len(raw) == _BLOCK and any(raw) and raw[257:262] != b"ustar":
        raise Refused("A1", "it is no tar archive")


def _check_name(name: str) -> None:
    if NAME.fullmatch(name):
        return
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        why = "an absolute path"
    elif ".." in name.split("/"):
        why = "a path that leaves its folder"
    else:
        why = "no file of a submission"
    raise Refused("A2", f"{why}: nothing of this name is taken", name)


def _check_numbers(members: int, size: int) -> None:
    if members > MOST_MEMBERS:
        raise Refused("A3", f"it has more than {MOST_MEMBERS} members")
    if size > MOST_BYTES:
        raise Refused("A3", f"its members have more than {MOST_BYTES >> 20} MiB in all")


def _place(name: str) -> tuple[int, str]:
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def _closing(position: int) -> int:
    """Zeros behind the last member: two blocks at least, up to a whole record."""
    return 2 * _BLOCK + -(position + 2 * _BLOCK) % _RECORD


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
"""Text in JSON; one that is not closed ends with the file, so that this takes linear time."""


def check_json(name: str, raw: bytes) -> None:
    """Raises `Refused` unless it is UTF-8 text of bounded size whose brackets nest boundedly deep.

    Whether it is JSON, and of which schema, is for whoever decodes it.
    """
    lines = name.endswith(".jsonl")
    longest = max(map(len, raw.split(b"\n"))) if lines else len(raw)
    if longest > (MOST_LINE if lines else MOST_JSON):
        limit = (MOST_LINE if lines else MOST_JSON) >> 20
        raise Refused("A3", f"{'a line of it' if lines else 'it'} is longer than {limit} MiB", name)
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise Refused("A4", "it is no UTF-8 text", name) from None
    if _depth(_STRING.sub(b"", raw)) > MOST_DEPTH:
        raise Refused("A4", f"it is nested deeper than {MOST_DEPTH} levels", name)


def _depth(brackets: bytes) -> int:
    """How deep brackets nest, in text without strings."""
    depth = deepest = 0
    for start in range(0, len(brackets), 1 << 20):
        codes = np.frombuffer(brackets[start : start + (1 << 20)], dtype=np.uint8)
        step = np.isin(codes, tuple(b"[{")).astype(np.int64) - np.isin(codes, tuple(b"]}"))
        levels = depth + np.cumsum(step)
        depth, deepest = int(levels[-1]), max(deepest, int(levels.max()))
    return deepest
