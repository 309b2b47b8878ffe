"""How every metric scatters over the fleet, and the samples behind who stands out."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from ...analysis.expectation import Expectation
from ...analysis.joining import number_of
from ...analysis.summary import group_medians
from ...headers import UNDECODABLE
from ...records import Case, Samples
from ...results import SAMPLES
from ...units import format_value
from .page import Chart, Figure, Section, Text
from .plots import hover
from .source import Source

LINES = 60
"""Metrics in one figure at most."""
SUSPECTS = 12
"""Groups whose samples are drawn."""
POINTS = 2_000
"""Samples of a group at most."""
MOST_BYTES = 1 << 28
"""Of a file of samples that is read for a few of its groups."""


def spread(source: Source) -> Section | None:
    """The section; None where nothing has a value."""
    # A re-test is of few groups, among which most are slow: they say nothing of the fleet.
    found = [
        one
        for one in source.expectations.values()
        if one.fleet is not None and one.measured and not number_of(one.stage)
    ]
    if not found:
        return None
    figures = []
    by: dict[str, list[Expectation]] = {}
    for one in found:
        by.setdefault(source.header.cases[one.case].benchmark, []).append(one)
    for benchmark, those in by.items():
        figures += [
            _boxes(source, benchmark, those[start : start + LINES])
            for start in range(0, len(those), LINES)
        ]
    says = (
        "Each group against the median of its metric: the box holds the middle half, the whiskers "
        "90 %, the cross is the worst. What is worse lies to the right."
    )
    height = 130 + 18 * min(LINES, max(map(len, by.values())))
    blocks: list[Any] = [Chart(figures, says, height=height)]
    suspects = _suspects(source, found)
    samples, problem = _samples(source, suspects)
    if samples:
        told = [_strip(source, case, group, samples) for case, group in suspects
                if (case.id, group) in samples]  # fmt: skip
        says = (
            "Time of a call in the order of its samples: of the group that stands out, and of one "
            "that is usual."
        )
        blocks.append(Chart(told, says, height=320, title="samples of who stands out"))
    elif suspects:
        why = problem or "No samples were kept of who stands out (--samples suspects keeps them)."
        blocks.append(Text([why], tone="dim"))
    return Section("spread", "Spread", blocks, lead="How far the groups of each metric lie apart.")


def _boxes(source: Source, benchmark: str, found: list[Expectation]) -> Figure:
    names, worst_x, worst_text, custom = [], [], [], []
    parts: dict[str, list[float]] = {key: [] for key in ("q1", "median", "q3", "low", "high")}
    for one in found:
        case = source.header.cases[one.case]
        fleet, middle = one.fleet, one.measured
        assert fleet is not None
        assert middle
        sign = -1.0 if case.better == "higher" else 1.0
        off = {q: 100 * sign * (value - middle) / abs(middle)
               for q, value in fleet.quantiles.items()}  # fmt: skip
        order = sorted(off.values())
        for key, value in zip(("low", "q1", "median", "q3", "high"), order, strict=True):
            parts[key].append(value)
        name = f"{one.name} {one.metric}"
        names.append(f"{name} ({one.stage})" if name in names else name)
        worst_x.append(100 * sign * (fleet.worst - middle) / abs(middle))
        group = source.summary(one.case).worst_group
        who = "" if group is None else source.who(case, group)
        worst_text.append(f"{who}: {format_value(fleet.worst, one.unit)}")
        home = "" if group is None else source.home(case, group)
        custom.append(f"node:{home}" if home else "")
    box = {
        "type": "box",
        "orientation": "h",
        "y": names,
        "q1": parts["q1"],
        "median": parts["median"],
        "q3": parts["q3"],
        "lowerfence": parts["low"],
        "upperfence": parts["high"],
        "line": {"color": "$s0", "width": 1.2},
        "fillcolor": "rgba(120,140,170,0.25)",
        "showlegend": False,
        "hoverinfo": "x+y",
    }
    worst = {
        "type": "scatter",
        "mode": "markers",
        "name": source.say("worst"),
        "y": names,
        "x": worst_x,
        "text": worst_text,
        "customdata": custom,
        "marker": {"symbol": "x", "color": "$bad", "size": 7},
        "showlegend": False,
        "hovertemplate": hover("%{y}<br>%{text}<br>%{x:.2f} % worse than the median"),
    }
    layout = {
        "xaxis": {"title": {"text": "% worse than the median"}, "zeroline": True},
        "yaxis": {"autorange": "reversed", "tickfont": {"size": 10}},
        "margin": {"t": 10},
    }
    return Figure([box, worst], layout, name=benchmark)


def _suspects(source: Source, found: list[Expectation]) -> list[tuple[Case, int]]:
    """(case, group) of the worst of cases in which somebody lies outside, the furthest first."""
    rated = []
    for one in found:
        fleet, group = one.fleet, source.summary(one.case).worst_group
        if fleet is not None and fleet.outside and group is not None and one.measured:
            off = abs(fleet.worst - one.measured) / abs(one.measured)
            rated.append((off, source.header.cases[one.case], group))
    rated.sort(key=lambda each: -each[0])
    return [(case, group) for _, case, group in rated[:SUSPECTS]]


def _samples(
    source: Source, suspects: list[tuple[Case, int]]
) -> tuple[dict[tuple[int, int], list[float]], str]:
    """Seconds a call by (case, group), of suspects and of a usual group beside each; or why not."""
    path = source.folder / SAMPLES
    wanted = {(case.id, group) for case, group in suspects}
    if not wanted or not path.is_file():
        return {}, ""
    if path.stat().st_size > MOST_BYTES:
        return {}, "The file of samples is too large to be read for a page."
    wanted |= {(case.id, usual(source, case)) for case, _ in suspects}
    starts = {f"[{case},{group}".encode() for case, group in wanted}
    found: dict[tuple[int, int], list[float]] = {}
    decoder = msgspec.json.Decoder(Samples)
    try:
        with path.open("rb") as file:
            for line in file:
                # Most lines are of others: they are told by their first two numbers.
                if b",".join(line.split(b",", 2)[:2]) not in starts or not line.endswith(b"\n"):
                    continue
                one = decoder.decode(line)
                kept = found.setdefault((one.case, one.group), [])
                kept.extend(one.seconds[: POINTS - len(kept)])
    except OSError as error:
        return {}, f"Samples cannot be read: {error.strerror or error}."
    except UNDECODABLE as error:
        return {}, f"The file of samples is damaged: {error}."
    return found, ""


def usual(source: Source, case: Case) -> int:
    """The group of a case that is nearest to the median."""
    groups, medians = group_medians(source.columns, source.rows[case.id])
    return int(groups[int(np.abs(medians - np.median(medians)).argmin())])


def _strip(
    source: Source, case: Case, group: int, samples: dict[tuple[int, int], list[float]]
) -> Figure:
    who, other = source.who(case, group), usual(source, case)
    data = []
    for which, colour in ((other, "$dim"), (group, "$bad")):
        seconds = samples.get((case.id, which), [])
        name = source.who(case, which) + (f" ({source.say('usual')})" if which == other else "")
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": list(range(len(seconds))),
                "y": seconds,
                "marker": {"color": colour, "size": 5, "opacity": 0.75},
                "hovertemplate": hover(f"{name}: %{{y:.4~s}}s"),
            }
        )
    layout = {
        "xaxis": {"title": {"text": source.say("sample")}},
        "yaxis": {"title": {"text": "s"}, "exponentformat": "SI", "rangemode": "tozero"},
    }
    return Figure(data, layout, name=f"{case.short()}: {who}")
