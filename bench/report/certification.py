"""What ``hengsuan certify`` says, on a terminal: the verdict first, then the worst."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..records import labelled
from ..verdicts import Certification, NodeVerdict
from .amount import most
from .evidence import (
    UNEXPLAINED,
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
from .language import narrated, spoken
from .plain import plain
from .terminal import NARROW, WORST, box_of, verdict

FEW = 6
"""Commands for one scheduler that are shown; all are in ``verdict.json``."""


def print_certification(made: Console, found: Certification) -> None:
    """The verdict, counts, rejected nodes with their worst evidence, and what else was found."""
    bad, unsure = found.count("reject"), found.count("inconclusive")
    style = "red" if bad else "yellow" if unsure or not found.nodes else "green"
    label = labelled(found.provenance, found.stands_for)
    verdict(made, verdict_line(found), f"bold {style}", label)
    for text in circumstances(found):
        _line(made, text)
    worst = rejected(found)
    if worst:
        made.print()
        if made.width >= NARROW:
            _overview(made, worst[: most(WORST)])
        for node in worst[: most(WORST)]:
            _reasons(made, node)
        if rest := worst[most(WORST) :]:
            _line(
                made, f"and {len(rest)} more rejected: {named([node.node for node in rest])}", "red"
            )
    _alike(made, "inconclusive", inconclusive(found), "yellow")
    _alike(made, "", waived(found), "yellow")
    for kind, commands in (("drain", found.drain), ("bring back", found.undrain)):
        for scheduler, lines in commands.items():
            _line(made, f"\n{kind} ({scheduler}):")
            for text in lines[: most(FEW)]:
                made.print(Text(plain(f"  {text}")), soft_wrap=True)
            if more := lines[most(FEW) :]:
                _line(made, f"  and {len(more)} more, in verdict.json")
    for note in found.notes:
        _line(made, f"note: {note}", "yellow")


def _overview(made: Console, worst: Iterable[NodeVerdict]) -> None:
    """A row for each node; what makes it worse than another stands in one column."""
    table = Table(box=box_of(made), pad_edge=False)
    for name in ("rejected", "found"):
        table.add_column(spoken(name), overflow="fold")
    for name in ("value", "expected", "worse by"):
        table.add_column(spoken(name), justify="right", overflow="fold")
    for node in worst:
        one = node.evidence[0] if node.evidence else None
        cells = (about(one), *figures(one)) if one is not None else (UNEXPLAINED, "", "", "")
        table.add_row(Text(plain(node.node)), *map(Text, map(narrated, cells)))
    made.print(table)


def _reasons(made: Console, node: NodeVerdict) -> None:
    """All that the worst finding rests on, and the command that looks at it again.

    On lines of their own: whoever copies a command must not copy a table's lines with it.
    """
    if not node.evidence:
        _line(made, f"{node.node}: {UNEXPLAINED}", "red")
        return
    one, *rest = node.evidence
    _line(made, f"{node.node}: {about(one)}", "red")
    value, expected, worse = figures(one)
    if made.width < NARROW and value:
        _line(made, f"  {value}, expected {expected or 'nothing'}, worse by {worse or 'unknown'}")
    for text in details(one):
        _line(made, f"  {text}")
    if one.command:
        made.print(Text(plain(f"  {spoken('again')}{spoken(': ')}{one.command}")), soft_wrap=True)
    if rest:
        _line(made, f"  and {len(rest)} more finding(s), in verdict.json")


def _alike(made: Console, kind: str, groups: list[Alike], style: str) -> None:
    for one in groups[: most(WORST)]:
        _line(made, f"{kind}: {one.line()}" if kind else one.line(), style)
    if rest := groups[most(WORST) :]:
        nodes = sum(len(one.nodes) for one in rest)
        _line(made, f"and {nodes} more {kind or 'waived'}, in verdict.json", style)


def _line(made: Console, text: str, style: str = "") -> None:
    head, newline, rest = text.rpartition("\n") if text.startswith("\n") else ("", "", text)
    made.print(Text(f"{head}{newline}{plain(narrated(rest))}", style=style), soft_wrap=True)
