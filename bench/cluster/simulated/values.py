"""What healthy devices give: the datasheet's prediction, what the cluster's file calls typical.

Times and rates scatter and are slower where devices are; counts are whole, digests equal wherever
the work is, and both keep their value where a device computes wrongly: it is what they are for.
"""

from __future__ import annotations

import numpy as np

from ...configs import Chip, Cluster
from ...groups import Groups, Schedule
from ...inventory import Inventory
from ...records import DIGEST, Case, ScheduleSpec
from ...workloads.base import make
from ..expectation import alike, facts_of
from .draws import Floats, Ints, key, of_groups, uniform
from .noise import fitting

DIGESTS = 10**7
"""Digests are below it: a journal keeps seven digits of a simulated value."""
WORST = 1000
"""Wrong elements, say, of a device that computes wrongly, at most."""


def is_exact(case: Case) -> bool:
    """Whether values are whole numbers without noise."""
    return case.unit in (DIGEST, "count")


def follows_speed(cluster: Cluster, case: Case) -> bool:
    """Whether a slower device gives another value: what is predicted, typical times and rates."""
    if fitting(cluster.typical, case):
        return case.unit == "s" or case.unit.endswith("/s")
    return case.expected is not None and not is_exact(case)


def healthy(
    cluster: Cluster,
    chip: Chip,
    inventory: Inventory,
    spec: ScheduleSpec,
    schedule: Schedule,
    case: Case,
    groups: Groups,
) -> tuple[Floats, bool]:
    """Each group's value without noise, in the case's unit, and whether speed matters to it.

    NaN where neither datasheet nor cluster say. The plan predicts a case whose groups are
    alike; where they differ each kind has its own.
    """
    count = groups.ids.size
    typical = fitting(cluster.typical, case)
    if typical:
        return np.full(count, typical[-1]), follows_speed(cluster, case)
    if case.unit == DIGEST:
        return np.full(count, float(key("digest", case.label()) % DIGESTS)), False
    scale = cluster.efficiency if case.better == "higher" else 1 / cluster.efficiency
    if case.expected is not None or alike(spec, inventory):
        known = np.nan if case.expected is None else case.expected
        return np.full(count, scale * known), True
    nodes = np.sort(inventory.node_of(groups.ranks), axis=1)
    spans = 1 + (np.diff(nodes, axis=1) != 0).sum(axis=1)
    bench = make(case.benchmark, case.axes)
    found = np.full(count, np.nan)
    for span in np.unique(spans).tolist():
        facts = facts_of(spec, schedule, inventory, chip, ranks=groups.ranks.shape[1], nodes=span)
        found[spans == span] = scale * bench.expected(facts).get(case.metric, np.nan)
    return found, True


def corrupted(case: Case, question: int, value: Floats, groups: Groups, rows: Ints) -> None:
    """What rows count whose devices computed wrongly: other digests, and something wrong."""
    drawn = uniform(question, of_groups(groups.ranks[rows]))
    if case.unit == DIGEST:
        value[rows] = np.floor(drawn * DIGESTS)
    elif case.better == "lower":
        value[rows] += 1 + np.floor(drawn * WORST)
