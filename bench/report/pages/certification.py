"""The page of a certification: the verdict, why nodes are rejected, what to type, every node."""

from __future__ import annotations

from ...records import labelled
from ...verdicts import Certification, NodeVerdict, Word
from ..evidence import about, circumstances, details, figures, verdict_line
from ..html.page import Block, Cell, Column, Page, Row, Section, Table, Tone, Verdict
from ..html.why import certified
from ..html.words import Voice
from ..language import Language

TONES: dict[Word, Tone] = {"reject": "bad", "inconclusive": "warn", "accept": "good"}
_MEANS: dict[Word, str] = {
    "reject": "something was found that measuring again did not take back",
    "inconclusive": "something is missing, contended, skipped or not yet sure",
    "accept": "all that had to be measured was, and nothing was found",
}


def certification_page(found: Certification, language: Language = "en") -> Page:
    """What ``verdict.json`` says."""
    voice = Voice(language)
    sections = [Section("verdict", "Verdict", [_verdict(found)])]
    if why := list(certified(voice, found)):
        lead = "The worst first, each with what it rests on."
        sections.append(Section("why", "Why", why, lead))
    sections.append(Section("judged", "Nodes", [_nodes(found, voice)]))
    return Page(
        title=found.run,
        kicker="certification",
        badge=labelled(found.provenance, found.stands_for),
        lines=[f"{found.suite} · {found.profile} · {found.finished}"],
        sections=sections,
        foot=f"hengsuan {found.version}" if found.version else "",
        language=language,
    )


def _verdict(found: Certification) -> Block:
    counts = {word: found.count(word) for word in TONES}
    tone: Tone = "bad" if counts["reject"] else "warn" if counts["inconclusive"] else "good"
    if not found.nodes:
        tone = "warn"
    said = [(word, f"{number:,}", _MEANS[word]) for word, number in counts.items()]
    return Verdict(verdict_line(found), tone, list(circumstances(found)), said)


def _nodes(found: Certification, voice: Voice) -> Table:
    columns = [Column("node"), Column("verdict"), Column("chip"), Column("found")]
    columns.append(Column("checks", about="what was measured, by status"))
    worst = list(TONES)
    rows = [
        Row(
            [
                Cell(node.node),
                Cell(voice.say(node.verdict), tone=TONES[node.verdict]),
                Cell(node.chip),
                Cell(about(node.evidence[0]) if node.evidence else ""),
                Cell(", ".join(f"{n} {voice.say(status)}" for status, n in node.checks.items())),
            ],
            _more(node),
            node.evidence[0].command if node.evidence else "",
            voice.say(node.verdict),
        )
        for node in sorted(found.nodes, key=lambda node: worst.index(node.verdict))
    ]
    return Table(columns, rows, empty="no nodes were judged", nodes=True)


def _more(node: NodeVerdict) -> list[str]:
    """Every finding of a node, in lines."""
    lines = []
    for one in node.evidence:
        value, expected, worse = figures(one)
        said = [
            about(one),
            value,
            expected and f"expected {expected}",
            worse and f"worse by {worse}",
        ]
        lines += [f"{one.verdict}: {', '.join(filter(None, said))}", *details(one)]
    return lines
