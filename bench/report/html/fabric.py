"""The fabric: who met whom, how fast each pair is against the usual one, and who is slow."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...analysis.joining import number_of
from ...analysis.pairs import PairFabric, pair_fabrics
from ...analysis.summary import CaseSummary, group_medians
from ...units import format_value
from .page import Cell, Chart, Column, Figure, Row, Section, Table, Text, cells
from .plots import hover, numbers
from .source import Source

SIDE = 128
"""Rows and columns of the matrix at most: of more, several share one, which shows the slowest."""
FIGURES = 24
"""Matrices at most."""
LISTED = 1_000
"""Suspects in the table at most."""


def fabric(source: Source) -> Section | None:
    """The section; None of a run without pairs."""
    pairs = [one for one in source.run.summaries if one.case.scope == "pair" and one.groups]
    if not pairs:
        return None
    blocks: list[Any] = []
    swept = [one for one in pairs if not number_of(one.case.stage)] or pairs
    figures = [figure for one in swept[:FIGURES] if (figure := _matrix(source, one)) is not None]
    if figures:
        says = (
            "Every pair against the usual (median) pair of its case: red is slower. Grey pairs "
            "never met."
        )
        blocks.append(Chart(figures, says, height=560))
    metrics = dict.fromkeys(one.case.metric for one in pairs)
    found = [
        each
        for metric in metrics
        for each in pair_fabrics(source.header, source.columns, source.run.summaries, metric)
    ]
    blocks.append(_usual(found))
    blocks.append(_suspects(source, found))
    limits = list(dict.fromkeys(limit for one in found for limit in one.limits))
    if limits:
        lead = source.say("What these pairs cannot tell")
        blocks.append(Text([f"{lead}: {'; '.join(limits)}"], tone="dim", own=False))
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
    nodes = inventory.node_of(there)
    single = np.unique(nodes).size == there.size
    names = [
        inventory.name(int(node)) if single else inventory.rank_name(int(rank))
        for node, rank in zip(nodes.tolist(), there.tolist(), strict=True)
    ]
    block = -(-there.size // SIDE)
    place = np.searchsorted(there, ends) // block
    side = -(-there.size // block)
    z = np.full((side, side), -np.inf)
    for a, b in ((0, 1), (1, 0)):
        np.maximum.at(z, (place[:, a], place[:, b]), excess)
    z[np.isneginf(z)] = np.nan
    labels = names[::block]
    limit = max(0.05, float(np.nanpercentile(np.abs(excess), 99)))
    data = {
        "type": "heatmap",
        "z": numbers(100 * z),
        "x": labels,
        "y": labels,
        "zmin": -100 * limit,
        "zmax": 100 * limit,
        "colorscale": [[0, "$s0"], [0.5, "$card"], [1, "$bad"]],
        "hoverongaps": False,
        "xgap": 1 if side <= 64 else 0,
        "ygap": 1 if side <= 64 else 0,
        "colorbar": {"thickness": 10, "lenmode": "pixels", "len": 200, "y": 1, "yanchor": "top",
                     "title": {"text": "% worse", "side": "right"}, "outlinewidth": 0},
        "hovertemplate": hover("%{y} – %{x}<br>%{z:.1f} % worse than the usual pair"),
    }  # fmt: skip
    axis = {"type": "category", "showgrid": False, "nticks": 16, "tickfont": {"size": 10}}
    caption = f"{one.name} {case.metric}: usual {format_value(usual, case.unit)}"
    if block > 1:
        caption += f"; {block} in a row, which shows the slowest pair of theirs"
    layout = {
        "plot_bgcolor": "$grid",
        "xaxis": {**axis, "constrain": "domain"},
        "yaxis": {**axis, "autorange": "reversed", "scaleanchor": "x", "constrain": "domain"},
        "margin": {"t": 10, "r": 10},
    }
    return Figure([data], layout, name=f"{one.name} {case.metric}", caption=caption + ".")


def _usual(found: list[PairFabric]) -> Table:
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
                Cell(usual.name or "–"),
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


def _node(name: str) -> str:
    """The node of a ``node/device``, or of a node."""
    return name.rpartition("/")[0] or name
