"""Simulated fleets as files declare them: size, noise, and faults by kind (`KINDS`).

A fault says *who* is hit, *which* cases show it, *what* it does to them and *when*. A kind is a
name for a usual answer to all four; keys of the fault itself go before those of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ..declared import MOST_DEVICES
from ..errors import unknown
from .document import Place
from .network import NetworkLevel, Operation, network_problems

COMPUTE = ["gemm", "compute", "precision", "train"]
"""Benchmarks that the arithmetic of a chip limits."""
MEMORY = ["stream", "memory"]
"""Benchmarks that the memory of a chip limits."""

CORRUPTION = ["corruption", "collective_corruption"]
"""Benchmarks that compare bits."""


class Noise(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What differs from a cluster's own noise for some metrics; None: nothing."""

    between: float | list[float] | None = None
    """Of devices around the chip's mean."""
    within: float | list[float] | None = None
    """Of repeats around the device's own mean."""
    tails: float | None = None
    """Share of measurements whose noise is five times as large."""
    sessions: float | None = None
    """Of a stage as a whole."""


class Fault(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An injected fault of a simulated fleet: whom it hits, which cases show it, what it does to
    them, and when. None: as its ``kind`` says (`KINDS`).
    """

    kind: str
    """One of those that ``hengsuan show clusters`` lists."""
    node: int | list[int] | None = None
    """Who: an index, or several."""
    count: int | None = None
    """Who: so many, drawn by the cluster's seed."""
    share: float | None = None
    """Who: this share of all, drawn."""
    device: int | None = None
    """Its place in the node; a fault of devices draws one where none is given."""
    peer: int | None = None
    """The other end of a link."""
    of: Literal["node", "device"] | None = None
    """What is hit and counted."""
    benchmark: str | list[str] | None = None
    """Which cases: of this benchmark, or several."""
    metric: str | list[str] | None = None
    """Which cases: with this metric, or several."""
    axes: dict[str, Any] | None = None
    """Which cases: with these values; one that has no such axis fits."""
    cases: int | None = None
    """Of those that are measured on devices or nodes alone, so many drawn for each that is hit."""
    factor: float | list[float] | None = None
    """What: rates times this, times divided by it; a range draws one for each that is hit."""
    temperature: float | None = None
    """°C, as a condition of the rows."""
    power: float | None = None
    """W, likewise."""
    clock: float | None = None
    """MHz, likewise."""
    throttled: str | None = None
    """A reason, likewise."""
    facts: dict[str, Any] | None = None
    """That the node states."""
    stage: str | None = None
    """When: from this one on."""
    after: int | None = None
    """When: after so many jobs of the run."""
    repeats: float | None = None
    """When: in this share of the repeats."""

    @property
    def filled(self) -> Fault:
        """The same with what its kind says where it says nothing itself."""
        mine = {key for key, value in msgspec.structs.asdict(self).items() if value is not None}
        usual = KINDS[self.kind].usual.items()
        return msgspec.structs.replace(self, **{k: v for k, v in usual if k not in mine})

    @property
    def nodes(self) -> list[int]:
        """The nodes that it names."""
        if self.node is None:
            return []
        return self.node if isinstance(self.node, list) else [self.node]

    @property
    def hits(self) -> Literal["node", "device", "link"]:
        """What is hit and counted: nodes whole, single devices, or links between two nodes."""
        kind = KINDS[self.kind]
        if kind.of == "link" and kind.alone and self.node is not None and self.peer is None:
            return "node"
        return self.of or kind.of


class FaultKind(msgspec.Struct, kw_only=True, frozen=True):
    """A kind of fault: in words, what it hits, the keys that it needs and those that it gives.

    ``network``: only groups show it that span several nodes. ``alone``: a node without a peer is
    hit in all its links. ``status`` and ``reason`` are those of the rows that show it.
    ``make``: no defect, but how the chip was made.
    """

    about: str
    of: Literal["node", "device", "link"] = "node"
    needs: tuple[str, ...] = ()
    usual: dict[str, Any] = {}
    network: bool = False
    alone: bool = False
    status: Literal["ok", "invalid", "failed", "missing", "contended"] = "ok"
    reason: str = ""
    make: bool = False


KINDS: dict[str, FaultKind] = {
    "slow": FaultKind(about="everything, or what is said, on a node or device", needs=("factor",)),
    "slow-chip": FaultKind(
        about="arithmetic of one device", of="device", usual={"benchmark": COMPUTE, "factor": 0.9}
    ),
    "hot-chip": FaultKind(
        about="arithmetic of one device under sustained load: it throttles",
        of="device",
        usual={
            "benchmark": COMPUTE,
            "axes": {"mode": "sustained"},
            "factor": 0.85,
            "temperature": 95.0,
            "throttled": "temperature",
        },
    ),
    "slow-memory": FaultKind(
        about="memory of one device", of="device", usual={"benchmark": MEMORY, "factor": 0.85}
    ),
    "bad-nic": FaultKind(about="every link of a node", usual={"factor": 0.5}, network=True),
    "bad-cable": FaultKind(
        about="the link between two nodes", of="link", usual={"factor": 0.5}, network=True
    ),
    "flapping-link": FaultKind(
        about="the link between two nodes, or all of a node, in some repeats",
        of="link",
        usual={"factor": 0.3, "repeats": 0.3},
        network=True,
        alone=True,
    ),
    "corrupting-chip": FaultKind(
        about="wrong results of one device, in some repeats",
        of="device",
        usual={"benchmark": [*COMPUTE, *CORRUPTION], "repeats": 0.3},
        status="invalid",
        reason="sanity check failed",
    ),
    "dying-node": FaultKind(
        about="a node that answers no more, from a stage on or after some jobs",
        status="missing",
        reason="answers no more",
    ),
    "contended-host": FaultKind(
        about="a node on whose cores others work",
        usual={"factor": 0.9},
        status="contended",
        reason="other processes used 20% of its cores' time",
    ),
    "wrong": FaultKind(
        about="the sanity check of a node or device", status="invalid", reason="sanity check failed"
    ),
    "crash": FaultKind(
        about="benchmarks on a node or device crash", status="failed", reason="crashed"
    ),
    "drift": FaultKind(about="a node states other facts than the fleet", needs=("facts",)),
    "bin": FaultKind(
        about="arithmetic of a share of nodes or devices, by make: no defect",
        needs=("share", "factor"),
        usual={"benchmark": COMPUTE},
        make=True,
    ),
}


class Cluster(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A simulated fleet (``configs/clusters/*.yaml``).

    Noise is relative standard deviations; a range draws one for each metric, evenly on a log scale.
    """

    name: str
    """As the file is called."""
    description: str = ""
    """A sentence."""
    chip: str
    """Datasheet of all devices."""
    nodes: int
    """How many."""
    devices: int
    """Of each node."""
    seed: int = 0
    """Of everything that is drawn."""
    between: float | list[float] = 0.01
    """Of devices around the chip's mean, fixed for a device and metric."""
    within: float | list[float] = 0.005
    """Of repeats around the device's own mean."""
    tails: float = 0.0
    """Share of measurements whose noise is five times as large."""
    sessions: float = 0.0
    """Of a stage as a whole."""
    noise: dict[str, Noise] = {}
    """Says otherwise for some metrics, by ``benchmark``, ``benchmark.metric`` or ``*.metric``; the
    last that fits counts."""
    typical: dict[str, float] = {}
    """Values where the datasheet predicts none, by the same keys."""
    efficiency: float = 0.85
    """Scales what the datasheet predicts to what is achieved."""
    labels: dict[str, int] = {}
    """By label how many nodes in a row share each of its values (``rack: 16``)."""
    facts: dict[str, Any] = {}
    """What every node states of itself."""
    link_latency: float = 2e-6
    """Seconds of a hop inside a node."""
    network_latency: float = 5e-6
    """Seconds of a hop between nodes."""
    network: dict[str, NetworkLevel] = {}
    """Of a projection: by level (``node``, a label, ``cluster``)."""
    operation: Operation = Operation()
    """Of a projection: how the cluster is run."""
    faults: list[Fault] = []
    """What is wrong with some."""


Problem = tuple[Place, str]


def problems(cluster: Cluster) -> Iterator[Problem]:
    """What is wrong with a cluster: the place in its file, and a sentence."""
    for key in ("nodes", "devices"):
        if getattr(cluster, key) < 1:
            yield (key,), "must be at least 1"
    if (count := cluster.nodes * cluster.devices) > MOST_DEVICES:
        yield ("nodes",), f"are {count} devices, and a run has at most {MOST_DEVICES}"
    for label, alike in cluster.labels.items():
        if alike < 1:
            yield ("labels", label), "must be at least 1 node"
        elif alike > MOST_DEVICES:
            yield (
                ("labels", label),
                f"must be at most {MOST_DEVICES} nodes",
            )
    for key in ("seed", "link_latency", "network_latency"):
        if getattr(cluster, key) < 0:
            yield (key,), "must not be negative"
    if not 0 < cluster.efficiency <= 1:
        yield ("efficiency",), "must be above 0 and at most 1"
    levels = ["node", *cluster.labels, "cluster"]
    yield from network_problems(cluster.network, cluster.operation, levels)
    yield from _noise_problems(cluster, ())
    for name, noise in cluster.noise.items():
        yield from _noise_problems(noise, ("noise", name))
    for name, value in cluster.typical.items():
        if value <= 0:
            yield ("typical", name), "must be positive"
    for index, fault in enumerate(cluster.faults):
        yield from _fault_problems(fault, cluster, ("faults", index))


def _noise_problems(noise: Cluster | Noise, place: Place) -> Iterator[Problem]:
    for key in ("between", "within"):
        value = getattr(noise, key)
        if isinstance(value, list):
            if len(value) != 2 or not 0 < value[0] <= value[1]:
                yield (*place, key), "a range is two numbers above 0, the smaller first"
        elif value is not None and value < 0:
            yield (*place, key), "must not be negative"
    if noise.sessions is not None and noise.sessions < 0:
        yield (*place, "sessions"), "must not be negative"
    if noise.tails is not None and not 0 <= noise.tails <= 1:
        yield (*place, "tails"), "is a share, from 0 to 1"


def _fault_problems(fault: Fault, cluster: Cluster, place: Place) -> Iterator[Problem]:
    if fault.kind not in KINDS:
        error = unknown("kind of fault", fault.kind, KINDS)
        yield (*place, "kind"), f"{error.message}; {error.hint}"
        return
    for key in KINDS[fault.kind].needs:
        if getattr(fault, key) is None:
            yield place, f"kind: {fault.kind} needs the key {key!r}"
    yield from _who_problems(fault, cluster, place)
    factor = fault.factor if isinstance(fault.factor, list) else [fault.factor or 0.0]
    if fault.factor is not None and min(factor, default=0.0) <= 0:
        yield (*place, "factor"), "must be positive"
    if isinstance(fault.factor, list) and (len(factor) != 2 or factor[0] > factor[1]):
        yield (*place, "factor"), "a range is two numbers, the smaller first"
    for key in ("share", "repeats"):
        part = getattr(fault, key)
        if part is not None and not 0 < part <= 1:
            yield (*place, key), f"is a share, above 0 and at most 1, not {part:g}"
    for key in ("after", "cases"):
        number = getattr(fault, key)
        if number is not None and number < 1:
            yield (*place, key), "must be at least 1"
    if (fault.facts is not None) != (fault.kind == "drift"):
        yield (*place, "facts"), "goes with kind: drift only"
    for key in fault.facts or {}:
        if key not in cluster.facts:
            yield (*place, "facts", key), "is no fact that this cluster states under 'facts'"


def _who_problems(fault: Fault, cluster: Cluster, place: Place) -> Iterator[Problem]:
    limits = {"node": cluster.nodes, "peer": cluster.nodes, "device": cluster.devices}
    for key, limit in limits.items():
        named = fault.nodes if key == "node" else [getattr(fault, key)]
        for number in named:
            if number is not None and not 0 <= number < limit:
                yield (*place, key), f"names {number}; must be 0 to {limit - 1}"
    if sum(one is not None for one in (fault.node, fault.count, fault.share)) != 1:
        yield place, "give a node, a count or a share, one of them"
        return
    kind = KINDS[fault.kind]
    link = fault.hits == "link"
    if fault.node is not None and fault.peer is None and link:
        yield place, f"give a peer: kind: {fault.kind} with a node is a link between two"
    if fault.peer is not None and not (link and len(fault.nodes) == 1):
        yield (*place, "peer"), "goes with a link and one node only"
    if fault.peer is not None and fault.peer in fault.nodes:
        yield (*place, "peer"), "must be another node"
    if link and fault.share is not None:
        yield (*place, "share"), "goes with nodes and devices; of links give a count"
    if fault.device is not None and (link or kind.network or fault.kind == "drift"):
        yield (*place, "device"), f"does not go with kind: {fault.kind}"
    if fault.of is not None and (kind.of == "link" or kind.network or fault.kind == "drift"):
        yield (*place, "of"), f"does not go with kind: {fault.kind}"
    if fault.cases is not None and (link or kind.network):
        yield (*place, "cases"), f"does not go with kind: {fault.kind}"
    if fault.count is not None and not 1 <= fault.count <= cluster.nodes:
        yield (*place, "count"), f"must be 1 to {cluster.nodes}"
