"""The fabric: who met whom, how fast each pair is against the usual one, and who is slow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...analysis.joining import number_of
from ...analysis.pairs import PairFabric, pair_fabrics
from ...analysis.summary import CaseSummary, group_medians
from ...analysis.topology import Topology
from ...inventory import Ints
from ...units import format_value
from ..plain import plain
from .page import Cell, Chart, Column, Figure, Row, Section, Table, Text, cells
from .plots import hover, numbers
from .source import Source
from .topology import topology, usual_name

SIDE = 128
"""Rows and columns of the matrix at most: of more, several share one, which shows the slowest."""
FIGURES = 24
"""Matrices at most."""
FEW = 4
"""Rows a group has at least where lines may be seen well without hiding what they part."""
NAMED = 12
"""Groups up to which each has its name above the matrix."""
LISTED = 1_000
"""Suspects in the table at most."""


def fabric(source: Source) -> Section | None:
    """The section; None of a run without pairs."""
    pairs = [one for one in source.run.summaries if one.case.scope == "pair" and one.groups]
    if not pairs:
        return None
    metrics = dict.fromkeys(one.case.metric for one in pairs)
    found = [
        each
        for metric in metrics
        for each in pair_fabrics(source.header, source.columns, source.run.summaries, metric)
    ]
    blocks: list[Any] = [*topology(source, found)]
    swept = [one for one in pairs if not number_of(one.case.stage)] or pairs
    figures = [figure for one in swept[:FIGURES] if (figure := _matrix(source, one)) is not None]
    if figures:
        says = (
            "Every pair against the usual (median) pair of its case: red is slower. Grey pairs "
            "never met. Rows stand as the nodes are grouped, and lines part the groups."
        )
        blocks.append(Chart(figures, says, height=560))
    blocks.append(_usual(source, found))
    blocks.append(_suspects(source, found))
    limits = list(dict.fromkeys(limit for one in found for limit in one.limits))
    if limits:
        lead = source.say("What these pairs cannot tell")
        blocks.append(Text([f"{lead}: {'; '.join(limits)}"], tone="dim"))
    return Section(
        "fabric",
        "Pairs and fabric",
        blocks,
        lead="A slow pair does not say who is slow: pairs are taken apart into nodes, devices and "
        "links, and a culprit is named only beyond what chance explains.",
    )


def _matrix(source: Source, one: CaseSummary) -> Figure | None:
    case, inventory = one.case, source.run.inventory
    groups, medians = group_medians(source.columns, source.rows[case.id])
    ids, ranks = source.pairs(case.schedule)
    ends = ranks[np.searchsorted(ids, groups)]
    usual = float(np.median(medians))
    if not usual:
        return None
    worse = -1.0 if case.better == "higher" else 1.0
    excess = worse * (medians - usual) / abs(usual)
    # Where no node takes part with two devices, a pair is one of nodes.
    there = np.unique(ends)
    rows = Rows(source.topologies[0][0], inventory.node_of(there))
    nodes = inventory.node_of(there)
    single = np.unique(nodes).size == there.size
    names = [
        inventory.name(int(node)) if single else inventory.rank_name(int(rank))
        for node, rank in zip(nodes.tolist(), there.tolist(), strict=True)
    ]
    place = rows.of[np.searchsorted(there, ends)]
    side = rows.first.size
    z = np.full((side, side), -np.inf)
    for a, b in ((0, 1), (1, 0)):
        np.maximum.at(z, (place[:, a], place[:, b]), excess)
    z[np.isneginf(z)] = np.nan
    labels = _distinct([names[item] for item in rows.first.tolist()])
    # Of the slower side: pairs of a faster kind of link would leave no colour to slow ones.
    limit = max(0.05, float(np.percentile(np.maximum(excess, 0.0), 99)))
    axis = {"type": "category", "showgrid": False, "nticks": 16, "tickfont": {"size": 10}}
    caption = f"{one.name} {case.metric}: usual {format_value(usual, case.unit)}"
    if rows.block > 1:
        caption += f"; {rows.block} in a row, which shows the slowest pair of theirs"
    layout = {
        "plot_bgcolor": "$grid",
        "xaxis": {**axis, "constrain": "domain"},
        "yaxis": {**axis, "autorange": "reversed", "scaleanchor": "x", "constrain": "domain"},
        "margin": {"t": 24, "r": 10},
        "shapes": rows.lines(),
        "annotations": rows.names(),
    }
    made = _heatmap(100 * z, labels, 100 * limit)
    return Figure([made], layout, name=f"{one.name} {case.metric}", caption=caption + ".")


def _heatmap(percent: npt.NDArray[np.float64], labels: list[str], limit: float) -> dict[str, Any]:
    """Per cent worse than usual, [side, side]: NaN where no pair was measured. Colours end at
    ``limit``."""
    gap = 1 if len(labels) <= 64 else 0
    return {
        "type": "heatmap",
        "z": numbers(percent),
        "x": labels,
        "y": labels,
        "zmin": -limit,
        "zmax": limit,
        "colorscale": [[0, "$s0"], [0.5, "$card"], [1, "$bad"]],
        "hoverongaps": False,
        "xgap": gap,
        "ygap": gap,
        "colorbar": {"thickness": 10, "lenmode": "pixels", "len": 200, "y": 1, "yanchor": "top",
                     "title": {"text": "% worse", "side": "right"}, "outlinewidth": 0},
        "hovertemplate": hover("%{y} – %{x}<br>%{z:.1f} % worse than the usual pair"),
    }  # fmt: skip


class Rows:
    """Rows of a matrix in the order of a topology, its groups one after the other.

    Attributes:
        of: int64[items], the row of each item.
        first: int64[rows], the item that a row is called by.
        block: Items that share a row, at most.
    """

    def __init__(self, topology: Topology, nodes: Ints) -> None:
        place = np.empty(topology.order.size, dtype=np.int64)
        place[topology.order] = np.arange(topology.order.size)
        order = np.argsort(place[nodes], kind="stable")
        every = [(level, level.codes[nodes[order]]) for level in topology.levels]
        # Of more groups than rows, two would share one: only the outer ones are kept apart.
        self._levels = [one for one in every if np.unique(one[1]).size <= SIDE]
        group = self._levels[-1][1] if self._levels else np.zeros(nodes.size, dtype=np.int64)
        _, starts, sizes = np.unique(group, return_index=True, return_counts=True)
        self.block = -(-nodes.size // SIDE)
        while (-(-sizes // self.block)).sum() > SIDE:
            self.block += 1
        lengths = -(-sizes // self.block)
        within = (np.arange(nodes.size) - np.repeat(starts, sizes)) // self.block
        row = np.repeat(np.cumsum(lengths) - lengths, sizes) + within
        self.of = np.empty(nodes.size, dtype=np.int64)
        self.of[order] = row
        _, at = np.unique(row, return_index=True)
        self.first = order[at]
        self._levels = [(level, codes[at]) for level, codes in self._levels]

    def lines(self) -> list[dict[str, Any]]:
        """Lines between groups, those of the outermost thick, and pale where they are many."""
        found = []
        for depth, (_, codes) in enumerate(self._levels):
            edges = np.flatnonzero(np.diff(codes)) + 1
            if 2 * (edges.size + 1) > codes.size:
                break  # groups of one row: lines would hide what they part
            many = FEW * (edges.size + 1) > codes.size
            look = ("$ink", 1.5) if depth == 0 else ("$line", 0.5) if many else ("$dim", 0.75)
            line = dict(zip(("color", "width"), look, strict=True))
            for edge in (edges - 0.5).tolist():
                ends = {"x0": edge, "x1": edge, "y0": -0.5, "y1": codes.size - 0.5}
                turned = {"x0": -0.5, "x1": codes.size - 0.5, "y0": edge, "y1": edge}
                found += [{"type": "line", "line": line, **one} for one in (ends, turned)]
        return found

    def names(self) -> list[dict[str, Any]]:
        """The groups of the outermost level above their columns, where there is room."""
        if not self._levels:
            return []
        level, codes = self._levels[0]
        groups, starts, counts = np.unique(codes, return_index=True, return_counts=True)
        if groups.size > NAMED:
            return []
        usual = {"yref": "y domain", "y": 1, "yanchor": "bottom", "showarrow": False}
        return [
            {**usual, "x": start + (count - 1) / 2, "text": name, "font": {"size": 10}}
            for start, count, code in zip(
                starts.tolist(), counts.tolist(), groups.tolist(), strict=True
            )
            if (name := plain(level.groups[code] or ""))
        ]


def _distinct(names: list[str]) -> list[str]:
    """Names of which no two are equal: plotly makes one row of equal ones."""
    found: dict[str, None] = {}
    for name in names:
        called, count = name, 1
        while called in found:
            count += 1
            called = f"{name} ({count})"
        found[called] = None
    return list(found)


def _usual(source: Source, found: list[PairFabric]) -> Table:
    columns = [
        Column("pairs"),
        Column("where"),
        Column("class"),
        Column("usual pair", number=True),
        Column("number", number=True),
        Column("noise", number=True, about="of a pair around its ends"),
        Column("spread of the ends", number=True),
    ]
    rows = [
        Row(
            [
                Cell(f"{one.name} {one.metric}"),
                Cell(one.where),
                Cell(usual_name(source, usual) or "–"),
                Cell(format_value(usual.value, one.unit), usual.value),
                Cell(f"{usual.pairs:,}", usual.pairs),
                Cell(f"{one.noise:.2%}", one.noise),
                Cell(f"{one.spread:.2%}", one.spread),
            ]
        )
        for one in found
        for usual in one.usual
    ]
    return Table(columns, rows, caption="the usual pair of each class of link")


def _suspects(source: Source, found: list[PairFabric]) -> Table:
    columns = [
        Column("slow"),
        Column("name"),
        Column("by", number=True),
        Column("95 % interval", number=True),
        Column("pairs", number=True),
        Column("by chance", number=True, about="share of healthy fleets that show as much"),
        Column("of"),
    ]
    every = [(one, suspect) for one in found for suspect in one.suspects]
    rows = [
        Row(
            [
                *cells(source.say(suspect.kind)),
                Cell(
                    " – ".join(suspect.names),
                    None,
                    "",
                    suspect.names[0].rpartition("/")[0] or suspect.names[0],
                ),
                Cell(f"{suspect.effect:+.1%}", suspect.effect, "bad"),
                Cell(f"{suspect.low:+.1%} – {suspect.high:+.1%}"),
                Cell(str(suspect.pairs), suspect.pairs),
                Cell(f"{suspect.chance:.1e}", suspect.chance),
                Cell(f"{one.name} {one.metric}"),
            ],
            group=source.say(suspect.kind),
        )
        for one, suspect in every[:LISTED]
    ]
    caption = "who is slow" if len(every) <= LISTED else f"the first {LISTED} of {len(every)}"
    return Table(columns, rows, caption=caption, empty="nobody stands out")
