"""Reading run folders: the header, and rows as columns that analysis can do arithmetic on.

A run folder holds ``run.json``, ``conditions.jsonl`` and ``measurements.jsonl`` (`bench.records`
says what is in them). Rows are decoded in blocks, straight into numpy columns: millions of them
never exist as objects at one time. A last line without its newline was cut off by a kill, and is
not a row.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .errors import InfraError, UsageError, unknown
from .records import (
    PROVENANCES,
    SCHEMA,
    STATUSES,
    Conditions,
    Header,
    Provenance,
    Row,
    ScheduleSpec,
    Status,
)

RUN, ROWS, CONDITIONS = "run.json", "measurements.jsonl", "conditions.jsonl"
SAMPLES = "samples.jsonl"
_UNCOUNTED = np.iinfo(np.int64).max
_BLOCK = 1 << 22
"""Bytes that are decoded at once: about 50,000 rows."""

_Fields = tuple[
    int,
    int,
    int,
    float,
    float | None,
    float | None,
    float | None,
    int,
    Status,
    int,
    Provenance,
    str,
]
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises: text that is no UTF-8, and endless brackets, have errors of their own."""
_STATUS = {status: index for index, status in enumerate(STATUSES)}
_PROVENANCE = {provenance: index for index, provenance in enumerate(PROVENANCES)}


class Columns(msgspec.Struct, kw_only=True):
    """Rows as arrays of one length, in the order they were written.

    ``case``, ``repeat``, ``n`` and ``conditions`` are int32, ``group`` int64, ``time``,
    ``value``, ``low`` and ``high`` float64 (NaN where nothing was measured), ``status`` and
    ``provenance`` int8 (indices into `records.STATUSES` and `records.PROVENANCES`). ``reasons``
    maps the index of a row to its reason; rows without one are not in it.
    """

    case: Any
    group: Any
    repeat: Any
    time: Any
    value: Any
    low: Any
    high: Any
    n: Any
    status: Any
    conditions: Any
    provenance: Any
    reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.case)

    def only(self, kept: Any) -> Columns:
        """The rows for which bool[rows] ``kept`` is true."""
        place = np.cumsum(kept) - 1
        reasons = {int(place[row]): text for row, text in self.reasons.items() if kept[row]}
        return Columns(**{name: getattr(self, name)[kept] for name in _DTYPES}, reasons=reasons)


_DTYPES: dict[str, type[np.generic]] = {
    "case": np.int32,
    "group": np.int64,
    "repeat": np.int32,
    "time": np.float64,
    "value": np.float64,
    "low": np.float64,
    "high": np.float64,
    "n": np.int32,
    "status": np.int8,
    "conditions": np.int32,
    "provenance": np.int8,
}


class RunReader:
    """One run folder.

    Attributes:
        path: The folder.
        header: ``run.json``, with the conditions of ``conditions.jsonl``.

    Raises:
        UsageError: there is no run at this path, or it is of another schema version.
        InfraError: either cannot be read or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.header = _read_header(self.path)
        counts = [_most_groups(spec, self.header) for spec in self.header.schedules]
        self._groups = np.array(
            [counts[case.schedule] for case in self.header.cases], dtype=np.int64
        )

    def columns(self) -> Columns:
        """All rows as columns.

        Raises:
            InfraError: a line is no row, or refers to a case or group that the header does not
                declare; ``where`` is ``file:line``.
        """
        decoder = msgspec.json.Decoder(_Fields)
        blocks: list[list[Any]] = []
        reasons: dict[int, str] = {}
        known: dict[str, str] = {}  # a million rows may be skipped for one reason
        count = 0
        with _no_collection():
            for first, block in self._blocks():
                rows = self._decode(decoder, block, first)
                if not rows:
                    continue
                blocks.append(self._arrays(rows, first))
                reasons.update(
                    (count + i, known.setdefault(row[-1], row[-1]))
                    for i, row in enumerate(rows)
                    if row[-1]
                )
                count += len(rows)
        columns = {}
        for index, (name, dtype) in enumerate(_DTYPES.items()):
            parts = [block[index] for block in blocks]
            columns[name] = np.concatenate(parts) if parts else np.empty(0, dtype)
            for arrays in blocks:
                arrays[index] = None  # no column is there twice for longer than it must
        return Columns(**columns, reasons=reasons)

    def _arrays(self, rows: list[Any], first: int) -> list[Any]:
        fields: list[Any] = list(zip(*rows, strict=True))[:-1]
        fields[8] = [_STATUS[status] for status in fields[8]]
        fields[10] = [_PROVENANCE[provenance] for provenance in fields[10]]
        try:
            arrays = [
                np.array(field, dtype=dtype)
                for field, dtype in zip(fields, _DTYPES.values(), strict=True)
            ]
        except OverflowError:
            largest = [max(map(abs, (*row[:3], row[7], row[9]))) for row in rows]
            index = largest.index(max(largest))
            raise self._damaged(index, first, f"{largest[index]} is out of range") from None
        case, group = arrays[:2]
        declared = np.append(self._groups, 0)  # a case that there is not has no group
        known = (case >= 0) & (case < len(self._groups))
        strange = np.flatnonzero(
            (group < 0) | (group >= declared[np.where(known, case, len(self._groups))])
        )
        if strange.size:
            index = int(strange[0])
            why = f"it is of case {case[index]}, and {RUN} declares {len(self._groups)} cases"
            if known[index]:
                groups = declared[case[index]]
                why = f"it is of group {group[index]}, and case {case[index]} has {groups} groups"
            raise self._damaged(index, first, why)
        return arrays

    def rows(self) -> Iterator[Row]:
        """All rows, one by one. Raises as `columns` does for a line that is no row."""
        decoder = msgspec.json.Decoder(Row)
        for first, block in self._blocks():
            yield from self._decode(decoder, block, first)

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Whole lines of the file, with the number of the first line of each block."""
        path = self.path / ROWS
        line, rest = 1, b""
        try:
            with path.open("rb") as file:
                while data := file.read(_BLOCK):
                    data = rest + data
                    end = data.rfind(b"\n") + 1
                    rest = data[end:]
                    if end:
                        yield line, data[:end]
                        line += data.count(b"\n", 0, end)
        except FileNotFoundError:
            return  # the run ended before its first row
        except OSError as error:
            raise _unreadable(path, error) from None

    def _decode(self, decoder: Any, block: bytes, first: int) -> list[Any]:
        try:
            rows: list[Any] = decoder.decode_lines(block)
        except UNDECODABLE:
            index, why = _first_bad_line(decoder, block)
            raise self._damaged(index, first, why) from None
        return rows

    def _damaged(self, index: int, first: int, why: str) -> InfraError:
        return InfraError(
            f"this line is no measurement: {why}",
            where=f"{self.path / ROWS}:{first + index}",
            hint="the file was changed or its disk is failing; delete the line to read the rest",
        )


def _most_groups(spec: ScheduleSpec, header: Header) -> int:
    """Groups of a schedule are numbered below this; a large number where they were not counted."""
    if spec.groups is None:
        return _UNCOUNTED
    if spec.kind != "devices":
        return spec.groups
    # Those of devices are numbered by rank, also where only some take part.
    fleet = header.fleet
    if fleet is not None:
        return fleet.count * fleet.devices
    return max(spec.groups, sum(len(node.devices) for node in header.nodes))


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
        raise _unreadable(Path(folder), error) from None
    found = []
    for path in paths:
        try:
            info = msgspec.json.decode(_checked(path), type=RunInfo)
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


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Rows are tuples of scalars, without cycles: looking for some costs a quarter of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _first_bad_line(decoder: Any, block: bytes) -> tuple[int, str]:
    """Index in ``block`` and problem of the first line that does not decode."""
    for index, line in enumerate(block.split(b"\n")):
        if line.strip(b" \t\r"):
            problem = _problem(decoder, line)
            if problem:
                return index, problem
    return 0, "it cannot be decoded"


def _problem(decoder: Any, line: bytes) -> str:
    try:
        decoder.decode(line)
    except UNDECODABLE as error:
        return str(error)
    return ""


class _Version(msgspec.Struct):
    schema: int


def _checked(path: Path) -> bytes:
    """``run.json`` as bytes, once its schema is known to be ours."""
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
        raw = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(file) from None
    except OSError as error:
        raise _unreadable(file, error) from None
    try:
        version = msgspec.json.decode(raw, type=_Version).schema
    except UNDECODABLE as error:
        raise InfraError(f"{file.name} is damaged: {error}", where=str(file)) from None
    if version != schema:
        which = "newer" if version > schema else "older"
        raise UsageError(
            f"results of schema {version}; this hengsuan reads schema {schema}",
            where=str(file),
            hint=f"read it with the {which} hengsuan that wrote it",
        )
    return raw


def _read_header(path: Path) -> Header:
    raw = _checked(path)
    try:
        header = msgspec.json.decode(raw, type=Header)
    except UNDECODABLE as error:
        raise InfraError(f"{RUN} is damaged: {error}", where=str(path / RUN)) from None
    if why := _incoherent(header):
        raise InfraError(f"{RUN} is damaged: {why}", where=str(path / RUN))
    file = path / CONDITIONS
    try:
        lines = file.read_bytes()
        whole = lines[: lines.rfind(b"\n") + 1]
        header.conditions.extend(msgspec.json.Decoder(Conditions).decode_lines(whole))
    except FileNotFoundError:
        pass  # none met yet, or a run of before, which has them in `run.json`
    except OSError as error:
        raise _unreadable(file, error) from None
    except UNDECODABLE as error:
        raise InfraError(f"{CONDITIONS} is damaged: {error}", where=str(file)) from None
    return header


def _incoherent(header: Header) -> str:
    """What a header refers to and does not declare, in words; empty where it declares all."""
    for index, case in enumerate(header.cases):
        if case.id != index:
            return f"its case {index} says that it is case {case.id}"
        if not 0 <= case.schedule < len(header.schedules):
            return f"its case {index} is of schedule {case.schedule}, of {len(header.schedules)}"
    for index, event in enumerate(header.events):
        if not all(isinstance(event.get(key), str) for key in ("kind", "node", "text")):
            return f"its event {index} has no kind, node or text"
    return ""


def _unreadable(path: Path, error: OSError) -> InfraError:
    return InfraError(
        f"cannot read: {error.strerror or error}",
        where=str(path),
        hint="check its permissions and its disk",
    )
