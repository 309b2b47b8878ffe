"""The step of several ranks from that of one, where both were measured: no datasheet is asked.

Of a model that one rank trains alone, n ranks that exchange gradients only (DDP) take

    t(n) = t(1) · (1 + late(n)) + Σ over buckets of all_reduce(bucket, n) + copies

``t(1)`` and its spread are a run's, all_reduce is the line through the run's collectives of n ranks
(`bench.analysis.alphabeta`), buckets are those of PyTorch (Li et al., PyTorch Distributed, 2020,
§3.2.3). Gradients are copied into the buckets, divided by n on the way, and back: each time read
and written once. How fast memory is for that the same step tells: AdamW reads four vectors of the
weights' size and writes three. Where the device is the host's own core, nothing runs beside
computing; elsewhere part of the reduction does. All wait for the last of n, which is late by the
largest of n normal delays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...configs import load_model
from ...errors import UsageError
from ...kernels.layout import Layout
from ...kernels.model_costs import ModelShape, parameters
from ...records import Header
from ...results import Columns
from ..alphabeta import Link, links
from ..summary import group_medians, rows_by_case
from .rates import Efficiency

BUCKETS = (1 << 20, 25 << 20)
"""Bytes of the first bucket of gradients, and of all others."""
_COPIES = 4 / 7
"""Vectors of the weights' size that are read or written for two copies, over AdamW's."""
_TAIL = 1.645
_LARGEST = {1: 0.0, 2: 0.5642, 4: 1.0294, 8: 1.4236, 16: 1.7660}
"""Expected largest of n standard normal values (Harter, Biometrika 48, 1961)."""


@dataclass(frozen=True)
class FromOne:
    """A step of ``ranks``, in seconds: ``alone`` is that of one, ``exchange`` what reducing
    gradients adds, ``copies`` what copying them into buckets and back does (0 where the step was
    not split into phases), ``late`` what waiting adds."""

    model: str
    ranks: int
    alone: float
    exchange: float
    copies: float
    late: float

    @property
    def seconds(self) -> float:
        """Of the step."""
        return self.alone + self.exchange + self.copies + self.late


def from_one(runs: Sequence[tuple[Header, Columns]], ranks: int) -> list[FromOne]:
    """Every model that runs trained on one rank, on so many.

    Raises:
        UsageError: no step of one rank, or no line of all_reduce over so many ranks; simulated
            runs, and runs whose provenance differs.
    """
    provenances = {header.provenance for header, _ in runs}
    if "simulated" in provenances:
        raise UsageError("a simulated run tells nothing of a step that somebody could measure")
    if len(provenances) > 1:
        raise UsageError(f"runs are {' and '.join(sorted(provenances))}: they never mix")
    lines = [link for header, columns in runs for link in links(header, columns)]
    fitting = [one for one in lines if one.op == "all_reduce" and one.ranks == ranks and one.line]
    if not fitting:
        known = ", ".join(f"{one.name} of {one.ranks}" for one in lines) or "none"
        raise UsageError(
            f"no line of all_reduce over {ranks} ranks in these runs",
            hint=f"collectives need three sizes or more; there are: {known}",
        )
    host = any(
        device.weak for header, _ in runs for node in header.nodes for device in node.devices
    )
    hidden = 0.0 if host else Efficiency().overlap
    found = []
    for header, columns in runs:
        for model, alone, spread, backward, optimizer in _steps(header, columns):
            size = 4 * parameters(ModelShape.of(load_model(model)))
            exchange = _reduce(fitting[0], size)
            exchange -= hidden * min(exchange, backward)
            late = _LARGEST.get(ranks, (2 * np.log(ranks)) ** 0.5) * spread * alone
            copies = _COPIES * optimizer
            found.append(FromOne(model, ranks, alone, float(exchange), copies, float(late)))
    if not found:
        raise UsageError("no run has a step of `train` on one rank, without a layout")
    return found


def _steps(header: Header, columns: Columns) -> list[tuple[str, float, float, float, float]]:
    """(model, seconds, relative deviation, of its backward pass, of AdamW) of single ranks."""
    rows = rows_by_case(columns, len(header.cases))
    by_case: dict[tuple[str, str], dict[str, float]] = {}
    for case in header.cases:
        if case.benchmark != "train":
            continue
        known = {name: case.axes[name] for name in Layout.__dataclass_fields__ if name in case.axes}
        schedule = header.schedules[case.schedule]
        alone = schedule.arguments.get("devices") == 1 or case.scope == "device"
        if not alone or not Layout(**known).plain:
            continue
        groups, medians = group_medians(columns, rows[case.id])
        if groups.size:
            key = (case.axes["model"], case.label())
            by_case.setdefault(key, {})[case.metric] = float(np.median(medians))
    return [
        (
            model,
            values["step_p50"],
            max(0.0, values.get("jitter", 1.0) - 1) / _TAIL,
            values.get("backward", 0.0),
            values.get("optimizer", 0.0),
        )
        for (model, _), values in by_case.items()
        if "step_p50" in values
    ]


def _reduce(link: Link, size: int) -> float:
    """Seconds of reducing so many bytes in buckets, one after the other."""
    line = link.line
    assert line is not None
    first, rest = min(size, BUCKETS[0]), max(0, size - BUCKETS[0])
    calls = 1 + -(-rest // BUCKETS[1])
    factor = 2 * (link.ranks - 1) / link.ranks
    rate = line.beta / factor if line.beta else float("inf")
    return calls * line.alpha + (first + rest) / rate
