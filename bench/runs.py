"""Finding runs in a folder: all of them, those that are asked for, or one by its name."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

import msgspec

from .errors import UsageError
from .files import read_regular
from .headers import RUN
from .hostlists import SEPARATOR, expand
from .index import RunInfo, read_runs

ROWS = "measurements.jsonl"
"""A run's rows; its driver holds a lock on them."""
DIED = "died"
"""What lists say instead of ``running`` of a run that its driver left."""
_NAMED = 10
"""Ids that a sentence names."""
_TRIES, _MOMENT = 3, 0.05
"""How often a lock that somebody has is tried before, and seconds between."""


class Asked(msgspec.Struct, kw_only=True, frozen=True):
    """Which runs of many are meant; an empty field asks nothing.

    ``suite`` is a name in which ``*`` fits any text, ``node`` a node's name, ``since`` the earliest
    beginning, in seconds since 1970.
    """

    suite: str = ""
    state: str = ""
    provenance: str = ""
    node: str = ""
    since: float | None = None


def list_runs(folder: str | Path) -> list[RunInfo]:
    """The runs in a folder, oldest first; empty where there is no such folder."""
    return listed(folder)[0]


def listed(folder: str | Path) -> tuple[list[RunInfo], list[str]]:
    """`list_runs`, and in sentences what the reader must know of its index."""
    try:
        found, notes = read_runs(Path(folder))
    except FileNotFoundError:
        return [], []
    return sorted(found, key=lambda info: (info.started, info.id)), notes


def chosen(runs: Sequence[RunInfo], asked: Asked) -> list[RunInfo]:
    """Those of the runs that are asked for. Of a run that cannot be read nothing is known."""
    on: dict[str, bool] = {}

    def of_node(info: RunInfo) -> bool:
        # Runs of one cluster have one list of names.
        if info.nodes not in on:
            on[info.nodes] = asked.node in names(info)
        return on[info.nodes]

    return [
        info
        for info in runs
        if (not asked.suite or fnmatchcase(info.suite, asked.suite))
        and asked.state in ("", info.state)
        and asked.provenance in ("", info.provenance)
        and (asked.since is None or (began(info) or 0.0) >= asked.since)
        and (not asked.node or of_node(info))
    ]


def names(info: RunInfo) -> set[str]:
    """The names of a run's nodes."""
    found: set[str] = set()
    for item in SEPARATOR.split(info.nodes):
        try:
            found.update(expand(item))
        except ValueError:  # somebody calls a node so
            found.add(item)
    return found


def began(info: RunInfo) -> float | None:
    """When a run began, in seconds since 1970; None where it does not say."""
    return moment(info.started)


def moment(text: str) -> float | None:
    """A time of a record, in seconds since 1970: clocks write their zones differently, and without
    one it is UTC. None for what is no time."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def find_run(run: str | Path, folder: str | Path) -> Path:
    """The folder of a run, given by path, by id, or by the beginning of an id that only it has.

    Raises `UsageError` with the runs in ``folder`` if none or several answer to it.
    """
    path = Path(run)
    if path.name == RUN:
        path = path.parent
    if isinstance(run, Path) or os.sep in run or (path / RUN).is_file():
        if not (path / RUN).is_file():
            raise UsageError(f"no run here: {path} holds no {RUN}")
        return path
    ids = {info.path: info.id for info in list_runs(folder)}
    exact = [Path(where) for where in ids if run == Path(where).name]
    exact = exact or [Path(where) for where, name in ids.items() if run == name]
    begun = [Path(where) for where, name in ids.items() if run and name.startswith(run)]
    if len(exact) == 1 or len(begun) == 1:
        return (exact or begun)[0]
    if begun:
        several = newest([path.name for path in begun])
        raise UsageError(f"several runs begin with {run!r}", hint=f"which of {several}?")
    raise unknown_run("run", run, list(ids.values()))


def newest(ids: Sequence[str]) -> str:
    """The last of some ids, for a sentence: who looks for a run hardly means the first of years."""
    more = f" and {len(ids) - _NAMED} older ones" if len(ids) > _NAMED else ""
    return f"{', '.join(ids[-_NAMED:])}{more}"


def unknown_run(kind: str, name: str, ids: Sequence[str]) -> UsageError:
    """The error for a name that no run answers to, of ids from the oldest on."""
    near = difflib.get_close_matches(name, ids, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}", hint=f"{meant}known: {newest(ids) or 'none'}")


def shown_state(folder: str | Path, state: str) -> str:
    """The state of a run as people are told it: `DIED` where it has not ended, and nobody measures
    into it any more."""
    try:
        died = state == "running" and held(Path(folder) / ROWS) is False
    except OSError:
        died = False
    return DIED if died else state


def held(rows: Path) -> bool | None:
    """Whether somebody measures into the run with this file of rows: whoever does has its lock, and
    loses it however it dies.

    None where nobody can tell: a file system without locks. Raises OSError for a file that cannot
    be read.
    """
    try:
        file = read_regular(rows)
    except FileNotFoundError:
        return False  # it died before its first row
    with file:
        try:
            # Shared: those who only ask are in nobody's way. A file on NFS that is open for reading
            # takes no other.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
    return False


def being_measured(folder: Path) -> UsageError:
    """The error for a run that somebody else writes."""
    return UsageError(
        f"run {folder.name} is being measured: another hengsuan writes {folder}",
        hint="wait until it has ended, or stop it",
    )


def claim(rows: IO[bytes], folder: Path) -> None:
    """Hold the run until its file of rows is closed or we die: two would tear each other's lines.

    Raises `UsageError` if somebody else holds it.
    """
    try:
        # Who watches a run tries its lock now and then, and has it for a moment (`bench.growing`).
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(rows, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_MOMENT)
        fcntl.flock(rows, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(OSError):
            rows.close()
        raise being_measured(folder) from None
    except OSError:
        pass  # a file system without locks
