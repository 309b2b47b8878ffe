"""Latency and bandwidth of collectives in the terminal: one line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from ..analysis.alphabeta import Line, Link
from ..units import format_size, format_value
from .terminal import print_table

_COLUMNS = ("collective", "ranks", "α", "β (busbw)", "n½", "residual", "worst at", "sizes")


def print_links(made: Console, found: Sequence[Link]) -> None:
    """A table of what has a line, with 95 % intervals; then what has none, with the reason."""
    rows = [
        (
            f"{one.name}, {one.groups} group(s)" if one.groups > 1 else one.name,
            str(one.ranks),
            *_cells(one.line),
            f"{len(one.sizes)}: {format_size(one.sizes[0])} to {format_size(one.sizes[-1])}",
        )
        for one in found
        if one.line is not None
    ]
    if rows:
        print_table(made, _COLUMNS, rows, right=(1,))
    for one in found:
        if one.line is None:
            text = f"{one.name}, {one.ranks} ranks: {one.problem}"
            made.print(Text(text, style="dim"), soft_wrap=True)


def _cells(line: Line) -> tuple[str, str, str, str, str]:
    return (
        _interval(line.alpha, line.alpha_low, line.alpha_high, lambda v: format_value(v, "s")),
        _interval(line.beta, line.beta_low, line.beta_high, lambda v: format_value(v, "B/s")),
        _interval(line.half, line.half_low, line.half_high, lambda v: format_value(v, "B")),
        f"{line.residual:.1%}",
        f"{format_size(line.worst_size)} {line.worst:+.0%}",
    )


def _interval(
    value: float | None, low: float | None, high: float | None, said: Callable[[float], str]
) -> str:
    """``12 µs (11 µs to 14 µs)``; a bound that the sizes do not give is a question mark."""
    if value is None:
        return "–"
    bounds = (said(bound) if bound is not None else "?" for bound in (low, high))
    return f"{said(value)} ({' to '.join(bounds)})"
