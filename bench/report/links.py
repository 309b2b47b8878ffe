"""Latency and bandwidth of collectives in the terminal: one line each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from ..analysis.alphabeta import Line, Link
from ..units import format_value
from .language import spoken
from .terminal import line, print_table

_COLUMNS = ("collective", "ranks", "sizes", "α", "95 %", "β (busbw)", "95 %", "n½", "residual")


def print_links(made: Console, found: Sequence[Link]) -> None:
    """A table of what has a line; then what has none, with the reason."""
    rows = [
        (
            f"{one.name}, {one.groups} group(s)" if one.groups > 1 else one.name,
            str(one.ranks),
            str(len(one.sizes)),
            *_cells(one.line),
        )
        for one in found
        if one.line is not None
    ]
    if rows:
        print_table(made, _COLUMNS, rows, right=(1, 2, 3, 5, 7, 8))
    for one in found:
        if one.line is None:
            line(made, f"{one.name}, {one.ranks} ranks: {one.problem}", "dim")


def _cells(line: Line) -> tuple[str, ...]:
    return (
        format_value(line.alpha, "s"),
        _interval(line.alpha_low, line.alpha_high, "s"),
        format_value(line.beta, "B/s"),
        _interval(line.beta_low, line.beta_high, "B/s"),
        format_value(line.half, "B"),
        f"{line.residual:.1%}",
    )


def _interval(low: float | None, high: float | None, unit: str) -> str:
    """``11 µs to 14 µs``; a bound that the sizes do not give is a question mark."""
    said = (format_value(bound, unit) if bound is not None else "?" for bound in (low, high))
    return f" {spoken('to')} ".join(said)
