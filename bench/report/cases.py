"""The cases of a run in the terminal: a line each, and why values are missing or do not count."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..analysis.finding import reached
from ..analysis.summary import CaseSummary
from ..units import format_value
from .language import spoken
from .plain import plain
from .terminal import NARROW, line, print_table, said_counts

COLUMNS = ("case", "metric", "median", "worst", "expected", "of it", "rows", "why")
WIDE = 110
"""Columns below which names and reasons have lines of their own: they would fold every cell."""
_NUMBERS = (2, 3, 4, 5)
_SPARED = (COLUMNS.index("expected"), COLUMNS.index("worst"))


def print_cases(made: Console, cases: Sequence[CaseSummary]) -> None:
    """Median, worst and expectation of each case, how many rows it has by status, reasons, sums."""
    rows = [_row(one) for one in cases]
    if NARROW <= made.width < WIDE:
        _grouped(made, rows)
        for text in _reasons(cases):
            line(made, text)
    else:
        print_table(made, COLUMNS, rows, right=_NUMBERS)
    for one in cases:
        for who, total in one.totals.items():
            said = f"{one.case.metric} {format_value(total, one.case.unit)} in all"
            line(made, f"{one.name}, {who}: {said}")


def _row(one: CaseSummary) -> tuple[str, ...]:
    unit, near = one.case.unit, reached(one.median, one.case)
    return (
        one.name,
        one.case.metric,
        format_value(one.median, unit),
        format_value(one.worst, unit),
        format_value(one.case.expected, unit),
        "" if near is None else f"{near:.1%}",
        said_counts(one.statuses) if one.statuses else "",
        "; ".join(spoken(f"{status}: {reason}") for status, reason in one.reasons.items()),
    )


def _grouped(made: Console, rows: Sequence[tuple[str, ...]]) -> None:
    """The name of a case on a line, its metrics below it; reasons are left out.

    Where that is too wide still, the expectation goes first: how near a value comes to it stays.
    """
    every = [tuple(map(plain, row)) for row in (tuple(map(spoken, COLUMNS)), *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*every, strict=True)]
    kept = list(range(1, len(COLUMNS) - 1))
    for place in _SPARED:
        if sum(widths[one] + 2 for one in kept) > made.width:
            kept.remove(place)
    before = ""
    for name, row in zip(("", *(row[0] for row in rows)), every, strict=True):
        if name != before:
            before = name
            made.print(Text(plain(name), style="bold"), soft_wrap=True)
        padded = (_padded(row[place], widths[place], place in _NUMBERS) for place in kept)
        made.print(Text(f"  {'  '.join(padded)}".rstrip()), soft_wrap=True)


def _padded(text: str, width: int, right: bool) -> str:
    room = " " * (width - cell_len(text))
    return f"{room}{text}" if right else f"{text}{room}"


def _reasons(cases: Sequence[CaseSummary]) -> list[str]:
    """A line a reason, with the first of the cases that have it."""
    names: dict[tuple[str, str], list[str]] = {}
    for one in cases:
        for key in one.reasons.items():
            names.setdefault(key, []).append(f"{one.name} {one.case.metric}")
    return [
        f"{status}: {those[0]}{f' and {len(those) - 1} more' if len(those) > 1 else ''}: {reason}"
        for (status, reason), those in names.items()
    ]
