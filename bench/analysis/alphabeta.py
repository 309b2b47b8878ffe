"""Latency and bandwidth of collectives: the line t(S) = α + S/β through the sizes of a run.

α is the time of an empty message in seconds, β the bandwidth that the largest approach, and
n½ = α·β the size at which half of it is reached (Hockney, *The science of computer benchmarking*,
1996; Parallel Computing 20, 1994). One line for each collective, dtype, form and scope.

Errors of a time are proportional to it, over eight decades of sizes: least squares would see the
largest sizes only. `relative_fit` counts every size alike, so small ones settle α and large ones β.
Values are medians over
repeats and only good rows count, so that no further robustness is needed; where a library changes
its algorithm with the size no line fits, and the residual says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..inventory import Inventory
from ..kernels import messages
from ..records import PROVENANCES, STATUSES, Case, Header, Provenance
from ..results import Columns
from ..rounds import schedule_for
from ..stats import student_quantile
from ..units import format_size, parse_size
from .relative import relative_fit
from .summary import group_medians, members, rows_by_case

Floats = npt.NDArray[np.float64]
SIZES = 3
"""Sizes that a line needs, at least: through two it passes whatever their error."""


class Line(msgspec.Struct, kw_only=True, frozen=True):
    """A fitted line: α in seconds, β in B/s, n½ in bytes, each with its 95 % interval.

    Intervals are Student's, those of n½ on its logarithm. A bound is None where the sizes do not
    give one: β without an upper bound means that none of them is large enough. ``residual`` is
    the relative standard deviation of times about the line; ``worst_size`` in bytes and ``worst``
    (relative, positive is slower) say where the line fits worst.
    """

    alpha: float
    alpha_low: float
    alpha_high: float
    beta: float | None
    beta_low: float | None
    beta_high: float | None
    half: float | None
    half_low: float | None
    half_high: float | None
    residual: float
    worst: float
    worst_size: float


class Link(msgspec.Struct, kw_only=True, frozen=True):
    """One collective over the sizes of a run, on groups of ``ranks`` devices.

    ``name`` says operation, dtype, form and scope, ``schedule`` is the index in the header.
    ``sizes`` are in bytes of the whole array, in whole elements, ``seconds`` the median over groups
    at each. ``factor`` makes a bus bandwidth of bytes a second (`bench.kernels.messages`), which β
    of ``line`` is. Without a line, ``problem`` says why.
    """

    name: str
    op: str
    dtype: str
    schedule: int
    ranks: int
    groups: int
    stage: str
    sizes: list[int]
    seconds: list[float]
    factor: float
    provenance: Provenance
    line: Line | None = None
    problem: str = ""


def links(header: Header, columns: Columns) -> list[Link]:
    """Every collective of a run, in the order of its cases. Only ok rows count.

    Raises:
        UsageError: the header has a schedule that its nodes cannot give.
    """
    return [_link(*one) for one in _points(header, columns).items()]


def fit(sizes: npt.ArrayLike, seconds: npt.ArrayLike) -> Line:
    """The line through float64[m] sizes in bytes and float64[m] times in seconds.

    Raises:
        ValueError: fewer than three different sizes, or a size or time that is not positive.
    """
    x, t = np.asarray(sizes, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if np.unique(x).size < SIZES:
        raise ValueError(f"a line needs at least {SIZES} different sizes")
    if x.min() <= 0 or t.min() <= 0:
        raise ValueError("sizes and times must be positive")
    scale = float(x.max())
    design = np.stack([np.ones_like(x), x / scale], axis=1)
    found, covariance, errors, spread = relative_fit(design, t)
    a, b = found.tolist()
    width = student_quantile(0.025, t.size - 2)
    da, db = (width * float(one) for one in np.sqrt(np.diag(covariance)))
    half, margin = a / b * scale if b else None, math.inf
    if a and b:
        relative = covariance[0, 0] / a**2 + covariance[1, 1] / b**2 - 2 * covariance[0, 1] / a / b
        margin = width * math.sqrt(max(0.0, float(relative)))
    bounded = half is not None and margin < 300  # beyond, e to its power is no number
    worst = int(np.argmax(np.abs(errors)))
    return Line(
        alpha=a,
        alpha_low=max(0.0, a - da),
        alpha_high=a + da,
        beta=scale / b if b else None,
        beta_low=scale / (b + db) if b + db > 0 else None,
        beta_high=scale / (b - db) if b > db else None,
        half=half,
        half_low=half * math.exp(-margin) if half is not None and bounded else None,
        half_high=half * math.exp(margin) if half is not None and bounded else None,
        residual=spread,
        worst=float(errors[worst]),
        worst_size=float(x[worst]),
    )


class _Key(msgspec.Struct, frozen=True):
    """What one line is about."""

    name: str
    op: str
    dtype: str
    stage: str
    schedule: int
    ranks: int
    provenance: Provenance


def _points(header: Header, columns: Columns) -> dict[_Key, list[tuple[int, Floats]]]:
    """By line: (size in bytes, times of the groups) for every size that was measured."""
    inventory = Inventory(header.nodes, header.fleet)
    rows = rows_by_case(columns, len(header.cases))
    good = columns.status == STATUSES.index("ok")
    found: dict[_Key, list[tuple[int, Floats]]] = {}
    widths: dict[int, npt.NDArray[np.int64]] = {}
    for case in header.cases:
        if case.benchmark != "collectives" or case.metric != "time":
            continue
        if case.schedule not in widths:
            widths[case.schedule] = _widths(header, case, inventory)
        mine = rows[case.id]
        for index in np.unique(columns.provenance[mine[good[mine]]]).tolist():
            groups, medians = group_medians(columns, mine[columns.provenance[mine] == index])
            sizes = widths[case.schedule][groups]
            for ranks in np.unique(sizes).tolist():
                key, size = _named(header, case, ranks, PROVENANCES[index])
                found.setdefault(key, []).append((size, medians[sizes == ranks]))
    return found


def _widths(header: Header, case: Case, inventory: Inventory) -> npt.NDArray[np.int64]:
    """int64[groups]: ranks of every group of a case."""
    schedule = schedule_for(header.schedules[case.schedule], inventory)
    widths = np.zeros(schedule.size, dtype=np.int64)
    for whole in schedule.rounds():
        for ids, ranks in whole:
            widths[ids] = ranks.shape[1]
    return widths


def _named(header: Header, case: Case, ranks: int, provenance: Provenance) -> tuple[_Key, int]:
    axes: dict[str, Any] = case.axes
    op, dtype = axes["op"], axes["dtype"]
    unit = messages.ITEMSIZE[dtype]
    size = messages.elements(op, parse_size(axes["size"]), unit, ranks) * unit
    flight = axes.get("in_flight")
    words = [
        f"{op} {dtype}",
        str(axes.get("buffers", "")).replace("_", " "),
        f"{flight} in flight" if flight else "",
        members(header.schedules[case.schedule]).strip(),
    ]
    name = " ".join(filter(None, words))
    return _Key(name, op, dtype, case.stage, case.schedule, ranks, provenance), size


def _link(key: _Key, points: list[tuple[int, Floats]]) -> Link:
    sizes = sorted({size for size, _ in points if size})
    line, problem = None, ""
    factor = messages.bus_factor(key.op, key.ranks)
    if key.op == "barrier":
        problem = "a barrier moves no data: its time is all latency"
    elif len(sizes) < SIZES:
        said = ", ".join(format_size(size) for size in sizes)
        problem = f"measured at {said} only: a line with its error needs {SIZES} sizes"
    else:
        x = np.concatenate([np.full(times.size, float(size)) for size, times in points])
        seconds = np.concatenate([times for _, times in points])
        if (np.isfinite(seconds) & (seconds > 0)).all():
            line = _on_the_bus(fit(x, seconds), factor)
        else:
            problem = "a time is not above 0: no line goes through it"
    return Link(
        name=key.name,
        op=key.op,
        dtype=key.dtype,
        schedule=key.schedule,
        ranks=key.ranks,
        groups=max(times.size for _, times in points),
        stage=key.stage,
        sizes=sizes,
        seconds=[
            float(np.median(np.concatenate([times for of, times in points if of == size])))
            for size in sizes
        ],
        factor=factor,
        provenance=key.provenance,
        line=line,
        problem=problem,
    )


def _on_the_bus(line: Line, factor: float) -> Line:
    """β as a bus bandwidth; n½ stays a size of the whole array."""
    bounds: Iterator[float | None] = (
        None if one is None else one * factor for one in (line.beta, line.beta_low, line.beta_high)
    )
    beta, low, high = bounds
    return msgspec.structs.replace(line, beta=beta, beta_low=low, beta_high=high)
