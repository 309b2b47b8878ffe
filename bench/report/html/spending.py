"""Where the wall time of jobs went: by benchmark, by part."""

from __future__ import annotations

from typing import Any

from ...analysis.spending import Spending, spending
from ...errors import HengsuanError
from ...ledger import PART_MEANING, PART_NAMES, read_ledger
from ...units import format_value
from .page import Cell, Chart, Column, Figure, Row, Section, Table, Text
from .plots import hover
from .source import Source

COLOURS = {
    "start": "$s6",
    "group": "$s4",
    "setup": "$s1",
    "check": "$s3",
    "warmup": "$s5",
    "samples": "$s2",
    "between": "$s0",
    "meeting": "$s7",
    "teardown": "$dim",
    "again": "$warn",
    "rest": "$bad",
}

LEAST = 0.0005
"""Share of the time that is written: what is less would read as none."""


def where_time_went(source: Source) -> Section | None:
    """The section; None of a run of which nothing is known, as of one that was simulated."""
    try:
        found = spending(source.header, read_ledger(source.folder))
    except HengsuanError as error:
        told = Text([f"{error.where}: {error.message}"], tone="warn")
        return Section("time", "Where the time went", [told])
    if not found:
        return None
    blocks: list[Any] = [_bars(source, found), _table(source, found)]
    if doubts := [doubt for one in found for doubt in one.doubts]:
        blocks.insert(0, Text(doubts, tone="warn"))
    lead = (
        "Wall time of jobs by what it was spent on: the parts of each sum to the whole. Of jobs on "
        "several ranks it is that of the one that took longest."
    )
    return Section("time", "Where the time went", blocks, lead=lead)


def _shown(found: list[Spending]) -> list[str]:
    return [part for part in PART_NAMES if any(one.parts.get(part) for one in found)]


def _bars(source: Source, found: list[Spending]) -> Chart:
    data = []
    for part in _shown(found):
        name = source.say(PART_NAMES[part])
        seconds = [one.parts.get(part, 0.0) for one in found]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": [one.benchmark for one in found],
                "x": seconds,
                "text": [format_value(value, "s") for value in seconds],
                "textposition": "none",
                "marker": {"color": COLOURS[part]},
                "hovertemplate": hover(f"%{{y}}, {name}: %{{text}}"),
            }
        )
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "s"}},
        "yaxis": {"autorange": "reversed"},
        "margin": {"t": 10},
    }
    says = "Seconds of wall time by benchmark, in the parts of a job from its beginning to its end."
    return Chart([Figure(data, layout)], says, height=150 + 28 * len(found))


def _table(source: Source, found: list[Spending]) -> Table:
    shown = _shown(found)
    columns = [
        Column("benchmark"),
        Column("jobs", number=True),
        Column("wall time", number=True),
        *(Column(PART_NAMES[part], number=True, about=PART_MEANING[part]) for part in shown),
    ]
    rows = []
    for one in found:
        cells = [
            Cell(one.benchmark),
            Cell(str(one.jobs), one.jobs),
            Cell(format_value(one.seconds, "s"), one.seconds),
        ]
        for part in shown:
            seconds = one.parts.get(part, 0.0)
            share = seconds / one.seconds if one.seconds else 0.0
            cells.append(Cell(f"{share:.1%}" if share >= LEAST else "", seconds))
        rows.append(Row(cells, more=one.doubts))
    return Table(columns, rows, caption="shares of the wall time of each benchmark's jobs")
