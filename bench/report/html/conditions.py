"""What went on meanwhile: states of values, temperatures, power and clocks over the run's time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...analysis.joining import number_of
from ...errors import HengsuanError
from ...records import STATUSES
from ...telemetry import Series, Telemetry, read_telemetry
from .page import Chart, Figure, Section, Text
from .plots import hover, numbers
from .source import Source

BINS = 240
"""Points of a curve: each stands for all that was seen in its share of the time."""
STAGES = 12
"""Stages that are named at most."""
FEW = 4.0
"""Usual distances between two looks after which nothing is known: a line ends, and begins anew."""
FALLS = ("clock",)
"""Quantities of which the lowest of a node's devices is the one that ails."""
SUSPECTS = 4
"""Rejected nodes that have a curve of their own."""
MOST_BYTES = 1 << 25
"""Of telemetry that is drawn: of a day of many nodes each look would take gigabytes."""
STATUS_COLOURS = ("$s2", "$bad", "$s3", "$warn", "$s7", "$s6")

Floats = npt.NDArray[np.float64]


class Met(NamedTuple):
    """A quantity of rows' conditions: its field, what it is called, its unit."""

    field: str
    title: str
    unit: str


CONDITIONS = (
    Met("temperature", "temperature when a value was taken", "°C"),
    Met("power", "power when a value was taken", "W"),
    Met("frequency", "clock when a value was taken", "MHz"),
)


def conditions(source: Source) -> Section | None:
    """The section; None of a run without a row and without telemetry."""
    told: list[Text] = []
    telemetry = None
    try:
        telemetry = read_telemetry(source.folder, MOST_BYTES)
    except HengsuanError as error:
        told.append(Text([f"{error.where}: {error.message}"], tone="warn"))
    # What goes on behind the last row, as in a job that never ended, has its own place in time.
    looked = telemetry.nodes.time if telemetry is not None else np.empty(0)
    known = np.concatenate([source.columns.time, looked])
    known = known[np.isfinite(known)]
    if not known.size:
        return None
    end = max(float(known.max()), 1e-3)
    blocks: list[Any] = [*([_states(source, end)] if len(source.columns) else []), *told]
    figures = list(_met(source, end))
    if telemetry is not None:
        figures += _telemetry(source, telemetry, end)
        if telemetry.every > 1:
            said = source.say("so many looks at a node are one that is shown")
            blocks.append(Text([f"{said}: {telemetry.every}"], tone="dim"))
    if figures:
        says = (
            "Over all devices or nodes: the line is the median, the band reaches from the lowest "
            "to the highest; rejected nodes have lines of their own. Where nobody looked there is "
            "no line."
        )
        blocks.append(Chart(figures, says, height=380, title="conditions over time"))
    else:
        blocks.append(Text(["No temperature, power or clock is known of this run."], tone="dim"))
    said, unknown = _throttled(source)
    if said:
        blocks.append(Text([said], tone="warn"))
    if unknown:
        blocks.append(Text([unknown], tone="dim"))
    return Section("conditions", "Conditions over time", blocks)


def _states(source: Source, end: float) -> Chart:
    edges = np.linspace(0, end, min(BINS, 60) + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    data = []
    for index, status in enumerate(STATUSES):
        times = source.columns.time[source.columns.status == index]
        if times.size:
            counts, _ = np.histogram(times, edges)
            data.append(
                {
                    "type": "bar",
                    "name": source.say(status),
                    "x": middle.tolist(),
                    "y": counts.tolist(),
                    "marker": {"color": STATUS_COLOURS[index % len(STATUS_COLOURS)]},
                    "hovertemplate": hover(f"{source.say(status)}: %{{y}}"),
                }
            )
    layout = {
        "barmode": "stack",
        "bargap": 0,
        "xaxis": {"title": {"text": "s"}, "range": [0, end]},
        "yaxis": {"title": {"text": source.say("values")}},
        **_stages(source),
        "margin": {"t": 36},
    }
    says = "Values by state over the run's time; stages stand above."
    return Chart([Figure(data, layout)], says, height=240)


def _stages(source: Source) -> dict[str, Any]:
    """Where the values of each stage begin, as lines and names above."""
    begun: dict[str, float] = {}
    for case in source.header.cases:
        # By their values: a simulated run's stages took another time than it simulates.
        times = source.columns.time[source.rows[case.id]]
        if times.size and not number_of(case.stage):
            first = float(times.min())
            begun[case.stage] = min(first, begun.get(case.stage, first))
    shapes: list[dict[str, Any]] = []
    names: list[dict[str, Any]] = []
    for name, when in list(begun.items())[:STAGES]:
        line = {"color": "$line", "width": 1, "dash": "dot"}
        shapes.append({"type": "line", "x0": when, "x1": when, "yref": "paper", "y0": 0, "y1": 1,
                       "line": line})  # fmt: skip
        names.append(
            {
                "x": when,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "xanchor": "left",
                "text": name,
                "showarrow": False,
                "font": {"size": 10, "color": "$dim"},
            }
        )
    return {"shapes": shapes, "annotations": names}


def _met(source: Source, end: float) -> Iterator[Figure]:
    known, index = source.header.conditions, source.columns.conditions
    there = (index >= 0) & (index < len(known))
    for one in CONDITIONS:
        after = [getattr(each, one.field)[1] for each in known]
        table = np.array([np.nan if value is None else value for value in (*after, None)], float)
        values = table[np.where(there, index, len(known))]
        if np.isfinite(values).any():
            bands = _bands(source.columns.time, values, end)
            yield _figure(source, one.title, one.unit, bands, [])


def _telemetry(source: Source, found: Telemetry, end: float) -> Iterator[Figure]:
    rejected = [] if source.verdict is None else [
        node.node for node in source.verdict.nodes if node.verdict == "reject"
    ]  # fmt: skip
    suspects = [
        (name, number)
        for name in rejected[:SUSPECTS]
        for number in source.run.inventory.named(name)[:1]
    ]
    usual = _usual(found.nodes, found.period * found.every)
    for of, series in (("device", found.devices), ("node", found.nodes)):
        for quantity, values in series.values.items():
            if not np.isfinite(values).any():
                continue
            what, whose = source.say(quantity.replace("_", " ")), source.say(of)
            title = f"{source.say('telemetry')}: {what} ({whose})"
            lines = [_of(name, series, quantity, number, end, usual) for name, number in suspects]
            bands = _bands(series.time, values, end, usual)
            yield _figure(source, title, found.units.get(quantity, ""), bands, lines)


class Bands(NamedTuple):
    """float64[bins that hold anything]: the middle of each bin's time, and what was seen in it.

    ``parts`` are slices of them, between which nothing was seen for long; ``half`` is half a bin.
    """

    time: Floats
    low: Floats
    median: Floats
    high: Floats
    parts: list[slice]
    half: float

    def line(self, values: Floats) -> dict[str, Any]:
        """``x`` and ``y`` of values over time, with a gap between parts."""
        pieces = [self._wide(part, values) for part in self.parts]
        return _gapped(pieces)

    def band(self) -> dict[str, Any]:
        """``x`` and ``y`` around all from low to high, a closed shape for each part."""
        around = []
        for part in self.parts:
            (x, low), (_, high) = self._wide(part, self.low), self._wide(part, self.high)
            around.append((np.append(x, x[::-1]), np.append(low, high[::-1])))
        return _gapped(around)

    def _wide(self, part: slice, values: Floats) -> tuple[Floats, Floats]:
        """A part's points; one that stands alone is as wide as its bin, to be seen."""
        x, y = self.time[part], values[part]
        if x.size > 1:
            return x, y
        return np.array([x[0] - self.half, x[0] + self.half]), np.repeat(y, 2)


def _gapped(pieces: Sequence[tuple[Floats, Floats]]) -> dict[str, Any]:
    x: list[Floats] = [np.empty(0)]
    y: list[Floats] = [np.empty(0)]
    for times, values in pieces:
        if x[1:]:
            x.append(times[:1])
            y.append(np.array([np.nan]))
        x.append(times)
        y.append(values)
    return {"x": numbers(np.concatenate(x)), "y": numbers(np.concatenate(y))}


def _bands(time: Floats, values: Floats, end: float, usual: float | None = None) -> Bands:
    """What was seen in each bin; of values without a ``usual`` distance in time (s), that of bins
    that hold any."""
    good = np.isfinite(values) & np.isfinite(time)
    time, values = time[good], values[good]
    place = np.clip((time / end * BINS).astype(np.int64), 0, BINS - 1)
    order = np.lexsort((values, place))
    values = values[order]
    bins, first, count = np.unique(place[order], return_index=True, return_counts=True)
    last = first + count - 1
    when, width = np.sort(time), end / BINS
    between = when[first[1:]] - when[last[:-1]]
    if usual is None:
        usual = float(np.median(np.diff(bins))) * width if bins.size > 1 else 0.0
    ends = np.flatnonzero((np.diff(bins) > 1) & (between > FEW * usual)) + 1
    edges = [0, *ends.tolist(), bins.size]
    parts = [slice(*pair) for pair in pairwise(edges)] if bins.size else []
    low, middle, high = values[first], values[(first + last) // 2], values[last]
    middles = np.asarray((bins + 0.5) * width, dtype=np.float64)
    return Bands(middles, low, middle, high, parts, width / 2)


def _usual(series: Series, least: float) -> float:
    """Seconds between two looks at a node, ``least`` at least: slow ones are done less often."""
    order = np.lexsort((series.time, series.node))
    time, node = series.time[order], series.node[order]
    apart = np.diff(time)[np.diff(node) == 0]
    apart = apart[apart > 0]
    return max(least, float(np.median(apart)) if apart.size else 0.0)


def _of(
    name: str, series: Series, quantity: str, node: int, end: float, usual: float
) -> dict[str, Any]:
    mine = series.node == node
    bands = _bands(series.time[mine], series.values[quantity][mine], end, usual)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        **bands.line(bands.low if quantity in FALLS else bands.high),
        "line": {"width": 1.2},
        "hovertemplate": hover(f"{name}: %{{y:.4~g}}"),
    }


def _figure(
    source: Source, title: str, unit: str, bands: Bands, lines: Sequence[dict[str, Any]]
) -> Figure:
    line = {"type": "scatter", "mode": "lines"}
    data: list[Mapping[str, Any]] = [
        {
            **line,
            **bands.band(),
            "fill": "toself",
            "fillcolor": "rgba(120,140,170,0.25)",
            "line": {"width": 0},
            "showlegend": False,
            "hoverinfo": "skip",
        },
        {
            **line,
            **bands.line(bands.median),
            "name": source.say("median"),
            "line": {"color": "$s0", "width": 1.8},
            "hovertemplate": hover(f"%{{x:.4~g}} s: %{{y:.4~g}} {unit}"),
        },
        *lines,
    ]
    layout = {
        "xaxis": {"title": {"text": "s"}},
        "yaxis": {"title": {"text": unit}},
        **_stages(source),
        "margin": {"t": 36},
    }
    return Figure(data, layout, name=source.say(title))


def _throttled(source: Source) -> tuple[str, str]:
    """How many values were taken throttled or at the power limit, and of how many nobody knows."""
    known, index = source.header.conditions, source.columns.conditions
    there = (index >= 0) & (index < len(known))
    used = np.bincount(index[there], minlength=len(known)) if known else np.zeros(0, int)
    counts: dict[str, int] = {}
    for one, count in zip(known, used.tolist(), strict=False):
        for reason in filter(None, (one.throttled, "at the power limit" if one.capped else "")):
            counts[reason] = counts.get(reason, 0) + count
    said = ", ".join(f"{reason} ({count:,})" for reason, count in counts.items() if count)
    silent = sum(n for one, n in zip(known, used.tolist(), strict=True) if one.throttled is None)
    return (
        f"{source.say('values taken while throttled or capped')}: {said}" if said else "",
        f"{source.say('values of which no device says whether it throttled')}: {silent:,}"
        if silent
        else "",
    )
