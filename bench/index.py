"""The index of a folder of runs: what a list says of each, in one file beside them.

The runs' own files are the truth. An entry counts as long as ``run.json`` has the time, size and
inode that it had when the entry was made, so the index may be deleted, be old or be of other runs:
what it does not know is read anew. A damaged one is none, and a folder that cannot be written is
read each time.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from .errors import InfraError, UsageError
from .files import readable, replace_file
from .headers import RUN, UNDECODABLE, checked, unreadable
from .hostlists import compress

INDEX = ".index.json"
_SCHEMA = 1
"""Of the index alone: one of another schema is made anew."""
_WORTH = 16
"""Runs that must have been read anew for the index to be written: few are read as fast."""


class RunInfo(msgspec.Struct, kw_only=True):
    """One line of a list of runs. ``problem`` says why a folder cannot be read, else empty.

    ``nodes`` are the names of its nodes, in ranges (`bench.hostlists`); ``devices`` is how many
    there are on them, ``chips`` which, by datasheet or by the name that they give themselves, and
    ``stands_for`` what they stand in for.
    """

    path: str = ""
    schema: int = 0
    id: str
    suite: str = ""
    started: str = ""
    finished: str | None = None
    state: str = ""
    executor: str = ""
    provenance: str = ""
    stands_for: str = ""
    nodes: str = ""
    devices: int = 0
    chips: list[str] = []
    problem: str = ""


class _Entry(msgspec.Struct, array_like=True):
    modified: int
    size: int
    inode: int
    info: RunInfo


class _Index(msgspec.Struct):
    schema: int
    runs: dict[str, _Entry]


def read_runs(folder: Path) -> tuple[list[RunInfo], list[str]]:
    """All runs in a folder, in no order, and in sentences why it was done without an index.

    Folders whose name begins with a dot are no runs yet, or no more. The index is written anew
    where many runs were not in it.

    Raises:
        FileNotFoundError: there is no such folder.
        InfraError: it cannot be read.
    """
    known, notes = _load(folder / INDEX)
    runs: list[RunInfo] = []
    entries: dict[str, _Entry] = {}
    anew = 0
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(folder, error) from None
    for name in names:
        path = f"{folder}/{name}"
        try:
            found = os.stat(f"{path}/{RUN}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            why = unreadable(Path(path), error).message
            runs.append(RunInfo(id=name, path=str(Path(path)), problem=why))
            continue
        if not stat.S_ISREG(found.st_mode):
            continue
        entry = known.get(name)
        marks = (found.st_mtime_ns, found.st_size, found.st_ino)
        if entry is None or (entry.modified, entry.size, entry.inode) != marks:
            anew += 1
            entry = _Entry(*marks, _read(Path(path)))
        # What a newer hengsuan reads must not stay unread; no index holds names that are no text.
        if not entry.info.problem and readable(name) == name:
            entries[name] = entry
        runs.append(msgspec.structs.replace(entry.info, path=str(Path(path))))
    if (anew >= _WORTH or (notes and anew)) and (why := _save(folder / INDEX, entries)):
        notes.append(why)
    return runs, notes


def _load(file: Path) -> tuple[dict[str, _Entry], list[str]]:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Index)
    except (FileNotFoundError, NotADirectoryError):
        return {}, []
    except OSError as error:
        return {}, [f"{file}: the index cannot be read ({error.strerror}): every run is read"]
    except UNDECODABLE:
        return {}, [f"{file}: the index is damaged: every run is read, and it is written anew"]
    return (found.runs if found.schema == _SCHEMA else {}), []


def _save(file: Path, entries: dict[str, _Entry]) -> str:
    """Why it cannot be written; empty where it was."""
    try:
        replace_file(file, msgspec.json.encode(_Index(schema=_SCHEMA, runs=entries)))
    except OSError as error:
        return f"{file}: the index cannot be written ({error.strerror}): lists take longer"
    return ""


class _Device(msgspec.Struct):
    backend: str = ""
    name: str = ""
    chip: str | None = None
    stands_for: str = ""


class _Node(msgspec.Struct):
    name: str
    devices: list[_Device] = []


class _Fleet(msgspec.Struct):
    count: int
    devices: int
    chip: str
    prefix: str = "node"


class _Declared(msgspec.Struct, kw_only=True):
    """The part of ``run.json`` that a list tells."""

    schema: int = 0
    id: str
    suite: str = ""
    started: str = ""
    finished: str | None = None
    state: str = ""
    executor: str = ""
    provenance: str = ""
    nodes: list[_Node] = []
    fleet: _Fleet | None = None


def _read(path: Path) -> RunInfo:
    try:
        found = msgspec.json.decode(checked(path), type=_Declared)
    except (UsageError, InfraError) as error:
        return RunInfo(id=path.name, problem=error.message)
    except UNDECODABLE as error:
        return RunInfo(id=path.name, problem=f"{RUN} is damaged: {error}")
    nodes, devices, chips, stands_for = _hardware(found)
    return RunInfo(
        schema=found.schema,
        id=found.id,
        suite=found.suite,
        started=found.started,
        finished=found.finished,
        state=found.state,
        executor=found.executor,
        provenance=found.provenance,
        stands_for=stands_for,
        nodes=nodes,
        devices=devices,
        chips=chips,
    )


def _hardware(found: _Declared) -> tuple[str, int, list[str], str]:
    if fleet := found.fleet:
        last = f"-{fleet.count - 1:05d}" if fleet.count > 1 else ""
        nodes = f"{fleet.prefix}-[00000{last}]" if fleet.count > 0 else ""
        return nodes, max(fleet.count * fleet.devices, 0), [fleet.chip], ""
    every = [device for node in found.nodes for device in node.devices]
    chips = dict.fromkeys(one.chip or one.name or one.backend for one in every)
    stands_for = dict.fromkeys(one.stands_for for one in every if one.stands_for)
    names = compress(node.name for node in found.nodes)
    return names, len(every), list(chips), ", ".join(stands_for)
