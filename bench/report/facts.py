"""Facts of nodes in the terminal: who differs in what, what happened, and one node in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ..analysis.drift import Drift
from ..analysis.health import Incident
from ..records import Header, Node
from .language import spoken
from .plain import plain
from .terminal import line, print_table

SHOWN = 100
"""Lines of each table; the rest is counted."""


def print_differences(
    made: Console, header: Header, drifts: Sequence[Drift], happened: Sequence[Incident]
) -> None:
    """Nodes that differ from their neighbours and what happened to nodes, or that nothing did."""
    if header.fleet is not None and not header.fleet.facts:
        line(made, "a simulated fleet: its nodes state no facts")
        return
    if drifts:
        rows = [
            (one.node, one.fact, _said(one.value), _said(one.majority), f"{one.share:.0%}")
            for one in drifts[:SHOWN]
        ]
        print_table(made, ("node", "fact", "is", "others have", "share"), rows, right=(4,))
        _rest(made, len(drifts), "differences")
    else:
        known = len([node for node in header.nodes if node.facts])
        if header.fleet is not None:
            known = header.fleet.count
        line(made, f"no node differs from a majority of its kind ({known} node(s) state facts)")
    if happened:
        told = [(spoken(one.kind), one.node, one.stage, one.text) for one in happened[:SHOWN]]
        print_table(made, ("kind", "node", "stage", "what"), told)
        _rest(made, len(happened), "incidents")
    else:
        line(made, "no counter of errors grew, and no line of a kernel's log spoke of hardware")


def print_node(made: Console, node: Node) -> None:
    """Every fact that a node states, one a line."""
    line(made, f"node {node.name} ({node.id})", "bold")
    for path, value in _lines(node.facts, ""):
        made.print(Text(plain(f"  {path}: {value}")), soft_wrap=True)
    for index, device in enumerate(node.devices):
        line(made, f"  device {index}: {device.name}, {device.firmware or 'firmware unknown'}")
        for path, value in _lines(device.facts, ""):
            made.print(Text(plain(f"    {path}: {value}")), soft_wrap=True)


def _lines(facts: Mapping[str, Any], start: str) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", "none" if value == {} else _said(value)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _rest(made: Console, count: int, what: str) -> None:
    if count > SHOWN:
        line(made, f"{count - SHOWN} more {what}; --json has them all")
