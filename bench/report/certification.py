"""What ``hengsuan certify`` says, on a terminal: the verdict first, then the worst."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..verdicts import Certification, NodeVerdict
from .evidence import (
    Alike,
    about,
    circumstances,
    details,
    figures,
    inconclusive,
    named,
    rejected,
    verdict_line,
    waived,
)
from .plain import plain
from .terminal import WORST, box_of

NARROW = 100
"""Columns below which what was found of a node is a few lines instead of a row."""
FEW = 6
"""Commands for one scheduler that are shown; all are in ``verdict.json``."""


def print_certification(made: Console, found: Certification) -> None:
    """The verdict, counts, rejected nodes with their worst evidence, and what else was found."""
    bad, unsure = found.count("reject"), found.count("inconclusive")
    style = "red" if bad else "yellow" if unsure or not found.nodes else "green"
    _line(made, verdict_line(found), f"bold {style}")
    for text in circumstances(found):
        _line(made, text)
    worst = rejected(found)
    if worst:
        made.print()
        (_lines if made.width < NARROW else _table)(made, worst[:WORST])
        if rest := worst[WORST:]:
            _line(
                made, f"and {len(rest)} more rejected: {named([node.node for node in rest])}", "red"
            )
        _commands(made, worst[:WORST])
    _alike(made, "inconclusive", inconclusive(found), "yellow")
    _alike(made, "", waived(found), "yellow")
    for kind, commands in (("drain", found.drain), ("bring back", found.undrain)):
        for scheduler, lines in commands.items():
            _line(made, f"\n{kind} ({scheduler}):")
            for text in lines[:FEW]:
                _line(made, f"  {text}")
            if len(lines) > FEW:
                _line(made, f"  and {len(lines) - FEW} more, in verdict.json")
    for note in found.notes:
        _line(made, f"note: {note}", "yellow")


def _table(made: Console, worst: Iterable[NodeVerdict]) -> None:
    table = Table(box=box_of(made), pad_edge=False)
    for name in ("rejected", "found"):
        table.add_column(name, overflow="fold")
    for name in ("value", "expected", "worse by"):
        table.add_column(name, justify="right", overflow="fold")
    for node in worst:
        what, cells = _found(node)
        table.add_row(Text(plain(node.node)), Text("\n".join(what)), *map(Text, cells))
    made.print(table)


def _lines(made: Console, worst: Iterable[NodeVerdict]) -> None:
    for node in worst:
        (first, *rest), (value, expected, worse) = _found(node)
        _line(made, f"rejected: {node.node}: {first}", "red")
        said = (
            value,
            f"expected {expected}" if expected else "",
            f"worse by {worse}" if worse else "",
        )
        if any(said):
            _line(made, f"  {', '.join(filter(None, said))}")
        for text in rest:
            _line(made, f"  {text}")


def _found(node: NodeVerdict) -> tuple[list[str], tuple[str, str, str]]:
    """Lines about the worst that was found of a node, and its figures."""
    if not node.evidence:
        return ["no evidence is given"], ("", "", "")
    one, *rest = node.evidence
    lines = [about(one), *details(one)]
    if rest:
        lines.append(f"and {len(rest)} more finding(s), in verdict.json")
    return lines, figures(one)


def _commands(made: Console, worst: Iterable[NodeVerdict]) -> None:
    """On lines of their own: whoever copies one must not copy a table's lines with it."""
    for node in worst:
        if node.evidence and node.evidence[0].command:
            _line(made, f"check {node.node} again: {node.evidence[0].command}")


def _alike(made: Console, kind: str, groups: list[Alike], style: str) -> None:
    for one in groups[:WORST]:
        _line(made, f"{kind}: {one.line()}" if kind else one.line(), style)
    if rest := groups[WORST:]:
        nodes = sum(len(one.nodes) for one in rest)
        _line(made, f"and {nodes} more {kind or 'waived'}, in verdict.json", style)


def _line(made: Console, text: str, style: str = "") -> None:
    head, newline, rest = text.rpartition("\n") if text.startswith("\n") else ("", "", text)
    made.print(Text(f"{head}{newline}{plain(rest)}", style=style), soft_wrap=True)
