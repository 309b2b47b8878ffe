"""Where the wall time of a run's jobs went, by benchmark and part (`bench.ledger`)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..ledger import Ledger, totals
from ..records import Header


class Spending(msgspec.Struct, kw_only=True, frozen=True):
    """Of all jobs of a benchmark: seconds of wall time, which sum over groups that ran at once."""

    benchmark: str
    jobs: int
    """On groups, and their repeats."""
    seconds: float
    """Of wall time, all jobs together."""
    parts: dict[str, float]
    """Seconds by part, in the order of a job; they sum to the whole."""
    doubts: list[str] = []
    """Case, and what is wrong with the time between its samples; a case once."""


def spending(header: Header, ledgers: Iterable[Ledger]) -> list[Spending]:
    """By benchmark, in the order of the cases. Ledgers of cases that there are not are left out."""
    by: dict[str, list[Ledger]] = {}
    for one in sorted(ledgers, key=lambda one: one.case):
        if 0 <= one.case < len(header.cases):
            by.setdefault(header.cases[one.case].benchmark, []).append(one)
    return [
        Spending(
            benchmark=benchmark,
            jobs=len(those),
            seconds=sum(one.whole for one in those),
            parts=totals(those),
            doubts=list(
                {
                    one.case: f"{header.cases[one.case].short()}: {one.said}"
                    for one in reversed(those)
                    if one.said
                }.values()
            )[::-1],
        )
        for benchmark, those in by.items()
    ]
