"""The roofline of every chip, with every operation that has a place under it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ...analysis.joining import number_of
from ...analysis.roofline import ChipRoofline, Point, Roofs, Standing
from ...units import format_value
from .page import Cell, Chart, Column, Figure, Row, Section, Table, Text
from .plots import hover, log_axis
from .source import Source


def roofline(source: Source) -> Section | None:
    """The section; None of a run that measured nothing under a roof."""
    # A re-test is of few devices, most of which are slow: what it reached is among measurements.
    found = [
        msgspec.structs.replace(one, points=[p for p in one.points if not _again(source, p)])
        for one in source.run.rooflines
    ]
    if not found:
        return None
    drawn = [one for one in found if _drawable(one)]
    blocks: list[Any] = []
    if drawn:
        says = (
            "Each operation by its FLOPs a byte and what it achieved, on logarithmic axes, under "
            "the roofs of the datasheet (lines) and those measured in this run (dashed)."
        )
        blocks.append(Chart([_figure(one) for one in drawn], says, height=480))
    for one in found:
        title = f"{one.chip}, {one.devices} × {source.say(one.provenance)}"
        blocks.append(_table(source, one, title))
        if one.maturity is not None:
            ops = ", ".join(f"{op} {ratio:.2f}" for op, ratio in one.maturity.ops.items())
            lead = source.say("speed of the Triton kernels over that of the best library")
            blocks.append(Text([f"{lead}: {one.maturity.ratio:.2f} ({ops})"]))
        told = [f"{f.kind}: {f.name}: {f.text}" for f in one.findings if f.kind == "above-roof"]
        if told:
            blocks.append(Text(told[:20], tone="warn"))
    return Section(
        "roofline",
        "Roofline",
        blocks,
        lead="What arithmetic and memory of a chip allow, and how near every operation comes.",
    )


def _again(source: Source, point: Point) -> bool:
    return bool(number_of(source.header.cases[point.case].stage))


def _drawable(one: ChipRoofline) -> bool:
    return any(point.intensity > 0 and point.flops > 0 for point in one.points)


def _figure(one: ChipRoofline) -> Figure:
    points = [point for point in one.points if point.intensity > 0 and point.flops > 0]
    both = (one.datasheet, one.measured)
    ridges = [ridge for roofs in both for ridge in roofs.ridges.values()]
    x = [point.intensity for point in points] + ridges
    left, right = min(x) / 2, max(x) * 4
    data: list[dict[str, Any]] = []
    for number, op in enumerate(dict.fromkeys(point.op for point in points)):
        mine = [point for point in points if point.op == op]
        data.append(_points(op, mine, number))
    for roofs, dash, name in ((one.datasheet, "solid", "datasheet"), (one.measured, "dash", "run")):
        data += _roofs(roofs, left, right, dash, name)
    heights = [point.flops for point in points]
    heights += [peak.value for roofs in both for peak in roofs.peaks.values()]
    layout = {
        "xaxis": log_axis("FLOP/B", [left, right]),
        "yaxis": log_axis("FLOP/s", heights),
        "legend": {"orientation": "h", "y": -0.16},
    }
    return Figure(data, layout, name=f"{one.chip} ({one.provenance})")


def _points(op: str, mine: Sequence[Point], number: int) -> dict[str, Any]:
    symbols = ("circle", "square", "diamond", "triangle-up", "x", "star")
    return {
        "type": "scatter",
        "mode": "markers",
        "name": op,
        "x": [point.intensity for point in mine],
        "y": [point.flops for point in mine],
        "text": [
            f"{point.name}<br>{format_value(point.flops, 'FLOP/s')}, "
            f"{format_value(point.bandwidth, 'B/s')}<br>datasheet {_percent(point.datasheet)}, "
            f"run {_percent(point.measured)}"
            for point in mine
        ],
        "marker": {"color": f"$s{number % 8}", "size": 9,
                   "symbol": symbols[number // 8 % len(symbols)]},
        "hovertemplate": hover("%{text}<br>%{x:.3~g} FLOP/B"),
    }  # fmt: skip


def _roofs(
    roofs: Roofs, left: float, right: float, dash: str, name: str
) -> Iterator[dict[str, Any]]:
    wide = roofs.bandwidth.value if roofs.bandwidth is not None else None
    line = {"dash": dash, "width": 1.5, "color": "$dim"}
    common = {"type": "scatter", "mode": "lines", "line": line, "showlegend": False}
    alike: dict[str, list[str]] = {}
    for dtype, peak in roofs.peaks.items():
        alike.setdefault(f"{peak.value:.2g}", []).append(dtype)
    for dtypes in alike.values():
        # One line and one name for peaks that nobody could tell apart.
        value = max(roofs.peaks[dtype].value for dtype in dtypes)
        said = ", ".join(
            f"{dtype} {format_value(roofs.peaks[dtype].value, 'FLOP/s')}" for dtype in dtypes
        )
        yield {
            **common,
            "x": [left if wide is None else max(left, value / wide), right],
            "y": [value, value],
            "hovertemplate": hover(f"{name}: {said}"),
            "mode": "lines+text",
            "text": ["", f"{', '.join(dtypes)} ({name})"],
            "textposition": "top left" if dash == "solid" else "bottom left",
            "textfont": {"size": 10, "color": "$dim"},
        }
    if wide is not None:
        most = max((peak.value for peak in roofs.peaks.values()), default=right * wide)
        yield {
            **common,
            "x": [left, most / wide],
            "y": [left * wide, most],
            "hovertemplate": hover(f"{name}: {format_value(wide, 'B/s')}"),
        }


def _table(source: Source, one: ChipRoofline, title: str) -> Table:
    columns = [
        Column("case"),
        Column("FLOP/B", number=True),
        Column("achieved", number=True),
        Column("of the datasheet", number=True, about="achieved over the lower roof"),
        Column("of the run's best", number=True, about="achieved over the lower roof"),
        Column("limit", about="which roof is the lower one; ?: the other one is unknown"),
    ]
    rows = []
    for point in one.points:
        nearer = point.datasheet if point.datasheet.certain else point.measured
        memory = nearer.limit == "memory" or (not nearer.limit and point.metric == "bandwidth")
        value, unit = (point.bandwidth, "B/s") if memory else (point.flops, "FLOP/s")
        unsure = "" if nearer.certain or not nearer.limit else "?"
        found = [
            Cell(point.name),
            Cell(f"{point.intensity:,.4g}", point.intensity),
            Cell(format_value(value, unit), value),
            Cell(_percent(point.datasheet), point.datasheet.fraction),
            Cell(_percent(point.measured), point.measured.fraction),
            Cell(source.say(nearer.limit) + unsure),
        ]
        rows.append(Row(found, group=point.op))
    return Table(columns, rows, caption=title)


def _percent(standing: Standing) -> str:
    return "–" if standing.fraction is None else f"{standing.fraction:.1%}"
