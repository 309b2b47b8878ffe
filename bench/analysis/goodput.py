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

    ``losses``: seconds by what they were lost to (`LOSSES`). ``interrupted`` failures struck before
    the training went on after another. ``detection`` is the mean time until a failure is known, and
    ``recovery`` that of what follows until the training goes on, where no other failure strikes
    meanwhile. ``interval`` is the work between two saves; ``save`` is for how long training stands
    still for one, and ``landing`` for how long it is written beside it. ``young`` and ``daly`` are
    the optima, and ``expected`` and ``best`` the goodput at the interval and at Daly's, all for
    saves of ``save`` and failures every ``mtbf`` on average; work that is done while a checkpoint
    is written beside it is lost by a failure. They are None where no checkpoint or no failure
    tells what they cost.
    """

    goodput: float
    total: float
    productive: float
    losses: dict[str, float]
    failures: int
    interrupted: int
    mtbf: float
    step: float
    every: int
    interval: float
    save: float | None = None
    landing: float | None = None
    detection: float | None = None
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


def followed(header: Header) -> set[int]:
    """The cases of attempts that another one followed: of an interrupted training they are to fail,
    and the last one accounts for them."""
    attempts = {
        case.id: case.stage
        for case in header.cases
        if case.benchmark == BENCHMARK and case.axes.get("key")
    }
    last = attempts[max(attempts)] if attempts else ""
    return {number for number, stage in attempts.items() if stage != last}


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
    recovery = values.get("recovery")
    detection = losses["detection"] / failures if failures else None
    landing = values.get("landing")
    found = Goodput(
        goodput=values["goodput"],
        total=values["total"],
        productive=values["productive"],
        losses=losses,
        failures=failures,
        interrupted=int(values.get("interrupted", 0)),
        mtbf=mtbf,
        step=values["step_time"],
        every=every,
        interval=interval,
        save=save,
        landing=landing,
        detection=detection,
        recovery=recovery,
    )
    if save is None or recovery is None or detection is None:
        return found
    optimum = daly(save, mtbf)

    def expected(every: float) -> float:
        lost = detection + (landing or 0.0)
        return expected_goodput(every, save, lost, mtbf, interrupted=recovery)

    return msgspec.structs.replace(
        found,
        young=young(save, mtbf),
        daly=optimum,
        expected=expected(interval),
        best=expected(optimum),
    )
