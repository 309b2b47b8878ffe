"""``telemetry.jsonl`` of a run: what its nodes and devices said of themselves while it went on.

A header line says what stands in the rows behind it, which are arrays to be short. Where a run was
resumed there is another header. A row is one look at one node::

    [node, time, [a value for each quantity of the node],
                 [[a value for each quantity of a device], ...]]

``node`` is the node's place in `Header.nodes`, ``time`` seconds since the run began, null is what
was not said, and devices stand in the order of the node's. Rows of a node come in the order of
time; those of different nodes are mixed. A last line without its newline was cut off by a kill.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .errors import InfraError, UsageError
from .files import read_regular
from .headers import UNDECODABLE, unreadable

TELEMETRY = "telemetry.jsonl"
SCHEMA = 1


class Quantity(msgspec.Struct, array_like=True, frozen=True):
    """What a column holds: its name and unit (bytes are B, shares of one are ratio)."""

    name: str
    unit: str


NODE = (
    Quantity("cpu", "ratio"),
    Quantity("stolen", "ratio"),
    Quantity("memory_used", "B"),
    Quantity("received", "B/s"),
    Quantity("sent", "B/s"),
    Quantity("rdma_received", "B/s"),
    Quantity("rdma_sent", "B/s"),
    Quantity("cost", "ratio"),
)
"""Of a node, over the time since the look before.

``cpu``: share of all its cores that was busy; ``stolen``: that a hypervisor took; ``received`` and
``sent``: through its network interfaces, ``rdma_...`` through its RDMA ports; ``cost``: processor
time that looking took, as a share of one core. ``memory_used`` is as of the look.
"""
DEVICE = (
    Quantity("clock", "MHz"),
    Quantity("temperature", "°C"),
    Quantity("power", "W"),
    Quantity("memory_used", "B"),
    Quantity("utilisation", "ratio"),
    Quantity("throttled", "ratio"),
    Quantity("capped", "ratio"),
)
"""Of a device as of the look. ``throttled`` and ``capped`` (at its power limit) are 0 or 1, null
where the device does not say."""


class TelemetryHeader(msgspec.Struct, kw_only=True, frozen=True):
    """The line before the rows."""

    schema: int = SCHEMA
    """Version of this form."""
    period: float
    """Seconds between two looks, as asked for."""
    node: tuple[Quantity, ...] = NODE
    """What ``values`` of a row hold, in this order."""
    device: tuple[Quantity, ...] = DEVICE
    """What each of ``devices`` of a row holds, in this order."""


Values = list[float | None]


class TelemetryRow(msgspec.Struct, array_like=True, frozen=True):
    """One look at one node, see the module."""

    node: int
    """Its index in the run."""
    time: float
    """Seconds since the run began."""
    values: Values
    """Of the node."""
    devices: list[Values] = []
    """Of each of its devices."""


class Series(msgspec.Struct, kw_only=True):
    """Looks as arrays of one length, in the order they were written.

    ``node`` int32, ``device`` int32 (place among the node's devices; -1: the node itself), ``time``
    float64 seconds since the run began; ``values`` by quantity float64, NaN where nothing was said.
    """

    node: Any
    device: Any
    time: Any
    values: dict[str, Any]

    def __len__(self) -> int:
        return len(self.time)

    def of(self, node: int, device: int = -1) -> Series:
        """Those of one node, or of one of its devices."""
        return self.only((self.node == node) & (self.device == device))

    def only(self, kept: Any) -> Series:
        """Those for which bool[rows] ``kept`` is true."""
        values = {name: column[kept] for name, column in self.values.items()}
        return Series(
            node=self.node[kept], device=self.device[kept], time=self.time[kept], values=values
        )


class Telemetry(msgspec.Struct, kw_only=True):
    """All of a run's telemetry: ``nodes`` and ``devices`` with the units of their quantities."""

    period: float
    nodes: Series
    devices: Series
    units: dict[str, str]
    every: int = 1
    """Of how many looks at a node one is here."""


def read_telemetry(folder: str | Path, most: int | None = None) -> Telemetry | None:
    """The telemetry in a run's folder; None where there is none.

    Args:
        folder: The run's.
        most: Bytes of rows that are read, about; of a longer file some of each node's, evenly.

    Raises:
        UsageError: it is of another schema.
        InfraError: it cannot be read, or a line is damaged (``where`` is ``file:line``).
    """
    path = Path(folder) / TELEMETRY
    try:
        with read_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            return _read(file, path, 1 if most is None else max(1, -(-size // most)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None


def _read(lines: Iterable[bytes], path: Path, every: int) -> Telemetry | None:
    header: TelemetryHeader | None = None
    nodes, devices = _Gathered(), _Gathered()
    seen: Counter[bytes] = Counter()
    decoder = msgspec.json.Decoder(TelemetryRow)
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break  # it was cut off
        where = f"{path}:{number}"
        try:
            if line.startswith(b"{"):
                header = _header(line, where)
                nodes.quantities = [one.name for one in header.node]
                devices.quantities = [one.name for one in header.device]
                continue
            if every > 1:
                node = line.partition(b",")[0]
                seen[node] += 1
                if seen[node] % every != 1:
                    continue
            row = decoder.decode(line)
        except UNDECODABLE as error:
            raise _damaged(str(error), where) from None
        if header is None:
            raise _damaged("no header stands before it", where)
        if not 0 <= row.node < 1 << 31:
            raise _damaged(f"{row.node} is the place of no node", where)
        nodes.add(row.node, -1, row.time, row.values)
        for device, values in enumerate(row.devices):
            devices.add(row.node, device, row.time, values)
    if header is None:
        return None
    units = {one.name: one.unit for one in (*header.node, *header.device)}
    return Telemetry(
        period=header.period,
        nodes=nodes.series(),
        devices=devices.series(),
        units=units,
        every=every,
    )


def _header(line: bytes, where: str) -> TelemetryHeader:
    found = msgspec.json.decode(line, type=TelemetryHeader)
    if found.schema != SCHEMA:
        which = "newer" if found.schema > SCHEMA else "older"
        raise UsageError(
            f"telemetry of schema {found.schema}; this hengsuan reads schema {SCHEMA}",
            where=where,
            hint=f"read it with the {which} hengsuan that wrote it",
        )
    for quantities in (found.node, found.device):
        names = [one.name for one in quantities]
        if len(set(names)) < len(names):
            raise _damaged("it names a quantity twice", where)
    return found


def _damaged(why: str, where: str) -> InfraError:
    return InfraError(
        f"this line is no telemetry: {why}",
        where=where,
        hint="the file was changed or its disk is failing; delete the line to read the rest",
    )


class _Gathered:
    """Rows on their way into columns; later headers may bring further quantities."""

    def __init__(self) -> None:
        self.quantities: list[str] = []
        self._places: list[tuple[int, int, float]] = []
        self._values: dict[str, list[float]] = {}

    def add(self, node: int, device: int, time: float, values: Values) -> None:
        before = len(self._places)
        self._places.append((node, device, time))
        for name, value in zip(self.quantities, values, strict=False):
            column = self._values.setdefault(name, [])
            column.extend([np.nan] * (before - len(column)))
            column.append(np.nan if value is None else value)

    def series(self) -> Series:
        count = len(self._places)
        places = np.array(self._places, dtype=np.float64).reshape(count, 3)
        values = {
            name: np.array([*column, *[np.nan] * (count - len(column))], dtype=np.float64)
            for name, column in self._values.items()
        }
        for name in self.quantities:
            values.setdefault(name, np.full(count, np.nan))
        return Series(
            node=places[:, 0].astype(np.int32),
            device=places[:, 1].astype(np.int32),
            time=places[:, 2],
            values=values,
        )
