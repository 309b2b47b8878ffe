"""A metric over many runs, drawn in the terminal, with the runs since which it is another."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from rich.console import Console

from ..analysis.gate.change_points import LASTING
from ..analysis.gate.history import VERDICTS, Change, History, MetricHistory
from ..units import format_value
from .amount import most
from .language import spoken
from .plot import print_plot
from .terminal import line, print_table, verdict

DRAWN = 6
"""Metrics that are drawn; of more there is a line each."""


def print_trend(made: Console, found: History) -> None:
    """Every metric as a plot with its changes in words; of many, a table."""
    on = f"{spoken(' of ')}{found.node}" if found.node else ""
    began = dict(zip(found.runs, found.began, strict=True))
    drawn = len(found.metrics) <= most(DRAWN)
    if not drawn:
        _table(made, found, began)
    else:
        for one in found.metrics:
            _drawn(made, one, on, began)
    for note in found.notes:
        line(made, f"note: {note}", "yellow")
    if found.metrics:
        counts = Counter(one.verdict for one in found.metrics)
        said = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])
        more = "" if drawn else "; --verbose draws them"
        verdict(
            made, f"{len(found.metrics)} metric(s){on} in {len(found.runs)} run(s): {said}{more}"
        )


def _drawn(made: Console, one: MetricHistory, on: str, began: dict[str, str]) -> None:
    where = f"{spoken(' on ')}{one.where}{spoken(', ')}{spoken(one.provenance)}"
    title = f"{one.metric}{on}{where}; {one.better} is better"
    line(made, title, "bold")
    days = [began[run][:10] for run in one.runs]
    places = [one.runs.index(change.first) for change in one.changes]
    times = [datetime.fromisoformat(began[run]).timestamp() for run in one.runs]
    ends = (days[0], days[-1])
    if days[0] == days[-1]:
        ends = (f"{days[0]} {began[one.runs[0]][11:16]}", began[one.runs[-1]][11:16])
    print_plot(made, times, one.values, one.unit, ends, places)
    for place, change in zip(places, one.changes, strict=True):
        said = (
            f"{days[place]}, run {change.first}: {_by(change)}, from "
            f"{format_value(change.before, one.unit)} to {format_value(change.after, one.unit)}"
        )
        line(made, said, "red" if change.change > 0 else "green")
    if one.now is not None and one.differs:
        said = "; ".join(one.differs)
        line(made, f"  changed with run {one.now.first}: {said}")
    if not one.changes and one.caught is not None:
        line(
            made, f"no change; one that lasts for {LASTING} runs is found from {one.caught:.1%} on"
        )
    for note in one.notes:
        line(made, f"note: {note}")
    made.print()


def _by(change: Change) -> str:
    """``5.0% worse (95 %: 4.1% to 5.9%)``."""
    way, sign = ("worse", 1) if change.change > 0 else ("better", -1)
    low, high = sorted((sign * change.low, sign * change.high))
    return f"{sign * change.change:.1%} {way} (95 %: {low:.1%} to {high:.1%})"


def _table(made: Console, found: History, began: dict[str, str]) -> None:
    columns = ("metric", "on", "runs", "now", "verdict", "last change", "by")
    rows = []
    for one in found.metrics:
        last = one.changes[-1] if one.changes else None
        rows.append(
            (
                one.metric,
                f"{one.where}{spoken(', ')}{spoken(one.provenance)}",
                str(len(one.runs)),
                format_value(one.level, one.unit),
                spoken(one.verdict),
                "" if last is None else f"{began[last.first][:10]} {last.first}",
                "" if last is None else _by(last),
            )
        )
    print_table(made, columns, rows, right=(2, 3, 6))
