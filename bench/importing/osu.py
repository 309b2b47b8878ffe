"""The OSU micro-benchmarks: latencies and bandwidths of MPI by size.

Written from their documentation and sources (mvapich.cse.ohio-state.edu/benchmarks; OMB 5.x and
7.x, c/util/osu_util_mpi.c). A table is read by the names in its head. The log says neither on
which nodes nor, of collectives, over how many ranks it was measured: ``--node`` and ``--ranks``
do, or the command line that stands in the log.

Every figure becomes one of the program's own (``osu_latency`` and so on), as it was printed. Two
kinds are ours as well: half a round trip of a payload is what `pairs` makes its bandwidth of, and
of eight bytes its latency; a blocking collective is what `collectives` times. A stream of many
messages at a time (osu_bw, osu_bibw) is neither: our pairs send one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UsageError
from ..kernels.messages import SUMS, bus_factor
from ..records import Better, Scope
from .collectives import axes
from .found import INVALID, OK, Asked, Log, Place, What, spread
from .osu_commands import Told, memory_of
from .source import Lines, Source

EXPECTED = (
    "tables of the OSU micro-benchmarks (`# OSU MPI Latency Test v7.4`, `# Size  Latency (us)`)"
)
TAKES = ("node", "ranks", "device")
"""Options that say what such a file may leave open."""
_TITLE = re.compile(r"^#? ?OSU ([\w+]+?)(-[A-Z]+(?: MANAGED)?)? (.+?) Test(?: v(\S+))?\s*$")
_HEAD = re.compile(r"^#? ?(?:Size\b|Avg Latency ?\(us\)|Overall ?\(us\))")
_COMMAND = re.compile(r"\b(osu_\w+)\b(.*)$")
_DATATYPE = re.compile(r"^# Datatype: (\w+)")
_BUFFERS = re.compile(r"(?:Send Buffer|Rank 0 Memory) on (\w+).*(?:Receive Buffer|Memory) on (\w+)")
_NUMBER = re.compile(r"^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$")
_DIGITS = 15
"""Of a size in bytes at most: what has more is none, and fits into no integer."""
_TWO = re.compile(r"^osu_(?:latency(?:_m[pt])?|bw|bibw)$|_(?:get|put|acc|fop|cas)_")
"""Programs of two ranks."""
_ONE_WAY = "osu_latency"
_TITLES = {
    "Latency": "osu_latency",
    "Bandwidth": "osu_bw",
    "Bi-Directional Bandwidth": "osu_bibw",
    "Multiple Bandwidth / Message Rate": "osu_mbw_mr",
    "Multi Latency": "osu_multi_lat",
    "Multi-process Latency": "osu_latency_mp",
    "Multi-threaded Latency": "osu_latency_mt",
    "Allreduce Latency": "osu_allreduce",
    "Allgather Latency": "osu_allgather",
    "All-to-All Personalized Exchange Latency": "osu_alltoall",
    "Broadcast Latency": "osu_bcast",
    "Reduce Latency": "osu_reduce",
    "Reduce_scatter Latency": "osu_reduce_scatter",
    "Reduce-scatter Latency": "osu_reduce_scatter",
    "Gather Latency": "osu_gather",
    "Scatter Latency": "osu_scatter",
    "Barrier Latency": "osu_barrier",
}
_OPS = {
    "osu_allreduce": "all_reduce",
    "osu_allgather": "all_gather",
    "osu_alltoall": "all_to_all",
    "osu_bcast": "broadcast",
    "osu_reduce": "reduce",
    "osu_reduce_scatter": "reduce_scatter",
    "osu_gather": "gather",
    "osu_scatter": "scatter",
    "osu_barrier": "barrier",
}
_EACH = frozenset(("all_gather", "all_to_all", "gather", "scatter"))
"""Operations whose printed size is what one rank gives to one other, n of which are the array."""
_LIBRARIES = re.compile(r"[A-Z]*CCL")
"""What collectives of another library than MPI are called after; between devices."""
_TYPES = {"MPI_INT": "int32", "MPI_FLOAT": "fp32", "MPI_CHAR": "uint8"}
_COLUMNS: dict[str, tuple[str, str, float, Better]] = {
    "latency": ("latency", "s", 1e-6, "lower"),
    "avglatency": ("latency", "s", 1e-6, "lower"),
    "minlatency": ("latency_min", "s", 1e-6, "lower"),
    "maxlatency": ("latency_max", "s", 1e-6, "lower"),
    "bandwidth": ("bandwidth", "B/s", 1e6, "higher"),
    "": ("bandwidth", "B/s", 1e6, "higher"),
    "messages/s": ("message_rate", "1/s", 1.0, "higher"),
    "overall": ("overall", "s", 1e-6, "lower"),
    "compute": ("compute", "s", 1e-6, "lower"),
    "coll.init": ("initialisation", "s", 1e-6, "lower"),
    "mpi_test": ("testing", "s", 1e-6, "lower"),
    "mpi_wait": ("waiting", "s", 1e-6, "lower"),
    "purecomm.": ("latency", "s", 1e-6, "lower"),
    "mincomm.": ("latency_min", "s", 1e-6, "lower"),
    "maxcomm.": ("latency_max", "s", 1e-6, "lower"),
    "overlap": ("overlap", "ratio", 1e-2, "higher"),
}
"""By a column's name without its unit: our metric, its unit, what one printed is in it, and which
way is better."""
_TAIL = re.compile(r"^p(\d+)tail(lat|bw)$")
_ASIDE = frozenset(("size", "iterations", "validation", "transmitsize"))
UNCHECKED = "not checked: the program ran without validation"


class _Head(NamedTuple):
    """A table: its program, the collective operation (empty where it is none of ours), where
    buffers lie, of which type elements are (as ours are called, empty where we have none such; and
    ``axis``, as the program calls it, where it has tables of several), the names of its columns."""

    program: str
    op: str
    memory: str
    dtype: str
    axis: str
    columns: tuple[str, ...]
    scope: Scope
    places: tuple[Place, ...]


def read(source: Source, asked: Asked) -> Log:
    """Read one file.

    Raises:
        UsageError: it is no text, or nobody says on which nodes or over how many ranks it was.
        InfraError: it cannot be read.
    """
    log = Log(source.name)
    streams: dict[str, _Tables] = {}
    told = Told()
    for lines in source.lines():
        tables = streams.get(lines.stream)
        if tables is None:
            tables = streams[lines.stream] = _Tables(log, asked, told, lines.stream)
        tables.read(lines)
    log.end()
    return log


class _Tables:
    """What one process prints."""

    def __init__(self, log: Log, asked: Asked, told: Told, stream: str) -> None:
        self.log, self.asked, self.told = log, asked, told
        self.host = stream if stream[:1].isalpha() and "," not in stream else ""
        self.program, self.op, self.memory = "", "", ""
        self.types: list[str] = []
        self.titled = 0
        self.head: _Head | None = None

    def read(self, lines: Lines) -> None:
        """Some more lines."""
        for text, number in zip(lines.text, lines.numbers, strict=True):
            words = text.split()
            if not words:
                continue
            if self.head is not None and _NUMBER.match(words[0]):
                self._row(words, text, number)
            elif self._other(text.strip(), number):
                self.log.lines += 1
            else:
                self.log.skip(number, text)

    def _other(self, text: str, number: int) -> bool:
        """Whether a line is understood that is none of a table."""
        if found := _TITLE.match(text):
            library, accelerator, title, version = found.groups()
            base = _TITLES.get(title, "")
            self.op = _OPS.get(base, "")
            if library == "MPI" and base:
                self.program = base
            elif _LIBRARIES.fullmatch(library) and base:
                self.program = base.replace("osu_", f"osu_{library.lower()}_")
            else:  # what nobody knows, or as MPI_Get
                title = title if library == "MPI" else f"{library} {title}"
                self.program = f"osu_{re.sub(r'[^a-z0-9]+', '_', title.lower())}"
                self.op = ""
            self.types, self.head = [], None
            self.memory = self.told.memory(self.titled, number) if accelerator else "host"
            if accelerator and not self.memory and self.op:
                self.memory = "device"
            self.titled = number
            if version:
                self.log.versions.setdefault("osu-micro-benchmarks", version)
            return True
        if self.program and _HEAD.match(text):
            self.head = self._headed(text, number)
            return True
        if found := _DATATYPE.match(text):
            self.types.append(found[1])
            if self.head is not None:  # some versions say it behind the head
                self.head = self._typed(self.head)
            return True
        if found := _BUFFERS.search(text):
            self.memory = memory_of(found[1], found[2])
            return True
        if found := _COMMAND.search(text):
            self.told.take(text, found[2], number)
            return True
        return text.startswith("#")

    def _headed(self, text: str, number: int) -> _Head:
        columns = tuple(_column(name) for name in re.split(r"\s{2,}", text.lstrip("# ")))
        where = f"{self.log.name}:{number}"
        pair = bool(_TWO.search(self.program))
        ranks = 2 if pair else self.asked.ranks or self.told.ranks(number)
        nodes = self.asked.nodes or self.told.nodes(number) or ((self.host,) if self.host else ())
        if not nodes or ranks is None:
            lacking = "on which nodes" if not nodes else "over how many ranks"
            raise UsageError(
                f"{lacking} {self.program} was measured, the log does not say",
                where=where,
                hint="say it with --node NAME, once for each node in the order of ranks"
                + ("" if pair else ", and --ranks N"),
            )
        places = spread(self.log, nodes, ranks, where, self.asked.device or "MPI process")
        scope: Scope = "pair" if pair else "group"
        head = _Head(self.program, self.op, self.memory, "", "", columns, scope, tuple(places))
        return self._typed(head)

    def _typed(self, head: _Head) -> _Head:
        """A head with the type of elements; versions that do not say it have one."""
        if not self.types:
            return head._replace(dtype="fp32" if self.op in SUMS else "uint8")
        said = self.types[-1]
        axis = said if len(set(self.types)) > 1 else ""
        return head._replace(dtype=_TYPES.get(said, ""), axis=axis)

    def _row(self, words: list[str], text: str, number: int) -> None:
        assert self.head is not None
        head = self.head
        if len(words) != len(head.columns) or not _size(head, words):
            self.log.skip(number, text)
            return
        self.log.lines += 1
        row = dict(zip(head.columns, words, strict=True))
        size = int(row["size"]) if "size" in row else None
        status, reason = OK, UNCHECKED
        if (checked := row.get("validation")) is not None:
            good = checked.lower().startswith("pass")
            status, reason = (OK, "") if good else (INVALID, "what arrived was wrong")
        found: dict[What, float] = {}
        for name, word in row.items():
            if name in _ASIDE:
                continue
            if (measure := _measure(name)) is None:
                self.log.note(f"{self.log.name}: nothing is known of the column {name!r}")
                continue
            metric, unit, scale, better = measure
            value = float(word) * scale if _NUMBER.match(word) else math.nan
            said = (("size", size), ("memory", head.memory), ("type", head.axis))
            kept = tuple((key, one) for key, one in said if one not in (None, ""))
            found[What(head.program, kept, metric, unit, better, head.scope)] = value
            if metric == "latency":
                found |= _ours(head, size, value)
        for what, value in found.items():
            nothing = size != 0 and what.unit != "ratio" and value <= 0
            if nothing or not math.isfinite(value):
                self.log.put(
                    what, head.places, value, status=INVALID, reason="the log has no figure for it"
                )
            else:
                self.log.put(what, head.places, value, status=status, reason=reason)


def _ours(head: _Head, size: int | None, seconds: float) -> Mapping[What, float]:
    """The same figure as our own benchmarks have it, where it means the same."""
    if not seconds > 0:
        return {}
    if head.program == _ONE_WAY and head.memory and size:
        said = (("size", size), ("direction", "unidirectional"), ("memory", head.memory))
        found = {What("pairs", said, "bandwidth", scope="pair"): size / seconds}
        if size == 8:
            found[What("pairs", said, "latency", scope="pair")] = seconds
        return found
    op, ranks = head.op, len(head.places)
    if not op or ranks < 2 or (not size and op != "barrier") or not head.dtype:
        return {}
    # What is between hosts is not between devices, nor one library's another's.
    stage = "-".join(one for one in (head.program, head.memory) if one)
    if op == "barrier":
        return {What("collectives", axes(op, 1, "fp32", ""), "time", stage=stage): seconds}
    assert size is not None
    whole = size * ranks if op in _EACH else size
    form = "in_place" if op == "broadcast" else "out_of_place"
    kept = axes(op, whole, head.dtype, form)
    rate = whole / seconds
    values = {"time": seconds, "algbw": rate, "busbw": rate * bus_factor(op, ranks)}
    return {
        What("collectives", kept, metric, stage=stage): value for metric, value in values.items()
    }


def _size(head: _Head, words: list[str]) -> bool:
    if "size" not in head.columns:
        return True
    word = words[head.columns.index("size")]
    return word.isdecimal() and len(word) <= _DIGITS


def _column(name: str) -> str:
    """``avglatency`` of ``Avg Latency(us)``: without blanks and unit."""
    text = re.sub(r"\((?:us|MB/s|%)\)", "", name.strip()).replace(" ", "").lower()
    return "" if text == "mb/s" else text


def _measure(column: str) -> tuple[str, str, float, Better] | None:
    """(metric, unit, scale, better) of a column; None where nobody knows."""
    if found := _TAIL.match(column):
        metric, unit, scale, better = _COLUMNS["latency" if found[2] == "lat" else "bandwidth"]
        return f"{metric}_p{found[1]}", unit, scale, better
    return _COLUMNS.get(column)
