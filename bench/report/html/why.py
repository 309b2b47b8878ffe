"""Why: what speaks against nodes, the worst first, with the command that looks at it again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from ...analysis.finding import Finding
from ...headers import absent
from ...verdicts import Certification, NodeVerdict
from ..evidence import (
    UNEXPLAINED,
    Alike,
    about,
    details,
    figures,
    inconclusive,
    named,
    rejected,
    waived,
)
from ..score import merged
from .page import Cell, Column, Commands, Fold, Row, Section, Table, Text, Tone
from .source import Source
from .words import Speaks

CARDS = 12
"""Rejected nodes that have a card each; all are in the table."""
WRONG = ("invalid", "failed", "missing", "criterion")
"""Kinds of findings that are worst, the worst first."""
UNSURE = ("incomplete", "undecided", "contended")
"""Kinds that say what is not known."""
QUIET = ("note", "skipped")
"""Kinds that nobody has to do anything about."""
AGAIN = 5
"""Findings of a kind whose commands are shown."""
LISTED = 2_000
"""Lines of a table at most."""
COMMANDS = 200
"""Commands for a scheduler that are shown at most."""


def why(source: Source) -> Section | None:
    """The section; None where nothing is to be said."""
    blocks: list[Any] = []
    if source.verdict is not None:
        blocks += certified(source, source.verdict)
    findings = [one for card in source.cards for one in card.findings]
    blocks += findings_by_kind(source, findings, source.again)
    lost = absent(source.header) + [
        f"{event['kind']}: {event['node']}: {event['text']}"
        for event in source.header.events
        if event["kind"].endswith("-lost")
    ]
    if lost:
        blocks.append(Fold("lost while measuring", [Text(lost[:LISTED])], tone="bad"))
    if source.verdict is None and source.run.inventory.size:
        blocks.append(
            Commands(
                [shlex.join(["hengsuan", "certify", "--from", source.header.id])],
                "which nodes may join:",
            )
        )
    if not blocks:
        return None
    return Section("why", "Why", blocks, lead="The worst first, each with what it rests on.")


def certified(source: Speaks, found: Certification) -> Iterator[Any]:
    """Rejected nodes, the worst first, the others' reasons, what to type, and notes."""
    worst = rejected(found)
    for number, node in enumerate(worst[:CARDS]):
        yield _card(source, node, number < 3)
    if len(worst) > CARDS:
        yield _table(source, worst)
    for title, groups in (("inconclusive", inconclusive(found)), ("waived", waived(found))):
        if groups:
            yield Fold(f"{title}", [_alike(groups)], tone="warn", open=title == "inconclusive")
    for kind, every in (("drain", found.drain), ("bring back", found.undrain)):
        for scheduler, lines in every.items():
            more = len(lines) - COMMANDS
            said = [Text([f"and {more} more, in verdict.json"])] if more > 0 else []
            title = f"{source.say(kind)} ({scheduler})"
            yield Fold(title, [Commands(lines[:COMMANDS]), *said])
    if found.notes:
        yield Fold("notes", [Text(found.notes)])


def _card(source: Speaks, node: NodeVerdict, opened: bool) -> Fold:
    if not node.evidence:
        return Fold(node.node, [Text([UNEXPLAINED])], tone="bad")
    first = node.evidence[0]
    value, expected, worse = figures(first)
    said = [source.say(about(first))]
    if value:
        said.append(f"{value}, {source.say('expected')} {expected or '–'}")
    if worse:
        said.append(f"{source.say('worse by')} {worse}")
    rows = []
    for one in node.evidence[:50]:
        told = [Cell(about(one)), *map(Cell, figures(one)), Cell("; ".join(details(one)[:1]))]
        rows.append(Row(told, [one.text, *details(one)[1:]], one.command, source.say(one.against)))
    columns = [Column("found"), Column("value", number=True), Column("expected", number=True)]
    columns += [Column("worse by", number=True), Column("evidence")]
    blocks: list[Any] = [Text(details(first))]
    if first.command:
        blocks.append(Commands([first.command], "check again"))
    if len(node.evidence) > 1:
        blocks.append(Table(columns, rows, caption="all that was found"))
    title = f"{node.node}: {'; '.join(said)}"
    return Fold(title, blocks, open=opened, tone="bad")


def _table(source: Speaks, worst: list[NodeVerdict]) -> Table:
    columns = [Column("rejected"), Column("found"), Column("value", number=True)]
    columns += [Column("expected", number=True), Column("worse by", number=True)]
    columns += [Column("findings", number=True)]
    rows = []
    for node in worst[:LISTED]:
        one = node.evidence[0] if node.evidence else None
        name = Cell(node.node, None, "", node.node)
        if one is None:
            rows.append(Row([name, Cell(UNEXPLAINED), *map(Cell, ("", "", "", "0"))]))
            continue
        value, expected, worse = figures(one)
        found = [
            name,
            Cell(about(one)),
            Cell(value, one.value),
            Cell(expected, one.expected),
            Cell(worse, one.effect),
            Cell(str(len(node.evidence)), len(node.evidence)),
        ]
        rows.append(Row(found, [one.text, *details(one)], one.command, source.say(one.against)))
    rest = len(worst) - LISTED
    caption = f"the worst {LISTED} of {len(worst)}" if rest > 0 else "all rejected nodes"
    return Table(columns, rows, caption=caption)


def _alike(groups: list[Alike]) -> Table:
    rows = [
        Row(
            [
                Cell(named(one.nodes), None, "", one.nodes[0] if len(one.nodes) == 1 else ""),
                Cell(str(len(one.nodes)), len(one.nodes)),
                Cell(one.text),
            ]
        )
        for one in groups[:LISTED]
    ]
    return Table([Column("nodes"), Column("number", number=True), Column("why")], rows)


def findings_by_kind(
    source: Speaks, findings: list[Finding], again: Callable[[Finding], str] | None = None
) -> Iterator[Any]:
    """What the score's reader must know: a fold a kind, those that say the same in one line.

    The worst kind comes first. ``again``: the command that looks at one again, if any does.
    """
    kinds = dict.fromkeys(one.kind for one in findings)
    for kind in sorted(kinds, key=_gravity):
        of_kind = [one for one in findings if one.kind == kind]
        lines = merged([(one.kind, one.name, one.text) for one in of_kind], source.language)
        quiet = kind in QUIET
        title = f"{source.say(kind)} ({len(of_kind)})"
        blocks: list[Any] = [Text(lines[:LISTED])]
        if again is not None and not quiet:
            # As many as are looked at: a thousand contended cases have one cause.
            asked = dict.fromkeys(filter(None, map(again, of_kind[:AGAIN])))
            if asked:
                blocks.append(Commands(list(asked), "check again"))
        tone: Tone = "bad" if kind in WRONG else "" if quiet else "warn"
        yield Fold(title, blocks, tone=tone)


def _gravity(kind: str) -> int:
    """Wrong results first, then who is slow and what differs, then what does not count."""
    order = (*WRONG, "slow", "", *UNSURE, *QUIET)
    known = kind if kind in order else "slow" if kind.startswith("slow-") else ""
    return order.index(known)
