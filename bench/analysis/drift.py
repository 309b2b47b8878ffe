"""Drift: which nodes differ from the fleet's majority in what they say of themselves.

A pure function of a run's header. Nodes of one kind of chip are compared fact by fact. Where a
stated share of them agrees, the others drifted: a card at half its lanes, an older firmware, an
interface with another MTU. What a node does not say is unknown, and no drift; a whole part (an
interface, an RDMA device, a PCI device) that its neighbours have and it has not, is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from ..records import DeviceGroup, Header, Node

SHARE = 0.6
"""Of the nodes that state a fact, how many must agree before the others are said to differ."""
FEWEST = 3
"""Nodes of one kind below which there is no majority."""
TOLERANCES: dict[str, float] = {"memory": 0.01}
"""Relative difference that is none, by a fact's last word: firmware keeps a little memory back."""
OWN = frozenset({"boot", "addresses", "serial", "index", "lane", "name"})
"""Words that are each node's own, wherever they stand in a fact's path: they differ by nature."""
MOVING = frozenset({"generation", "pcie_generation"})
"""Last words of what follows the load: a link at rest lowers its speed (`bench.analysis.health`
judges it)."""
PARTS = frozenset({"interfaces", "rdma", "pcie", "numa", "device", "ports", "links"})
"""Facts that hold named parts; one that is missing is told as a whole."""
ABSENT = "absent"

Path = tuple[str, ...]


class Drift(msgspec.Struct, kw_only=True, frozen=True):
    """A node that differs from its neighbours in one fact.

    ``majority`` is what a ``share`` of the ``nodes`` that state it have; ``kind`` is the chip by
    which they are alike. `ABSENT` stands for a part that is not there.
    """

    node: str
    fact: str
    value: Any
    majority: Any
    share: float
    nodes: int
    kind: str

    @property
    def text(self) -> str:
        """The sentence that reports print."""
        others = f"{self.share:.0%} of {self.nodes} nodes with {self.kind}"
        if self.majority == ABSENT:
            return f"{self.fact} is there; {others} have none"
        theirs = "it" if self.value == ABSENT else _said(self.majority)
        return f"{self.fact} is {_said(self.value)}; {others} have {theirs}"


def drift(header: Header, share: float = SHARE) -> list[Drift]:
    """Every difference, by node in the order of the inventory. Nodes without a device are left out.

    Args:
        header: The run's header.
        share: From above 0.5 to 1, see `SHARE`.

    Raises:
        ValueError: a share at which two values could both be the majority.
    """
    if not 0.5 < share <= 1:
        raise ValueError(f"a majority is more than half and at most all of the nodes, not {share}")
    kinds: dict[str, dict[int, Node]] = defaultdict(dict)
    for index, node in enumerate(header.nodes):
        if node.devices:
            kinds[_kind(node)][index] = node
    found = [
        one
        for kind, nodes in kinds.items()
        if len(nodes) >= FEWEST
        for one in _differences(kind, _stated(nodes), share)
    ]
    if header.fleet is not None and header.fleet.count >= FEWEST:
        found.extend(_differences(header.fleet.chip, _stated_by(header.fleet), share))
    # By place, not by name: nodes that share a machine share its name.
    found.sort(key=lambda pair: (pair[0], pair[1].fact))
    name = _namer(header)
    return [msgspec.structs.replace(one, node=name(index)) for index, one in found]


def _namer(header: Header) -> Callable[[int], str]:
    if header.fleet is not None:
        return header.fleet.name
    return lambda index: header.nodes[index].name


Stated: TypeAlias = "dict[Path, dict[int, Any]]"
"""By fact: what each node that states it says."""


def _stated(nodes: Mapping[int, Node]) -> Stated:
    stated: Stated = defaultdict(dict)
    for index, node in nodes.items():
        for path, value in _facts(node):
            stated[path][index] = value
    return stated


def _stated_by(fleet: DeviceGroup) -> Stated:
    """What a fleet of one line states."""
    every = range(fleet.count)
    stated = {path: dict.fromkeys(every, value) for path, value in _compared(fleet.facts)}
    for index in fleet.exceptions:
        mine = dict(_compared(fleet.facts_of(index)))
        for path in stated.keys() | mine.keys():
            stated.setdefault(path, {}).pop(index, None)
            if path in mine:
                stated[path][index] = mine[path]
    return stated


def _differences(kind: str, stated: Stated, share: float) -> Iterator[tuple[int, Drift]]:
    for path, values in stated.items():
        whole = path[-1] == _PRESENT
        if whole:
            parent = path[:-2]
            # Who says nothing at all about interfaces, say, may have them.
            asked = stated.get((*parent, _STATED), {})
            values = {index: values.get(index, ABSENT) for index in asked}
        if len(values) < FEWEST:
            continue
        majority, members = _majority(values, TOLERANCES.get(path[-1], 0.0))
        if len(members) < share * len(values):
            continue
        for index in values.keys() - members:
            one = Drift(
                node="",
                fact=".".join(path[:-1] if whole else path),
                value=values[index],
                majority=majority,
                share=len(members) / len(values),
                nodes=len(values),
                kind=kind,
            )
            yield index, one


_PRESENT, _STATED = "\0present", "\0stated"


def _facts(node: Node) -> Iterator[tuple[Path, Any]]:
    """(path, value) of everything that can be compared.

    A device that somebody uses is there, though it is not measured and says nothing of itself. The
    others then go by their index, as where all are measured: their places have closed up.
    """
    names = [str(device.index if node.busy else place) for place, device in enumerate(node.devices)]
    devices = {
        name: {**msgspec.structs.asdict(device), **device.facts, "facts": None}
        for name, device in zip(names, node.devices, strict=True)
    }
    facts = {**node.facts, "devices": len(node.devices) + len(node.busy), "device": devices}
    if near := node.facts.get("affinity"):
        facts["affinity"] = {
            name: near[str(place)] for place, name in enumerate(names) if str(place) in near
        }
    for path, value in _compared(facts):
        if not (node.busy and path == ("device", _STATED)):
            yield path, value


def _compared(facts: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for path, value in _leaves(facts, ()):
        if not OWN.intersection(path) and path[-1] not in MOVING:
            yield path, value


def _leaves(value: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, inside in value.items():
        if isinstance(inside, Mapping):
            here = (*path, str(key))
            if path and path[-1] in PARTS:
                yield (*here, _PRESENT), "present"
            if key in PARTS:
                yield (*here, _STATED), True
            yield from _leaves(inside, here)
        elif inside not in (None, ""):
            yield (*path, str(key)), inside


def _majority(values: Mapping[int, Any], tolerance: float) -> tuple[Any, set[int]]:
    """The most frequent value and who has it; within the tolerance, numbers are the same."""
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for index, value in values.items():
        alike[msgspec.json.encode(value)].append(index)
    if not (tolerance and all(isinstance(value, (int, float)) for value in values.values())):
        members = max(alike.values(), key=len)
        return values[members[0]], set(members)
    numbers = sorted((value, index) for index, value in values.items())
    best, start = (0, 0), 0
    for end, (value, _) in enumerate(numbers):
        while value > numbers[start][0] * (1 + tolerance):
            start += 1
        best = max(best, (end + 1 - start, -start))
    count, first = best[0], -best[1]
    window = numbers[first : first + count]
    return window[count // 2][0], {index for _, index in window}


def _kind(node: Node) -> str:
    """The chips of a node: what makes it one of many alike."""
    return " + ".join(sorted({device.judged_as or device.name for device in node.devices}))


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
