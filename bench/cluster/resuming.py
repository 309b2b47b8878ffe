"""Whether a run may go on where it was left: same cases, same devices, same labels; with what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UsageError
from ..inventory import Inventory
from ..records import STATUSES, Header, ScheduleSpec
from ..results import Columns
from .plan import Plan


def same_run(header: Header, made: Plan, inventory: Inventory) -> None:
    """A run continues only where it was begun: same cases, same devices in the same order."""
    continues(header, made)
    before = Inventory(header.nodes, header.fleet)
    if _devices(before) != _devices(inventory):
        raise UsageError(
            f"run {header.id} was made on {before.size} device(s), here are {inventory.size} or "
            "others",
            hint="resume it on the same nodes, or start a new run",
        )
    # Groups are numbered by labels: of others, the same number means other nodes.
    for label in _labels_used(header.schedules):
        for node, after in zip(header.nodes, inventory.nodes, strict=False):
            value, other = node.labels.get(label), after.labels.get(label)
            if value != other:
                raise UsageError(
                    f"run {header.id} was made with {label} {value or 'unknown'} of node "
                    f"{node.name}, which is {other or 'unknown'} now",
                    hint="give the labels that it had (--labels FILE), or start a new run",
                )


def recount(header: Header, columns: Columns) -> None:
    """Have the stages of a run that is to go on count the rows that it has.

    A host that lost power, or a copy that was cut, has fewer than were counted: they are measured
    again, and counted twice the run would be taken for one of which rows are missing.
    """
    cases = np.array([case.stage for case in header.cases], dtype=object)
    stages = cases[columns.case]
    counted: set[str] = set()
    for stage in header.stages:
        if "rows" not in stage:
            continue  # of versions that counted none
        name = stage["name"]
        there = columns.status[stages == name] if name not in counted else columns.status[:0]
        counted.add(name)
        numbers = np.bincount(there, minlength=len(STATUSES)).tolist()
        stage["rows"] = {one: n for one, n in zip(STATUSES, numbers, strict=True) if n}


def _labels_used(specs: Sequence[ScheduleSpec]) -> list[str]:
    """Labels that schedules go by."""
    keys = ("key", "within", "across")
    used = {spec.arguments[key] for spec in specs for key in keys if key in spec.arguments}
    return sorted(used)


def continues(header: Header, made: Plan) -> None:
    """A resumed run has the cases of its plan already, and those of later stages behind them."""
    both = min(len(header.cases), len(made.cases))
    if header.cases[:both] != made.cases[:both]:
        raise UsageError(
            f"run {header.id} was planned with other benchmarks, axes or code",
            hint="its code, its suite or what it is judged by has changed since; start a new run",
        )


def _devices(inventory: Inventory) -> list[str]:
    """Identity of every device in rank order."""
    if inventory.fleet is not None:
        return [str(inventory.fleet)]
    return [
        f"{node.machine}/{device.backend}/{device.index}/{device.serial}"
        for node in inventory.nodes
        for device in node.devices
    ]
