"""Training: where the time of a step goes, and how it scales over growing groups."""

from __future__ import annotations

from typing import Any

from ...analysis.joining import number_of
from ...analysis.scaling import Scaling
from ...analysis.summary import CaseSummary
from ...units import format_value
from ..scaling import without
from .page import Cell, Chart, Column, Figure, Row, Section, Table, Text
from .plots import hover
from .source import Source

PHASES = ("data", "forward", "backward", "optimizer", "bubble", "wait")
"""Metrics of `train` that are parts of a step, in the order in which they come."""
LOST = (
    ("slower", "slower compute"),
    ("spread", "spread over ranks"),
    ("communication", "exposed communication"),
    ("bubble", "bubble"),
)
SHOWN = (
    "tokens_per_second",
    "mfu",
    "mfu_palm",
    "hfu",
    "peak_memory",
    "energy_per_token",
    "loss_12",
)


def training(source: Source) -> Section | None:
    """The section; None of a run without training."""
    steps = _steps(source)
    if not steps:
        return None
    blocks: list[Any] = []
    if phased := {name: found for name, found in steps.items() if _parts(found)}:
        blocks.append(_phases(source, phased))
    blocks.append(_table(steps))
    scaled = source.run.scalings
    if scaled:
        says = (
            "Throughput of a device over that of the smallest group; the band is where 95 of 100 "
            "further measurements would lie by the line."
        )
        blocks.append(
            Chart(
                [_curve(source, one) for one in scaled],
                says,
                height=400,
                title="scaling efficiency",
            )
        )
        lost = [_losses(source, one) for one in scaled if any(size.slower is not None
                                                      for size in one.sizes)]  # fmt: skip
        if lost:
            says = "Shares of a step that are lost against the smallest group, by cause."
            blocks.append(Chart(lost, says, height=360, title="where it is lost"))
        for one in scaled:
            said = [without(devices, why) for devices, why in one.lacking.items()]
            if one.problem:
                said.append(one.problem)
            blocks += [Text([f"{one.name}: {text}"]) for text in said]
        blocks.append(_further(source, scaled))
    lead = "A step by its phases, and what growing the group costs."
    return Section("training", "Training", blocks, lead=lead)


def _steps(source: Source) -> dict[str, dict[str, CaseSummary]]:
    """Of each case of training its metrics with a value."""
    found: dict[str, dict[str, CaseSummary]] = {}
    for one in source.run.summaries:
        # A re-test is of few nodes, most of which are slow: it is no training of the fleet.
        again = number_of(one.case.stage)
        if one.case.benchmark == "train" and one.median is not None and not again:
            found.setdefault(one.name, {})[one.case.metric] = one
    return {name: metrics for name, metrics in found.items() if "step_p50" in metrics}


def _parts(found: dict[str, CaseSummary]) -> list[tuple[str, float]]:
    parts = ((phase, found[phase].median) for phase in PHASES if phase in found)
    return [(phase, value) for phase, value in parts if value is not None]


def _phases(source: Source, steps: dict[str, dict[str, CaseSummary]]) -> Chart:
    names = list(steps)
    data = []
    for number, phase in enumerate(PHASES):
        values = [dict(_parts(steps[name])).get(phase) for name in names]
        if any(values):
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": source.say(phase),
                    "y": names,
                    "x": values,
                    "text": [format_value(value, "s") for value in values],
                    "textposition": "none",
                    "marker": {"color": f"$s{number}"},
                    "hovertemplate": hover(f"%{{y}}<br>{source.say(phase)}: %{{text}}"),
                }
            )
    whole = [steps[name]["step_p50"].median for name in names]
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": source.say("step p50"),
            "y": names,
            "x": whole,
            "text": [format_value(value, "s") for value in whole],
            "marker": {"symbol": "line-ns-open", "size": 16, "color": "$ink", "line": {"width": 2}},
            "hovertemplate": hover("%{y}<br>step p50: %{text}"),
        }
    )
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "s"}, "exponentformat": "SI", "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed", "tickfont": {"size": 10}},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "margin": {"t": 40},
    }
    says = "The phases of a step, each the mean over the ranks; the mark is the median step."
    return Chart([Figure(data, layout)], says, height=140 + 26 * len(names), title="time of a step")


def _table(steps: dict[str, dict[str, CaseSummary]]) -> Table:
    shown = [metric for metric in SHOWN if any(metric in found for found in steps.values())]
    columns = [Column("training"), Column("step p50", number=True), Column("step p99", number=True)]
    columns += [Column(metric.replace("_", " "), number=True) for metric in shown]
    rows = []
    for name, found in steps.items():
        line = [Cell(name)]
        for metric in ("step_p50", "step_p99", *shown):
            one = found.get(metric)
            value = one.median if one is not None else None
            line.append(Cell(format_value(value, one.case.unit if one else ""), value))
        rows.append(Row(line))
    return Table(columns, rows)


def _curve(source: Source, one: Scaling) -> Figure:
    measured = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": source.say(one.provenance),
        "x": [size.devices for size in one.sizes],
        "y": [100 * size.efficiency for size in one.sizes],
        "marker": {"color": "$s0", "size": 8},
        "line": {"color": "$s0"},
        "hovertemplate": hover("%{x} devices: %{y:.1f} %"),
    }
    data: list[dict[str, Any]] = [measured]
    if one.further:
        # The line goes on from what was measured last.
        last = one.sizes[-1]
        x = [last.devices, *(far.devices for far in one.further)]
        known = 100 * last.efficiency
        low = [known, *(100 * far.low for far in one.further)]
        high = [known, *(100 * (1.0 if far.high is None else far.high) for far in one.further)]
        middle = [known, *(100 * far.efficiency for far in one.further)]
        band = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "showlegend": False,
                "hoverinfo": "skip"}  # fmt: skip
        data += [
            {**band, "x": x, "y": high},
            {**band, "x": x, "y": low, "fill": "tonexty", "fillcolor": "rgba(120,140,170,0.22)"},
            {
                "type": "scatter",
                "mode": "lines",
                "name": source.say("by the line"),
                "x": x,
                "y": middle,
                "line": {"color": "$s0", "dash": "dash"},
                "hovertemplate": hover("by the line, %{x} devices: %{y:.1f} %"),
            },
        ]
    layout = {
        "xaxis": {"type": "log", "dtick": 0.30102999566, "title": {"text": "devices"}},
        "yaxis": {"title": {"text": "%"}, "rangemode": "tozero"},
    }
    caption = f"{one.name}: {one.kind} scaling against {one.base} device(s)"
    if one.residual is not None:
        caption += f"; {one.formula}, residual {one.residual:.1%}"
    return Figure(data, layout, name=f"{one.name} ({one.kind})", caption=f"{caption}.")


def _losses(source: Source, one: Scaling) -> Figure:
    sizes = [size for size in one.sizes if size.slower is not None]
    data = []
    for number, (field, name) in enumerate(LOST):
        values = [getattr(size, field) for size in sizes]
        if any(value is not None for value in values):
            data.append(
                {
                    "type": "bar",
                    "name": source.say(name),
                    "x": [str(size.devices) for size in sizes],
                    "y": [None if value is None else 100 * value for value in values],
                    "marker": {"color": f"$s{number}"},
                    "hovertemplate": hover(f"%{{x}} devices: {name} %{{y:.1f}} %"),
                }
            )
    layout = {
        "barmode": "relative",
        "xaxis": {"type": "category", "title": {"text": "devices"}},
        "yaxis": {"title": {"text": "% of a step"}},
    }
    return Figure(data, layout, name=f"{one.name} ({one.kind})")


def _further(source: Source, scaled: list[Scaling]) -> Table:
    say = source.say
    columns = [Column("training"), Column("devices", number=True)]
    columns += [Column("efficiency", number=True), Column("95 % interval", number=True)]
    columns += [Column("from")]
    rows = []
    for one in scaled:
        for size in one.sizes:
            found = [Cell(one.name), Cell(str(size.devices), size.devices)]
            found += [Cell(f"{size.efficiency:.1%}", size.efficiency), Cell("–")]
            rows.append(Row([*found, Cell(say(one.provenance))], group=say(one.kind)))
        for far in one.further:
            high = "?" if far.high is None else f"{far.high:.1%}"
            found = [Cell(one.name), Cell(str(far.devices), far.devices)]
            found += [Cell(f"{far.efficiency:.1%}", far.efficiency)]
            found += [Cell(f"{far.low:.1%} – {high}"), Cell("by the line", None, "dim")]
            rows.append(Row(found, group=say(one.kind)))
    return Table(columns, rows)
