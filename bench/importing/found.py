"""What was found in a log, whatever its format: figures, where they are of, and what was not read.

A parser fills a `Log`, file by file, and knows nothing of runs: which logs belong together and how
their devices are numbered is settled in `runs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..records import STATUSES, Better, Scope, Status

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MOST_RANKS = 1 << 20
"""Of one measurement: a log that says more is damaged, and they would not fit into memory."""
KEPT = 100
"""Lines of a file that were not understood and are kept; all are counted."""
_LONGEST = 160
_CODES: dict[Status, int] = {status: code for code, status in enumerate(STATUSES)}
OK, INVALID, SKIPPED = _CODES["ok"], _CODES["invalid"], _CODES["skipped"]


class Asked(msgspec.Struct, kw_only=True, frozen=True):
    """What the user says that a log may leave open.

    ``nodes``: the nodes that took part, in the order of their ranks; ``ranks``: how many ranks
    there were; ``device``: what devices are, as they call themselves or by the name of a datasheet;
    ``op``: which collective operation; ``unchecked``: values count that the tool did not check.
    """

    nodes: tuple[str, ...] = ()
    ranks: int | None = None
    device: str = ""
    op: str = ""
    unchecked: bool = False


class Place(NamedTuple):
    """A device: the node's name, and what tells it from the others there (index or bus id)."""

    node: str
    device: str


class Part(NamedTuple):
    """How a device calls itself, and its ``number`` where the log counts it."""

    name: str
    number: int


class What(NamedTuple):
    """What a figure is of: one of our benchmarks with some of its axes, or what only the tool has.

    ``unit`` is empty for our benchmarks, which say it themselves, with scope and direction.
    ``stage``: under which name the tool ran it, where that tells measurements apart.
    """

    benchmark: str
    axes: tuple[tuple[str, Any], ...]
    metric: str
    unit: str = ""
    better: Better = "higher"
    scope: Scope = "group"
    stage: str = ""


class Unread(msgspec.Struct, frozen=True):
    """A line that was not understood: ``file:line``, and the line, shortened."""

    where: str
    text: str


class Rows(NamedTuple):
    """Figures as arrays of one length; ``what`` and ``group`` index the log's.

    ``value``, ``low`` and ``high`` are in SI units, NaN where there is none.
    """

    what: Ints
    group: Ints
    value: Floats
    low: Floats
    high: Floats
    n: Ints
    status: Ints
    reasons: dict[int, str]


class Log:
    """One file.

    Attributes:
        name: The file, as it was given.
        when: When it was measured, where the log says; ``dated``: somebody says.
        devices: Every device that took part.
        whats, groups: What figures are of, and of which devices.
        rows: The figures.
        samples: (which figure of `put`, calls a sample, seconds a call): what some tools keep.
        lines: Lines (of JSON: figures) that were understood, with or without a figure.
        unread: The first lines that were not; ``strange`` counts all.
        notes: What whoever reads the figures must know, in sentences.
        versions: Of what was measured with.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.when: datetime | None = None
        self.dated = True
        self.devices: dict[Place, Part] = {}
        self.whats: dict[What, int] = {}
        self.groups: dict[tuple[Place, ...], int] = {}
        self.rows: list[Rows] = []
        self.samples: list[tuple[int, int, list[float]]] = []
        self.lines = 0
        self.unread: list[Unread] = []
        self.strange = 0
        self.notes: dict[str, None] = {}
        self.versions: dict[str, str] = {}
        self._single: list[tuple[int, int, float, float, float, int, int]] = []
        self._why: dict[int, str] = {}

    def what(self, what: What) -> int:
        """Its number among what figures are of."""
        return self.whats.setdefault(what, len(self.whats))

    def group(self, places: Iterable[Place]) -> int:
        """The number of a group of devices, all of which have been declared."""
        return self.groups.setdefault(tuple(places), len(self.groups))

    def add(
        self,
        what: npt.ArrayLike,
        group: npt.ArrayLike,
        value: npt.ArrayLike,
        *,
        status: npt.ArrayLike = OK,
        reasons: Mapping[int, str] | None = None,
        low: npt.ArrayLike = np.nan,
        high: npt.ArrayLike = np.nan,
        n: npt.ArrayLike = 1,
    ) -> None:
        """Append figures; single values stand for all of them."""
        values = np.atleast_1d(np.asarray(value, dtype=np.float64))

        def whole(one: npt.ArrayLike, dtype: type) -> Any:
            return np.broadcast_to(np.asarray(one, dtype=dtype), values.shape)

        self.rows.append(
            Rows(
                what=whole(what, np.int64),
                group=whole(group, np.int64),
                value=values,
                low=whole(low, np.float64),
                high=whole(high, np.float64),
                n=whole(n, np.int64),
                status=whole(status, np.int64),
                reasons=dict(reasons or {}),
            )
        )

    def put(
        self,
        what: What,
        places: Iterable[Place],
        value: float,
        *,
        status: int = OK,
        reason: str = "",
        interval: tuple[float, float] = (np.nan, np.nan),
        n: int = 1,
    ) -> int:
        """Append one figure; `end` makes arrays of them. Its place among those, for samples."""
        if reason:
            self._why[len(self._single)] = reason
        key = self.what(what), self.group(places)
        self._single.append((*key, value, *interval, n, status))
        return len(self._single) - 1

    def end(self) -> None:
        """Nothing follows: `put` figures become rows, in their order behind all others."""
        if self._single:
            what, group, value, low, high, n, status = zip(*self._single, strict=True)
            self.add(what, group, value, low=low, high=high, n=n, status=status, reasons=self._why)
            self._single, self._why = [], {}

    def skip(self, line: int | str, text: str) -> None:
        """Count a line (or what else is said in its place) that was not understood."""
        self.strange += 1
        if len(self.unread) < KEPT:
            shown = text.strip()
            if len(shown) > _LONGEST:
                shown = f"{shown[:_LONGEST]}..."
            self.unread.append(
                Unread(
                    where=f"{self.name}:{line}"
                    if isinstance(line, int)
                    else f"{self.name}, {line}",
                    text=shown,
                )
            )

    def shown(self) -> list[str]:
        """The first lines that were not understood, each behind where it stands."""
        return [f"{one.where}: {one.text}" for one in self.unread]

    def note(self, text: str) -> None:
        """Say something once."""
        self.notes[text] = None


def spread(log: Log, nodes: Sequence[str], ranks: int, where: str, called: str = "") -> list[Place]:
    """The devices of so many ranks, evenly over nodes in their order; declared in the log.

    Raises `UsageError` where they do not divide evenly, or are more than any machine has.
    """
    if ranks > MOST_RANKS:
        raise UsageError(
            f"{ranks} ranks are more than any machine has",
            where=where,
            hint="say how many there were with --ranks",
        )
    if ranks < len(nodes) or ranks % len(nodes):
        raise UsageError(
            f"{ranks} ranks do not divide evenly over {len(nodes)} nodes",
            where=where,
            hint="give each node once with --node, and all ranks together with --ranks",
        )
    each = ranks // len(nodes)
    places = [Place(node, str(index)) for node in nodes for index in range(each)]
    for place in places:
        log.devices.setdefault(place, Part(called, int(place.device)))
    return places
