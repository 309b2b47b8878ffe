"""Reading what a run declares: ``run.json`` with its conditions, once its schema is known."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from .declared import incoherent
from .errors import InfraError, UsageError
from .files import read_regular
from .records import SCHEMA, Conditions, Header

RUN, CONDITIONS = "run.json", "conditions.jsonl"
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises: text that is no UTF-8, and endless brackets, have errors of their own."""


def read_header(path: Path) -> Header:
    """``run.json`` of a run's folder, with the conditions of ``conditions.jsonl``.

    Raises:
        UsageError: there is no run here, or it is of another schema.
        InfraError: either file cannot be read or is damaged.
    """
    raw = checked(path)
    try:
        header = msgspec.json.decode(raw, type=Header)
    except UNDECODABLE as error:
        raise InfraError(f"{RUN} is damaged: {error}", where=str(path / RUN)) from None
    if why := incoherent(raw, header):
        raise InfraError(f"{RUN} is damaged: {why}", where=str(path / RUN))
    file = path / CONDITIONS
    try:
        with read_regular(file) as opened:
            lines = opened.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        header.conditions.extend(msgspec.json.Decoder(Conditions).decode_lines(whole))
    except FileNotFoundError:
        pass  # none met yet, or a run of before, which has them in `run.json`
    except OSError as error:
        raise unreadable(file, error) from None
    except UNDECODABLE as error:
        raise InfraError(f"{CONDITIONS} is damaged: {error}", where=str(file)) from None
    return header


def absent(header: Header) -> list[str]:
    """Nodes that were to be measured and never said what they carry, as ``name: why``.

    One that answered, and has no device of the kind that is measured or lends them to others, is
    none of them.
    """
    return [
        f"{node.name}: {node.problem}"
        for node in header.nodes
        if node.problem and not node.facts and not node.busy
    ]


class _Version(msgspec.Struct):
    schema: int


def checked(path: Path) -> bytes:
    """``run.json`` as bytes, once its schema is known to be ours; raises as `read_header` does."""
    try:
        return read_versioned(path / RUN, SCHEMA)
    except FileNotFoundError:
        raise UsageError(f"no run here: {path} holds no {RUN}") from None


def read_versioned(file: Path, schema: int) -> bytes:
    """A JSON file of a run's folder as bytes, once its ``schema`` is known to be ours.

    Raises:
        FileNotFoundError: there is none.
        UsageError: it is of another schema.
        InfraError: it cannot be read or is damaged.
    """
    try:
        with read_regular(file) as opened:
            raw = opened.read()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(file) from None
    except OSError as error:
        raise unreadable(file, error) from None
    try:
        version = msgspec.json.decode(raw, type=_Version).schema
    except UNDECODABLE as error:
        raise InfraError(f"{file.name} is damaged: {error}", where=str(file)) from None
    check_schema(version, schema, str(file))
    return raw


def check_schema(version: int, schema: int, where: str) -> None:
    """Raise `UsageError` for a file of another schema than ours."""
    if version != schema:
        which = "newer" if version > schema else "older"
        raise UsageError(
            f"results of schema {version}; this hengsuan reads schema {schema}",
            where=where,
            hint=f"read it with the {which} hengsuan that wrote it",
        )


def unreadable(path: Path, error: OSError) -> InfraError:
    """The error for a file or folder that the system does not let us read."""
    return InfraError(
        f"cannot read: {error.strerror or error}",
        where=str(path),
        hint="check its permissions and its disk",
    )


def uid_of(header: Header) -> str:
    """Names a run and no other: 32 hexadecimal digits of the SHA-256 of how it was begun.

    An ``id`` is a second and a suite, which runs in two folders may share.
    """
    nodes = [(node.machine or node.id or node.name) for node in header.nodes]
    fleet = header.fleet
    if fleet is not None:  # an order of keys there is for texts only
        apart = {str(index): stated for index, stated in fleet.exceptions.items()}
        fleet = msgspec.structs.replace(fleet, exceptions=apart)
    begun = (header.id, header.started, header.suite_text, header.command, nodes, fleet)
    text = msgspec.json.encode(begun, order="deterministic")
    return hashlib.sha256(b"hengsuan run\n" + text).hexdigest()[:32]
