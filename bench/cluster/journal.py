"""Writes a run folder so that a kill at any moment loses at most the page under way.

``measurements.jsonl`` only grows, by whole lines and whole pages, and so does
``conditions.jsonl``, always before a row that refers to something new in it; ``run.json`` is
replaced atomically.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from ..errors import InfraError
from ..files import document, replace_file
from ..headers import CONDITIONS, RUN
from ..ledger import LEDGER
from ..records import PROVENANCES, STATUSES, Case, Conditions, Header, Row
from ..results import ROWS, SAMPLES
from ..runs import claim
from ..telemetry import TELEMETRY
from .executor import Page
from .telemetry_file import TelemetryFile

_BLOCK = 200_000
"""Rows that are turned into text at once: bounds memory without slowing the encoder."""
_REST = 20
"""Times what saving ``run.json`` took, for which it is not saved again because of events alone."""


class Journal:
    """The open folder of one run."""

    def __init__(self, folder: Path, header: Header, mode: str) -> None:
        self.folder = folder
        self.header = header
        self._encoder = msgspec.json.Encoder()
        self._known = {condition: i for i, condition in enumerate(header.conditions)}
        self._synced = 0.0
        self._saved, self._cost = 0.0, 0.0
        self._broken: InfraError | None = None
        self._telemetry: TelemetryFile | None = None
        self._rows = (folder / ROWS).open(mode)
        claim(self._rows, folder)
        self._samples = (folder / SAMPLES).open(mode)
        self._conditions = (folder / CONDITIONS).open(mode)
        self._ledger: IO[bytes] | None = None  # of simulated runs there is none
        # Runs of before had all in `run.json`; what it has stays there.
        appended = (folder / CONDITIONS).read_bytes().count(b"\n")
        self._inline = header.conditions[: len(header.conditions) - appended]
        self._save()

    @classmethod
    def create(cls, results: Path, header: Header, *, rows: int) -> Journal:
        """Make ``results/<header.id>``, before anything is measured.

        Args:
            results: Folder that holds runs; made if missing.
            header: Written as ``run.json``. Where a run of its id exists, as of another driver in
                the same second, its id gets a number.
            rows: How many rows the plan will give at most; their space must be free.

        Raises:
            InfraError: the folder cannot be written or the disk is too full.
        """
        folder = make_folder(results, header.id)
        header.id = folder.name
        need = 1_000_000 + 100 * rows
        free = shutil.disk_usage(folder).free
        if free < need:
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise InfraError(
                f"{results} has {free / 1e6:.0f} MB free; this plan may write {need / 1e6:.0f} MB",
                hint="free space, or choose another folder with --out",
            )
        try:
            return cls(folder, header, "wb")
        except OSError as error:
            raise _unwritable(folder, error) from None

    @classmethod
    def resume(cls, folder: Path, header: Header) -> Journal:
        """Open a run again, after `trim`.

        Raises:
            InfraError: the folder cannot be written.
            UsageError: somebody else is writing it.
        """
        try:
            return cls(folder, header, "ab")
        except OSError as error:
            raise _unwritable(folder, error) from None

    def write(self, page: Page) -> None:
        """Append a page: first what its rows refer to, then its rows, then their samples.

        Raises:
            InfraError: the folder cannot be written any more, now or at an earlier call: after a
                failure nothing more is appended, for it would stand behind half a line.
        """
        if self._broken is not None:
            raise self._broken
        try:
            if page.events:
                self.header.events.extend(msgspec.to_builtins(event) for event in page.events)
            # No row refers to an event: where every node has one, saving each costs too much.
            rested = time.monotonic() - self._saved > _REST * self._cost
            if page.events and rested:
                self._save()
            new = [one for one in dict.fromkeys(page.conditions) if one not in self._known]
            self._known.update(zip(new, itertools.count(len(self._known)), strict=False))
            self.header.conditions.extend(new)
            self._append(self._conditions, new)
            ids = [self._known[condition] for condition in page.conditions]
            if page.columns is not None:
                self._write_columns(page.columns, ids)
            rows = [_renumbered(row, ids) for row in page.rows]
            self._append(self._rows, rows)
            self._append(self._samples, page.samples)
            if page.ledger:
                if self._ledger is None:
                    self._ledger = (self.folder / LEDGER).open("ab")
                self._append(self._ledger, page.ledger)
            if page.telemetry and self._telemetry is not None:
                self._telemetry.write(page.telemetry)
            self._sync()
        except OSError as error:
            self._broken = _unwritable(self.folder, error)
            raise self._broken from None

    def sampled(self, period: float) -> None:
        """Keep the telemetry of coming pages, of looks ``period`` seconds apart; 0: there is none.

        Raises `InfraError` if the folder cannot be written.
        """
        if period > 0:
            try:
                self._telemetry = TelemetryFile(self.folder, period)
            except OSError as error:
                raise _unwritable(self.folder, error) from None

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows of the engine's own (what is missing)."""
        self.write(Page(rows=list(rows)))

    def save(self) -> None:
        """Replace ``run.json`` atomically. Raises `InfraError` if the folder cannot be written."""
        try:
            self._save()
        except OSError as error:
            raise _unwritable(self.folder, error) from None

    def _save(self) -> None:
        began = time.monotonic()
        header = msgspec.structs.replace(self.header, conditions=self._inline)
        replace_file(self.folder / RUN, document(header))
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def close(self) -> None:
        """Flush and close; the header is saved as it stands, if the disk still takes it."""
        for file in (self._conditions, self._rows, self._samples):
            with contextlib.suppress(OSError):  # said already when the page was written
                os.fsync(file.fileno())
            with contextlib.suppress(OSError):
                file.close()
        for beside in (self._ledger, self._telemetry):
            if beside is not None:
                with contextlib.suppress(OSError):
                    beside.close()
        with contextlib.suppress(OSError):
            self._save()

    def _append(self, file: Any, items: Sequence[Conditions | Row | msgspec.Raw]) -> None:
        if not items:
            return
        file.write(self._encoder.encode_lines(items))
        file.flush()  # from here on the kernel has it: our own death loses nothing

    def _sync(self) -> None:
        """At most once a second, make rows survive the machine's death as well."""
        if time.monotonic() - self._synced >= 1.0:
            files = {CONDITIONS: self._conditions, ROWS: self._rows, SAMPLES: self._samples}
            for name, file in files.items():
                # A file that was deleted or moved with its folder can be written, for nobody.
                if not os.path.samestat(os.fstat(file.fileno()), os.stat(self.folder / name)):
                    raise FileNotFoundError(errno.ENOENT, f"{name} was replaced by another file")
                os.fsync(file.fileno())
            self._synced = time.monotonic()

    def _write_columns(self, columns: Any, ids: list[int]) -> None:
        """Rows from numpy columns, in blocks; the same text as row by row.

        ``ids``: of the page's conditions, to which the rows refer.
        """
        conditions = np.array([*ids, -1], dtype=np.int32)[columns.conditions]
        count = len(columns.case)
        statuses = np.array(STATUSES, dtype=object)
        provenances = np.array(PROVENANCES, dtype=object)
        for start in range(0, count, _BLOCK):
            part = slice(start, min(start + _BLOCK, count))
            reasons = [""] * (part.stop - part.start)
            for index, reason in columns.reasons.items():
                if part.start <= index < part.stop:
                    reasons[index - part.start] = reason
            fields = (
                columns.case[part].tolist(),
                columns.group[part].tolist(),
                columns.repeat[part].tolist(),
                columns.time[part].tolist(),
                _floats(columns.value[part]),
                _floats(columns.low[part]),
                _floats(columns.high[part]),
                columns.n[part].tolist(),
                statuses[columns.status[part]].tolist(),
                conditions[part].tolist(),
                provenances[columns.provenance[part]].tolist(),
                reasons,
            )
            self._rows.write(self._encoder.encode_lines(list(zip(*fields, strict=True))))
        self._rows.flush()


def make_folder(parent: Path, name: str) -> Path:
    """A new folder of that name, with a number behind it if there is one already.

    Raises `InfraError` if it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count():
            folder = parent / (f"{name}-{number}" if number else name)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
    except OSError as error:
        raise _unwritable(parent, error) from None
    return folder


def trim(folder: Path, cases: Sequence[Case]) -> None:
    """Cut off what a kill left half-written: a last line, and the last job if rows of it miss.

    The rows of a job are written together, the group's own behind those of each rank; only the last
    job of the file can be torn. Raises
    `InfraError` if the folder cannot be written, `UsageError` if somebody else is writing it.
    """
    try:
        with (folder / ROWS).open("ab") as rows:
            claim(rows, folder)
            for name in (CONDITIONS, ROWS, SAMPLES):
                _cut_half_line(folder / name)
            for name in (LEDGER, TELEMETRY):
                if (folder / name).exists():
                    _cut_half_line(folder / name)
            # A whole line that is no row of these cases is left: who reads the run names it.
            with contextlib.suppress(msgspec.DecodeError, IndexError):
                _cut_half_job(folder / ROWS, cases)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _cut_half_job(path: Path, cases: Sequence[Case]) -> None:
    def job(row: Row) -> tuple[object, ...]:
        """What the rows of a job on a group share; those of each rank do not say of which group."""
        one = cases[row.case]
        if one.scope == "rank":
            return one.stage, one.label(), row.repeat
        return one.stage, one.label(), row.repeat, one.schedule, row.group

    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        below: Row | None = None
        for size, row in _backwards(file):
            if below is None and cases[row.case].scope != "rank":
                after = msgspec.structs.replace(row, case=row.case + 1)
                if after.case == len(cases) or job(after) != job(row):
                    return  # its last metric is there, so all are
            # The rows of each rank stand before those of their group.
            if below is not None and job(row) != job(below)[: len(job(row))]:
                break
            below, end = row, end - size
        file.truncate(end)


def _backwards(file: IO[bytes]) -> Iterator[tuple[int, Row]]:
    """The rows of a file from the last one on, each with the bytes of its line."""
    end, rest = file.seek(0, os.SEEK_END), b""
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        lines = (file.read(end - start) + rest).splitlines(keepends=True)
        rest = lines.pop(0) if start else b""
        for line in reversed(lines):
            yield len(line), msgspec.json.decode(line, type=Row)
        end = start


def _floats(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    """Seven significant digits, which is more than any measurement knows; NaN becomes null."""
    if np.isnan(values).all():  # as the ends of what was measured once
        return [None] * len(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = 6 - np.floor(np.log10(np.abs(values)))
    usual = np.abs(digits) < 290  # neither zero, nor NaN, nor at the edge of what a float holds
    scale = 10.0 ** np.where(usual, np.abs(digits), 0.0)
    plain = np.where(usual, values, 0.0)
    # Divide by an exact power of ten where possible: the shortest repr is then seven digits.
    down = np.rint(plain * np.where(digits >= 0, scale, 1.0)) / scale
    up = np.rint(plain / scale) * scale
    rounded = np.where(usual, np.where(digits >= 0, down, up), values)
    items: list[float | None] = rounded.tolist()
    for index in np.flatnonzero(np.isnan(values)).tolist():
        items[index] = None
    return items


def _renumbered(row: Row, ids: list[int]) -> Row:
    if row.conditions < 0 or not ids:
        return row
    return msgspec.structs.replace(row, conditions=ids[row.conditions])


def _cut_half_line(path: Path) -> None:
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)


def _unwritable(path: Path, error: OSError) -> InfraError:
    return InfraError(
        f"cannot write: {error.strerror or error}",
        where=str(path),
        hint="make the folder writable and free space, or choose another with --out",
    )
