"""The page of a comparison: who is ahead, by category and metric, and where nobody is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...analysis.comparison import Compared, Comparison
from ...analysis.judgements import Changes
from ..comparison import cell, letter, named, ranking, rule
from ..html.intervals import Line, Mark, shares
from ..html.page import Block, Cell, Column, Page, Row, Section, Table, Text, Verdict
from ..language import Language, speaker
from .judgements import judgements_section

DRAWN = 40
"""Metrics whose efficiencies are drawn; the table has all."""


class SideBySide(msgspec.Struct, kw_only=True, frozen=True):
    """What ``hengsuan compare --json`` prints; ``provenance`` is that of all systems.

    ``verdicts``: what each system's verdicts say otherwise than those of the one before; ``notes``
    says which are not compared.
    """

    exit: int
    profile: str
    provenance: str = ""
    comparison: Comparison
    verdicts: list[Changes] = []
    notes: list[str] = []


def comparison_page(
    told: SideBySide, language: Language = "en", beside: Sequence[Section] = ()
) -> Page:
    """The comparison; ``beside``: sections of the systems' own runs, which follow it."""
    found = told.comparison
    names = [letter(index) for index in range(len(found.systems))]
    judged = judgements_section(told.verdicts, told.notes, language)
    return Page(
        title=f"{len(names)} systems by profile {told.profile}",
        kicker="systems side by side",
        badge=told.provenance,
        lines=[f"{name}: {run}" for name, run in zip(names, found.systems, strict=True)],
        sections=[
            Section("verdict", "Verdict", _verdict(told, names, language)),
            Section("systems", "Systems", [_systems(found, names)]),
            Section("categories", "Categories", _categories(found, language)),
            Section("metrics", "Metrics", _metrics(found, names, language)),
            *([judged] if judged is not None else []),
            *beside,
        ],
        language=language,
    )


def _verdict(told: SideBySide, names: Sequence[str], language: Language) -> list[Block]:
    found = told.comparison
    whole = found.overall
    figures = [
        (name, cell(entry, whole.unit), f"{', '.join(kinds)}; coverage {coverage:.0%}")
        for name, entry, kinds, coverage in zip(
            names, whole.entries, found.kinds, found.coverages, strict=True
        )
    ]
    ranked = {entry.rank for entry in whole.entries if entry.rank is not None}
    text = f"{named(whole, language)}: {ranking(whole, language)}"
    lines = [rule(found, language), f"exit code {told.exit}"]
    return [Verdict(text, "good" if len(ranked) > 1 else "warn", lines, figures)]


def _systems(found: Comparison, names: Sequence[str]) -> Block:
    columns = [Column(""), Column("runs"), Column("chips"), Column("coverage", number=True)]
    rows = [
        Row([Cell(name), Cell(run), Cell(", ".join(kinds)), _share(coverage)])
        for name, run, kinds, coverage in zip(
            names, found.systems, found.kinds, found.coverages, strict=True
        )
    ]
    return Table(columns, rows)


def _share(value: float) -> Cell:
    return Cell(f"{value:.0%}", value)


def _categories(found: Comparison, language: Language) -> list[Block]:
    lines = [_line(one, language) for one in (found.overall, *found.categories)]
    says = "scores of systems with their 95 % intervals"
    return [shares(lines, says, whole=100.0, unit="", series=_series(found))]


def _series(found: Comparison) -> list[str]:
    return [f"{letter(index)}: {run}" for index, run in enumerate(found.systems)]


def _metrics(found: Comparison, names: Sequence[str], language: Language) -> list[Block]:
    # What no system has a value of is no comparison; JSON has it.
    known = [one for one in found.metrics if any(e.value is not None for e in one.entries)]
    drawn = [one for one in known if one.unit == "ratio"]
    blocks: list[Block] = []
    if drawn:
        lines = [_line(one, language) for one in _furthest(drawn)[:DRAWN]]
        says = "efficiencies of systems with their 95 % intervals"
        blocks.append(shares(lines, says, series=_series(found)))
        if len(drawn) > DRAWN:
            more = f"The {DRAWN} metrics that differ most are drawn; the table has all."
            blocks.append(Text([more], "dim"))
    columns = [Column("name"), Column("metric")]
    columns += [*(Column(name, number=True) for name in names), Column("ranking")]
    rows = [
        Row(
            [
                Cell(named(one, language)),
                Cell(one.metric),
                *(Cell(cell(entry, one.unit), entry.value) for entry in one.entries),
                Cell(ranking(one, language)),
            ],
            group=speaker(language)(_group(one)),
        )
        for one in known
    ]
    return [*blocks, Table(columns, rows, empty="No metric has a value.")]


def _furthest(metrics: Sequence[Compared]) -> list[Compared]:
    """Those in which systems lie furthest apart first."""

    def apart(one: Compared) -> float:
        values = [entry.value for entry in one.entries if entry.value is not None]
        return max(values) - min(values) if values else 0.0

    return sorted(metrics, key=apart, reverse=True)


def _group(one: Compared) -> str:
    if one.unranked:
        return "not ranked"
    return "apart" if len({entry.rank for entry in one.entries}) > 1 else "overlapping"


def _line(one: Compared, language: Language) -> Line:
    marks = [
        Mark(entry.value, entry.low, entry.high, series=index, says=_says(one, index))
        for index, entry in enumerate(one.entries)
        if entry.value is not None
    ]
    about = "" if one.metric == "score" else one.metric.removesuffix(", efficiency")
    return Line(named(one, language), marks, ranking(one, language), about=about)


def _says(one: Compared, index: int) -> str:
    return f"{letter(index)}: {cell(one.entries[index], one.unit)}"
