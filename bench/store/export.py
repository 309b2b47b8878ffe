"""Runs in one file: an archive of their folders, or every row in full words.

An archive holds ``<run>/<file>`` without owners and times, so that equal runs give equal bytes; it
is unpacked into a folder of runs. A table has a line for each row, with all that it refers to.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from ..errors import InfraError, UsageError
from ..hostlists import compress
from ..inventory import Inventory
from ..results import RunReader
from ..rounds import schedule_for
from ..spreadsheets import inert
from .contents import files_of

COLUMNS = (
    "schema",
    "run",
    "suite",
    "started",
    "provenance",
    "stands_for",
    "stage",
    "benchmark",
    "case",
    "axes",
    "metric",
    "unit",
    "better",
    "scope",
    "source",
    "expected",
    "nodes",
    "ranks",
    "repeat",
    "time",
    "value",
    "low",
    "high",
    "n",
    "status",
    "reason",
)
"""Of a table, which has them also where no run has a row: the fields of `flat`."""


def export(folders: Sequence[Path], file: Path) -> list[str]:
    """Write runs into a new file; its name says how: `FORMS`.

    Returns what is left out, in sentences.

    Raises:
        UsageError: a name that says no form, or a file that is there.
        InfraError: a run cannot be read, or the file cannot be written. Then there is none.
    """
    write = next((one for end, one in FORMS.items() if file.name.endswith(end)), None)
    if write is None:
        raise UsageError(f"{file}: which form is meant?", hint=f"end it on {', '.join(FORMS)}")
    names = [folder.name for folder in folders]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two runs are called {', '.join(sorted(twice))}")
    for folder in folders:
        RunReader(folder)  # a damaged one is said before there is a file
    exists = UsageError(f"{file} exists", hint="name another file")
    if os.path.lexists(file):
        raise exists
    # Whoever is killed leaves nothing that has the name and only half of the runs.
    until = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        until.unlink(missing_ok=True)  # of a process of our number, long dead
        with until.open("xb") as whole:
            notes = write(folders, whole)
            whole.flush()
            os.fsync(whole.fileno())
        _call(until, file)
    except FileExistsError:
        raise exists from None
    except OSError as error:
        raise _unwritable(file, error) from None
    finally:
        with contextlib.suppress(OSError):
            until.unlink(missing_ok=True)
    return notes


def _call(until: Path, file: Path) -> None:
    """Give a file its name. Raises FileExistsError where somebody else has it by now."""
    try:
        os.link(until, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        until.rename(file)


def _unwritable(file: Path, error: OSError) -> InfraError:
    return InfraError(f"cannot write: {error.strerror or error}", where=str(file))


def _archive(folders: Sequence[Path], whole: IO[bytes]) -> list[str]:
    notes = []
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=whole, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for folder in sorted(folders, key=lambda one: one.name):
            paths, left = files_of(folder)
            for path in paths:
                member = tarfile.TarInfo(f"{folder.name}/{path.name}")
                with path.open("rb") as file:
                    member.size = os.fstat(file.fileno()).st_size
                    archive.addfile(member, file)
            if left:
                notes.append(f"{folder}: {', '.join(left)} is left out: no file of a run")
    return notes


def _lines(folders: Sequence[Path], whole: IO[bytes]) -> list[str]:
    for row in _rows(folders):
        whole.write(msgspec.json.encode(row) + b"\n")
    return []


def _table(folders: Sequence[Path], whole: IO[bytes]) -> list[str]:
    text = io.TextIOWrapper(whole, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in _rows(folders):
        axes = msgspec.json.encode(row["axes"]).decode()
        cells = ({**row, "axes": axes}[name] for name in COLUMNS)
        writer.writerow([inert(cell) if isinstance(cell, str) else cell for cell in cells])
    text.detach()
    return []


FORMS: dict[str, Callable[[Sequence[Path], IO[bytes]], list[str]]] = {
    ".tar.gz": _archive,
    ".tgz": _archive,
    ".jsonl": _lines,
    ".csv": _table,
}
"""How a file is written, by the end of its name."""


def _rows(folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for folder in folders:
        yield from flat(RunReader(folder))


def flat(reader: RunReader) -> Iterator[dict[str, Any]]:
    """Every row of a run with all that it refers to, by name; ``nodes`` and ``ranks`` in ranges.

    Raises `InfraError` for a line that is no row of this run.
    """
    reader.columns(())  # says which row refers to what there is not, before one is shown
    header = reader.header
    inventory = Inventory(header.nodes, header.fleet)
    schedules = [schedule_for(spec, inventory) for spec in header.schedules]
    whose: dict[tuple[int, int], tuple[str, str]] = {}
    for row in reader.rows():
        case = header.cases[row.case]
        key = case.schedule, row.group
        if key not in whose:
            ranks = schedules[case.schedule].members(row.group)
            nodes = dict.fromkeys(inventory.node_of(ranks).tolist())
            whose[key] = compress(map(inventory.name, nodes)), compress(map(str, ranks))
        nodes_of, ranks_of = whose[key]
        yield {
            "schema": header.schema,
            "run": header.id,
            "suite": header.suite,
            "started": header.started,
            "provenance": row.provenance,
            "stands_for": header.stands_for,
            "stage": case.stage,
            "benchmark": case.benchmark,
            "case": case.short(),
            "axes": case.axes,
            "metric": case.metric,
            "unit": case.unit,
            "better": case.better,
            "scope": case.scope,
            "source": case.source,
            "expected": case.expected,
            "nodes": nodes_of,
            "ranks": ranks_of,
            "repeat": row.repeat,
            "time": row.time,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "n": row.n,
            "status": row.status,
            "reason": row.reason,
        }
