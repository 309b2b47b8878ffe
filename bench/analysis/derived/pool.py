"""Chips of several kinds that compute together: how many kinds met, and what their pool is worth.

The efficiency of a pool is the token/s of one training over all kinds, over the sum of what each
kind reaches by itself with the same model: 1 where nothing is lost by mixing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..subject import Run, Subject
from ..summary import CaseSummary
from .value import Derived, Table, Value, absent


def _kinds(subject: Subject) -> Value:
    """The most kinds that met in one group with a good value; one kind alone is no pool."""
    most, where = 1, None
    for run in subject.runs:
        for one in run.summaries:
            if one.groups and one.case.scope in ("pair", "group", "rank"):
                count = len(_on(run, one).split("+"))
                if count > most:
                    most, where = count, (run, one)
    if where is None:
        return absent("no group of several kinds of chip was measured")
    run, one = where
    return Value(value=float(most), provenance=run.label, run=run.header.id, detail=one.name)


def _efficiency(subject: Subject) -> Value:
    for run in subject.runs:
        trained: dict[bytes, dict[str, CaseSummary]] = {}
        for one in run.of("train", "tokens_per_second"):
            if run.header.schedules[one.case.schedule].kind == "all":
                trained.setdefault(_family(one), {})[_on(run, one)] = one
        for family in trained.values():
            for on, pool in family.items():
                parts = [family.get(name) for name in on.split("+")]
                if len(parts) > 1 and all(part is not None for part in parts):
                    return _of(run, pool, [part for part in parts if part is not None])
    return absent("no training was measured over several kinds of chip, and over each by itself")


def _of(run: Run, pool: CaseSummary, parts: list[CaseSummary]) -> Value:
    def total(name: str) -> float | None:
        ends = [getattr(part, name) for part in parts]
        return None if any(end is None for end in ends) else float(sum(ends))

    middle, least, most = total("median"), total("low"), total("high")
    assert pool.median is not None
    assert middle
    spread = pool.low is not None and pool.high is not None and least and most
    return Value(
        value=pool.median / middle,
        low=pool.low / most if spread and pool.low is not None and most else None,
        high=pool.high / least if spread and pool.high is not None and least else None,
        values=min(one.values for one in (pool, *parts)),
        provenance=run.label,
        run=run.header.id,
        detail=pool.name,
    )


def _family(one: CaseSummary) -> bytes:
    case = one.case
    return msgspec.json.encode((case.stage, case.axes, case.source), order="deterministic")


def _on(run: Run, one: CaseSummary) -> str:
    said: Any = run.header.schedules[one.case.schedule].arguments.get("on")
    return "" if said is None else str(said)


POOL: Table = {
    ("pool", "kinds"): Derived(
        unit="count", about="kinds of chip that were measured together", find=_kinds
    ),
    ("pool", "efficiency"): Derived(
        unit="ratio",
        about="token/s of a pool of several kinds of chip over the sum of its parts",
        formula="token/s over all kinds / sum of the token/s of each kind alone",
        find=_efficiency,
    ),
}
