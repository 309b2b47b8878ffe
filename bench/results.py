"""Reading a run's rows, as columns that analysis can do arithmetic on.

A run folder holds ``run.json``, ``conditions.jsonl`` and ``measurements.jsonl`` (`bench.records`
says what is in them). Rows are decoded in blocks, straight into numpy columns: millions of them
never exist as objects at one time. A last line without its newline was cut off by a kill, and is
not a row.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Collection, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .errors import InfraError
from .files import read_regular
from .headers import RUN, UNDECODABLE, read_header, unreadable
from .records import (
    LEAST_FIGURE,
    MOST_FIGURE,
    PROVENANCES,
    STATUSES,
    Header,
    Provenance,
    Row,
    ScheduleSpec,
    Status,
)
from .runs import ROWS as ROWS

SAMPLES = "samples.jsonl"
_UNCOUNTED = np.iinfo(np.int64).max
_BLOCK = 1 << 20
"""Bytes that are decoded at once: about 12,000 rows, as objects too few to leave the caches."""

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


class Columns(msgspec.Struct, kw_only=True):
    """Rows as arrays of one length, in the order they were written.

    ``case``, ``repeat``, ``n`` and ``conditions`` are int32, ``group`` int64, ``time``,
    ``value``, ``low`` and ``high`` float64 (NaN where nothing was measured), ``status`` and
    ``provenance`` int8 (indices into `records.STATUSES` and `records.PROVENANCES`). ``reasons``
    maps the index of a row to its reason; rows without one are not in it. A column that was not
    asked for is None.
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
_PLACES = {name: place for place, name in enumerate(_DTYPES)}
_CODES: dict[str, dict[Any, int]] = {
    "status": {status: index for index, status in enumerate(STATUSES)},
    "provenance": {provenance: index for index, provenance in enumerate(PROVENANCES)},
}


def _array(rows: list[Any], name: str) -> Any:
    """One column of decoded rows. Raises OverflowError for an integer that does not fit."""
    field: Iterator[Any] = map(itemgetter(_PLACES[name]), rows)
    if name in _CODES:
        field = map(_CODES[name].__getitem__, field)
    kind = _DTYPES[name]
    if name in _CODES or kind is np.float64:
        return np.fromiter(field, kind, len(rows))
    whole = np.fromiter(field, np.int64, len(rows))
    found = whole.astype(kind)
    if (found != whole).any():  # NumPy 1 would take it for another number
        raise OverflowError(f"{name} has more bits than are kept")
    return found


def beyond(figures: Any) -> Any:
    """bool[figures]: which of float64[figures] nobody can have measured; neither NaN nor 0 is one.

    See `records.MOST_FIGURE`.
    """
    size = np.abs(figures)
    return (size > MOST_FIGURE) | (size < LEAST_FIGURE) & (size != 0)


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
        self.header = read_header(self.path)
        counts = [_most_groups(spec, self.header) for spec in self.header.schedules]
        self._groups = np.array(
            [counts[case.schedule] for case in self.header.cases], dtype=np.int64
        )

    def columns(self, names: Collection[str] | None = None) -> Columns:
        """All rows as columns.

        Args:
            names: Only these columns, ``case`` and ``group``, and ``reasons`` where they are among
                them (None: all); the others are None. What analysis does not ask for takes most of
                the time and the memory.

        Raises:
            InfraError: a line is no row, or refers to a case or group that the header does not
                declare; ``where`` is ``file:line``.
        """
        decoder = msgspec.json.Decoder(_Fields)
        wanted = [name for name in _DTYPES if names is None or name in {*names, "case", "group"}]
        parts: dict[str, list[Any]] = {name: [] for name in wanted}
        reasons: dict[int, str] = {}
        known: dict[str, str] = {}  # a million rows may be skipped for one reason
        count = 0
        with no_collection():
            for first, block in self._blocks():
                rows = self._decode(decoder, block, first)
                arrays = self._arrays(rows, first, wanted)
                for name, array in zip(wanted, arrays, strict=True):
                    parts[name].append(array)
                if names is None or "reasons" in names:
                    said = [(count + i, row[-1]) for i, row in enumerate(rows) if row[-1]]
                    reasons.update((row, known.setdefault(text, text)) for row, text in said)
                count += len(rows)
        columns: dict[str, Any] = dict.fromkeys(_DTYPES)
        for name, dtype in _DTYPES.items():
            # No column is there twice for longer than it must.
            found = parts.pop(name, None)
            if found is not None:
                columns[name] = np.concatenate([np.empty(0, dtype), *found])
        return Columns(**columns, reasons=reasons)

    def _arrays(self, rows: list[Any], first: int, names: list[str]) -> list[Any]:
        try:
            arrays = [_array(rows, name) for name in names]
        except OverflowError:
            largest = [max(map(abs, (*row[:3], row[7], row[9]))) for row in rows]
            index = largest.index(max(largest))
            raise self._damaged(index, first, f"{largest[index]} is out of range") from None
        for name, array in zip(names, arrays, strict=True):
            if name in ("value", "low", "high") and (far := beyond(array)).any():
                index = int(far.argmax())
                why = f"{name}, {array[index]:g}, is beyond all that can be measured"
                raise self._damaged(index, first, why)
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
        line, rest = 1, [b""]
        try:
            with read_regular(path) as file:
                while data := file.read(_BLOCK):
                    end = data.rfind(b"\n") + 1
                    if not end:
                        rest.append(data)  # zeros after a crash may be a long line
                        continue
                    block, rest = b"".join([*rest, data[:end]]), [data[end:]]
                    yield line, block
                    line += block.count(b"\n")
        except FileNotFoundError:
            return  # the run ended before its first row
        except OSError as error:
            raise unreadable(path, error) from None

    def _decode(self, decoder: Any, block: bytes, first: int) -> list[Any]:
        try:
            rows: list[Any] = decoder.decode_lines(block)
        except UNDECODABLE:
            index, why = first_bad_line(decoder, block)
            raise self._damaged(index, first, why) from None
        return rows

    def _damaged(self, index: int, first: int, why: str) -> InfraError:
        return InfraError(
            f"this line is no measurement: {why}",
            where=f"{self.path / ROWS}:{first + index}",
            hint="the file was changed or its disk is failing; delete the line to read the rest",
        )


def cut(header: Header, rows: int) -> str:
    """That a complete run has fewer rows than its stages have counted; empty where it has not.

    A copy that was interrupted, or a disk that was full, takes rows at the end of the file, and
    what is left of it reads well: with half of its repeats a median is another one.
    """
    counts = [stage.get("rows") for stage in header.stages]
    counted = sum(sum(one.values()) for one in counts if isinstance(one, dict))
    if header.state != "complete" or rows >= counted:
        return ""
    return f"{counted - rows} of its {counted} rows are not in {ROWS} any more: copy the run again"


def check_whole(header: Header, rows: int) -> None:
    """Raise `InfraError` for a run that is `cut`: its medians are others than those it had."""
    if why := cut(header, rows):
        raise InfraError(why, where=header.id)


def _most_groups(spec: ScheduleSpec, header: Header) -> int:
    """Groups of a schedule are numbered below this; a large number where they were not counted."""
    if spec.groups is None:
        return _UNCOUNTED
    # Single devices are numbered by rank and nodes by place, also where only some take part.
    fleet = header.fleet
    if spec.kind == "devices" or spec.scope == "rank":
        if fleet is not None:
            return fleet.count * fleet.devices
        return sum(len(node.devices) for node in header.nodes)
    if spec.kind in ("nodes", "label"):
        return fleet.count if fleet is not None else len(header.nodes)
    return spec.groups


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Rows are tuples of scalars, without cycles: looking for some costs a quarter of the time
    of what makes millions of them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def first_bad_line(decoder: Any, block: bytes) -> tuple[int, str]:
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
