"""Who pulls a category down: devices that are slow in its metrics together, and nodes of such.

A score takes the median over devices, so that few slow ones hardly show in it, but what waits for
the slowest does. Of each device, over the metrics of a category that are measured on devices by
themselves (weights w), with s = 1 where higher is better and -1 where lower is,

    loss = Σ w · s · ln(value / median over devices) / Σ w

Whoever lies further below the median of these than chance lets any of a healthy fleet lie is named:
by the scaled MAD and Student's t of as many degrees as that knows (`expectation.KNOWN`), the error
shared among all (Bonferroni). This is for the reader of a score; whether a node may stay,
``hengsuan certify`` says, which measures again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..stats import mad
from .expectation import FEWEST, farthest
from .finding import Finding
from .graph import Floats, Ints
from .scores import Category
from .subject import Run
from .summary import group_medians, rows_by_case

LEAST = 0.02
"""Relative loss below which nobody is named."""
SHOWN = 3
"""Of a category; more are counted."""


def culprits(runs: Sequence[Run], categories: Sequence[Category]) -> Iterator[Finding]:
    """A finding for each of the slowest of every category, the worst first."""
    for run in runs:
        rows = rows_by_case(run.columns, len(run.header.cases))
        for category in categories:
            losses, metrics = _losses(run, category, rows)
            yield from _named(run, category.name, losses, metrics)


def _losses(run: Run, category: Category, rows: Sequence[Ints]) -> tuple[Floats, int]:
    """(float64[ranks] of losses, NaN where nothing is known; over how many metrics)."""
    total, weight = np.zeros(run.inventory.size), np.zeros(run.inventory.size)
    metrics = 0
    for one in category.metrics:
        if one.case is None or one.run != run.header.id or not one.scored:
            continue
        case = run.header.cases[one.case]
        if case.scope not in ("device", "rank"):
            continue
        ranks, medians = group_medians(run.columns, rows[case.id])
        if ranks.size < FEWEST or not (medians > 0).all():
            continue
        sign = 1.0 if case.better == "higher" else -1.0
        total[ranks] += one.weight * sign * np.log(medians / np.median(medians))
        weight[ranks] += one.weight
        metrics += 1
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, total / weight, np.nan), metrics


def _named(run: Run, category: str, losses: Floats, metrics: int) -> Iterator[Finding]:
    known = np.flatnonzero(~np.isnan(losses))
    if known.size < FEWEST:
        return
    below = np.median(losses[known]) - losses[known]
    far = max(-math.log1p(-LEAST), farthest(known.size) * mad(losses[known]))
    slow = known[below > far]
    loss = dict(zip(known.tolist(), below.tolist(), strict=True))
    found: list[tuple[float, str, str]] = []
    inventory, nodes = run.inventory, run.inventory.node_of(slow)
    for node in np.unique(nodes).tolist():
        mine = slow[nodes == node].tolist()
        whole = [rank for rank in inventory.ranks_of(node) if rank in loss]
        if mine == whole:
            mean = sum(loss[rank] for rank in mine) / len(mine)
            found.append((mean, "slow-node", inventory.name(node)))
        else:
            found += [(loss[rank], "slow-device", inventory.rank_name(rank)) for rank in mine]
    found.sort(key=lambda one: -one[0])
    for number, (worse, kind, name) in enumerate(found[:SHOWN]):
        text = f"pulls {category} down: {-math.expm1(-worse):.1%} below the median device"
        text += f" over {metrics} metric(s)"
        if number == SHOWN - 1 and (rest := len(found) - SHOWN):
            text += f"; {rest} more do"
        yield Finding(kind=kind, name=name, text=text)
