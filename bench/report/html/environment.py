"""What the nodes are, where they differ from their neighbours, and what happened to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ...analysis.drift import drift
from ...analysis.health import incidents
from ...analysis.temperatures import temperature_spread
from ...hostlists import compress
from ...records import Node
from ...units import format_size
from .page import Cell, Column, Facts, Fold, Row, Section, Table, Text, cells
from .source import Source

LISTED = 2_000
"""Lines of each table at most; the rest is counted."""
FACTS = 400
"""Facts of one node at most."""
KELVIN = 10.0
"""Between the devices of a node from which that is shown."""


def environment(source: Source) -> Section:
    """The section."""
    blocks: list[Any] = [_kinds(source)]
    problems = [
        f"{node.name}: {text}"
        for node in source.header.nodes
        for text in filter(None, (node.problem, *(f"busy: {one}" for one in node.busy)))
    ]
    if problems:
        blocks.append(Text(_cut(problems), tone="warn"))
    blocks.append(_drift(source))
    blocks.append(_incidents(source))
    uneven = [
        one
        for one in temperature_spread(source.header, source.columns, source.run.inventory)
        if one.kelvin >= KELVIN
    ]
    if uneven:
        rows = [
            Row(
                [
                    Cell(one.name, None, "", one.name),
                    Cell(f"{one.kelvin:g} K", one.kelvin),
                    Cell(f"{one.hottest} {one.high:g} °C"),
                    Cell(f"{one.coolest} {one.low:g} °C"),
                    Cell(source.header.cases[one.case].short()),
                ]
            )
            for one in sorted(uneven, key=lambda one: -one.kelvin)[:LISTED]
        ]
        columns = [Column("node"), Column("differ by", number=True), Column("hottest")]
        columns += [Column("coolest"), Column("while")]
        blocks.append(Table(columns, rows, caption="unevenly cooled devices"))
    blocks += _facts(source)
    return Section("environment", "Environment and drift", blocks)


def _kinds(source: Source) -> Table:
    columns = [
        Column("nodes", number=True),
        Column("devices each", number=True),
        Column("chip"),
        Column("backend"),
        Column("memory", number=True),
        Column("firmware"),
        Column("which"),
    ]
    header = source.header
    rows = []
    if header.fleet is not None:
        fleet = header.fleet
        found = [str(fleet.count), str(fleet.devices), fleet.chip, fleet.backend, "–", "–"]
        names = f"{fleet.name(0)} … {fleet.name(fleet.count - 1)}" if fleet.count else "–"
        rows.append(Row([*cells(*found), Cell(names)]))
    alike: dict[tuple[int, str, str, int, str], list[str]] = {}
    for node in header.nodes:
        alike.setdefault(_kind(node), []).append(node.name)
    for (devices, chip, backend, memory, firmware), those in alike.items():
        size = format_size(memory) if memory else "–"
        who = compress(those)
        found = [str(len(those)), str(devices), chip, backend, size, firmware or "–"]
        rows.append(Row([*cells(*found), Cell(who if len(who) < 200 else f"{who[:200]}…")]))
    return Table(columns, rows, caption="nodes that are alike", empty="the run has no nodes")


def _kind(node: Node) -> tuple[int, str, str, int, str]:
    devices = node.devices
    chips = " + ".join(sorted({one.judged_as or one.name for one in devices})) or "–"
    firmware = ", ".join(sorted({one.firmware for one in devices if one.firmware}))
    memory = min((one.memory for one in devices), default=0)
    return len(devices), chips, node.backend, memory, firmware


def _drift(source: Source) -> Table:
    found = drift(source.header)
    columns = [Column("node"), Column("fact"), Column("is"), Column("others have")]
    columns += [Column("share", number=True, about="of its kind that agree")]
    rows = [
        Row(
            [
                Cell(one.node, None, "", one.node),
                Cell(one.fact),
                Cell(_said(one.value)),
                Cell(_said(one.majority)),
                Cell(f"{one.share:.0%}", one.share),
            ]
        )
        for one in found[:LISTED]
    ]
    states = bool(source.header.nodes) or (source.header.fleet and source.header.fleet.facts)
    empty = "no node differs from a majority of its kind" if states else "nodes state no facts"
    return Table(columns, rows, caption=_counted("drift", len(found)), empty=empty)


def _incidents(source: Source) -> Table:
    found = incidents(source.header)
    columns = [Column("kind"), Column("node"), Column("stage"), Column("what")]
    rows = [
        Row(
            [
                Cell(source.say(one.kind)),
                Cell(one.node, None, "", one.node),
                *cells(one.stage, one.text),
            ],
            group=source.say(one.kind),
        )
        for one in found[:LISTED]
    ]
    empty = "no counter of errors grew, and no line of a kernel's log spoke of hardware"
    return Table(columns, rows, caption=_counted("incidents", len(found)), empty=empty)


def _counted(title: str, count: int) -> str:
    return title if count <= LISTED else f"{title}: {LISTED} / {count}"


def _cut(lines: list[str], most: int = 50) -> list[str]:
    rest = len(lines) - most
    return lines[:most] + ([f"… {rest}"] if rest > 0 else [])


def _facts(source: Source) -> Iterator[Fold]:
    """All that the first node of each kind says of itself."""
    header = source.header
    if header.fleet is not None and header.fleet.facts:
        told = list(_lines(header.fleet.facts, ""))[:FACTS]
        yield Fold("facts of a node of the fleet", [Facts(told)])
    first: dict[tuple[Any, ...], Node] = {}
    count: Counter[tuple[Any, ...]] = Counter()
    for node in header.nodes:
        first.setdefault(_kind(node), node)
        count[_kind(node)] += 1
    for kind, node in list(first.items())[:8]:
        told = [*_lines(node.labels, "label."), *_lines(node.facts, "")]
        for index, device in enumerate(node.devices):
            told += [(f"device {index}.{key}", text) for key, text in _lines(device.facts, "")]
        if told:
            title = f"{source.say('facts of')} {node.name} ({count[kind]} {source.say('alike')})"
            yield Fold(title, [Facts(told[:FACTS])])


def _lines(facts: Mapping[str, Any], start: str) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", _said(value)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
