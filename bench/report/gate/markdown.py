"""What the gate says as Markdown, for comments on changes and summaries of continuous integration.

Names and reasons come from elsewhere: they are shown as they are, whatever they mean in Markdown or
HTML.
"""

from __future__ import annotations

from ...gates import GATE, GateReport, Judged
from ..markdown import escape
from ..room import MOST_BYTES, Room
from .words import (
    FIGURES,
    HEADS,
    REASON,
    cells,
    circumstances,
    clipped,
    counted,
    overall,
    split,
    verdict_line,
)

COMMENT_BYTES = 60_000
"""A comment on GitHub has at most 65,536 characters."""
_NOTES = 20
_RULE = "|".join("--:" if place in FIGURES else "---" for place in range(len(HEADS) + 1))
_TABLE = f"| {' | '.join(HEADS)} | why |\n|{_RULE}|\n"


def gate_markdown(report: GateReport, most: int = MOST_BYTES) -> str:
    """The verdict as a Markdown document of at most ``most`` bytes in UTF-8, worst first.

    What passes is in a part that opens. What has no room is counted in its place; ``most`` is above
    `room.RESERVE`.
    """
    bad, good = split(report)
    room = Room(most, GATE)
    room.add(f"## {escape(verdict_line(report))}\n\n")
    for line in filter(None, (*circumstances(report), overall(report))):
        room.add(f"{escape(line)}  \n")
    if report.notes:
        room.add("\n")
        room.add_all([f"- {escape(clipped(one, REASON))}\n" for one in report.notes[:_NOTES]], "")
        if rest := report.notes[_NOTES:]:
            room.add(f"- and {len(rest)} more notes, in {GATE}\n")
    if bad:
        room.add(f"\n{_TABLE}")
        room.add_all(map(_row, bad), f"\nand {{}} more that do not pass, in {GATE}\n")
    if good:
        metrics = "metric passes" if len(good) == 1 else "metrics pass"
        title = f"{len(good)} {metrics}: {counted(good)}"
        room.fold(title, _TABLE, map(_row, good), f"\nand {{}} more that pass, in {GATE}\n")
    return room.text()


def _row(one: Judged) -> str:
    return f"| {' | '.join(map(escape, (*cells(one), clipped(one.reason, REASON))))} |\n"
