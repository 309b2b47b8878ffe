"""Trainings of a system by the number of their devices: what all factors of its chain rest on.

A *family* is one model with one batch a device, in one layout and format, by one source. Its sizes
compose: with r(n) the token/s of n devices, what one device makes of its peak times
r(n)·1 / (r(1)·n) is what n devices make of theirs.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from ...inventory import Inventory
from ...records import ScheduleSpec
from ..subject import Run, Subject
from ..summary import CaseSummary


class Trained(msgspec.Struct, kw_only=True, frozen=True):
    """One training: on how many devices and nodes, token/s of all, and MFU where it is known."""

    run: Any
    devices: int
    nodes: int
    rate: CaseSummary
    mfu: CaseSummary | None = None


def families(subject: Subject) -> list[dict[int, Trained]]:
    """By number of devices, the trainings of each family; the latest run with a size counts."""
    found: dict[bytes, dict[int, Trained]] = {}
    for run in subject.runs:
        mfu = {(one.case.stage, _mark(one)): one for one in run.of("train", "mfu")}
        for one in run.of("train", "tokens_per_second"):
            devices = size_of(run, run.header.schedules[one.case.schedule])
            if devices is None or one.case.axes.get("batch_of", "rank") != "rank":
                continue
            key = msgspec.json.encode(
                (one.case.axes, one.case.source, _on(run, one)), order="deterministic"
            )
            trained = Trained(
                run=run,
                devices=devices,
                nodes=_nodes(run, _on(run, one), devices),
                rate=one,
                mfu=mfu.get((one.case.stage, _mark(one))),
            )
            found.setdefault(key, {}).setdefault(devices, trained)
    return list(found.values())


def largest(subject: Subject) -> Trained | None:
    """The training on most devices, of those that know their MFU if any does."""
    trained = [one for family in families(subject) for one in family.values()]
    return max(
        trained,
        key=lambda one: (one.mfu is not None, one.devices, _reached(one)),
        default=None,
    )


def size_of(run: Run, spec: ScheduleSpec) -> int | None:
    """Devices of a schedule's groups; None where they differ, or are of several kinds of chip."""
    on = spec.arguments.get("on")
    if on is not None and "+" in on:
        return None
    if spec.kind == "growing":
        return int(spec.arguments["devices"])
    inventory = _part(run, on)
    if spec.kind == "all" and "nodes" not in spec.arguments:
        return int(inventory.size)
    counts = np.diff(inventory.starts)
    counts = counts[counts > 0]
    if spec.kind == "nodes" and counts.size and counts.min() == counts.max():
        return int(counts[0])
    return None


def _part(run: Run, on: str | None) -> Inventory:
    """The nodes with the devices of a kind of chip alone; None: with all of theirs."""
    return run.inventory if on is None else run.inventory.part(on)[1]


def _nodes(run: Run, on: str | None, devices: int) -> int:
    """Nodes that the first so many devices of a kind lie in."""
    inventory = _part(run, on)
    return int(np.count_nonzero(inventory.starts[inventory.occupied] < devices))


def _on(run: Run, one: CaseSummary) -> Any:
    return run.header.schedules[one.case.schedule].arguments.get("on")


def _mark(one: CaseSummary) -> tuple[int, str]:
    return one.case.schedule, one.case.label()


def _reached(one: Trained) -> float:
    median = one.mfu.median if one.mfu is not None else one.rate.median
    return median or 0.0
