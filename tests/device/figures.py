"""The bounds that the kernels are to reach, and how far the records say that they are.

A figure is a ratio of speeds, one for each of its timed tasks: of the kernel to the fastest
correct rival of some names, or of the kernel's bytes a second to those of a copy in the same task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cases import Task
from records import CEILING, OURS, Record

from bench.stats import geometric_mean

NOT_MEASURED = "not measured"
"""The verdict of a figure without any value."""
FURTHER = 8
"""Times as long as others a task is timed, at most, whose interval holds its bound."""

NEAR = 0.01
"""Share of a bound by which speeds differ from one place of the operands in memory to another."""


def called(name: str) -> str:
    """A contender's name in a sentence."""
    return "a copy" if name == CEILING else name


@dataclass(frozen=True)
class Bound:
    """``figure`` must be at least ``low`` of ``against``: the worst of its tasks, or their mean.

    Without ``low`` it is told, and nothing is asked of it.
    """

    figure: str
    against: tuple[str, ...]  # names of contenders; none: whatever torch has
    low: float | None
    mean: bool = False
    note: str = ""

    @property
    def text(self) -> str:
        """What is measured, in words."""
        of = " or ".join(map(called, self.against)) or "the best of torch"
        how = "geometric mean" if self.mean else "worst"
        return f"{self.figure} over {of}, {how}{self.note}"


_MEMORY = ("rmsnorm", "swiglu", "rope", "softmax")
_VARIANT = ", with a kernel of the architecture's own"

BOUNDS = [
    Bound("copy and triad", (CEILING,), 0.98),
    Bound("gemm", ("torch",), 0.97, mean=True),
    Bound("gemm", ("torch",), 0.92),
    Bound("gemm fp8", ("torch", "scaled_mm fast"), 0.90),
    Bound("attention forward", (), 0.75),
    Bound("attention backward", (), 0.60),
    Bound("attention forward", (), 0.95, note=_VARIANT),
    Bound("attention backward", (), 0.80, note=_VARIANT),
    *(Bound(op, (CEILING,), 0.90) for op in _MEMORY),
    *(Bound(op, ("compile", "autotune"), 1.0) for op in _MEMORY),
    *(Bound(op, ("liger",), 1.0) for op in _MEMORY),
    Bound("cross_entropy", (CEILING,), 0.80),
    Bound("adamw", (CEILING,), 0.95),
    Bound("adamw", ("AdamW fused",), 1.0),
    Bound("grouped_gemm", ("grouped_mm", "grouped_mm turned"), 0.95),
    Bound("decode_attention", (CEILING,), None),
    Bound("decode_attention", (), None),
]
"""The project's table of bounds, in its order, and figures that it has none for."""


@dataclass(frozen=True)
class Ratio:
    """A task's speed over that of what it is compared with, and the interval of that."""

    what: str
    against: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A bound, what was measured, and the verdict: met, MISSED, incomplete or not measured; told
    where there is no bound."""

    figure: str
    measured: str
    bound: str
    verdict: str


def ratio(record: Record, against: tuple[str, ...]) -> Ratio | None:
    """How fast the kernel is, relative to the fastest correct of some contenders; None if unknown.

    The interval is that of both medians' 95 % intervals at their worst.
    """
    ours = record.cells.get(OURS)
    if record.status != "right" or ours is None or not ours.seconds:
        return None
    if against == (CEILING,):
        other = record.cells.get(CEILING)
        if other is None or not other.seconds or not other.bytes:
            return None
        name, factor = CEILING, record.bytes / other.bytes
    else:
        found = record.best(against)
        if found is None:
            return None
        (name, other), factor = found, 1.0
    spans = other.seconds, other.low, other.high
    middle, low, high = (factor * (span or 0.0) for span in spans)
    return Ratio(
        record.what,
        name,
        middle / ours.seconds,
        low / (ours.high or ours.seconds),
        high / (ours.low or ours.seconds),
    )


def bounds_of(figure: str) -> list[Bound]:
    """Those that every task of a figure must reach by itself; none of a mean."""
    return [one for one in BOUNDS if one.figure == figure and not one.mean and one.low is not None]


def bounded(figure: str) -> bool:
    """Whether anything is asked of a figure."""
    return any(one.figure == figure and one.low is not None for one in BOUNDS)


def undecided(record: Record) -> bool:
    """Whether the interval of one of the task's ratios holds its bound: more calls would tell."""
    found = ((ratio(record, one.against), one.low) for one in bounds_of(record.figure))
    return any(one is not None and one.low < low <= one.high for one, low in found)


def missed(record: Record) -> bool:
    """Whether one of the task's ratios is below its bound."""
    found = ((ratio(record, one.against), one.low) for one in bounds_of(record.figure))
    return any(one is not None and one.value < low for one, low in found)


def near(record: Record) -> bool:
    """Whether one of the task's ratios is within `NEAR` of its bound, on either side."""
    found = ((ratio(record, one.against), one.low) for one in bounds_of(record.figure))
    return any(one is not None and low and abs(one.value / low - 1) <= NEAR for one, low in found)


def rivals_of(figure: str) -> set[str]:
    """Contenders that a figure's bounds name."""
    return {name for one in BOUNDS if one.figure == figure for name in one.against}


def rows(records: Sequence[Record], planned: Iterable[Task]) -> list[Row]:
    """A row for every bound, whether or not it could be measured."""
    wanted: dict[str, set[str]] = {}
    for task in planned:
        if task.kind == "time" and task.figure:
            wanted.setdefault(task.figure, set()).add(task.name)
    for record in records:
        if record.kind == "time" and record.figure:
            wanted.setdefault(record.figure, set()).add(record.name)
    return [_row(bound, records, wanted.get(bound.figure, set())) for bound in BOUNDS]


def _row(bound: Bound, records: Sequence[Record], wanted: set[str]) -> Row:
    mine = [one for one in records if one.kind == "time" and one.name in wanted]
    found = [one for one in (ratio(record, bound.against) for record in mine) if one is not None]
    limit = "–" if bound.low is None else f"≥ {bound.low:.2f}"
    if not found:
        return Row(bound.text, _why_not(bound, mine), limit, NOT_MEASURED)
    worst = min(found, key=lambda one: one.value)
    if bound.mean:
        value = geometric_mean([one.value for one in found])
        text = f"{value:.3f}"
    else:
        value = worst.value
        text = f"{value:.3f} [{worst.low:.3f}, {worst.high:.3f}]"
    missing = len(wanted) - len(found)
    if bound.mean or len(found) > 1:
        text += f" ({worst.what}: {worst.value:.3f} of {called(worst.against)})"
    elif bound.against != (CEILING,):
        text += f" ({worst.against})"
    if missing:
        text += f"; {missing} of {len(wanted)} tasks without a figure"
    if bound.low is not None and value < bound.low:
        return Row(bound.text, text, limit, "MISSED")
    whole = "told" if bound.low is None else "met"
    return Row(bound.text, text, limit, "incomplete" if missing else whole)


def _why_not(bound: Bound, mine: Sequence[Record]) -> str:
    """The first reason why there is no figure."""
    for record in mine:
        if record.status != "right":
            return f"{record.status}: {record.reason}"
        for name in bound.against:
            cell = record.cells.get(name)
            if cell is not None and cell.reason:
                return f"{name} {cell.status}: {cell.reason}"
    return "no task of it was done" if not mine else "nothing to compare with"
