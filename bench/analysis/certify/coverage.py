"""What had to be measured and was not: never a pass.

A check that nothing of a kind can do (a dtype that the chip lacks) is no node's fault and holds
nobody back, but it is said, and no certificate claims it. A check that others could do and this
unit could not, one during which its host was busy, and one that was not reached leave the node
inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...configs import Profile
from ...inventory import Inventory
from ...records import STATUS_MEANING, STATUSES, Header
from ...results import Columns
from ...verdicts import Evidence
from ..graph import Ints
from ..joining import number_of
from ..selection import selected
from ..table import Table
from .values import usable

_CONTENDED = STATUSES.index("contended")
_SKIPPED = STATUSES.index("skipped")
_TROUBLES = [STATUSES.index(status) for status in ("failed", "invalid", "missing")]


class Uncovered:
    """Cells (a metric of a unit) without a value that counts.

    Attributes:
        metric, unit: int64[cells].
        row: int64[cells]; the last row of the cell, -1 where it has none.
        status: int64[cells]; that row's status, -1 where it has none.
    """

    def __init__(self, found: Table, columns: Columns) -> None:
        good = np.zeros_like(found.planned)
        ok = usable(found, columns)
        good[found.metric[ok], found.unit[ok]] = True
        self.metric, self.unit = np.nonzero(found.planned & ~good)
        # The last row of every cell: rows come in the order of time.
        last = np.full(found.planned.shape, -1, dtype=np.int32)
        last[found.metric, found.unit] = found.row
        self.row: Ints = last[self.metric, self.unit].astype(np.int64)
        self.status: Ints = np.full(self.row.size, -1, dtype=np.int64)
        self.status[self.row >= 0] = columns.status[self.row[self.row >= 0]]

    def contended(self) -> Ints:
        """Places of cells that another look may fill."""
        return np.flatnonzero(self.status == _CONTENDED)


def gaps(
    found: Table, columns: Columns, uncovered: Uncovered
) -> tuple[list[tuple[int, Evidence]], list[str]]:
    """(node, evidence) of what a node lacks; and what nobody here can do, in sentences."""
    kinds, _ = found.kinds()
    evidence: list[tuple[int, Evidence]] = []
    notes: dict[str, None] = {}
    for metric in np.unique(uncovered.metric).tolist():
        mine = uncovered.metric == metric
        line = found.metrics[metric].line
        for kind in np.unique(kinds[uncovered.unit[mine]]).tolist():
            here = mine & (kinds[uncovered.unit] == kind)
            alike = found.planned[metric] & (kinds == kind)
            statuses = uncovered.status[here]
            nobody = bool((statuses == _SKIPPED).all()) and int(here.sum()) == int(alike.sum())
            label = found.metrics[metric].label
            if nobody or line.optional:
                if nobody:
                    said = why(columns, int(uncovered.row[here][0]))
                    notes[f"{label} is not covered: {said}"] = None
                continue
            for place in np.flatnonzero(here).tolist():
                if uncovered.status[place] in _TROUBLES:
                    continue  # said by `troubles`
                unit = int(uncovered.unit[place])
                evidence.append(
                    (
                        int(found.node(unit)),
                        Evidence(
                            verdict="inconclusive",
                            against="coverage",
                            text=why(columns, int(uncovered.row[place])),
                            stage=found.metrics[metric].case.stage,
                            metric=label,
                            device=found.device(unit),
                        ),
                    )
                )
    return evidence, list(notes)


def left_out(header: Header, inventory: Inventory) -> dict[int, list[str]]:
    """By node: stages that were measured without it, for something spoke against it before."""
    measured: dict[str, set[int]] = {}
    every = set(inventory.occupied.tolist())
    for case in header.cases:
        if not number_of(case.stage):
            chosen = header.schedules[case.schedule].arguments.get("nodes", every)
            measured.setdefault(case.stage, set()).update(chosen)
    found: dict[int, list[str]] = {}
    for stage, nodes in measured.items():
        for node in every - nodes:
            found.setdefault(node, []).append(stage)
    return found


def unasked(header: Header, profile: Profile) -> Iterator[str]:
    """Lines of the profile that the run has no case for, in sentences."""
    for lines in profile.categories.values():
        for line in lines:
            if line.optional or selected(line, header.cases, header):
                continue
            where = ", ".join(f"{axis} {value}" for axis, value in line.where.items())
            asked = f" ({where})" if where else ""
            yield (
                f"the profile asks for {line.metric} of {line.benchmark}{asked}, which this run of "
                f"the suite {header.suite} did not measure"
            )


def why(columns: Columns, row: int) -> str:
    """Why a row gives no value, in words; of -1, that there is none."""
    if row < 0:
        return "it was not reached"
    status = STATUSES[columns.status[row]]
    if status == "ok":
        return f"its value is {columns.value[row]:g}, which is no measurement"
    return f"{status}: {columns.reasons.get(row) or STATUS_MEANING[status]}"
