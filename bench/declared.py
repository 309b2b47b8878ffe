"""What must hold of a header for its readers to rely on it, beyond the types of its fields.

Some fields hold what others define: the axes of a benchmark, the arguments of a schedule, the facts
of a node. Of these, readers know some parts by name; whoever changed a file by hand, or a disk that
fails, may have put anything there. It is looked for once, where the header is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from .records import Header, ScheduleSpec

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
Place = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Several = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
Time = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""Whatever is above does not come from a run, and fits into no column."""
MOST_DEVICES = 1 << 24
"""Of a fleet in one line: arrays of all its devices are made from two numbers of a file."""
AGAIN = "+"
"""Stands between a stage's name and the number of its re-test."""
_DIGITS = 9
"""Of that number."""


class _Axes(msgspec.Struct, frozen=True):
    """Of the benchmarks that analysis knows by name, those axes that it reads."""

    op: str = ""
    dtype: str = ""
    size: str = ""
    shape: str = ""
    layout: str = ""
    variant: str = ""
    impl: str = ""
    model: str = ""
    direction: str = ""


class _Training(msgspec.Struct, frozen=True):
    model: str = ""
    dtype: str = ""
    ops: str = ""
    dp: str = ""
    recompute: str = ""
    batch_of: str = ""
    batch: Several = 1
    replicas: Several = 1
    tp: Several = 1
    cp: Several = 1
    pp: Several = 1
    ep: Several = 1
    microbatches: Several = 1


_KNOWN = {
    **dict.fromkeys(("gemm", "precision", "stream", "compute", "memory", "transfer"), _Axes),
    **dict.fromkeys(("pairs", "collectives"), _Axes),
    **dict.fromkeys(("train", "generate"), _Training),
}


class _Case(msgspec.Struct, frozen=True):
    axes: dict[str, str | int | float | bool | None]


class _Stage(msgspec.Struct, frozen=True):
    name: str
    began: Time = 0.0
    seconds: Time = 0.0
    rows: dict[str, Count] = {}


class _Event(msgspec.Struct, frozen=True):
    kind: str
    node: str
    text: str
    stage: str = ""
    time: Time = 0.0
    changes: dict[str, int] = {}


class _Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of every kind of schedule (`bench.rounds`)."""

    on: str | None = None
    nodes: list[Count] | None = None
    ranks: list[Count] | None = None
    groups: list[list[Count]] | None = None
    together: bool | None = None
    of: Literal["device", "node"] = "device"
    schedule: Literal["full", "sample", "topology", "values"] = "full"
    matchings: Several = 1
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    within: str | None = None
    across: str | None = None
    devices: Count | None = None
    key: str = ""


_SHARED = {"on", "nodes", "together"}
_PAIRS = {"of", "schedule", "matchings", "seed", "within", "across"}
_TAKEN = {
    "devices": {"ranks"},
    "pairs": _PAIRS,
    "node_pairs": _PAIRS - {"of"},
    "growing": {"devices"},
    "label": {"key"},
    "listed": {"groups"} | _PAIRS | {"key"},
}
"""By kind of schedule the arguments that it takes, beside those that all take."""
_NEEDED = {"label": "key", "listed": "groups"}


class _Schedule(msgspec.Struct, frozen=True):
    kind: Literal[
        "devices", "nodes", "pairs", "node_pairs", "rails", "growing", "all", "listed", "label"
    ]
    arguments: _Arguments = _Arguments()


class _Numa(msgspec.Struct, frozen=True):
    cpus: str


class _Pcie(msgspec.Struct, frozen=True):
    kind: str = ""
    width: int = 0
    width_max: int = 0
    generation: int = 0
    generation_max: int = 0


class _Facts(msgspec.Struct, frozen=True):
    versions: dict[str, Any] | None = None
    packages: Any = None
    numa: dict[int, _Numa] | None = None
    pcie: dict[str, _Pcie] | None = None
    kernel_log: str = ""


class _Node(msgspec.Struct, frozen=True):
    facts: _Facts = _Facts()


class _Fleet(msgspec.Struct, frozen=True):
    facts: _Facts = _Facts()
    labels: dict[str, Several] = {}
    exceptions: dict[int, _Facts] = {}


class _Environment(msgspec.Struct, frozen=True):
    versions: dict[str, Any] = {}
    plugins: Any = None
    variables: dict[str, Any] | None = None


class _Declared(msgspec.Struct, frozen=True):
    cases: list[_Case] = []
    schedules: list[_Schedule] = []
    stages: list[_Stage] = []
    events: list[_Event] = []
    nodes: list[_Node] = []
    fleet: _Fleet | None = None
    environment: _Environment = _Environment()


def incoherent(raw: bytes, header: Header) -> str:
    """Why a header that decodes cannot be one of ours, in words; empty where nothing is wrong.

    Args:
        raw: ``run.json``, which gave the header.
        header: All of it.
    """
    return next(_problems(raw, header), "")


def _problems(raw: bytes, header: Header) -> Iterator[str]:
    try:
        msgspec.json.decode(raw, type=_Declared)
    except msgspec.ValidationError as error:
        yield str(error)
    for index, case in enumerate(header.cases):
        if case.id != index:
            yield f"its case {index} says that it is case {case.id}"
        if not 0 <= case.schedule < len(header.schedules):
            yield f"its case {index} is of schedule {case.schedule}, of {len(header.schedules)}"
        if (known := _KNOWN.get(case.benchmark)) is not None:
            try:
                msgspec.convert(case.axes, known)
            except msgspec.ValidationError as error:
                yield f"its case {index} of {case.benchmark}: {error}"
        _, again, number = case.stage.partition(AGAIN)
        if again and not (number.isascii() and number.isdigit() and len(number) <= _DIGITS):
            yield f"its case {index} is of a stage {case.stage!r}, which is no re-test of another"
    for node in header.nodes:
        if any(
            one.stand_in and not isinstance(one.facts.get("cpus", []), list) for one in node.devices
        ):
            yield f"a stand-in of node {node.name} lists no cores"
    nodes, devices = len(header.nodes), sum(len(node.devices) for node in header.nodes)
    if (fleet := header.fleet) is not None:
        nodes, devices = fleet.count, fleet.count * fleet.devices
        if min(fleet.count, fleet.devices) < 0 or max(nodes, devices) > MOST_DEVICES:
            yield "its fleet has an impossible number of devices"
    used = {case.schedule for case in header.cases}
    for index, spec in enumerate(header.schedules):
        if why := _impossible(spec, nodes, devices):
            yield f"its schedule {index} {why}"
        most = _most_groups(spec, nodes, devices) if index in used else 1 << 62
        if spec.groups is not None and not 0 <= spec.groups <= most:
            yield (
                f"its schedule {index} says {spec.groups} groups, and {nodes} nodes with "
                f"{devices} devices give {most} at most"
            )


def _impossible(spec: ScheduleSpec, nodes: int, devices: int) -> str:
    taken = _SHARED | _TAKEN.get(spec.kind, set())
    if strange := sorted(spec.arguments.keys() - taken):
        return f"is of kind {spec.kind}, which takes no {strange[0]!r}"
    needed = _NEEDED.get(spec.kind)
    if needed is not None and needed not in spec.arguments:
        return f"is of kind {spec.kind}, and says no {needed!r}"
    said = spec.arguments
    if max(said.get("nodes") or [-1]) >= nodes:
        return f"is of node {max(said['nodes'])}, and there are {nodes}"
    ranks = [said.get("ranks") or [], *(said.get("groups") or [])]
    last = max((max(some) for some in ranks if some), default=-1)
    if last >= devices:
        return f"is of device {last}, and there are {devices}"
    return ""


def _most_groups(spec: ScheduleSpec, nodes: int, devices: int) -> int:
    """How many groups a kind of schedule has at most; no pair of items meets twice."""
    if spec.scope == "rank":  # a device may be in several groups
        return 1 << 62 if devices else 0
    if spec.kind in ("pairs", "node_pairs"):
        of_devices = spec.kind == "pairs" and spec.arguments.get("of", "device") == "device"
        items = devices if of_devices else nodes
        return items * (items - 1) // 2
    if spec.kind == "listed":
        return len(spec.arguments.get("groups") or [])
    if spec.kind == "all":
        return 1
    return nodes if spec.kind in ("nodes", "label") else devices
