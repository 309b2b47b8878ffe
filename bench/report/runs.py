"""Lists of runs and what is different in one of two: for the terminal.

A list of a thousand runs must come at once, so it is written here, line by line: tables that fold
are for screens that are too narrow for it.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..index import RunInfo
from ..records import labelled
from .amount import most, quiet, verbose
from .language import spoken
from .plain import plain

if TYPE_CHECKING:
    from rich.console import Console

    from ..analysis.run_difference import MetricChange, RunDifference, Value

_COLUMNS = ("run", "suite", "started", "state", "executor", "provenance", "nodes", "problem")
_LESS: tuple[tuple[str, ...], ...] = (
    (),
    ("executor",),
    ("executor", "started"),
    ("executor", "started", "suite"),
    ("executor", "started", "suite", "nodes"),
)
"""Columns that are left out where there is no room: ids tell when a run began, and its suite."""
SHOWN = 20
"""Metrics that a difference shows at most."""


def print_runs(runs: Sequence[RunInfo], echo: Callable[[str], None]) -> None:
    """One line a run, the columns in line; with ``--quiet`` ids alone.

    A terminal that is too narrow for all columns has those that say most; one that is too narrow
    for these folds them as other tables.
    """
    if quiet():
        for run in runs:
            echo(plain(run.id))
        return
    rows = [tuple(map(spoken, _COLUMNS)), *(_cells(run) for run in runs)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for less in _LESS:
        # Of a run with a problem nothing else is known: it need not stand in a column.
        left = {*less, "problem"} if room is not None else {*less}
        used = [
            place
            for place, name in enumerate(_COLUMNS)
            if name not in left and any(row[place] for row in rows[1:])
        ]
        shown = [[row[place] for place in used] for row in rows]
        widths = [max(map(_width, column)) for column in zip(*shown, strict=True)]
        if room is None or sum(widths) + 2 * (len(widths) - 1) <= room:
            break
    else:
        from .terminal import console, print_table

        print_table(console(), rows[0], rows[1:])
        return
    shown.insert(1, ["-" * width for width in widths])
    problems = ["", "", *(run.problem for run in runs)] if room is not None else [""] * len(shown)
    for row, problem in zip(shown, problems, strict=True):
        cells = [
            text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)
        ]
        line = f"{cells[0]}  {plain(problem)}" if problem else "  ".join(cells)
        echo(line.rstrip())


def _cells(run: RunInfo) -> tuple[str, ...]:
    cells = (
        run.id,
        run.suite,
        run.started,
        spoken(run.state),
        spoken(run.executor),
        spoken(labelled(run.provenance, run.stands_for)),
        run.nodes if len(run.nodes) <= 40 else f"{run.nodes[:39]}…",
        spoken(run.problem),
    )
    return tuple(text if text.isprintable() else plain(text) for text in cells)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def print_difference(made: Console, found: RunDifference) -> None:
    """What changed around the measurements, then the metrics that lie apart, the rest counted."""
    from ..analysis.run_difference import STATES
    from .terminal import line, print_table, verdict

    for title, lines in (("changed", found.environment), ("hardware", found.hardware)):
        for text in lines:
            line(made, f"{title}: {text}")
    if not (found.environment or found.hardware):
        line(made, "changed: nothing that their headers tell")
    if found.unlike:
        verdict(made, f"{found.unlike}: their values are not compared", "yellow")
        return
    told = [one for one in found.metrics if verbose() or one.state not in ("alike", "unsure")]
    shown = told[: most(SHOWN)]
    if shown:
        columns = ("metric", "", "by", "before", "95 %", "after", "95 %")
        print_table(made, columns, [_metric(one) for one in shown], right=(2, 3, 5))
    if len(told) > len(shown):
        line(made, f"and {len(told) - len(shown)} more (--verbose)")
    counts = [f"{found.count(state)} {state}" for state in STATES if found.count(state)]
    verdict(made, f"{found.before} → {found.after}: {', '.join(counts) or 'no metric'}")
    if found.count("worse") + found.count("better"):
        line(
            made, "the intervals are of single runs; whether it is slower beyond doubt, a gate says"
        )


def _metric(one: MetricChange) -> tuple[str, ...]:
    change = "" if one.change is None else f"{one.change * 100:+.1f} %"
    before, after = _value(one.before, one.unit), _value(one.after, one.unit)
    # "alike" alone is another word on pages: a count of nodes.
    state = "as before" if one.state == "alike" else one.state
    return (one.metric, spoken(state), change, *before, *after)


def _value(one: Value | None, unit: str) -> tuple[str, str]:
    from ..units import format_value

    if one is None:
        return "–", ""
    if one.low is None or one.high is None:
        return format_value(one.median, unit), ""
    ends = f"{format_value(one.low, unit)} {spoken('to')} {format_value(one.high, unit)}"
    return format_value(one.median, unit), ends
