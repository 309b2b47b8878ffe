"""nccl-tests, and the tools that print as it does: tables of times and bandwidths by size.

Written from its sources and documentation (nccl-tests on GitHub: src/util.cu and
src/common.cu of 2.0 to 2.17, doc/PERFORMANCE.md). Columns are read by the names in the table's
head, for versions differ: ``error`` before 2.12 and ``#wrong`` since, with or without ``redop``
and ``root``, with per-iteration columns (``i_min``, ``i_max``, ``i_p99``), with a timestamp. Which
operation a table is of, the tool says since 2.17; before, a command line or the file's name does,
or what is printed fits one operation only.
"""

from __future__ import annotations

import bisect
import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from ..errors import UsageError
from . import nccl_json
from .found import Asked, Log, Place, spread
from .nccl_devices import Listed, completed, listed
from .nccl_heads import USUAL, Layout, layout_of
from .nccl_names import OPS, by_figures, looks_like, named, placed
from .nccl_pieces import Pieces
from .nccl_table import MOST, Batch
from .source import Lines, Source

EXPECTED = (
    "tables of nccl-tests (`# size count type redop root time algbw busbw #wrong ...`), "
    "or what it writes with -J"
)
TAKES = ("node", "ranks", "device", "op", "unchecked")
"""Options that say what such a file may leave open."""
_HEAD = re.compile(r"#\s+(?:size|bytes)\s+(?:count|N)\s+type\b")
_RUN = re.compile(r"# nThread:?\s+(\d+)\s+nGpus:?\s+(\d+)")
_VERSION = re.compile(r"# nccl-tests version (\S+)")
_LIBRARY = re.compile(r"\b[A-Z]*CCL version[ :]+([\w.+-]+)")
_NOISE = re.compile(
    r"\b[A-Z]*CCL (?:INFO|WARN|TRACE|version)\b|^\s*\+? ?(?:mpirun|srun)\b"
    r"|^\s*(?:\w+ (?:version|path)|Hostname|[a-z]ccl-tests) *: "
)
_OUT_OF_BOUNDS = re.compile(r"# Out of bounds values\s*:\s*(\d+)")
_KNOWN = 10_000
"""Different lines that are remembered, as devices or as saying nothing: most come again with every
table."""
_NEW: Listed = (0, 0, "", 0, "", "")


def read(source: Source, asked: Asked) -> Log:
    """Read one file.

    Raises:
        UsageError: it is no text, or its tables do not say of which operation or devices they are.
        InfraError: it cannot be read.
    """
    log = Log(source.name)
    batch = Batch(log, asked)
    streams: dict[str, _Table] = {}
    told: list[tuple[int, str]] = []
    for lines in source.lines():
        if not streams and nccl_json.begins(lines.text):
            return nccl_json.read(source, asked)
        table = streams.get(lines.stream)
        if table is None:
            table = streams[lines.stream] = _Table(log, asked, batch, told, lines.stream)
        table.read(lines)
    for table in streams.values():
        table.end()
    batch.end()
    return log


class _Table:
    """What one process prints: tables one after the other, each behind its head.

    ``told`` is shared by all processes of a file: what stands in command lines, each with its line,
    is for the tables behind it, whoever prints them.
    """

    def __init__(
        self, log: Log, asked: Asked, batch: Batch, told: list[tuple[int, str]], stream: str
    ) -> None:
        self.log, self.asked, self.batch = log, asked, batch
        self.host = stream if stream[:1].isalpha() and "," not in stream else ""
        self.layout, self.counts = USUAL, USUAL.counts()
        self.mine: list[tuple[int, str]] = []
        self.told = told
        self.known: dict[str, Listed | None] = {}
        self.layouts: dict[str, tuple[Layout, frozenset[int]]] = {}
        self.placed: dict[tuple[tuple[str, int, str, str], ...], list[Place]] = {}
        self.pieces = Pieces()
        self._begin()

    def _begin(self) -> None:
        self.devices: list[Listed] = []
        self.ids: set[tuple[int, int]] = set()
        self.ranks: int | None = None
        self.rows: list[list[str]] = []
        self.numbers: list[int] = []
        self.op = ""
        self.any = self.headed = self.mixed = False

    def read(self, lines: Lines) -> None:
        """Some more lines."""
        rows, numbers, layout, counts = self.rows, self.numbers, self.layout, self.counts
        known, quiet = self.known, 0
        for text, number in zip(lines.text, lines.numbers, strict=True):
            if known.get(text, _NEW) is None:
                quiet += 1
                continue
            words = text.split()
            if len(words) in counts and words[0].isdecimal():
                if self.pieces.begun is not None:
                    self._unfinished()
                rows.append(words)
                numbers.append(number)
            elif words:
                self._other(text, number)
                if self.rows is not rows or self.layout is not layout:
                    rows, numbers = self.rows, self.numbers
                    layout, counts = self.layout, self.counts
        self.log.lines += quiet
        if len(rows) > MOST and self.pieces.begun is None:
            self._flush()

    def _other(self, text: str, number: int) -> None:
        """A line that is none of the table."""
        if (device := self.known.get(text)) is not None:
            self._device(device)
            self.log.lines += 1
            return
        if self.pieces.begins(text):
            self._unfinished()
        if begun := self.pieces.take(text, number):
            if len(begun.words) in self.counts:
                self.rows.append(begun.words)
                self.numbers.append(begun.number)
                self.pieces.begun = None
            return
        program = named(text) if "_perf" in text else ""
        if program:
            self.mine.append((number, program))
            bisect.insort(self.told, (number, program))
        if text.lstrip().startswith("#"):
            self._comment(text)
            self.log.lines += 1
        elif _NOISE.search(text) or program:
            if found := _LIBRARY.search(text):
                self.log.versions.setdefault("library", found[1])
            self.log.lines += 1
        else:
            self.log.skip(number, text)

    def _device(self, device: Listed) -> None:
        """A line of the list of devices."""
        if self.any or self.rows:
            self._flush()
            self._begin()
        # A rank that is there twice is of two processes that do not know each other.
        self.mixed = self.mixed or device[:2] in self.ids
        self.ids.add(device[:2])
        self.devices.append(device)

    def _unfinished(self) -> None:
        """Count a line of the table whose rest did not come."""
        if begun := self.pieces.dropped():
            self.log.skip(begun.number, begun.text)

    def _comment(self, line: str) -> None:
        text = line.strip()
        starts = text.startswith(
            ("# nThread", "# nccl-tests version", "# Collective test starting")
        )
        if (starts or "Using devices" in text) and (self.rows or self.any or self.devices):
            self._flush()
            self._begin()
        if found := _RUN.search(text):
            self.ranks = int(found[1]) * int(found[2])
        elif device := listed(text):
            self._device(device)
            if len(self.known) < _KNOWN:
                self.known[line] = device
        elif found := _VERSION.match(text):
            self.log.versions.setdefault("nccl-tests", found[1])
        elif _HEAD.match(text):
            if self.rows:
                self._flush()
            elif self.headed and not self.any:
                self.mixed = True
            self.headed = True
            if text not in self.layouts and len(self.layouts) < _KNOWN:
                made = layout_of(text.lstrip("# ").split())
                self.layouts[text] = made, made.counts()
            self.layout, self.counts = self.layouts.get(text, (USUAL, USUAL.counts()))
            self.pieces.head(line, len(self.layout.first))
        elif (found := _OUT_OF_BOUNDS.match(text)) and found[1] != "0":
            self.log.note(f"{self.log.name}: {found[1]} values out of bounds, the tool says")
        elif not starts and "Using devices" not in text and len(self.known) < _KNOWN:
            self.known[line] = None

    def end(self) -> None:
        """Nothing follows."""
        self._flush()

    def _flush(self) -> None:
        """Hand on the lines that are held, once it is clear what they are of."""
        self._unfinished()
        rows, numbers, self.rows, self.numbers = self.rows, self.numbers, [], []
        if not rows:
            return
        self.any = True
        if self.mixed:
            raise UsageError(
                "processes that know nothing of each other print here at a time, and whose a line "
                "is nobody can tell",
                where=f"{self.log.name}:{numbers[0]}",
                hint="build the tool with MPI=1, so that one prints for all, or label lines "
                "(mpirun --tag-output, srun --label)",
            )
        layout = self.layout
        places = self._places(numbers[0])
        counts = dict.fromkeys(map(len, rows))
        for count in counts:
            alike, at = rows, numbers
            if len(counts) > 1:
                chosen = [place for place, row in enumerate(rows) if len(row) == count]
                alike, at = [rows[place] for place in chosen], [numbers[place] for place in chosen]
            names = layout.names(count)
            if not self.op:
                self.op = self._operation(names, alike, len(places), at[0])
            if "date" in names:
                self._moment(dict(zip(names, alike[0], strict=True)))
            self.batch.add(self.op, names, alike, at, places)

    def _operation(
        self, names: Sequence[str], rows: Sequence[Sequence[str]], ranks: int, line: int
    ) -> str:
        if self.asked.op:
            return self.asked.op
        # A command line may have been for another table than this.
        told = (_before(self.mine, line), _before(self.told, line), named(self.log.name))
        if known := next((op for op in told if op and looks_like(op, names, rows[0])), ""):
            return known
        fitting = by_figures(names, rows, ranks)
        where = f"{self.log.name}:{line}"
        if len(fitting) != 1:
            which = f": {' or '.join(fitting)} fits" if fitting else ""
            raise UsageError(
                f"which operation this table is of, the log does not say{which}",
                where=where,
                hint=f"say it with --op; known: {', '.join(sorted({*OPS.values()}))}",
            )
        self.log.note(
            f"{self.log.name}: the log does not say which operation it is of, and only "
            f"{fitting[0]} fits its figures (--op says otherwise)"
        )
        return fitting[0]

    def _places(self, line: int) -> list[Place]:
        """The devices of the table, in the order of their ranks."""
        where = f"{self.log.name}:{line}"
        if self.devices:
            # The groups of a split run their tables at a time, and the first prints its own.
            found, added = completed(self.devices, self.ranks)
            if added:
                self.log.note(
                    f"{self.log.name}: its lists of devices were cut, and name {len(self.devices)} "
                    f"of {len(found)}: the others are taken to follow on their hosts"
                )
            first = found[0][1]
            mine = tuple(one[2:] for one in found if one[1] == first)
            if mine not in self.placed:
                self.placed[mine] = placed(self.log, self.asked, mine, where)
            return self.placed[mine]
        nodes = self.asked.nodes or ((self.host,) if self.host else ())
        ranks = self.asked.ranks or self.ranks
        if not nodes or not ranks:
            raise UsageError(
                "the log does not say which devices took part: its head (`# Using devices`) is "
                "missing",
                where=where,
                hint="say it with --node NAME (once for each node) and --ranks N",
            )
        return spread(self.log, nodes, ranks, where, self.asked.device)

    def _moment(self, words: Mapping[str, str]) -> None:
        """When the table was printed, by its first line; the clock's zone is not said."""
        if self.log.when is None:
            said = f"{words['date']} {words['clock']}"
            with contextlib.suppress(ValueError):
                moment = datetime.strptime(said, nccl_json.TIME)
                self.log.when = moment.replace(tzinfo=timezone.utc)


def _before(told: Sequence[tuple[int, str]], line: int) -> str:
    """The operation that the last command line before a line speaks of; empty if none."""
    place = bisect.bisect_left(told, (line, ""))
    return told[place - 1][1] if place else ""
