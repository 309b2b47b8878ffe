"""Every node against every metric: a heat map of who is worse than the others, and one in full.

A value is turned so that worse is positive, and taken against the median of the units of its kind.
Metrics are made comparable by their own spread (scaled median absolute deviation): one that
scatters by a tenth shows a tenth as usual.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...analysis.joining import number_of
from ...analysis.summary import group_medians, medians_by
from ...analysis.table import kinds_of
from ...records import DIGEST, Case
from ...stats import mad
from ...units import format_value
from ..evidence import about, details, figures
from .page import Cell, Column, Custom, Row, Section, Table, Tone
from .plots import packed
from .source import Source

Floats = npt.NDArray[np.float64]

DEVICES = 64
"""Devices up to which each has a place of its own; of more, a node shows its worst."""
BLOCKS = 256
"""Columns of the map at most: of more nodes, several share one, which shows the worst."""
METRICS = 200
"""Metrics in the map at most, the first of the run."""
LISTED = 2_000
"""Nodes in the table at most, the worst."""
LEAST = 0.002
"""Of the median: a spread is never taken as less, or values that are all but equal stand out."""
FAR = 5.0
"""Spreads from which a value is marked."""
TONES: dict[str, Tone] = {"accept": "good", "reject": "bad", "inconclusive": "warn"}


def nodes(source: Source) -> Section | None:
    """The section; None of a run without devices, or without anything to compare: a verdict is
    shown of one node as well."""
    table = Grid(source)
    if not table.metrics:
        return None
    return Section(
        "nodes",
        "Nodes and metrics",
        [Custom("nodes.html.j2", table.data()), table.listed()],
        lead="Each metric against the median of its kind, in spreads of that metric: 0 is usual, "
        "red is worse. Choose a column to see a node in full.",
    )


class Grid:
    """Values of items (nodes, or devices of a small fleet) by metric.

    Attributes:
        names: Of the items.
        metrics: The cases that have a value of one.
        value: float64[metrics, items], the worst of the item's own; NaN without one.
        who: uint8[metrics, items], the place in its node of the device that this is of; 255: of
            the node itself, or of the pairs that it is in.
        excess: float64[metrics, items], how much worse than the median of its kind, relative.
        spread: float64[metrics, kinds], the same of one spread.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.inventory = inventory = source.run.inventory
        self.single = 0 < inventory.size <= DEVICES
        self.node_of = inventory.node_of(np.arange(inventory.size))
        self.node = self.node_of if self.single else np.arange(inventory.node_count)
        self.names = (
            [inventory.rank_name(rank) for rank in range(inventory.size)]
            if self.single
            else [inventory.name(node) for node in range(inventory.node_count)]
        )
        kinds, self.kinds = kinds_of(inventory) if inventory.size else (np.zeros(0, int), [])
        # A node is of the kind of its devices: what is compared is theirs mostly.
        starts = np.minimum(inventory.starts[:-1], max(inventory.size - 1, 0))
        of = kinds[: inventory.size]
        self.kind = (of if self.single else of[starts]) if inventory.size else np.zeros(0, int)
        self.metrics: list[Case] = []
        value: list[Floats] = []
        who: list[npt.NDArray[np.uint8]] = []
        for one in source.run.summaries if self.names else ():
            if len(self.metrics) == METRICS:
                break
            # A re-test is of few nodes, among which most are slow: they are no fleet.
            shown = one.groups and one.case.unit != DIGEST and not number_of(one.case.stage)
            found = self._of(one.case) if shown else None
            if found is not None and (source.verdict is not None or self._several(found[0])):
                self.metrics.append(one.case)
                value.append(found[0])
                who.append(found[1])
        shape = len(self.metrics), len(self.names)
        self.value = np.array(value).reshape(shape)
        self.who = np.array(who, dtype=np.uint8).reshape(shape)
        self._compare()

    def _several(self, value: Floats) -> bool:
        """Whether two items of one kind have a value."""
        return bool((np.bincount(self.kind[~np.isnan(value)], minlength=1) > 1).any())

    def _of(self, case: Case) -> tuple[Floats, npt.NDArray[np.uint8]] | None:
        """A case's values by item; None where its groups are of no item by itself."""
        groups, medians = group_medians(self.source.columns, self.source.rows[case.id])
        if case.scope == "pair":
            return self._of_pairs(case, groups, medians)
        inventory = self.inventory
        found = np.full(len(self.names), np.nan)
        who = np.full(len(self.names), 255, dtype=np.uint8)
        ids, units = self.source.units(case.schedule)
        place = np.searchsorted(ids, groups)
        known = place < ids.size
        unit, values = units[place[known]], medians[known]
        values, unit = values[unit >= 0], unit[unit >= 0]
        if not unit.size:
            return None
        # The worst is written last, and stays.
        order = np.argsort(-values if case.better == "higher" else values, kind="stable")
        values, unit = values[order], unit[order]
        whole = unit >= inventory.size
        for one, value in zip(unit[whole].tolist(), values[whole].tolist(), strict=True):
            found[self.node == one - inventory.size] = value
        unit, values = unit[~whole], values[~whole]
        if self.single:
            found[unit] = values
        else:
            node = self.node_of[unit]
            found[node] = values
            who[node] = np.minimum(unit - inventory.starts[node], 254)
        return found, who

    def _of_pairs(
        self, case: Case, groups: npt.NDArray[np.int64], medians: Floats
    ) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Of each item the median over the pairs that it is in: its own share of what is slow."""
        ids, ranks = self.source.pairs(case.schedule)
        ends = (ranks if self.single else self.node_of[ranks])[np.searchsorted(ids, groups)]
        apart = ends[:, 0] != ends[:, 1]  # both ends in one node are one item
        items = np.concatenate([ends[:, 0], ends[apart, 1]])
        which, middle = medians_by(items, np.concatenate([medians, medians[apart]]))
        found = np.full(len(self.names), np.nan)
        found[which] = middle
        return found, np.full(len(self.names), 255, dtype=np.uint8)

    def label(self, case: Case) -> str:
        """What a metric is called."""
        return f"{self.source.summary(case.id).name} {case.metric}"

    def _compare(self) -> None:
        kinds = max(len(self.kinds), 1)
        self.usual = np.full((len(self.metrics), kinds), np.nan)
        self.spread = np.full((len(self.metrics), kinds), np.nan)
        self.excess = np.full(self.value.shape, np.nan)
        for row, case in enumerate(self.metrics):
            worse = -1.0 if case.better == "higher" else 1.0
            for kind in np.unique(self.kind).tolist():
                mine = self.kind == kind
                values = self.value[row, mine]
                values = values[~np.isnan(values)]
                if not values.size:
                    continue
                middle = float(np.median(values))
                self.usual[row, kind] = middle
                if middle:
                    self.excess[row, mine] = worse * (self.value[row, mine] - middle) / abs(middle)
                    self.spread[row, kind] = max(mad(values) / abs(middle), LEAST)

    @property
    def far(self) -> Floats:
        """float64[metrics, items]: by how many spreads each is worse."""
        return self.excess / self.spread[:, self.kind] if self.names else self.excess

    def data(self) -> dict[str, Any]:
        """What the page's script draws from."""
        verdicts = self.source.verdict.nodes if self.source.verdict is not None else []
        say = self.source.say
        said = {
            node.node: {
                "verdict": node.verdict,
                "lines": [
                    "; ".join(map(say, filter(None, (about(one), *figures(one), *details(one)))))
                    for one in node.evidence[:8]
                ],
            }
            for node in verdicts
            if node.evidence
        }
        labels = list(map(self.label, self.metrics))
        return {
            "names": self.names,
            "node": self.node.tolist() if self.single else None,
            "nodes": [self.inventory.name(node) for node in range(self.inventory.node_count)]
            if self.single
            else None,
            "kind": self.kind.tolist() if len(self.kinds) > 1 else None,
            "metrics": [
                {
                    "name": label,
                    "unit": case.unit,
                    "better": case.better,
                    "stage": case.stage,
                    "usual": [format_value(one, case.unit) for one in usual],
                    "spread": [None if np.isnan(one) else one for one in spread],
                    "middle": [None if np.isnan(one) else one for one in usual],
                }
                for label, case, usual, spread in zip(
                    labels, self.metrics, self.usual.tolist(), self.spread.tolist(), strict=True
                )
            ],
            "value": packed(self.value.astype("<f4")),
            "who": packed(self.who),
            "said": said,
            "block": -(-len(self.names) // BLOCKS),
            "devices": self.single,
        }

    def listed(self) -> Table:
        """The items from the worst on, a line each."""
        with np.errstate(invalid="ignore"):
            far = np.where(np.isnan(self.far), -np.inf, self.far)
        at = far.argmax(axis=0)
        worst = far[at, np.arange(len(self.names))]
        count = (far > FAR).sum(axis=0)
        verdicts = self.source.verdict.nodes if self.source.verdict is not None else []
        known = {node.node: node.verdict for node in verdicts}
        rank = {"reject": 0, "inconclusive": 1}
        node_names = [self.inventory.name(int(node)) for node in self.node]
        order = sorted(
            range(len(self.names)),
            key=lambda item: (rank.get(known.get(node_names[item], ""), 2), -worst[item]),
        )
        rows = [
            self._row(item, int(at[item]), float(worst[item]), int(count[item]),
                      known.get(node_names[item], ""))
            for item in order[:LISTED]
        ]  # fmt: skip
        columns = [
            Column("device" if self.single else "node"),
            *([Column("verdict")] if known else []),
            Column("worst metric"),
            Column("value", number=True),
            Column("usual", number=True, about="the median over its kind"),
            Column("worse by", number=True),
            Column("in spreads", number=True, about="of that metric, by which devices differ"),
            Column("far off", number=True, about="metrics that are worse by five spreads or more"),
        ]
        rest = len(order) - LISTED
        caption = f"the worst {LISTED} of {len(order)}" if rest > 0 else "the worst first"
        return Table(columns, rows, caption=caption)

    def _row(self, item: int, metric: int, worst: float, count: int, verdict: str) -> Row:
        name = self.names[item]
        found = [Cell(name, None, "", name)]
        if self.source.verdict is not None:
            found.append(Cell(self.source.say(verdict or "–"), None, TONES.get(verdict, "")))
        if not np.isfinite(worst):
            return Row([*found, *map(Cell, ("–", "–", "–", "–", "–", "–"))], group=verdict)
        case = self.metrics[metric]
        value, excess = self.value[metric, item], self.excess[metric, item]
        tone: Tone = "bad" if worst > FAR else ""
        found += [
            Cell(self.label(case)),
            Cell(format_value(float(value), case.unit)),
            Cell(format_value(float(self.usual[metric, self.kind[item]]), case.unit)),
            Cell(f"{excess:+.1%}", float(excess)),
            Cell(f"{worst:.1f}", worst, tone),
            Cell(str(count), count, "warn" if count else ""),
        ]
        return Row(found, group=verdict)
