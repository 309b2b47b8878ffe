"""Goodput of an interrupted training against what its checkpoint interval lets expect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ..records import Header, Row
from .checkpointing import daly, expected_goodput, young

BENCHMARK = "resumable"
LOSSES = ("saving", "lost_work", "detection", "relaunch", "restoring")
"""Metrics of the seconds that were not productive."""


class Goodput(msgspec.Struct, kw_only=True, frozen=True):
    """What became of a training's time. Times in seconds.

    ``losses``: seconds by what they were lost to (`LOSSES`). ``recovery`` is the mean of what a
    failure costs beside the work that is done again. ``interval`` is the work between two saves;
    ``young`` and ``daly`` are the optima, and ``expected`` and ``best`` the goodput at the interval
    and at Daly's, all for saves of ``save`` and failures every ``mtbf`` on average. They are None
    where no checkpoint or no failure tells what they cost.
    """

    goodput: float
    total: float
    productive: float
    losses: dict[str, float]
    failures: int
    mtbf: float
    step: float
    every: int
    interval: float
    save: float | None = None
    recovery: float | None = None
    young: float | None = None
    daly: float | None = None
    expected: float | None = None
    best: float | None = None


def rows_of(header: Header, rows: Iterable[Row], stage: str) -> dict[str, Row]:
    """The rows of a stage's attempt, by metric."""
    cases = {
        case.id: case.metric
        for case in header.cases
        if case.stage == stage and case.benchmark == BENCHMARK
    }
    return {cases[row.case]: row for row in rows if row.case in cases}


def assess(rows: Mapping[str, Row], every: int, mtbf: float) -> Goodput | None:
    """The account of the attempt that came to the end; None where it has none.

    Args:
        rows: Of its stage, by metric.
        every: Steps between two checkpoints.
        mtbf: Mean seconds between two failures, as they were drawn.
    """
    values = {name: row.value for name, row in rows.items() if row.value is not None}
    if not {"goodput", "total", "productive", "step_time", "failures", *LOSSES} <= set(values):
        return None
    failures = int(values["failures"])
    interval = every * values["step_time"]
    losses = {name: values[name] for name in LOSSES}
    save = values.get("save_time")
    costs = losses["detection"] + losses["relaunch"] + losses["restoring"]
    recovery = costs / failures if failures else None
    found = Goodput(
        goodput=values["goodput"],
        total=values["total"],
        productive=values["productive"],
        losses=losses,
        failures=failures,
        mtbf=mtbf,
        step=values["step_time"],
        every=every,
        interval=interval,
        save=save,
        recovery=recovery,
    )
    if save is None or recovery is None:
        return found
    optimum = daly(save, mtbf)
    return msgspec.structs.replace(
        found,
        young=young(save, mtbf),
        daly=optimum,
        expected=expected_goodput(interval, save, recovery, mtbf),
        # What Daly's formula leaves where a save is nearly as long as the time between failures.
        best=expected_goodput(optimum, save, recovery, mtbf) if optimum > 0 else None,
    )
