"""``kernels.json``: what was measured, when and with what, and what of it still holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
from cases import Task
from digests import holds
from records import Record

from bench.errors import InfraError, UsageError


class Report(msgspec.Struct, kw_only=True):
    """All of ``kernels.json``.

    ``environment`` is that of all records: device and compilers. ``runs``: when they were started,
    with which command, versions and tables; a record names its run by its place there.
    ``former``: records of kernels or entries of tables that have changed since and were not
    measured again. ``missing``: tasks that were planned and not reached.
    """

    environment: dict[str, Any]
    runs: list[dict[str, Any]] = []
    records: list[Record] = []
    former: list[Record] = []
    missing: list[str] = []

    def sort(self) -> int:
        """Set aside what no longer holds; take back what does again. How many are aside."""
        target = str(self.environment.get("arch"))
        whole = {one.name: one for one in (*self.former, *self.records)}.values()
        known = [(one, holds(one, target)) for one in whole]
        self.records = [one for one, good in known if good]
        self.former = [one for one, good in known if not good]
        return len(self.former)


def placeless(words: Sequence[str]) -> list[str]:
    """A command's words without where its results went: that says where a machine keeps things."""
    pairs = zip(("", *words), words, strict=False)
    return [
        word for before, word in pairs
        if "--out" not in (before, word) and not word.startswith("--out=")
    ]  # fmt: skip


class Book:
    """The report on disk: whole after every record, whatever ends the run."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report = folder, report
        self._lock = threading.Lock()

    def begin(self, **told: Any) -> None:
        """Another run, of which this is told, begins."""
        self.report.runs.append({"started": _now(), **told})

    def add(self, record: Record) -> None:
        """Keep a record, in place of an older one of the same task."""
        with self._lock:
            record.run, record.at = len(self.report.runs) - 1, _now()
            mine = [one for one in self.report.records if one.name != record.name]
            self.report.records = [*mine, record]
            self.report.former = [one for one in self.report.former if one.name != record.name]
            self.write()

    def write(self) -> None:
        """Replace ``kernels.json`` at once."""
        for run in self.report.runs:
            run["command"] = placeless(run.get("command", []))
        text = msgspec.json.format(msgspec.json.encode(self.report), indent=1)
        replace(self.folder / "kernels.json", text + b"\n")

    def close(self, asked: Sequence[Task]) -> None:
        """Write for the last time, with what is missing of the tasks that this run was to do.

        What an earlier one missed stays missed.
        """
        done = {one.name for one in self.report.records}
        aside = (one.name for one in self.report.former)
        names = dict.fromkeys([*self.report.missing, *(task.name for task in asked), *aside])
        self.report.missing = [name for name in names if name not in done]
        self.write()


def load(path: Path) -> Report | None:
    """What an earlier run left, None where there is nothing. Raises ValueError for no report."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Report)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if "device" not in found.environment:
        raise ValueError(f"{path} cannot be read: it does not say of which device it is")
    return found


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder of results, which is made where there is none: two calls would write over each
    other's, and measure beside each other.

    Raises `UsageError` if another call holds it, `InfraError` if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise unwritable(error, folder) from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another call measures into {folder}",
                hint="wait until it has ended, stop it, or name another folder with --out",
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(held)


def unwritable(error: OSError, folder: Path) -> InfraError:
    """The error for results that cannot be written."""
    where = str(error.filename or folder)
    return InfraError(
        f"cannot be written: {error.strerror or error}",
        where=where,
        hint="make room or give the right to write there, or name another folder with --out",
    )


def other(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """In what two environments differ: both values, by key."""
    keys = dict.fromkeys((*before, *now))
    return {key: (before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)}


def beside(folder: Path, differs: Mapping[str, tuple[Any, Any]]) -> Path:
    """A folder beside one of another environment, named after what is different here."""
    words = [f"{key}-{now}" for key, (_, now) in differs.items()]
    plain = "".join(c if c.isalnum() or c in ".-" else "-" for c in "-".join(words).lower())
    return folder.with_name(f"{folder.name}-{'-'.join(filter(None, plain.split('-')))}"[:200])


def replace(path: Path, text: bytes) -> None:
    """Write a file so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(text)
    os.replace(draft, path)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
