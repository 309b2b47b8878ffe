"""Which old runs may go, and taking them away.

A run goes where it is older than was asked and not among the newest of its suite that are to be
kept. One stays in any case that is being measured, cannot be read, has a certificate, or is the
baseline of a run or of a gate's verdict that stays. One whose driver died never ends: it goes as
others do, once nothing has come for as long as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from ..certificates.certificate import decode
from ..certificates.issue import MARK
from ..errors import InfraError, UsageError
from ..gates import GATE, read_gate
from ..headers import RUN, UNDECODABLE
from ..index import RunInfo
from ..results import ROWS
from ..runs import began, claim, held, list_runs
from ..verdicts import VERDICT
from .contents import PULLED, check_ended

_GOING = ".pruned-"
"""Begins the name of a folder that is being deleted: it is no run any more."""
_DAY = 86400.0
_LEFT, _SILENT = _DAY, 30 * _DAY
"""Seconds without anything new at least, before a run that has not ended is old: of one that nobody
measures, which may be resumed; and where the file system has no locks, so that nobody can tell."""


class Plan(msgspec.Struct, kw_only=True):
    """Runs that go, the oldest first, with their bytes, and of others that are as old why they
    stay, by id; ``notes`` say what could not be looked at."""

    going: list[RunInfo]
    size: int
    staying: dict[str, str]
    notes: list[str]


def plan(
    folder: Path,
    *,
    keep: int,
    older: float | None,
    moment: float,
    certificates: Sequence[Path] = (),
    protect: Sequence[str] = (),
) -> Plan:
    """What a pruning would delete.

    Args:
        folder: Holds runs.
        keep: So many of each suite and provenance stay, the newest.
        older: Only what began so many days before ``moment`` (None: whenever).
        moment: Now, in seconds since 1970.
        certificates: Folders or files of certificates, beside those in ``folder``.
        protect: Runs that stay, by id.

    Raises:
        UsageError: ``older`` is no number of days.
        InfraError: the folder, a verdict of a gate or a certificate cannot be read.
    """
    if older is not None and math.isnan(older):  # nothing is younger than that: all would go
        raise UsageError("--older nan: is no number of days", hint="write --older 90")
    # By time, not by its text: clocks write their zones differently.
    runs = sorted(list_runs(folder), key=lambda run: (began(run) or 0.0, run.id))
    why: dict[str, str] = {}
    asked: list[RunInfo] = []
    newer: Counter[tuple[str, str]] = Counter()
    for run in reversed(runs):
        start = began(run)
        kind = (run.suite, run.provenance)
        newer[kind] += 1
        young = older is not None and start is not None and start > moment - older * _DAY
        if young or (not run.problem and newer[kind] <= keep):
            continue
        asked.append(run)
        if reason := _never(run, start, protect, moment, (older or 0.0) * _DAY):
            why[run.path] = reason
    signed: dict[str, str] = {}
    closed: dict[str, str] = {}
    if len(asked) > len(why):
        signed, closed = _certified([folder, *certificates])
    for run in asked:
        if run.path in why:
            continue
        try:
            marked, judged = (_there(Path(run.path) / name) for name in (MARK, VERDICT))
        except OSError as error:
            why[run.path] = f"it cannot be read: {error.strerror}"
            continue
        if run.id in signed or marked:
            why[run.path] = f"it has a certificate{signed.get(run.id, '')}"
        elif closed and judged:
            why[run.path] = (
                "it was judged, and nobody can tell whether it has a certificate: "
                f"{next(iter(closed))} cannot be read"
            )
    _baselines(folder, runs, asked, why)
    going = [run for run in reversed(asked) if run.path not in why]
    return Plan(
        going=going,
        size=sum(_size(Path(run.path)) for run in going),
        staying={Path(run.path).name: why[run.path] for run in asked if run.path in why},
        notes=[
            f"{path} cannot be read ({reason}): runs that were judged stay, for a certificate of "
            "theirs may lie there"
            for path, reason in closed.items()
        ],
    )


def _there(file: Path) -> bool:
    """Whether there is a file. Raises `OSError` where storage does not say: since Python 3.14
    ``Path.exists`` takes that for no, and what is kept for it would go."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _never(
    run: RunInfo, start: float | None, protect: Sequence[str], moment: float, older: float
) -> str:
    """Why a run never goes, whatever names it; empty where it may. ``older`` is in seconds."""
    if run.problem:
        return f"it cannot be read: {run.problem}"
    if run.state == "running" and (reason := _going_on(Path(run.path), moment, older)):
        return reason
    if start is None:
        return f"nobody knows how old it is: {run.started!r} is no time"
    if Path(run.path).is_symlink():
        return "it is a link"
    if run.id in protect or Path(run.path).name in protect:
        return "it was asked for (--protect)"
    return ""


def _going_on(folder: Path, moment: float, older: float) -> str:
    """Why a run that has not ended stays; empty where its driver died long ago.

    Whoever measures has a lock that the system takes back however he dies: it says more than his
    host, his number and when he began, which no other host can ask about.
    """
    try:
        lock = held(folder / ROWS)
        silent = moment - max(path.lstat().st_mtime for path in folder.iterdir())
    except OSError as error:
        return f"it has not ended, and cannot be read: {error.strerror}"
    if lock:
        return "it is being measured"
    if silent > max(older, _SILENT if lock is None else _LEFT):
        return ""
    began = _command(folder)[1:2]
    if began == ["goodput"]:  # nothing goes on with it
        return "it has not ended"
    verb = "certify" if began == ["certify"] else "run"
    again = shlex.join(["hengsuan", verb, "--resume", str(folder)])
    return f"it has not ended; `{again}` goes on with it"


def _certified(places: Iterable[Path]) -> tuple[dict[str, str], dict[str, str]]:
    """Runs that certificates name, with where the first one is, in words; and folders that cannot
    be looked into, with why."""
    found: dict[str, str] = {}
    closed: dict[str, str] = {}

    def refused(error: OSError) -> None:
        closed[str(error.filename)] = str(error.strerror)

    for place in places:
        files = [place]
        if not place.is_file():
            every = os.walk(place, onerror=refused)
            files = sorted(Path(top, name) for top, _, names in every for name in names)
            files = [file for file in files if file.name.endswith(".certificate.json")]
        for file in files:
            try:
                run = decode(file.read_bytes()).certificate.run
            except (OSError, ValueError) as error:
                raise InfraError(
                    f"a certificate that cannot be read, so that its run is unknown: {error}",
                    where=str(file),
                    hint="move it away, or mend it",
                ) from None
            found.setdefault(run, f" ({file})")
    return found, closed


def _baselines(
    folder: Path, runs: Sequence[RunInfo], asked: Sequence[RunInfo], why: dict[str, str]
) -> None:
    """Add to ``why`` the runs that are baselines of what stays."""
    if len(asked) <= len(why):
        return
    named = {run.path: _named(Path(run.path)) for run in runs if not run.problem}
    for file in sorted(folder.rglob(GATE)):
        if str(file.parent) not in named:
            named[str(file.parent)] = _gate(file)
    while True:
        going = [run for run in asked if run.path not in why]
        gone = {run.path for run in going}
        of = {name: where for where, all_ in named.items() if where not in gone for name in all_}
        found = {
            run.path: f"it is the baseline of {Path(of[name]).name}"
            for run in going
            for name in of
            if _is(run, name) and of[name] != run.path
        }
        if not found:
            return
        why |= found  # what they name stays too


def _is(run: RunInfo, name: str) -> bool:
    """Whether a name on a command line, or in a verdict, may be of this run."""
    last = Path(name).name
    return bool(last) and (Path(run.path).name == last or run.id.startswith(last))


class _Begun(msgspec.Struct):
    command: list[str] = []


def _named(path: Path) -> list[str]:
    """What the command of a run, and the verdict of a gate in it, name as baselines."""
    words = _command(path)
    found = [words[place] for place, word in enumerate(words[:-1], 1) if word == "--baseline"]
    found += [word.partition("=")[2] for word in words if word.startswith("--baseline=")]
    return found + (_gate(path / GATE) if (path / GATE).exists() else [])


def _command(path: Path) -> list[str]:
    try:
        return msgspec.json.decode((path / RUN).read_bytes(), type=_Begun).command
    except (OSError, *UNDECODABLE) as error:
        raise InfraError(f"cannot be read: {error}", where=str(path / RUN)) from None


def _gate(file: Path) -> list[str]:
    return read_gate(file).baseline.split(", ")


def _size(folder: Path) -> int:
    try:
        return sum(path.lstat().st_size for path in folder.iterdir())
    except OSError:
        return 0


def delete(run: RunInfo) -> None:
    """Take a run away, all at once for whoever looks.

    Raises:
        UsageError: somebody measures into it.
        InfraError: it cannot be deleted.
    """
    folder = Path(run.path)
    check_ended(folder)
    going = folder.with_name(f"{_GOING}{os.getpid()}-{folder.name}")
    try:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(FileNotFoundError):
                # Nobody resumes it between two steps.
                claim(stack.enter_context((folder / ROWS).open("rb")), folder)
            folder.rename(going)
        shutil.rmtree(going)
    except FileNotFoundError:
        raise UsageError("it is gone already", where=str(folder)) from None
    except OSError as error:
        raise InfraError(
            f"cannot delete: {error.strerror}", where=str(folder), hint="check its permissions"
        ) from None


def sweep(folder: Path) -> None:
    """Finish what a pruning that was killed had begun, and take away what pulls left long ago."""
    for path in folder.glob(f"{_GOING}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"{PULLED}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > _DAY:
                shutil.rmtree(path)
