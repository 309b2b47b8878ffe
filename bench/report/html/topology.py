"""The fabric model on the topology: nodes in their groups, by what the model says of each.

What is estimated is `analysis.pairs`; how labels nest is `analysis.topology`. The picture itself is
made by ``topology.js``, for how much of a fleet is shown at once depends on the window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...analysis.pairs import PairFabric, Usual
from ...analysis.topology import Topology
from ...units import format_value
from ..plain import plain
from .page import Block, Cell, Column, Custom, Fold, Row, Table, Text
from .plots import packed
from .source import Source

FIGURES = 24
"""Cases in the picture at most, the first of the run."""
LISTED = 1_000
"""Estimates in the table at most, of each case as many of the slowest."""
FAR = 10.0
"""Of the usual pair: an interval that reaches so far says nothing."""
LEAST = 0.05
"""Of the usual pair: what has full colour at least, so that what is noise stays pale."""


def topology(source: Source, found: Sequence[PairFabric]) -> list[Block]:
    """The picture, what must be known of it in sentences, and the same as a table.

    Nothing where no pair has a value.
    """
    if not found:
        return []
    drawn = found[:FIGURES]
    return [
        Custom("topology.html.j2", _data(source, drawn)),
        Text(_sentences(source, len(found)), tone="dim"),
        Fold("What is estimated of each, as a table", [_table(source, drawn)]),
    ]


def usual_name(source: Source, usual: Usual) -> str:
    """A class of links in the page's language: ``same rack, other rail``."""
    return ", ".join(
        source.say(f"{'same' if shared else 'other'} {key}") for key, shared in usual.same.items()
    )


def _sentences(source: Source, cases: int) -> list[str]:
    """What the labels of these nodes give, and what they lack."""
    found, left = source.topologies
    nodes = source.run.inventory.node_count
    said = []
    if nodes == 1:
        said.append("One node: there is no fabric between nodes.")
    elif not found[0].levels:
        said.append("No label groups these nodes: they stand in the order of the inventory.")
    if len(found) > 1:
        names = "; ".join(one.name for one in found)
        said.append(f"Labels that do not nest have a picture each: {names}.")
    if left:
        said.append(f"Not drawn are labels that do not nest in these: {', '.join(left)}.")
    lacking = {label: n for one in found for label, n in one.lacking.items()}
    said += [f"{n} of {nodes} nodes carry no label {label}." for label, n in lacking.items()]
    if cases > FIGURES:
        said.append(f"The first {FIGURES} of {cases} cases are drawn.")
    return said


def _data(source: Source, found: Sequence[PairFabric]) -> dict[str, Any]:
    inventory = source.run.inventory
    items: dict[tuple[int, ...], int] = {}
    return {
        "nodes": [plain(inventory.name(node)) for node in range(inventory.node_count)],
        "starts": _ints(inventory.starts),
        "topologies": [_nested(source, one) for one in source.topologies[0]],
        "figures": [
            {**_figure(source, one), "items": items.setdefault(tuple(one.ranks), len(items))}
            for one in found
        ],
        # Most cases are of the same items, which are many.
        "items": [_ints(np.array(ranks)) for ranks in items],
    }


def _nested(source: Source, one: Topology) -> dict[str, Any]:
    return {
        "name": plain(one.name),
        "levels": [
            {
                "label": plain(level.label),
                "keys": level.keys,
                "codes": _ints(level.codes),
                "groups": [
                    f"{source.say('without')} {plain(level.label)}" if name is None else plain(name)
                    for name in level.groups
                ],
            }
            for level in one.levels
        ],
    }


def _figure(source: Source, one: PairFabric) -> dict[str, Any]:
    effect = np.array(one.effect)
    known = np.abs(effect[np.isfinite(effect)])
    most = max((usual.value for usual in one.usual), default=1.0)
    place = {rank: item for item, rank in enumerate(one.ranks)}
    better = source.header.cases[one.case].better
    with np.errstate(divide="ignore"):  # of next to no pairs an interval reaches to nothing
        reach = (np.log1p(one.high) - np.log1p(one.low)) / 2
    return {
        "name": case_name(source, one),
        "single": one.single,
        "worse": -1 if better == "higher" else 1,
        "limit": max(LEAST, float(np.percentile(known, 99))) if known.size else LEAST,
        "effect": _floats(effect),
        # Intervals are symmetric on the log scale (`analysis.fabric`).
        "reach": _floats(reach),
        "usual": [
            {
                "name": plain(usual_name(source, usual)),
                "same": usual.same,
                "text": format_value(usual.value, one.unit),
                "width": round(100 * usual.value / most, 1),
                "pairs": f"{usual.pairs:,}",
            }
            # From those that share most to those that share least.
            for usual in sorted(one.usual, key=lambda each: -sum(each.same.values()))
        ],
        "slow": [
            {
                "kind": suspect.kind,
                "items": [place[rank] for rank in suspect.ranks],
                "effect": suspect.effect,
                "low": suspect.low,
                "high": suspect.high,
            }
            for suspect in one.suspects
        ],
    }


def case_name(source: Source, one: PairFabric) -> str:
    """What a case of the picture is chosen by."""
    return f"{plain(one.name)} {one.metric}, {source.say(one.where)}"


def _table(source: Source, found: Sequence[PairFabric]) -> Table:
    """Of each case the slowest: who it is, in which groups, and how far off."""
    levels = source.topologies[0][0].levels
    inventory = source.run.inventory
    columns = [
        Column("node or device"),
        *([Column("where")] if levels else []),
        Column("by", number=True, about="against the usual pair"),
        Column("95 % interval", number=True),
        Column("of"),
    ]
    rows, of = [], 0
    for one in found:
        worse = -1.0 if source.header.cases[one.case].better == "higher" else 1.0
        effect = np.array(one.effect)
        # Those of which nothing is known come last.
        order = np.argsort(-np.nan_to_num(worse * effect, nan=-np.inf), kind="stable")
        of += order.size
        name = case_name(source, one)
        named = {rank for suspect in one.suspects if _own(suspect.kind) for rank in suspect.ranks}
        for item in order[: max(1, LISTED // len(found))].tolist():
            rank = one.ranks[item]
            node = int(inventory.node_of(rank))
            groups = (level.groups[level.codes[node]] or "–" for level in levels)
            called = inventory.name(node) if one.single else inventory.rank_name(rank)
            rows.append(
                Row(
                    [
                        Cell(called, None, "", inventory.name(node)),
                        *([Cell(" > ".join(groups))] if levels else []),
                        *_by(effect[item], one.low[item], one.high[item], rank in named),
                        Cell(name),
                    ],
                    group=name,
                )
            )
    caption = "the slowest first, of each case"
    if len(rows) < of:
        caption = f"the slowest of each case, {len(rows):,} of {of:,}"
    return Table(columns, rows, caption=caption)


def _by(effect: float, low: float, high: float, named: bool) -> list[Cell]:
    if math.isnan(effect):
        return [Cell("–"), Cell("–")]
    # Of a handful of pairs an interval may reach beyond everything: then it says nothing.
    said = f"{low:+.1%} – {high:+.1%}" if high < FAR else "–"
    return [Cell(f"{effect:+.1%}", float(effect), "bad" if named else ""), Cell(said)]


def _own(kind: str) -> bool:
    """Whether a suspect is a node or device itself, not what lies between two."""
    return kind in ("slow-node", "slow-device")


def _ints(values: npt.NDArray[np.int64]) -> str:
    return packed(values.astype("<i4"))


def _floats(values: npt.NDArray[np.float64]) -> str:
    return packed(values.astype("<f4"))
