"""What lines of nccl-tests mean, however they were written: operations, devices, figures."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..kernels.messages import SUMS, bus_factor
from .collectives import axes, contradicts, figures, judged
from .found import INVALID, OK, SKIPPED, Asked, Floats, Ints, Log, Part, Place, What

OPS = {
    "all_reduce": "all_reduce",
    "allreduce": "all_reduce",
    "reduce_scatter": "reduce_scatter",
    "reducescatter": "reduce_scatter",
    "all_gather": "all_gather",
    "allgather": "all_gather",
    "alltoall": "all_to_all",
    "all_to_all": "all_to_all",
    "broadcast": "broadcast",
    "reduce": "reduce",
    "scatter": "scatter",
    "gather": "gather",
    "sendrecv": "send_recv",
    "send_recv": "send_recv",
    "hypercube": "hypercube",
}
"""Operations by what programs and files are called."""
DTYPES = {
    "float": "fp32",
    "half": "fp16",
    "bfloat16": "bf16",
    "int": "int32",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
}
"""Our dtypes by theirs; others (double, int8, fp8) our benchmark does not have."""
FORMS = ("out_of_place", "in_place")
_OURS = frozenset(OPS.values()) - {"hypercube"}
_ROOTED = frozenset(("reduce", "broadcast", "scatter", "gather"))
_RATIO = 0.02
"""How far the ratio of printed bandwidths may be from an operation's."""
_PROGRAM = re.compile(r"\b(\w+)_perf(?:_mpi)?\b")
_CALLED = re.compile(
    r"(?<![a-z])(all[-_]?reduce|reduce[-_]?scatter|all[-_]?gather|all[-_]?to[-_]?all|broadcast|"
    r"send[-_]?recv|hypercube|scatter|gather|reduce)(?![a-z])"
)
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


def named(text: str) -> str:
    """The operation that a command line, or the name of a file, speaks of; empty if none."""
    if "_perf" in text:
        for word in _PROGRAM.findall(text):
            if word in OPS:
                return OPS[word]
        return ""
    if text.endswith((".log", ".txt", ".out", ".json", ".gz")) and " " not in text.strip():
        found = {
            OPS[word.replace("-", "_")]
            if word.replace("-", "_") in OPS
            else OPS[re.sub("[-_]", "", word)]
            for word in _CALLED.findall(text.rpartition("/")[2].lower())
        }
        return found.pop() if len(found) == 1 else ""
    return ""


def looks_like(op: str, names: Sequence[str], row: Sequence[str]) -> bool:
    """Whether a line may be of an operation, by whether it names a reduction and a root."""
    words = dict(zip(names, row, strict=True))
    reduces = words.get("redop", "none") not in ("none", "")
    rooted = words.get("root", "-1").isdecimal()
    if op not in _OURS:
        return not reduces
    # Before there was a column of roots, nothing says.
    return (op in SUMS) == reduces and ("root" not in words or (op in _ROOTED) == rooted)


def by_figures(names: Sequence[str], rows: Sequence[Sequence[str]], ranks: int) -> list[str]:
    """The operations that fit what is printed: with or without reduction and root, and by the
    ratio of both bandwidths over so many ranks."""
    words = dict(zip(names, zip(*rows, strict=True), strict=True))
    algbw, busbw = (_numbers(words.get(f"0 {name}", ())) for name in ("algbw", "busbw"))
    large = algbw > 1.0
    if not large.any():
        return []
    ratio = float(np.median(busbw[large] / algbw[large]))
    return [
        op
        for op in sorted(_OURS)
        if looks_like(op, names, rows[0]) and abs(ratio - bus_factor(op, ranks)) < _RATIO
    ]


def placed(
    log: Log, asked: Asked, devices: Sequence[tuple[str, int, str, str]], where: str
) -> list[Place]:
    """Declare devices (host, index, bus id, name), in the order of their ranks.

    A device is known by its bus id where that tells those of its host apart, for processes may
    each see one device and call it 0; else by its index.

    Raises `UsageError` where ``--node`` renames another number of nodes than there are.
    """
    hosts = list(dict.fromkeys(one[0] for one in devices))
    if asked.nodes and len(asked.nodes) != len(hosts):
        raise UsageError(
            f"the log names {len(hosts)} nodes ({', '.join(hosts[:8])}), and --node gives "
            f"{len(asked.nodes)} names",
            where=where,
            hint="leave --node out, or give a name for each",
        )
    names = dict(zip(hosts, asked.nodes or hosts, strict=True))
    buses: dict[str, list[str]] = {}
    for host, _, bus, _ in devices:
        buses.setdefault(host, []).append(_bus(bus))
    places: dict[Place, None] = {}
    for host, index, bus, name in devices:
        ids = buses[host]
        told = all(ids) and len(set(ids)) == len(ids)
        place = Place(names[host], _bus(bus) if told else str(index))
        while place in places:  # several ranks on one device
            place = Place(place.node, f"{place.device}'")
        log.devices.setdefault(place, Part(name, index))
        places[place] = None
    return list(places)


def _bus(text: str) -> str:
    """``07`` of ``0x07`` and of ``0000:07:00``, as old and new versions print it; empty of 0."""
    text = text.lower().removeprefix("0x")
    if len(parts := text.split(":")) == 3 and not any(map(_zero, (parts[0], parts[2]))):
        return text
    if len(parts) == 3:
        text = parts[1] if _zero(parts[0]) and _zero(parts[2]) else text
    return "" if _zero(text) else f"bus {text}"


def _zero(text: str) -> bool:
    return not text.strip("0:.")


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
    ``cputime`` in the table the printed bandwidths are taken, for that time is not theirs.
    """
    sizes = _numbers(taken.words["size"])
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
    wanted = (*_FIGURES, "time" if "time" in columns else "algbw")
    printed = {name: _numbers(columns[name]) for name in wanted if name in columns}
    found: dict[str, Floats] = {}
    if "time" in printed:
        found = figures(lines.op, lines.ranks, lines.size, printed["time"] * 1e-6)
        said = printed["busbw"] * 1e9 if "busbw" in printed else found["busbw"]
        _check(lines, columns, status, reasons, contradicts(found["busbw"], said))
    else:
        found = {name: printed[name] * 1e9 for name in ("algbw", "busbw") if name in printed}
        lacking = ~np.isfinite(np.sum([*found.values()], axis=0))
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
    plain = redop in ("none", "sum", "") and root in ("-1", "0", "")
    if op in _OURS and dtype and plain:
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
    found = _numbers([word.rstrip("*") for word in words])
    if name != "#wrong":
        limits = np.array([_LIMITS.get(kind, 0.0) for kind in types])
        found = np.where(np.isnan(found), found, (found > limits).astype(np.float64))
    return np.where(marked, np.maximum(found, 1.0), found)


def _numbers(words: Sequence[str]) -> Floats:
    """float64[m]; NaN for what is no number."""
    try:
        return np.array(list(map(float, words)), dtype=np.float64)
    except ValueError:
        return np.array([_number(word) for word in words], dtype=np.float64)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _chosen(words: Sequence[str], kept: Ints) -> list[str]:
    if not words:
        return []
    return list(words) if len(words) == kept.size else [words[place] for place in kept.tolist()]
