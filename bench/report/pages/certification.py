"""Certifications as a page: the verdict, why nodes are rejected, what to type, every node."""

from __future__ import annotations

from ...records import labelled
from ...verdicts import Certification, NodeVerdict, Word
from ..evidence import (
    UNEXPLAINED,
    Alike,
    about,
    circumstances,
    details,
    figures,
    inconclusive,
    rejected,
    verdict_line,
    waived,
)
from ..html.page import Block, Cell, Column, Commands, Page, Row, Section, Table, Text, Tone, Verdict
from ..language import Language
from ..plain import plain

TONES: dict[Word, Tone] = {"reject": "bad", "inconclusive": "warn", "accept": "good"}
_MEANS: dict[Word, str] = {
    "reject": "something was found that measuring again did not take back",
    "inconclusive": "something is missing, contended, skipped or not yet sure",
    "accept": "all that had to be measured was, and nothing was found",
}


def certification_page(found: Certification, language: Language = "en") -> Page:
    """What ``verdict.json`` says."""
    return Page(
        title=f"certification {found.run}",
        kicker="certification",
        badge=labelled(found.provenance, found.stands_for),
        lines=[plain(f"{found.suite} · {found.profile} · {found.finished}")],
        sections=certification_sections(found),
        foot=f"hengsuan {found.version}" if found.version else "",
        language=language,
    )


def certification_sections(found: Certification, linked: bool = False) -> list[Section]:
    """The verdict, why, what to type, and every node.

    ``linked``: the page has a section that shows a node, to which names lead.
    """
    sections = [Section("verdict", "Verdict", _verdict(found))]
    if bad := rejected(found):
        lead = "Worst first. A line opens: what was found, how sure that is, what may be the cause."
        sections.append(Section("rejected", "Rejected nodes", [_rejected(bad, linked)], lead))
    for identity, title, groups in (
        ("inconclusive", "Inconclusive", inconclusive(found)),
        ("waived", "Waived", waived(found)),
    ):
        if groups:
            sections.append(Section(identity, title, [_alike(groups)]))
    if found.drain or found.undrain:
        lead = "For the scheduler."
        sections.append(Section("scheduler", "Drain and bring back", _commands(found), lead))
    sections.append(Section("nodes", "Nodes", [_nodes(found, linked)]))
    return sections


def _verdict(found: Certification) -> list[Block]:
    counts = {word: found.count(word) for word in TONES}
    tone: Tone = "bad" if counts["reject"] else "warn" if counts["inconclusive"] else "good"
    if not found.nodes:
        tone = "warn"
    said = [(word, str(number), _MEANS[word]) for word, number in counts.items()]
    lines = [plain(line) for line in circumstances(found)]
    blocks: list[Block] = [Verdict(verdict_line(found), tone, lines, said)]
    if found.notes:
        blocks.append(Text([plain(note) for note in found.notes], "warn", own=False))
    return blocks


def _rejected(bad: list[NodeVerdict], linked: bool) -> Table:
    columns = [Column("node"), Column("found"), Column("value", number=True)]
    columns += [Column("expected", number=True), Column("worse by", number=True)]
    rows = []
    for node in bad:
        one = node.evidence[0] if node.evidence else None
        value, expected, worse = figures(one) if one is not None else ("", "", "")
        cells = [
            Cell(plain(node.node), None, "bad", node.node if linked else ""),
            Cell(about(one) if one is not None else UNEXPLAINED),
            Cell(value, one.value if one is not None else None),
            Cell(expected, one.expected if one is not None else None),
            Cell(worse, one.effect if one is not None else None),
        ]
        group = one.against if one is not None else ""
        rows.append(Row(cells, _more(node), one.command if one is not None else "", group))
    return Table(columns, rows)


def _more(node: NodeVerdict) -> list[str]:
    """Every finding of a node, in lines."""
    lines = []
    for one in node.evidence:
        value, expected, worse = figures(one)
        said = f"{about(one)}: {value}" if value else about(one)
        if expected:
            said += f", expected {expected}"
        if worse:
            said += f", worse by {worse}"
        lines += [f"{one.verdict}: {said}", *details(one)]
    return lines


def _alike(groups: list[Alike]) -> Table:
    columns = [Column("nodes", number=True), Column("why")]
    rows = [
        Row([Cell(str(len(one.nodes)), float(len(one.nodes))), Cell(one.line())]) for one in groups
    ]
    return Table(columns, rows)


def _commands(found: Certification) -> list[Block]:
    return [
        Commands([plain(line) for line in lines], f"{kind}: {plain(scheduler)}")
        for kind, by in (("drain", found.drain), ("bring back", found.undrain))
        for scheduler, lines in by.items()
        if lines
    ]


def _nodes(found: Certification, linked: bool) -> Table:
    columns = [Column("node"), Column("verdict"), Column("chip"), Column("found")]
    columns.append(Column("checks", about="what was measured, by status"))
    worst = {"reject": 0, "inconclusive": 1, "accept": 2}
    rows = [
        Row(
            [
                Cell(plain(node.node), None, "", node.node if linked else ""),
                Cell(node.verdict, tone=TONES[node.verdict]),
                Cell(plain(node.chip)),
                Cell(about(node.evidence[0]) if node.evidence else ""),
                Cell(", ".join(f"{number} {status}" for status, number in node.checks.items())),
            ],
            _more(node),
            node.evidence[0].command if node.evidence else "",
            node.verdict,
        )
        for node in sorted(found.nodes, key=lambda node: worst[node.verdict])
    ]
    return Table(columns, rows, empty="No nodes were judged.")
