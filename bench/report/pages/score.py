"""Scores as a page: the whole, categories, every metric with its reference, what is absent."""

from __future__ import annotations

import msgspec

from ...analysis.scores import Category, MetricScore, Scorecard
from ...errors import Exit
from ...records import labelled
from ..html.page import Block, Cell, Column, Fold, Page, Row, Section, Table, Text, Tone, Verdict
from ..html.words import speaker
from ..language import Language
from ..plain import plain
from ..score import factor, figures, headline, named, remarks, title_of, worth
from .intervals import Line, Mark, shares

OPEN = 12
"""Remarks that stand open; more are folded."""


class Scores(msgspec.Struct, kw_only=True):
    """What ``hengsuan score --json`` printed; ``notes`` say why runs are scored apart."""

    exit: int
    scorecards: list[Scorecard]
    notes: list[str] = []


def score_page(found: Scores, language: Language = "en") -> Page:
    """All scorecards, each with its sections."""
    cards = found.scorecards
    labels = dict.fromkeys(labelled(card.provenance, card.stands_for) for card in cards)
    sections: list[Section] = []
    for number, card in enumerate(cards):
        sections += score_sections(card, language, f"-{number}" if len(cards) > 1 else "")
    if not cards:
        verdict = Verdict("nothing could be scored", "warn")
        sections = [Section("score", "Score", [verdict])]
    if found.notes:
        notes = Text([plain(note) for note in found.notes], "warn", own=False)
        sections.insert(0, Section("notes", "Notes", [notes]))
    runs = dict.fromkeys(plain(card.run) for card in cards)
    return Page(
        title=", ".join(dict.fromkeys(plain(card.profile) for card in cards)) or "score",
        kicker="score",
        badge=", ".join(labels),
        lines=list(runs),
        sections=sections,
        foot=f"exit code {found.exit}",
        language=language,
    )


def score_sections(card: Scorecard, language: Language = "en", suffix: str = "") -> list[Section]:
    """The sections of one scorecard; ``suffix`` tells their anchors from those of another."""
    blocks = [_verdict(card, language), *_categories(card, language)]
    sections = [
        Section(f"score{suffix}", "Score", blocks),
        Section(
            f"metrics{suffix}",
            "Metrics of the score",
            [_metrics(card, language)],
            "Each against its reference.",
        ),
    ]
    if card.chain:
        lead = "The factors of the whole cluster's efficiency."
        sections.append(Section(f"chain{suffix}", "Factors", [_chain(card, language)], lead))
    if lines := remarks(card, language):
        text = Text([plain(line) for line in lines], own=False)
        shown: Block = text if len(lines) <= OPEN else Fold(f"{len(lines)} remarks", [text])
        sections.append(Section(f"remarks{suffix}", "What is absent, and what to know", [shown]))
    return sections


def _verdict(card: Scorecard, language: Language) -> Verdict:
    whole = "–" if card.overall is None else f"{card.overall:.1f}"
    between = "" if card.low is None else f"{card.low:.1f} – {card.high:.1f} (95 %)"
    of = ("overall score", whole, between), ("coverage", f"{card.coverage:.0%}", "")
    lines = [plain(line) for line in (_note(card, language), worth(card, language)) if line]
    missed, unsure = card.exit == Exit.FINDING, card.exit != Exit.OK or card.overall is None
    tone: Tone = "bad" if missed else "warn" if unsure else ""
    return Verdict(plain(headline(card, language)), tone, lines, of)


def _note(card: Scorecard, language: Language) -> str:
    return card.note_zh if language == "zh" and card.note_zh else card.note


def _categories(card: Scorecard, language: Language) -> list[Block]:
    known = [one for one in card.categories if one.score is not None]
    lines = [
        Line(
            title_of(one, language),
            [Mark(one.score, one.low, one.high)],
            f"{one.score:.1f}",
            about=_weight(one),
        )
        for one in known
        if one.score is not None
    ]
    if not lines:
        return []
    return [shares(lines, "scores of categories with their 95 % intervals", whole=100.0, unit="")]


def _weight(one: Category) -> str:
    weight = "" if one.weight is None else f", {one.weight:g} %"
    return f"{one.coverage:.0%}{weight}"


def _metrics(card: Scorecard, language: Language) -> Table:
    say = speaker(language)
    numbers = ("achieved", "95 % interval", "reference", "efficiency", "one point is worth")
    heads = ("category", "metric", "achieved", "95 % interval", "reference", "efficiency")
    heads += ("confidence", "provenance", "one point is worth")
    about = {
        "efficiency": "achieved over reference, or reference over achieved where lower is better",
        "one point is worth": "points of the overall score for one point of efficiency more",
    }
    columns = [Column(head, head in numbers, about.get(head, "")) for head in heads]
    rows = []
    for category in card.categories:
        title = title_of(category, language)
        for one in category.metrics:
            sorts = (one.achieved, None, one.reference, one.efficiency, None, None, one.gain)
            said = [Cell(plain(t), s) for t, s in zip(figures(one, say), sorts, strict=True)]
            cells = [Cell(title), Cell(named(one, language)), *said]
            rows.append(Row(cells, [say(plain(line)) for line in _more(one)], group=title))
    return Table(columns, rows, empty="The profile asks for nothing.")


def _more(one: MetricScore) -> list[str]:
    """What a metric's line opens."""
    told = [one.absent and f"absent: {one.absent}", one.detail, f"{one.name} {one.metric}"]
    if one.expected_groups:
        told.append(f"{one.groups} of {one.expected_groups} groups have a value")
    return list(filter(None, [*told, one.clause, one.quote, one.run and f"run: {one.run}"]))


def _chain(card: Scorecard, language: Language) -> Table:
    say = speaker(language)
    columns = [Column("factor"), Column("value", number=True), Column("95 % interval", number=True)]
    columns += [Column("confidence"), Column("provenance"), Column("what it is made of")]
    rows = [Row([Cell(plain(text)) for text in factor(one, say)]) for one in card.chain]
    return Table(columns, rows)
