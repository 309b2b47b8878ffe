"""The page of scores: the whole, categories, every metric with its reference, what is absent."""

from __future__ import annotations

import msgspec

from ...analysis.scores import Scorecard
from ...errors import Exit
from ...records import labelled
from ..html.page import Block, Page, Section, Text, Tone, Verdict
from ..html.standing import card_blocks
from ..html.why import findings_by_kind
from ..html.words import Voice
from ..language import Language
from ..score import headline


class Scores(msgspec.Struct, kw_only=True):
    """What ``hengsuan score --json`` printed; ``notes`` say why runs are scored apart."""

    exit: int
    scorecards: list[Scorecard]
    notes: list[str] = []


def score_page(found: Scores, language: Language = "en") -> Page:
    """All scorecards, a section each, and what a reader must know of each."""
    cards, voice = found.scorecards, Voice(language)
    labels = dict.fromkeys(labelled(card.provenance, card.stands_for) for card in cards)
    sections: list[Section] = []
    for number, card in enumerate(cards):
        suffix, of = (f"-{number}", f": {card.run}") if len(cards) > 1 else ("", "")
        blocks: list[Block] = [_verdict(card, language), *card_blocks(voice, card)]
        sections.append(Section(f"score{suffix}", voice.say("Score") + of, blocks))
        if told := list(findings_by_kind(voice, card.findings)):
            sections.append(Section(f"findings{suffix}", voice.say("Findings") + of, told))
    if not cards:
        verdict = Verdict(voice.say("nothing could be scored"), "warn")
        sections = [Section("score", "Score", [verdict])]
    if found.notes:
        sections.insert(0, Section("notes", "Notes", [Text(found.notes, "warn")]))
    return Page(
        title=f"score by profile {', '.join(dict.fromkeys(card.profile for card in cards)) or '–'}",
        kicker="score",
        badge=", ".join(labels),
        lines=list(dict.fromkeys(card.run for card in cards)),
        sections=sections,
        foot=f"exit code {found.exit}",
        language=language,
    )


def _verdict(card: Scorecard, language: Language) -> Verdict:
    whole = "–" if card.overall is None else f"{card.overall:.1f} / 100"
    between = "" if card.low is None else f"{card.low:.1f} – {card.high:.1f} (95 %)"
    text = f"overall score {whole}, coverage {card.coverage:.0%}"
    said = ("score", whole, between), ("coverage", f"{card.coverage:.0%}", "")
    tone: Tone = "bad" if card.exit == Exit.FINDING else "warn" if card.exit != Exit.OK else ""
    return Verdict(text, tone, [headline(card, language)], said)
