"""What the comparison with the fleet says of a node, as evidence in words and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...records import STATUSES, Header
from ...results import Columns
from ...stats import relative
from ...units import format_value
from ...verdicts import Evidence
from ..graph import Bools
from ..table import Metric, Table
from .cells import INCONCLUSIVE, REJECT, SUSPECT, Judgement

_OK = STATUSES.index("ok")
WIDE = 10.0
"""Ends of an interval from which on it says nothing: eleven times as good or bad."""
SHOWN = 5
"""Metrics that are named one by one."""


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
    last = _last_rows(found, columns)
    beside = _beside(judged)
    for place in np.flatnonzero(mine).tolist():
        metric = found.metrics[int(judged.metric[place])]
        unit = int(judged.unit[place])
        row = int(last[int(judged.metric[place]), unit])
        yield (
            int(found.node(unit)),
            _cell(found, metric, header, columns, judged, place, row, proven=bool(beside[place])),
        )


def span(low: float, high: float) -> str:
    """``9.8% to 11.3%`` worse; of few units the interval may say nothing."""
    wide = low < -WIDE or high > WIDE
    return "too wide to say anything" if wide else f"{low:.1%} to {high:.1%}"


def off(worse: float) -> str:
    """``3.1% worse``, ``0.4% better``."""
    return f"{abs(worse):.1%} {'worse' if worse >= 0 else 'better'}"


def _beside(judged: Judgement) -> Bools:
    """bool[cells]: whether units of a baseline are among those that a cell is compared with."""
    if not judged.proven.any():
        return np.zeros(judged.metric.size, dtype=bool)
    group = judged.metric * (int(judged.kind.max()) + 1) + judged.kind
    found: Bools = np.isin(group, group[judged.proven])
    return found


def unproven(
    found: Table, judged: Judgement, baseline: str
) -> tuple[list[tuple[int, Evidence]], list[str]]:
    """(node, evidence) of nodes of which a baseline says nothing; and of which metrics, in words.

    Args:
        found: The run's rows of units.
        judged: What the comparison says.
        baseline: The id of the baseline's run.
    """
    beside, units = _beside(judged), found.size + found.inventory.node_count
    own = ~judged.proven & (judged.unit < units)
    node = found.node(np.where(own, judged.unit, 0))
    lacking = np.setdiff1d(node[own], node[own & beside]).tolist()
    said = f"the baseline {baseline} has nothing to compare with: other chips, axes or code"
    one = Evidence(verdict="inconclusive", against="coverage", text=said)
    metrics = np.setdiff1d(judged.metric[own & ~beside], judged.metric[own & beside]).tolist()
    if not metrics:
        return [(each, one) for each in lacking], []
    names = ", ".join(found.metrics[metric].label for metric in metrics[:SHOWN])
    names += f" and {len(metrics) - SHOWN} more" if len(metrics) > SHOWN else ""
    note = f"the baseline {baseline} has no value of {names} (other axes or code)"
    return [(each, one) for each in lacking], [note]


def _cell(
    found: Table,
    metric: Metric,
    header: Header,
    columns: Columns,
    judged: Judgement,
    place: int,
    row: int,
    *,
    proven: bool,
) -> Evidence:
    case, unit = metric.case, int(judged.unit[place])
    sign = 1.0 if case.better == "higher" else -1.0
    usual = math.exp(sign * float(judged.usual[place]))
    # Of rows that make no sense an effect may be beyond every float.
    value = math.exp(min(700.0, sign * float(judged.usual[place] + judged.effect[place])))
    worse, low, high = (
        -sign * relative(sign * float(one))
        for one in (judged.effect[place], judged.high[place], judged.low[place])
    )
    rejected = int(judged.state[place]) == REJECT
    sure = "" if rejected else "; not sure enough to reject, nor to accept"
    peers, repeats = int(judged.peers[place]), int(judged.repeats[place])
    return metric.evidence(
        found.device(unit),
        "reject" if rejected else "inconclusive",
        "baseline" if proven else "fleet",
        f"{format_value(value, case.unit)}, {off(worse)} than the "
        f"{format_value(usual, case.unit)} of {peers - 1} other{'s' if peers != 2 else ''} "
        f"(95 %: {span(low, high)}){sure}",
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


def _last_rows(found: Table, columns: Columns) -> npt.NDArray[np.int32]:
    """int32[metrics, units]: the last row that counts, -1 without one."""
    good = columns.status[found.row] == _OK
    last = np.full(found.planned.shape, -1, dtype=np.int32)
    last[found.metric[good], found.unit[good]] = found.row[good]  # rows are in the order of time
    return last


def conditions(header: Header, columns: Columns, row: int) -> dict[str, Any]:
    """Temperature (°C), power (W), clock (MHz) at a row's end and what throttled; what is known."""
    if not 0 <= int(columns.conditions[row]) < len(header.conditions):
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
