"""The protocol between the engine and whatever runs a stage: Ray, this process, or a simulation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from ..inventory import Inventory
from ..records import Conditions, Provenance, Row
from .plan import Plan, Stage
from .wire import Clock

PAGE_BYTES = 64_000
"""What an agent puts into one page at most; larger results would travel by another, slower way."""


class Event(msgspec.Struct, kw_only=True, frozen=True):
    """Something that happened to a node, agent or rank. ``time`` is seconds since the run began.

    ``kind``: ``rank-lost``, ``agent-lost``, ``agent-back``, ``warning``, ``info``; and, of a node
    during a ``stage``: ``counters`` (``changes``: by how much each grew), ``kernel-log``
    (``changes``: lines by what they are about), ``link`` (a PCI Express link below what it can do).
    ``place`` is the node's in the inventory, where an agent was lost or is back: several nodes may
    share a name.
    """

    time: float
    kind: str
    text: str
    node: str = ""
    stage: str = ""
    changes: dict[str, int] = {}
    place: int = -1


class Progress(msgspec.Struct, kw_only=True, frozen=True):
    """Where a node (or a simulated fleet) is: jobs done of jobs to do in this stage."""

    node: str = ""
    done: int = 0
    total: int = 0
    current: str = ""


class Page(msgspec.Struct, kw_only=True):
    """What has been measured since the last page.

    ``rows`` refer to ``conditions`` by index into this page's own list. ``samples`` are the text of
    `Samples`, ``ledger`` that of `bench.ledger.Ledger` and ``telemetry`` that of
    `bench.telemetry.TelemetryRow`, as it will stand in the file: they are most of a page, and only
    pass through. A simulated executor gives ``columns``
    (`bench.results.Columns`) instead of ``rows``.
    """

    rows: list[Row] = []
    conditions: list[Conditions] = []
    samples: list[msgspec.Raw] = []
    ledger: list[msgspec.Raw] = []
    events: list[Event] = []
    progress: list[Progress] = []
    telemetry: list[msgspec.Raw] = []
    columns: Any = None


class Done:
    """Which (case, group, repeat) have rows already, asked by executors on ``--resume``."""

    def __init__(self, keys: set[tuple[int, int, int]] | None = None) -> None:
        self._keys = keys or set()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)


class Executor(Protocol):
    """Runs the stages of a plan somewhere.

    ``start`` begins a stage and returns at once; ``pages`` yields until the stage has ended, at
    least once a second; ``cancel`` makes the stage end soon. Losses are rows, not exceptions.
    """

    name: str
    provenance: Provenance
    clock: Clock
    """Seconds since the run began; the engine sets it before the first stage."""
    telemetry: float = 0.0
    """Seconds between two looks at a node beside the run; 0: nobody looks."""

    def inventory(self) -> Inventory:
        """What is there. Raises `InfraError` or `BackendError` if nothing can be used."""
        ...

    def start(self, plan: Plan, stage: Stage, done: Done) -> None:
        """Begin a stage."""
        ...

    def pages(self) -> Iterator[Page]:
        """Pages of the running stage, until it has ended."""
        ...

    def revive(self) -> Page:
        """Between two stages: take back nodes that were lost and are there again, and say which."""
        return Page()

    def cancel(self) -> None:
        """End the running stage as soon as its ranks can be stopped."""
        ...

    def drain(self) -> Iterator[Page]:
        """What was measured before a cancelled stage ended; bounded in time."""
        ...

    def close(self) -> None:
        """Give back everything: ranks, agents, a cluster that was started for this run."""
        ...
