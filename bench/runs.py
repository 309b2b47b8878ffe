"""Finding runs in a folder: all of them, or one by its name."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from .errors import InfraError, UsageError, unknown
from .headers import RUN, UNDECODABLE, checked, unreadable


class RunInfo(msgspec.Struct, kw_only=True):
    """One line of a list of runs. ``problem`` says why a folder cannot be read, else empty."""

    path: str = ""
    schema: int = 0
    id: str
    suite: str = ""
    started: str = ""
    finished: str | None = None
    state: str = ""
    executor: str = ""
    provenance: str = ""
    problem: str = ""


def list_runs(folder: str | Path) -> list[RunInfo]:
    """The runs in a folder, oldest first; empty where there is no such folder."""
    try:
        paths = [path for path in Path(folder).iterdir() if (path / RUN).is_file()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(Path(folder), error) from None
    found = []
    for path in paths:
        try:
            info = msgspec.json.decode(checked(path), type=RunInfo)
        except (UsageError, InfraError) as error:
            info = RunInfo(id=path.name, problem=error.message)
        except UNDECODABLE as error:
            info = RunInfo(id=path.name, problem=f"{RUN} is damaged: {error}")
        info.path = str(path)
        found.append(info)
    return sorted(found, key=lambda info: (info.started, info.id))


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
    exact = [Path(where) for where, name in ids.items() if run in (name, Path(where).name)]
    begun = [Path(where) for where, name in ids.items() if run and name.startswith(run)]
    if len(exact) == 1 or len(begun) == 1:
        return (exact or begun)[0]
    if begun:
        several = ", ".join(sorted(path.name for path in begun))
        raise UsageError(f"several runs begin with {run!r}", hint=f"which of {several}?")
    raise unknown("run", run, ids.values())
