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
from ...records import STATUS_MEANING, STATUSES, Header
from ...results import Columns
from ...verdicts import Evidence
from ..graph import Ints
from ..selection import selected
from ..table import Table

_OK, _CONTENDED = STATUSES.index("ok"), STATUSES.index("contended")
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
        status = columns.status[found.row]
        good = np.zeros_like(found.planned)
        ok = status == _OK
        good[found.metric[ok], found.unit[ok]] = True
        self.metric, self.unit = np.nonzero(found.planned & ~good)
        # The last row of every cell: rows come in the order of time.
        last = np.full(found.planned.shape, -1, dtype=np.int32)
        last[found.metric, found.unit] = found.row
        self.row: Ints = last[self.metric, self.unit].astype(np.int64)
        self.status: Ints = np.where(self.row >= 0, columns.status[self.row], -1).astype(np.int64)

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
                    why = _why(columns, int(uncovered.row[here][0]))
                    notes[f"{label} is not covered: {why}"] = None
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
                            text=_why(columns, int(uncovered.row[place])),
                            stage=found.metrics[metric].case.stage,
                            metric=label,
                            device=found.device(unit),
                        ),
                    )
                )
    return evidence, list(notes)


def unasked(header: Header, profile: Profile) -> Iterator[str]:
    """Lines of the profile that the run has no case for, in sentences."""
    for lines in profile.categories.values():
        for line in lines:
            if line.optional or selected(line, header.cases, header):
                continue
            where = ", ".join(f"{axis} {value}" for axis, value in line.where.items())
            asked = f" ({where})" if where else ""
            yield (
                f"the profile asks for {line.metric} of {line.benchmark}{asked}, which the suite "
                f"{header.suite} does not measure"
            )


def _why(columns: Columns, row: int) -> str:
    if row < 0:
        return "it was not reached"
    status = STATUSES[columns.status[row]]
    return f"{status}: {columns.reasons.get(row) or STATUS_MEANING[status]}"
