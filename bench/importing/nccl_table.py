"""What lines of nccl-tests mean, however they were written: figures of our `collectives`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .collectives import axes, contradicts, figures, judged
from .found import INVALID, OK, SKIPPED, Asked, Floats, Ints, Log, Place, What
from .nccl_names import DTYPES, OURS, as_numbers

FORMS = ("out_of_place", "in_place")
_LIMITS = {"float": 1e-5, "half": 1e-2, "bfloat16": 1e-2, "double": 1e-12}
"""Largest error that the tool took for right before 2.12, where it counts no wrong elements; of
other types 0 (``deltaMaxValue`` of its src/common.cu)."""
_FIGURES = ("busbw", "i_p99", "i_max")
_TAILS = (("i_p99", "time_p99"), ("i_max", "time_max"))
MOST = 200_000
"""Lines that are held at a time."""
_SIZE = 1 << 62


class Taken(NamedTuple):
    """Lines of tables of one operation as columns of words by name (those of a form as ``0 time``,
    ``1 time``).

    ``numbers`` says which lines they were; ``groups`` is int64[lines], which devices took part, of
    the log, and ``ranks`` int64[lines], how many.
    """

    words: Mapping[str, Sequence[str]]
    numbers: Sequence[int]
    groups: Ints
    ranks: Ints


class Batch:
    """Lines of many tables, taken together: a table has few, and arrays cost as much for few.

    Args:
        log: What they are taken into.
        asked: What the user says.
    """

    def __init__(self, log: Log, asked: Asked) -> None:
        self._log, self._asked = log, asked
        self._held: dict[
            tuple[str, tuple[str, ...]],
            list[tuple[Sequence[Sequence[str]], Sequence[int], int, int]],
        ] = {}
        self._count = 0

    def add(
        self,
        op: str,
        names: Sequence[str],
        rows: Sequence[Sequence[str]],
        numbers: Sequence[int],
        places: Sequence[Place],
    ) -> None:
        """Some lines of one table: their words by the names of columns."""
        group = self._log.group(places)
        held = self._held.setdefault((op, tuple(names)), [])
        held.append((rows, numbers, group, len(places)))
        self._count += len(rows)
        if self._count > MOST:
            self.end()

    def end(self) -> None:
        """Take what is held."""
        for (op, names), tables in self._held.items():
            counts = [len(rows) for rows, *_ in tables]
            columns = zip(*(row for rows, *_ in tables for row in rows), strict=True)
            taken = Taken(
                dict(zip(names, columns, strict=True)),
                [number for _, numbers, *_ in tables for number in numbers],
                np.repeat([group for *_, group, _ in tables], counts),
                np.repeat([ranks for *_, ranks in tables], counts),
            )
            take(self._log, self._asked, op, taken)
        self._held.clear()
        self._count = 0


def take(log: Log, asked: Asked, op: str, taken: Taken) -> None:
    """Take lines of one operation: times, algorithm and bus bandwidths of both forms, in SI units.

    Bandwidths are computed from the printed time, which has more digits: at small sizes the tool
    prints 0.00 GB/s. Where the printed bus bandwidth contradicts it, the line is invalid. With
    ``cputime`` in the table the printed bandwidths are taken, for that time is not theirs; so they
    are of a program that we have no benchmark of, for only it knows what it counts.
    """
    sizes = as_numbers(taken.words["size"])
    good = np.isfinite(sizes) & (sizes > 0) & (sizes < _SIZE)
    for index in np.flatnonzero(~good).tolist():
        said = " ".join(taken.words[name][index] for name in ("size", "count", "type"))
        log.skip(taken.numbers[index], f"{said}: a message without a size has no bandwidth")
    kept = np.flatnonzero(good)
    log.lines += kept.size
    if not kept.size:
        return
    words = {name: _chosen(column, kept) for name, column in taken.words.items()}
    size = sizes[kept].astype(np.int64)
    blank = [""] * kept.size
    cells: dict[tuple[str, ...], int] = {}
    keys = zip(*(words.get(name, blank) for name in ("size", "type", "redop", "root")), strict=True)
    which = np.array([cells.setdefault(key, len(cells)) for key in keys], dtype=np.int64)
    for number, form in enumerate(FORMS):
        mark = f"{number} "
        columns = {
            name.removeprefix(mark): column
            for name, column in words.items()
            if name.startswith(mark)
        }
        if columns:
            lines = _Lines(
                op, form, size, taken.groups[kept], taken.ranks[kept], list(cells), which
            )
            _form(log, asked, lines, words["type"], columns)


class _Lines(NamedTuple):
    """Lines of one form: ``which`` indexes ``cells``, (size, type, redop, root) as printed."""

    op: str
    form: str
    size: Ints
    groups: Ints
    ranks: Ints
    cells: Sequence[tuple[str, ...]]
    which: Ints


def _form(
    log: Log,
    asked: Asked,
    lines: _Lines,
    types: Sequence[str],
    columns: Mapping[str, Sequence[str]],
) -> None:
    """Take what stands in the columns of one form, in or out of place."""
    wrong = _wrong(columns, types)
    status, reasons = judged(lines.op, lines.form, lines.ranks, wrong, asked.unchecked)
    # Beside a time, the printed algorithm bandwidth says nothing more.
    ours = "time" in columns and lines.op in OURS
    wanted = (*_FIGURES, "time" if ours else "algbw")
    printed = {name: as_numbers(columns[name]) for name in wanted if name in columns}
    found: dict[str, Floats] = {}
    if ours:
        found = figures(lines.op, lines.ranks, lines.size, printed["time"] * 1e-6)
        said = printed["busbw"] * 1e9 if "busbw" in printed else found["busbw"]
        _check(lines, columns, status, reasons, contradicts(found["busbw"], said))
    else:
        found = {name: printed[name] * 1e9 for name in ("algbw", "busbw") if name in printed}
        lacking = ~np.isfinite(np.sum([*found.values()], axis=0))
        if "time" in columns:
            seconds = as_numbers(columns["time"]) * 1e-6
            found["time"] = seconds
            lacking = lacking | ~(seconds > 0)
        _check(lines, columns, status, reasons, lacking)
    found |= {metric: printed[name] * 1e-6 for name, metric in _TAILS if name in printed}
    for metric, value in found.items():
        whats = np.array(
            [log.what(_what(lines.op, lines.form, metric, cell)) for cell in lines.cells],
            dtype=np.int64,
        )
        # What cannot be measured has no value, whatever was printed.
        kept = np.where(status == SKIPPED, np.nan, value)
        log.add(whats[lines.which], lines.groups, kept, status=status, reasons=reasons)


def _check(
    lines: _Lines,
    columns: Mapping[str, Sequence[str]],
    status: Ints,
    reasons: dict[int, str],
    clash: npt.NDArray[np.bool_],
) -> None:
    """Make lines invalid, in place, whose figures are none or contradict each other."""
    for index in np.flatnonzero(clash & (status == OK)).tolist():
        status[index] = INVALID
        said = ", ".join(f"{name} {words[index]}" for name, words in columns.items())
        reasons[index] = (
            f"{said}: no figures of {lines.op} over {lines.ranks[index]} ranks, or they contradict "
            "each other"
        )


@functools.lru_cache(maxsize=1 << 16)
def _what(op: str, form: str, metric: str, cell: tuple[str, ...]) -> What:
    """Our benchmark where it has the operation, the dtype and the reduction; else the program's."""
    size, kind, redop, root = cell
    dtype = DTYPES.get(kind, "")
    # A send and its receive reduce nothing, whatever the tool says of them.
    plain = (op == "send_recv" or redop in ("none", "sum", "")) and root in ("-1", "0", "")
    if op in OURS and dtype and plain:
        return What("collectives", axes(op, int(float(size)), dtype, form), metric)
    time = metric.startswith("time")
    said = {"size": int(float(size)), "type": kind, "redop": redop, "root": root, "buffers": form}
    return What(
        f"{op}_perf",
        tuple((key, value) for key, value in said.items() if value != ""),
        metric,
        unit="s" if time else "B/s",
        better="lower" if time else "higher",
    )


def _wrong(columns: Mapping[str, Sequence[str]], types: Sequence[str]) -> Floats:
    """float64[m]: wrong elements of every line; NaN where nobody looked."""
    name = next((one for one in ("#wrong", "error", "res") if one in columns), "")
    if not name:
        return np.full(len(types), np.nan)
    words = columns[name]
    if set(words) == {"0"}:
        return np.zeros(len(words))
    marked = np.array([word.endswith("*") for word in words])
    found = as_numbers([word.rstrip("*") for word in words])
    if name != "#wrong":
        limits = np.array([_LIMITS.get(kind, 0.0) for kind in types])
        found = np.where(np.isnan(found), found, (found > limits).astype(np.float64))
    return np.where(marked, np.maximum(found, 1.0), found)


def _chosen(words: Sequence[str], kept: Ints) -> list[str]:
    if not words:
        return []
    return list(words) if len(words) == kept.size else [words[place] for place in kept.tolist()]
