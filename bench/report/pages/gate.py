"""The page of a gate: the verdict, every change beside its margin, why what does not pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...gates import STATE_MEANING, STATES, GateReport, Judged, State
from ..gate.words import (
    FIGURES,
    HEADS,
    cells,
    circumstances,
    fails,
    finite,
    label,
    overall,
    sentence,
    split,
    verdict_line,
    worse_by,
)
from ..html.intervals import Line, Mark, changes
from ..html.page import Block, Cell, Column, Page, Row, Section, Table, Text, Tone, Verdict
from ..language import Language

DRAWN = 40
"""Metrics whose change is drawn: the worst. The table has all."""
_TONES: dict[State, Tone] = {
    "REGRESSED": "bad",
    "INVALID": "bad",
    "MISSING": "bad",
    "NO_BASELINE": "bad",
    "CHANGED": "bad",
    "INCONCLUSIVE": "warn",
    "IMPROVED": "good",
    "PASS": "good",
}


def gate_page(report: GateReport, language: Language = "en") -> Page:
    """What ``gate.json`` says."""
    bad, good = split(report)
    judged = [*bad, *good]
    sections = [Section("verdict", "Verdict", _verdict(report, bad))]
    if drawn := [one for one in judged if finite(one.change) and one.change > -1][:DRAWN]:
        lead = "How much worse the candidate is, with limits; the line across is the margin."
        sections.append(Section("changes", "Changes", [_changes(drawn)], lead))
    sections += [
        Section("metrics", "Metrics", [_table(judged)], "Worst first."),
        Section("states", "What the states mean", [_meaning(judged)]),
    ]
    return Page(
        title=f"gate {report.gate}",
        kicker="performance gate",
        badge=report.provenance or "",
        lines=[f"{report.baseline} → {report.candidate}"],
        sections=sections,
        foot=report.created,
        language=language,
    )


def _verdict(report: GateReport, bad: Sequence[Judged]) -> list[Block]:
    unsure = any(not fails(report, one) for one in bad)
    tone: Tone = "warn" if report.passed and unsure else "good" if report.passed else "bad"
    figures = [
        (state, str(count), STATE_MEANING[state])
        for state in STATES
        if (count := report.count(state))
    ]
    lines = [line for line in (*circumstances(report), overall(report)) if line]
    lines.append(f"exit code {int(report.exit)}")
    blocks: list[Block] = [Verdict(verdict_line(report), tone, lines, figures)]
    if report.notes:
        blocks.append(Text(report.notes, "warn"))
    return blocks


def _changes(drawn: Sequence[Judged]) -> Block:
    lines = [
        Line(
            label(one),
            [
                Mark(
                    one.change,
                    _end(one.low, -math.inf, one),
                    _end(one.high, math.inf, one),
                    _TONES[one.state],
                    says=sentence(one),
                )
            ],
            worse_by(one),
            one.margin,
            one.state,
        )
        for one in drawn
        if one.change is not None
    ]
    return changes(lines, "changes of metrics towards worse with their limits, and the margin")


def _end(limit: float | None, endless: float, one: Judged) -> float | None:
    """A limit; too few blocks have infinite ones, which JSON keeps as null and -1."""
    if one.exact:
        return None
    return limit if finite(limit) and limit > -1 else endless


def _table(judged: Sequence[Judged]) -> Table:
    columns = [Column(head, number=place in FIGURES) for place, head in enumerate(HEADS)]
    rows = [
        Row(
            [
                Cell(text, sort, _TONES[one.state] if head == "state" else "")
                for head, text, sort in zip(HEADS, cells(one), _sorts(one), strict=True)
            ],
            more=[*filter(None, [one.reason]), sentence(one)],
            group=one.state,
        )
        for one in judged
    ]
    return Table(columns, rows, empty="There is no metric that gates.")


def _sorts(one: Judged) -> tuple[float | None, ...]:
    """By what each cell of a row is sorted, where that is not its text."""
    figures = one.change, one.margin, float(one.blocks), one.candidate, one.caught
    return None, None, None, *(value if finite(value) else None for value in figures)


def _meaning(judged: Sequence[Judged]) -> Table:
    met = {one.state for one in judged}
    rows = [
        Row([Cell(state, tone=_TONES[state]), Cell(STATE_MEANING[state])])
        for state in STATES
        if state in met
    ]
    return Table([Column("state"), Column("means")], rows)
