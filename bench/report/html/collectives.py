"""Collectives over their sizes: what was measured, and the line of latency and bandwidth."""

from __future__ import annotations

import math
from typing import Any

from ...analysis.alphabeta import Line, Link, links
from ...analysis.joining import number_of
from ...units import format_size, format_value
from .page import Cell, Chart, Column, Figure, Row, Section, Table, Text
from .plots import hover, log_axis
from .source import Source

STEPS = 60
"""Points of a drawn line."""


def collectives(source: Source) -> Section | None:
    """The section; None of a run without collectives."""
    # A re-test is of few groups, most of which are slow.
    found = [one for one in links(source.header, source.columns) if not number_of(one.stage)]
    if not found:
        return None
    blocks: list[Any] = []
    drawn = [one for one in found if len(one.sizes) > 1]
    if drawn:
        wheres = dict.fromkeys(_where(one) for one in drawn)
        figures = [
            _figure([one for one in drawn if _where(one) == where], where) for where in wheres
        ]
        says = (
            "Bus bandwidth over the size of the message: points are medians over groups, lines "
            "the fit t = α + S/β of each."
        )
        blocks.append(Chart(figures, says, height=460))
    blocks.append(_table(found))
    told = list(dict.fromkeys(one.problem for one in found if one.problem))
    if told:
        blocks.append(Text(told[:8], tone="dim"))
    lead = "How long an empty message takes (α), and what large ones reach (β)."
    return Section("collectives", "Collectives", blocks, lead=lead)


def _where(one: Link) -> str:
    """What is drawn together: the same groups, in the same form."""
    return f"{one.name.removeprefix(one.op).strip()}, {one.ranks} ranks"


def _figure(found: list[Link], where: str) -> Figure:
    data: list[dict[str, Any]] = []
    sizes: list[float] = []
    for number, one in enumerate(found):
        pairs = [(s, t) for s, t in zip(one.sizes, one.seconds, strict=True) if s and t > 0]
        if not pairs:
            continue
        colour = f"$s{number % 8}"
        sizes += [size for size, _ in pairs]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": one.op,
                "x": [size for size, _ in pairs],
                "y": [one.factor * size / seconds for size, seconds in pairs],
                "text": [
                    f"{one.op}, {format_size(size)}: {format_value(seconds, 's')}"
                    for size, seconds in pairs
                ],
                "marker": {"color": colour, "size": 7},
                "hovertemplate": hover("%{text}<br>%{y:.4~s}B/s"),
            }
        )
        if one.line is not None and len(pairs) > 1:
            data.append(_line(one, one.line, pairs[0][0], pairs[-1][0], colour))
    layout = {
        "xaxis": log_axis("bytes", sizes),
        "yaxis": {"type": "log", "title": {"text": "bus bandwidth, B/s"}, "exponentformat": "SI"},
    }
    return Figure(data, layout, name=where)


def _line(one: Link, line: Line, low: float, high: float, colour: str) -> dict[str, Any]:
    x = [low * (high / low) ** (step / STEPS) for step in range(STEPS + 1)]
    slope = one.factor / line.beta if line.beta else 0.0
    times = [line.alpha + size * slope for size in x]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": [one.factor * s / t if t > 0 else math.nan for s, t in zip(x, times, strict=True)],
        "line": {"color": colour, "width": 1.2},
        "showlegend": False,
        "hoverinfo": "skip",
    }


def _table(found: list[Link]) -> Table:
    columns = [
        Column("collective"),
        Column("ranks", number=True),
        Column("groups", number=True),
        Column("α", number=True, about="the time of an empty message"),
        Column("95 % interval", number=True),
        Column("β", number=True, about="bus bandwidth that the largest messages approach"),
        Column("95 % interval", number=True),
        Column("n½", number=True, about="the size at which half of β is reached"),
        Column("residual", number=True, about="relative deviation of times about the line"),
    ]
    rows = []
    for one in found:
        line = one.line
        head = [Cell(one.name), Cell(str(one.ranks), one.ranks), Cell(str(one.groups), one.groups)]
        if line is None:
            rows.append(Row([*head, *(Cell("–") for _ in range(6))], [one.problem], group=one.op))
            continue
        tail = [
            Cell(format_value(line.alpha, "s"), line.alpha),
            Cell(_interval(line.alpha_low, line.alpha_high, "s")),
            Cell(format_value(line.beta, "B/s"), line.beta),
            Cell(_interval(line.beta_low, line.beta_high, "B/s")),
            Cell(format_value(line.half, "B"), line.half),
            Cell(f"{line.residual:.1%}", line.residual),
        ]
        worst = f"{line.worst:+.1%} ({format_size(line.worst_size)})"
        rows.append(Row([*head, *tail], [worst], group=one.op))
    return Table(columns, rows)


def _interval(low: float | None, high: float | None, unit: str) -> str:
    """A bound that the sizes do not give is a question mark."""
    said = (format_value(bound, unit) if bound is not None else "?" for bound in (low, high))
    return " – ".join(said)
