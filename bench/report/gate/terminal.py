"""What the gate says, on a terminal: the verdict first, then the worst."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from ...gates import GateReport, Judged
from ..amount import most
from ..plain import plain
from ..terminal import WORST, line, print_table, verdict
from .words import (
    FIGURES,
    HEADS,
    REASON,
    cells,
    circumstances,
    clipped,
    counted,
    fails,
    label,
    overall,
    split,
    verdict_line,
)

ROWS = 40
"""Metrics that do not pass and are shown; all are in ``gate.json``."""
FEW = 10
"""So many that pass are shown one by one; more are counted."""


def print_gate(made: Console, report: GateReport) -> None:
    """The verdict, what was compared, a table worst first, reasons, notes."""
    bad, good = split(report)
    unsure = any(not fails(report, one) for one in bad)
    style = "yellow" if report.passed and unsure else "green" if report.passed else "red"
    verdict(made, verdict_line(report), f"bold {style}", report.provenance or "")
    for text in circumstances(report):
        line(made, text)
    shown = bad[: most(ROWS)] + (good if len(good) <= most(FEW) else [])
    if shown:
        made.print()
        rows = [[plain(cell) for cell in cells(one)] for one in shown]
        print_table(made, HEADS, rows, right=FIGURES)
    if rest := bad[most(ROWS) :]:
        line(made, f"and {counted(rest)} more, in gate.json", "red")
    _reasons(made, bad)
    if len(good) > most(FEW):
        line(made, f"{len(good)} metrics pass ({counted(good)}); each is in gate.json")
    if said := overall(report):
        line(made, said)
    for note in report.notes:
        line(made, f"note: {clipped(note, REASON)}", "yellow")


def _reasons(made: Console, bad: Sequence[Judged]) -> None:
    """Why: a line for all metrics of a state of which the same is said."""
    alike: dict[tuple[str, str], list[Judged]] = {}
    for one in bad:
        if one.reason:
            alike.setdefault((one.state, one.reason), []).append(one)
    for (state, reason), group in list(alike.items())[:WORST]:
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        named = f"{clipped(label(group[0]), REASON)}{more}"
        line(made, f"{state}: {named}: {clipped(reason, REASON)}", "red")
    if rest := list(alike.values())[WORST:]:
        metrics = sum(map(len, rest))
        line(made, f"and reasons of {metrics} more metrics, in gate.json", "red")
