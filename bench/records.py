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

STATUS_MEANING: dict[Status, str] = {
    "ok": "measured, its sanity check held, the host was quiet",
    "failed": "the benchmark raised, crashed, ran out of memory or out of time",
    "invalid": "the sanity check did not hold, the device computed wrongly, or it throttled: the "
    "value does not count",
    "contended": "measured while other work ran on its cores: the value does not count",
    "skipped": "cannot be measured on this device, for the reason given",
    "missing": "nobody answered: a node or agent was lost before it could report",
}
STATUSES: tuple[Status, ...] = tuple(STATUS_MEANING)
PROVENANCE_MEANING: dict[Provenance, str] = {
    "measured": "on an accelerator, by its own datasheet",
    "stand-in": "on devices that stand in for an accelerator: CPU cores, or a chip for another",
    "simulated": "computed from a datasheet, with noise and faults that a file declares",
    "imported": "read from what another tool has written",
}
PROVENANCES: tuple[Provenance, ...] = tuple(PROVENANCE_MEANING)
RUN_STATE_MEANING: dict[RunState, str] = {
    "running": "not ended: its driver works, or died (`hengsuan run --resume`)",
    "complete": "all that was planned was measured, or says why not",
    "interrupted": "somebody stopped it; what was measured is kept",
    "failed": "it could not go on; what was measured is kept",
}


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One measured metric of one case on one group; nothing was measured where values are None."""

    case: int
    """Id of the case in the header."""
    group: int
    """Which of its schedule's groups; of scope ``rank`` the rank."""
    repeat: int
    """Which repeat of its stage."""
    time: float
    """Seconds since the run began."""
    value: float | None
    """Median over the samples of this repeat, in the case's unit."""
    low: float | None
    """Lower end of its 95 % interval: order statistics, as far apart as samples resemble the one
    before (`stats.series_interval`). None of fewer than six."""
    high: float | None
    """Upper end of it."""
    n: int
    """Samples behind it."""
    status: Status
    """What became of it."""
    conditions: int
    """Index into `Header.conditions`, a line of ``conditions.jsonl``; -1: unknown."""
    provenance: Provenance
    """Where it comes from."""
    reason: str
    """A sentence: why it is not ``ok``, or what a reader of a good value must know."""


THROTTLED = "the device throttled during every sample"
"""How the reason of an invalid row begins that was lost to that, and to nothing that is wrong."""
LEAST_FIGURE, MOST_FIGURE = 1e-30, 1e30
"""Magnitudes between which every figure lies that is not 0, in whatever SI unit. What lies beyond
was never measured; what lies between has a single-precision float, and so have most ratios."""
DIGEST = "digest"
"""Unit of values that are equal or not, integers below 2^53: no arithmetic is done on them."""


class Measure(msgspec.Struct, frozen=True):
    """A metric that a benchmark declares: name, unit (SI, bytes are B) and which way is better.

    ``each``: every rank of a group has a value of its own, which is a row of its own. ``slack``
    names the metric of each rank's time, where this is what the rank waits for the slowest in it.
    ``exact``: a count that the same code gives again to the last digit, so that two are compared
    without statistics. ``about`` says in a sentence what it is, ``formula`` how it is computed (in
    words of axes and other metrics), ``source`` who defined it so; empty: the benchmark itself.
    ``absent`` says why a good measurement may have no value of it.
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
    absent: str = ""


class Case(msgspec.Struct, frozen=True):
    """A benchmark with fixed axes and one metric."""

    id: int
    """Its index in `Header.cases`."""
    stage: str
    """Of the suite."""
    benchmark: str
    """Its name."""
    axes: dict[str, Any]
    """Their values, defaults included."""
    scope: Scope
    """The benchmark's; ``rank`` where every rank of its groups has a row of its own."""
    metric: str
    """Its name."""
    unit: str
    """SI; bytes are B."""
    better: Better
    """Which way is better."""
    source: str
    """Hash of the code that defines the measurement: figures of different sources are never
    compared."""
    schedule: int
    """Index in `Header.schedules`."""
    expected: float | None = None
    """What datasheet and topology predict, in ``unit``; None where it is unknown."""
    title: str = ""
    """What reports call it, the metric left out."""
    exact: bool = False
    """The metric's, see `Measure`."""

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
    """What a backend says of one device."""

    index: int
    """Its place in the node."""
    backend: str
    """That reaches it."""
    name: str
    """As its backend reports it."""
    chip: str | None = None
    """Its datasheet, if one fits."""
    serial: str = ""
    """Serial number or UUID."""
    memory: int = 0
    """Bytes."""
    firmware: str = ""
    """Version."""
    lane: str = ""
    """The physical resource that it lives on: devices that share one (cores of one NUMA node, say)
    are measured one after the other."""
    dies: int = 1
    """How many devices its card shows itself as; datasheets speak of cards."""
    stand_in: bool = False
    """It only stands in for an accelerator."""
    stands_for: str = ""
    """The chip that it stands in for, where somebody chose one (``--stand-in``)."""
    weak: bool = False
    """It is far slower than an accelerator, and gets small shapes."""
    facts: dict[str, Any] = {}
    """What else is known of it."""

    @property
    def judged_as(self) -> str | None:
        """The chip whose datasheet it is held against; None where there is none."""
        return self.stands_for or self.chip


class Node(msgspec.Struct, kw_only=True, frozen=True):
    """One node: which it is, how to reach it, and what it carries."""

    id: str
    """Machine id; of a node that could not be asked, Ray's."""
    name: str
    """Host name."""
    machine: str = ""
    """Machine id of its operating system."""
    address: str = ""
    """Where other nodes reach it."""
    backend: str = ""
    """That reaches its devices."""
    collectives: str = ""
    """The ``torch.distributed`` backend in which its devices meet their kind."""
    devices: tuple[Device, ...] = ()
    """In the order of their ranks."""
    labels: dict[str, str] = {}
    """Site, rack, ..."""
    facts: dict[str, Any] = {}
    """What it states of itself: interfaces, links, versions."""
    problem: str = ""
    """Why it could not be asked; empty if it could."""
    busy: tuple[str, ...] = ()
    """Of devices that others use, and that are therefore not measured, who uses them."""


class DeviceGroup(msgspec.Struct, kw_only=True, frozen=True):
    """Many alike nodes in one line (simulated fleets)."""

    count: int
    """How many."""
    devices: int
    """Of each."""
    chip: str
    """Datasheet of all devices."""
    backend: str = "sim"
    """What reaches them."""
    prefix: str = "node"
    """What node names begin with."""
    labels: dict[str, int] = {}
    """By label how many nodes in a row share each of its values (``rack: 16``)."""
    facts: dict[str, Any] = {}
    """What every node states of itself."""
    exceptions: dict[int, dict[str, Any]] = {}
    """What some state otherwise, by index."""

    def name(self, node: int) -> str:
        """What a node is called."""
        return f"{self.prefix}-{node:05d}"

    def facts_of(self, node: int) -> dict[str, Any]:
        """What a node states of itself: parts of parts may differ."""
        return merged(self.facts, self.exceptions.get(node, {}))


class Conditions(msgspec.Struct, kw_only=True, frozen=True):
    """Under which conditions a value was taken (``conditions.jsonl``); equal ones are stored once.

    None where the host does not say. What may change while measuring is noted before and after.
    """

    nice: int | None = None
    """Priority of the rank's process."""
    affinity: str = ""
    """Cores that it may run on."""
    threads: int | None = None
    """Threads that libraries use."""
    governor: str = ""
    """Of the cores' frequency."""
    frequency: tuple[float | None, float | None] = (None, None)
    """MHz, before and after."""
    temperature: tuple[float | None, float | None] = (None, None)
    """°C, before and after."""
    power: tuple[float | None, float | None] = (None, None)
    """W, before and after."""
    throttled: str | None = None
    """Every reason that was seen then or between two blocks of samples; empty where none was."""
    capped: bool | None = None
    """Whether it was at its power limit."""
    timer: str = ""
    """Which clock took the samples."""
    tables: str = ""
    """The files that the kernels took their configurations from, with digests."""
    library: str = ""
    """The ``torch.distributed`` backend in which a group met; empty for a device alone."""
    shared: bool = False
    """Whether others used the device (``--share``)."""


class ScheduleSpec(msgspec.Struct, kw_only=True, frozen=True):
    """A rule that yields the groups of a case; `bench.rounds` interprets it.

    Of scope ``rank`` it yields the members of those groups, each by itself and under its rank.
    """

    kind: str
    """The rule's name."""
    scope: Scope
    """Of the groups."""
    arguments: dict[str, Any] = {}
    """What the rule takes."""
    groups: int | None = None
    """How many it yields on the run's inventory (None: not counted yet): what is reported about a
    case is a share of this, not of the groups that happened to answer."""
    library: str = ""
    """The ``torch.distributed`` backend in which they meet; empty where devices are alone or
    simulated."""


class Header(msgspec.Struct, kw_only=True):
    """``run.json``: everything that rows refer to by id, but the conditions, which have a file."""

    schema: int = SCHEMA
    """Version of this form."""
    id: str
    """Name of the run and its folder."""
    suite: str
    """Name of what was measured."""
    suite_text: str = ""
    """All of its file."""
    started: str
    """UTC, ISO 8601."""
    finished: str | None = None
    """UTC, ISO 8601; None until it ends."""
    state: RunState = "running"
    """What became of the run."""
    executor: str
    """``ray``, ``local`` or ``sim``."""
    command: list[str] = []
    """The words that started it."""
    provenance: Provenance
    """Of every row."""
    environment: dict[str, Any] = {}
    """Versions, digests of plugins, variables that change what libraries do; never a secret."""
    nodes: list[Node] = []
    """Nodes that were asked."""
    fleet: DeviceGroup | None = None
    """Alike nodes in one line, of a simulated run."""
    cases: list[Case] = []
    """All cases, by id."""
    schedules: list[ScheduleSpec] = []
    """Rules that yield the cases' groups."""
    conditions: list[Conditions] = []
    """In memory only: their file is ``conditions.jsonl``."""
    stages: list[dict[str, Any]] = []
    """When each began and ended."""
    events: list[dict[str, Any]] = []
    """What happened besides: nodes lost, ranks replaced, errors counted."""

    @property
    def stands_for(self) -> str:
        """The chips that the run's devices stand in for; empty where nobody chose one."""
        devices = (device for node in self.nodes for device in node.devices)
        return ", ".join(dict.fromkeys(d.stands_for for d in devices if d.stands_for))

    @property
    def label(self) -> str:
        """The provenance as reports print it: ``stand-in for acme-9`` where a chip was chosen."""
        return labelled(self.provenance, self.stands_for)


def labelled(provenance: str, stands_for: str) -> str:
    """A provenance, with the chip that was stood in for."""
    return f"{provenance} for {stands_for}" if stands_for else provenance


class Samples(msgspec.Struct, array_like=True, frozen=True):
    """Samples behind a row (``samples.jsonl``). Many samples take several lines, in their order."""

    case: int
    """Id of the case."""
    group: int
    """As of `Row`."""
    repeat: int
    """As of `Row`."""
    calls: int
    """Calls of a sample."""
    seconds: list[float]
    """Per call."""


def merged(usual: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Facts with those of others instead, part by part."""
    found = dict(usual)
    for key, value in other.items():
        inside = usual.get(key)
        if isinstance(value, dict) and isinstance(inside, dict):
            value = merged(inside, value)
        found[key] = value
    return found
