"""The result schema: what a run declares once (``run.json``) and its rows (``measurements.jsonl``).

A *case* is one benchmark with fixed axes and one of its metrics; a *schedule* says by a rule
which groups of ranks a case is measured on; a *row* is one metric of one case on one group.
A rank is the index of a device in the inventory: nodes in order, devices of a node in order.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

SCHEMA = 1

Better: TypeAlias = Literal["higher", "lower"]
Scope: TypeAlias = Literal["device", "node", "pair", "group", "rank"]
Status: TypeAlias = Literal["ok", "failed", "invalid", "contended", "skipped", "missing"]
RunState: TypeAlias = Literal["running", "complete", "interrupted", "failed"]
Provenance: TypeAlias = Literal["measured", "stand-in", "simulated", "imported"]

STATUSES: tuple[Status, ...] = ("ok", "failed", "invalid", "contended", "skipped", "missing")
PROVENANCES: tuple[Provenance, ...] = ("measured", "stand-in", "simulated", "imported")
STATUS_MEANING: dict[Status, str] = {
    "ok": "measured, its sanity check held, the host was quiet",
    "failed": "the benchmark raised, crashed, ran out of memory or out of time",
    "invalid": "the sanity check did not hold, the device computed wrongly, or it throttled: the "
    "value does not count",
    "contended": "measured while other work ran on its cores: the value does not count",
    "skipped": "cannot be measured on this device, for the reason given",
    "missing": "nobody answered: a node or agent was lost before it could report",
}


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One measured metric of one case on one group.

    ``value``, ``low`` and ``high`` are in the case's unit: median and 95 % order-statistic
    interval over ``n`` samples of this repeat (None where nothing was measured). ``time`` is
    seconds since the run began. ``conditions`` indexes `Header.conditions`; -1 where unknown.
    """

    case: int
    group: int
    repeat: int
    time: float
    value: float | None
    low: float | None
    high: float | None
    n: int
    status: Status
    conditions: int
    provenance: Provenance
    reason: str


DIGEST = "digest"
"""Unit of values that are equal or not, integers below 2^53: no arithmetic is done on them."""


class Measure(msgspec.Struct, frozen=True):
    """A metric that a benchmark declares: name, unit (SI, bytes are B) and which way is better.

    ``each``: every rank of a group has a value of its own, which is a row of its own. ``slack``
    names the metric of each rank's time, where this is what the rank waits for the slowest in it.
    ``exact``: a count that the same code gives again to the last digit, so that two are compared
    without statistics. ``about`` says in a sentence what it is, ``formula`` how it is computed (in
    words of axes and other metrics), ``source`` who defined it so; empty: the benchmark itself.
    """

    name: str
    unit: str
    better: Better
    each: bool = False
    slack: str = ""
    exact: bool = False
    about: str = ""
    formula: str = ""
    source: str = ""


class Case(msgspec.Struct, frozen=True):
    """A benchmark with fixed axes and one metric. ``id`` is its index in `Header.cases`.

    ``source`` is the hash of the code that defines the measurement: figures of different
    sources are never compared. ``expected`` is the value that datasheet and topology predict, in
    ``unit``; None where it is unknown. ``title`` is what reports call it, the metric left out.
    ``scope`` is the benchmark's; ``rank`` where every rank of its groups has a row of its own.
    ``exact`` is the metric's, see `Measure`.
    """

    id: int
    stage: str
    benchmark: str
    axes: dict[str, Any]
    scope: Scope
    metric: str
    unit: str
    better: Better
    source: str
    schedule: int
    expected: float | None = None
    title: str = ""
    exact: bool = False

    def label(self) -> str:
        """``gemm[shape=1024x1024x1024,dtype=fp32]``, without the metric."""
        axes = ",".join(
            f"{key}={value}" for key, value in self.axes.items() if value not in ("", None)
        )
        return f"{self.benchmark}[{axes}]" if axes else self.benchmark

    def short(self) -> str:
        """``gemm 1024x1024x1024 fp32``: the title, of a run without titles the label."""
        return self.title or self.label()


class Device(msgspec.Struct, kw_only=True, frozen=True):
    """What a backend says of one device. Memory in bytes; ``chip`` names a datasheet if one fits.

    ``lane`` names the physical resource that the device lives on: devices that share a lane
    (cores of one NUMA node, say) are measured one after the other. ``dies``: how many devices its
    card shows itself as; datasheets speak of cards. ``stand_in``: it only stands in for an
    accelerator, for the chip that ``stands_for`` names where somebody chose one (``--stand-in``).
    ``weak``: it is far slower than an accelerator, and gets small shapes.
    """

    index: int
    backend: str
    name: str
    chip: str | None = None
    serial: str = ""
    memory: int = 0
    firmware: str = ""
    lane: str = ""
    dies: int = 1
    stand_in: bool = False
    stands_for: str = ""
    weak: bool = False
    facts: dict[str, Any] = {}

    @property
    def judged_as(self) -> str | None:
        """The chip whose datasheet it is held against; None where there is none."""
        return self.stands_for or self.chip


class Node(msgspec.Struct, kw_only=True, frozen=True):
    """One node: identity (machine id, boot id), how to reach it, and what it carries.

    ``collectives`` is the ``torch.distributed`` backend in which its devices meet their kind.
    ``busy``: of devices that others use, and that are therefore not measured, who uses them.
    """

    id: str
    name: str
    machine: str = ""
    address: str = ""
    backend: str = ""
    collectives: str = ""
    devices: tuple[Device, ...] = ()
    labels: dict[str, str] = {}
    facts: dict[str, Any] = {}
    problem: str = ""
    busy: tuple[str, ...] = ()


class DeviceGroup(msgspec.Struct, kw_only=True, frozen=True):
    """Many alike nodes in one line: ``count`` of ``devices`` devices each (simulated fleets).

    ``labels``: by label how many nodes in a row share each of its values (``rack: 16``).
    ``facts`` is what every node states of itself, ``exceptions`` what some state otherwise, by
    index.
    """

    count: int
    devices: int
    chip: str
    backend: str = "sim"
    prefix: str = "node"
    labels: dict[str, int] = {}
    facts: dict[str, Any] = {}
    exceptions: dict[int, dict[str, Any]] = {}

    def name(self, node: int) -> str:
        """What a node is called."""
        return f"{self.prefix}-{node:05d}"

    def facts_of(self, node: int) -> dict[str, Any]:
        """What a node states of itself: parts of parts may differ."""
        return merged(self.facts, self.exceptions.get(node, {}))


class Conditions(msgspec.Struct, kw_only=True, frozen=True):
    """Under which conditions a value was taken (``conditions.jsonl``); equal ones are stored once.

    Frequencies in MHz, temperature in °C, power in W; None where the host does not say. What may
    change while measuring is noted before and after; ``throttled`` names every reason that was seen
    then or between two blocks of samples, ``capped`` says whether it was at its power limit.
    ``tables``: the files that the kernels took their configurations from, with digests.
    ``library``: the ``torch.distributed`` backend in which a group met; empty for a device alone.
    """

    nice: int | None = None
    affinity: str = ""
    threads: int | None = None
    governor: str = ""
    frequency: tuple[float | None, float | None] = (None, None)
    temperature: tuple[float | None, float | None] = (None, None)
    power: tuple[float | None, float | None] = (None, None)
    throttled: str = ""
    capped: bool = False
    timer: str = ""
    tables: str = ""
    library: str = ""
    shared: bool = False


class ScheduleSpec(msgspec.Struct, kw_only=True, frozen=True):
    """A rule that yields the groups of a case; `bench.rounds` interprets it.

    ``groups`` is how many it yields on the run's inventory (None: not counted yet): what is
    reported about a case is a share of this, not of the groups that happened to answer. Of scope
    ``rank`` it yields the members of those groups, each by itself and under its rank.
    ``library`` is the ``torch.distributed`` backend in which its groups meet; empty where devices
    are alone or simulated.
    """

    kind: str
    scope: Scope
    arguments: dict[str, Any] = {}
    groups: int | None = None
    library: str = ""


class Header(msgspec.Struct, kw_only=True):
    """``run.json``: everything that rows refer to by id, but the conditions, which have a file."""

    schema: int = SCHEMA
    id: str
    suite: str
    suite_text: str = ""
    started: str  # ISO 8601, UTC
    finished: str | None = None
    state: RunState = "running"
    executor: str
    command: list[str] = []
    provenance: Provenance
    environment: dict[str, Any] = {}
    nodes: list[Node] = []
    fleet: DeviceGroup | None = None
    cases: list[Case] = []
    schedules: list[ScheduleSpec] = []
    conditions: list[Conditions] = []
    stages: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []

    @property
    def stands_for(self) -> str:
        """The chips that the run's devices stand in for; empty where nobody chose one."""
        devices = (device for node in self.nodes for device in node.devices)
        return ", ".join(dict.fromkeys(d.stands_for for d in devices if d.stands_for))

    @property
    def label(self) -> str:
        """The provenance as reports print it: ``stand-in for acme-9`` where a chip was chosen."""
        return labelled(self.provenance, self.stands_for)


def labelled(provenance: Provenance, stands_for: str) -> str:
    """A provenance, with the chip that was stood in for."""
    return f"{provenance} for {stands_for}" if stands_for else provenance


class Samples(msgspec.Struct, array_like=True, frozen=True):
    """Samples behind a row (``samples.jsonl``): seconds per call, ``calls`` calls a sample.

    Many samples take several lines, in their order.
    """

    case: int
    group: int
    repeat: int
    calls: int
    seconds: list[float]


def merged(usual: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Facts with those of others instead, part by part."""
    found = dict(usual)
    for key, value in other.items():
        inside = usual.get(key)
        if isinstance(value, dict) and isinstance(inside, dict):
            value = merged(inside, value)
        found[key] = value
    return found
