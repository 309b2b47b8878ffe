"""The page of ``backend check``: what a plugin does not keep first, and what to do about it."""

from __future__ import annotations

import shlex

from ...conformity import MEANING, WORDS, WORST, Conformity, Verdict
from ...units import format_duration
from ..html.page import Block, Cell, Column, Page, Row, Section, Table, Tone
from ..html.page import Verdict as Headline
from ..html.words import Voice
from ..language import Language

_TONES: dict[Verdict, Tone] = {
    "fail": "bad",
    "skipped": "warn",
    "pass": "good",
    "unsupported": "dim",
}


def conformity_page(found: Conformity, language: Language = "en") -> Page:
    """What ``hengsuan backend check --json`` printed."""
    voice = Voice(language)
    return Page(
        title=f"backend {found.backend}",
        kicker="conformance of a backend",
        badge="measured",
        lines=[", ".join(found.devices) or "no device"],
        sections=[
            Section("verdict", "Verdict", [_headline(found)]),
            Section("checks", "Checks", [_table(found, voice)], "What does not hold first."),
        ],
        language=language,
    )


def _headline(found: Conformity) -> Block:
    held = {one.verdict for one in found.results}
    tone: Tone
    if "fail" in held:
        said, tone = "does not keep the contract", "bad"
    elif "skipped" in held or not held:
        said, tone = "may keep the contract: nobody could try all of it here", "warn"
    else:
        said, tone = "keeps the contract", "good"
    text = f"backend {found.backend} {said}"
    counts = [(WORDS[one], str(found.counts.get(one, 0)), MEANING[one]) for one in WORST]
    lines = [found.said(), f"exit code {found.exit}"]
    return Headline(text, tone, lines, counts)


def _table(found: Conformity, voice: Voice) -> Block:
    columns = [Column("check"), Column("result"), Column("time", number=True), Column("found")]
    results = sorted(found.results, key=lambda one: WORST.index(one.verdict))
    rows = [
        Row(
            [
                Cell(one.check),
                Cell(voice.say(WORDS[one.verdict]), tone=_TONES[one.verdict]),
                Cell(format_duration(one.seconds) if one.seconds else "", one.seconds),
                Cell(one.reason),
            ],
            more=[f"what to do: {one.hint}"] if one.hint else [],
            command=shlex.join(["hengsuan", "backend", "check", found.backend, "--only", one.check])
            if one.verdict in ("fail", "skipped")
            else "",
            group=voice.say(WORDS[one.verdict]),
        )
        for one in results
    ]
    return Table(columns, rows, empty="No check was tried.")
