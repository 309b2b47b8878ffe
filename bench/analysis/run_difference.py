"""Two runs side by side: what was measured, on what, and which values lie apart.

A value changed where the 95 % intervals of both runs do not overlap (`comparison.ranks`). Intervals
hold what was seen within a run; what sessions add is not in them, so a change here says where to
look, and `hengsuan gate` decides. Runs of different provenance are told apart, and their values are
not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from ..identity import differences as other_hardware
from ..identity import identity_of
from ..records import DIGEST, Better, Case, Header
from ..results import Columns, RunReader, cut
from .comparison import ranks
from .gate.differences import differences
from .summary import CaseSummary, summarize
from .table import key_of

State: TypeAlias = Literal[
    "worse",  # apart, towards worse
    "better",  # apart, towards better
    "alike",  # the intervals overlap
    "unsure",  # a single value is known of a run, and no interval
    "changed",  # the code that defines the measurement differs: figures cannot be compared
    "only before",  # the second run has no value of it
    "only after",  # the first run has no value of it
]
STATES: tuple[State, ...] = (
    "worse",
    "better",
    "changed",
    "only before",
    "only after",
    "unsure",
    "alike",
)
"""In the order in which they are told."""


class Value(msgspec.Struct, kw_only=True, frozen=True):
    """The median of a case over its groups, with its 95 % interval; None where unknown."""

    median: float
    low: float | None
    high: float | None


class MetricChange(msgspec.Struct, kw_only=True, frozen=True):
    """One metric in both runs, in ``unit``. ``change`` is relative, 0.05: 5 % *higher* after."""

    metric: str
    unit: str
    better: Better
    state: State
    before: Value | None = None
    after: Value | None = None
    change: float | None = None


class RunDifference(msgspec.Struct, kw_only=True, frozen=True):
    """What is different in the second of two runs.

    ``environment``: versions, drivers, variables, the suite, nodes, a phrase each. ``hardware``:
    what is different in nodes of equal name, sentences. ``metrics`` are all of which either has a
    value, those that changed first; ``unlike`` says why no values are compared, else empty.
    """

    before: str
    after: str
    environment: list[str]
    hardware: list[str]
    metrics: list[MetricChange]
    unlike: str = ""

    def count(self, state: State) -> int:
        """How many metrics have it."""
        return sum(one.state == state for one in self.metrics)


def run_difference(before: RunReader, after: RunReader) -> RunDifference:
    """What is different in the second of two runs. Raises `InfraError` for damaged rows."""
    old, new = before.header, after.header
    unlike = ""
    if old.label != new.label:
        unlike = f"run {old.id} is {old.label} and run {new.id} is {new.label}"
    columns = [reader.columns() for reader in (before, after)] if not unlike else []
    for header, one in zip((old, new), columns, strict=False):
        if why := cut(header, len(one)):
            unlike = f"run {header.id}: {why}"
    metrics = [] if unlike else sorted(_metrics(old, new, *columns), key=_order)
    return RunDifference(
        before=old.id,
        after=new.id,
        environment=differences(old, new),
        hardware=list(_hardware(old, new)),
        metrics=metrics,
        unlike=unlike,
    )


def _order(one: MetricChange) -> tuple[int, float]:
    return STATES.index(one.state), -abs(one.change or 0.0)


def _hardware(old: Header, new: Header) -> Iterator[str]:
    # Nodes that share a machine may share a name: which is which, nobody knows.
    many = Counter(node.name for node in old.nodes) + Counter(node.name for node in new.nodes)
    was = {node.name: node for node in old.nodes}
    for node in new.nodes:
        if node.name in was and many[node.name] == 2:
            for why in other_hardware(identity_of(was[node.name]), identity_of(node)):
                yield f"{node.name}: {why}"


def _metrics(old: Header, new: Header, before: Columns, after: Columns) -> Iterator[MetricChange]:
    was, has = _by_key(old, before), _by_key(new, after)
    for key in dict.fromkeys([*was, *has]):
        one = _compared(was.get(key), has.get(key))
        if one.before is not None or one.after is not None:
            yield one


def _by_key(header: Header, columns: Columns) -> dict[bytes, CaseSummary]:
    """The cases of a run by what they measure: of the sweep, where re-tests measured it again."""
    found: dict[bytes, CaseSummary] = {}
    for one in summarize(header, columns):
        if one.case.unit != DIGEST:
            plain = msgspec.structs.replace(one.case, source="")
            found.setdefault(key_of(header, plain), one)
    return found


def _compared(old: CaseSummary | None, new: CaseSummary | None) -> MetricChange:
    one = new or old
    assert one is not None
    before, after = _value(old), _value(new)
    return MetricChange(
        metric=f"{one.name} {one.case.metric}",
        unit=one.case.unit,
        better=one.case.better,
        state=_state(old, new, before, after),
        before=before,
        after=after,
        change=after.median / before.median - 1
        if before is not None and after is not None and before.median and _same(old, new)
        else None,
    )


def _value(one: CaseSummary | None) -> Value | None:
    if one is None or one.median is None:
        return None
    return Value(median=one.median, low=one.low, high=one.high)


def _state(
    old: CaseSummary | None, new: CaseSummary | None, before: Value | None, after: Value | None
) -> State:
    if old is not None and new is not None and not _same(old, new):
        return "changed"
    if before is None:
        return "only after"
    if after is None:
        return "only before"
    ends = [
        (one.median, one.low, one.high)
        for one in (before, after)
        if one.low is not None and one.high is not None
    ]
    if len(ends) < 2:
        return "unsure"
    assert new is not None
    first, second = ranks(ends, new.case.better)
    return "alike" if first == second else "worse" if second > first else "better"


def _same(old: CaseSummary | None, new: CaseSummary | None) -> bool:
    def said(case: Case) -> tuple[str, str, str]:
        return case.source, case.unit, case.better

    return old is not None and new is not None and said(old.case) == said(new.case)
