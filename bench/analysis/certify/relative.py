"""What the comparison with the fleet says of a node, as evidence in words and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...records import STATUSES, Header
from ...results import Columns
from ...units import format_value
from ...verdicts import Evidence
from ..graph import Ints
from ..table import Metric, Table
from .cells import INCONCLUSIVE, REJECT, SUSPECT, Judgement

_OK = STATUSES.index("ok")


def evidence(
    found: Table, columns: Columns, header: Header, judged: Judgement, *, ended: bool
) -> Iterator[tuple[int, Evidence]]:
    """(node, evidence) of every cell that is not accepted.

    Args:
        found: The run's rows of units.
        columns: Its columns.
        header: Its header.
        judged: What the comparison says.
        ended: Nothing more will be measured: what is still suspect stays inconclusive.
    """
    told = (REJECT, INCONCLUSIVE, SUSPECT) if ended else (REJECT,)
    units = found.size + found.inventory.node_count
    mine = ~judged.proven & (judged.unit < units) & np.isin(judged.state, told)
    mine &= judged.peers > 1  # who is alone is compared with nobody
    if not mine.any():
        return
    rows = _last_rows(found, columns, units)
    for place in np.flatnonzero(mine).tolist():
        metric = found.metrics[int(judged.metric[place])]
        unit = int(judged.unit[place])
        row = rows.get(int(judged.metric[place]) * units + unit)
        yield int(found.node(unit)), _cell(found, metric, header, columns, judged, place, row)


def _cell(
    found: Table,
    metric: Metric,
    header: Header,
    columns: Columns,
    judged: Judgement,
    place: int,
    row: int | None,
) -> Evidence:
    case, unit = metric.case, int(judged.unit[place])
    sign = 1.0 if case.better == "higher" else -1.0
    usual = math.exp(sign * float(judged.usual[place]))
    value = math.exp(sign * float(judged.usual[place] + judged.effect[place]))
    worse, low, high = (
        -sign * math.expm1(sign * float(one))
        for one in (judged.effect[place], judged.high[place], judged.low[place])
    )
    rejected = int(judged.state[place]) == REJECT
    sure = "" if rejected else "; not sure enough to reject, nor to accept"
    peers, repeats = int(judged.peers[place]), int(judged.repeats[place])
    return Evidence(
        verdict="reject" if rejected else "inconclusive",
        against="baseline" if judged.proven.any() else "fleet",
        text=f"{format_value(value, case.unit)}, {worse:.1%} worse than the "
        f"{format_value(usual, case.unit)} of {peers - 1} others "
        f"(95 %: {low:.1%} to {high:.1%}){sure}",
        stage=case.stage,
        metric=metric.label,
        device=found.device(unit),
        unit=case.unit,
        better=case.better,
        value=value,
        expected=usual,
        effect=worse,
        low=low,
        high=high,
        percentile=float(judged.percentile[place]),
        peers=peers,
        repeats=repeats,
        conditions=conditions(header, columns, row),
    )


def _last_rows(found: Table, columns: Columns, units: int) -> dict[int, int]:
    """By metric × units + unit: the last row that counts."""
    good = columns.status[found.row] == _OK
    cells: Ints = found.metric[good] * units + found.unit[good]
    return dict(zip(cells.tolist(), found.row[good].tolist(), strict=True))


def conditions(header: Header, columns: Columns, row: int | None) -> dict[str, Any]:
    """Temperature (°C), power (W), clock (MHz) at a row's end and what throttled; what is known."""
    if row is None or not 0 <= int(columns.conditions[row]) < len(header.conditions):
        return {}
    held = header.conditions[int(columns.conditions[row])]
    said = {
        "temperature": held.temperature[1],
        "power": held.power[1],
        "clock": held.frequency[1],
        "throttled": held.throttled or None,
        "power cap": "reached" if held.capped else None,
    }
    return {name: value for name, value in said.items() if value is not None}
