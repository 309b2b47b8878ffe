"""How well training scales: efficiency over growing groups, where it is lost, and what follows.

From the rows of `train` on groups that a schedule `bench.rounds.Growing` gives; a pure function of
a run. Weak scaling: every data-parallel rank has its own ``batch``; strong: the group has one
(``batch_of: group``).

Efficiency is per-device throughput over that of the base, the smallest group that was measured.
With t the step of n devices and t₀ that of the n₀ of the base, a step without loss would take
u = t₀ (weak) or u = t₀·n₀/n (strong), the efficiency is u/t, and what is lost, 1 - u/t, splits by
what the ranks' own times say into

- ``slower``: mean compute, the ranks compute longer than the base's;
- ``spread``: longest compute - mean, they wait for the slowest;
- ``bubble``: what stages of a pipeline wait for each other, in the mean;
- ``communication``: the rest, t - longest compute - bubble, the exposed part of what they exchange;

each less what the base has of it (for strong scaling its part of that, n₀/n), over t. These add up
to the loss. Of a pipeline the bubble of its schedule (`Layout.bubble`) stands beside it. A size
that was to be measured and has no value is told with the reason: without the smallest, all refer to
another base.

The lines, fitted with `relative_fit` and drawn to larger groups with the interval in which 95 of
100 further measurements would lie (Student's, of the coefficients and of the residual):

- strong: t(n) = s + p·n₀/n, Amdahl's law (Amdahl, 1967), s the serial part;
- weak: t(n) = a + b·log₂(n/n₀), a step beside reductions whose depth grows as a tree's (Thakur,
  Rabenseifner and Gropp, 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ..kernels.layout import Layout
from ..records import PROVENANCES, STATUSES, Case, Header, Provenance
from ..results import Columns
from ..stats import student_quantile
from .relative import relative_fit
from .summary import group_medians, lacking, rows_by_case, summarize

Floats = npt.NDArray[np.float64]
SIZES = 3
"""Sizes of a group that a line needs: through two it passes whatever their error."""
BEYOND = (2, 4, 8)
"""How far lines are drawn, in times of the largest group."""


class Size(msgspec.Struct, kw_only=True, frozen=True):
    """A group of ``devices``: its step in seconds, token/s of all, and its efficiency.

    ``slower``, ``spread``, ``communication`` and, of a pipeline, ``bubble`` are shares of the step
    that are lost; None where ranks have no times of their own. A share below zero is a gain.
    """

    devices: int
    step: float
    rate: float
    efficiency: float
    slower: float | None = None
    spread: float | None = None
    communication: float | None = None
    bubble: float | None = None


class Further(msgspec.Struct, kw_only=True, frozen=True):
    """What the line says of ``devices``: efficiency with its 95 % prediction interval.

    ``high`` is None where the line does not bound it.
    """

    devices: int
    efficiency: float
    low: float
    high: float | None


class Scaling(msgspec.Struct, kw_only=True, frozen=True):
    """One model, layout and kind of scaling over the groups of a run.

    ``base`` is the number of devices of the group to which efficiencies refer. ``fixed`` and
    ``growing`` are the line's coefficients in seconds: s and p, or a and b; ``residual`` the
    relative standard deviation of steps about it. Without a line, ``problem`` says why.
    ``bubble`` is the share of a step in which a pipeline's ranks have nothing to do, at least.
    ``lacking`` says of each size without a value why it has none.
    """

    name: str
    kind: Literal["weak", "strong"]
    base: int
    sizes: list[Size]
    bubble: float
    provenance: Provenance
    formula: str
    fixed: float | None = None
    growing: float | None = None
    residual: float | None = None
    further: list[Further] = []
    problem: str = ""
    lacking: dict[int, str] = {}


def scaling(header: Header, columns: Columns, beyond: Sequence[int] = ()) -> list[Scaling]:
    """Every row of growing groups in a run.

    Args:
        header, columns: The run.
        beyond: Numbers of devices to draw lines to; empty: `BEYOND` times the largest group.
    """
    rows = rows_by_case(columns, len(header.cases))
    good = columns.status == STATUSES.index("ok")
    found: dict[tuple[Any, ...], dict[int, dict[str, Floats]]] = {}
    first: dict[tuple[Any, ...], Case] = {}
    for case in _growing(header):
        spec, mine = header.schedules[case.schedule], rows[case.id]
        for index in np.unique(columns.provenance[mine[good[mine]]]).tolist():
            _, medians = group_medians(columns, mine[columns.provenance[mine] == index])
            if not medians.size or (case.metric == "step_p50" and medians[0] <= 0):
                continue  # of no number nothing is a share
            key = (*_family(header, case), PROVENANCES[index])
            first.setdefault(key, case)
            sizes = found.setdefault(key, {})
            sizes.setdefault(spec.arguments["devices"], {})[case.metric] = medians
    without: dict[tuple[Any, ...], dict[int, str]] = {}
    for case, why in valueless(header, columns):
        devices = header.schedules[case.schedule].arguments["devices"]
        without.setdefault(_family(header, case), {})[devices] = why
    return [
        msgspec.structs.replace(
            _scaling(first[key], key[-1], sizes, beyond), lacking=without.get(key[:-1], {})
        )
        for key, sizes in found.items()
        if any("step_p50" in one for one in sizes.values())
    ]


def valueless(header: Header, columns: Columns) -> list[tuple[Case, str]]:
    """The steps of growing groups that have no value, each with the reason."""
    wanted = {case.id for case in _growing(header) if case.metric == "step_p50"}
    if not wanted:
        return []
    return [
        (one.case, lacking(one))
        for one in summarize(header, columns)
        if one.case.id in wanted and not (one.median or 0.0) > 0
    ]


def _growing(header: Header) -> list[Case]:
    return [
        case
        for case in header.cases
        if case.benchmark == "train" and header.schedules[case.schedule].kind == "growing"
    ]


def _family(header: Header, case: Case) -> tuple[Any, ...]:
    """What the sizes of one model and layout have in common."""
    spec = header.schedules[case.schedule]
    said = {k: v for k, v in spec.arguments.items() if k != "devices"}
    return case.stage, msgspec.json.encode([case.axes, said], order="deterministic")


def _scaling(
    case: Case,
    provenance: Provenance,
    found: dict[int, dict[str, Floats]],
    beyond: Sequence[int],
) -> Scaling:
    measured = {n: found[n] for n in sorted(found) if "step_p50" in found[n]}
    strong = case.axes.get("batch_of") == "group"
    base = min(measured)
    alone = float(measured[base]["step_p50"][0])
    n = np.array(list(measured), dtype=np.float64)
    steps = np.array([float(one["step_p50"][0]) for one in measured.values()])
    layout = Layout(**{name: case.axes[name] for name in Layout.__dataclass_fields__})
    made = Scaling(
        name=case.short(),
        kind="strong" if strong else "weak",
        base=base,
        sizes=[
            _size(devices, one, measured[base], base, _whole(alone, base, devices, strong))
            for devices, one in measured.items()
        ],
        bubble=layout.bubble / (1 + layout.bubble),
        provenance=provenance,
        formula="t = s + p·n₀/n (Amdahl, 1967)" if strong else "t = a + b·log₂(n/n₀)",
    )
    if len(measured) < SIZES:
        said = ", ".join(map(str, measured))
        return msgspec.structs.replace(
            made,
            problem=f"measured on {said} device(s) only: a line with its error needs {SIZES} sizes",
        )
    (fixed, growing), covariance, _, residual = relative_fit(_design(n / base, strong), steps)
    width = student_quantile(0.025, n.size - 2)
    further = []
    for devices in beyond or [times * max(measured) for times in BEYOND]:
        at = _design(np.array([devices / base]), strong)[0]
        step = float(at @ (fixed, growing))
        error = width * math.sqrt(float(at @ covariance @ at) + (residual * step) ** 2)
        whole = _whole(alone, base, devices, strong)
        further.append(
            Further(
                devices=devices,
                efficiency=whole / step,
                low=whole / (step + error),
                high=whole / (step - error) if step > error else None,
            )
        )
    return msgspec.structs.replace(
        made, fixed=float(fixed), growing=float(growing), residual=residual, further=further
    )


def _design(times: Floats, strong: bool) -> Floats:
    """[m, 2] of sizes in times of the base."""
    return np.stack([np.ones_like(times), 1 / times if strong else np.log2(times)], axis=1)


def _whole(alone: float, base: int, devices: int, strong: bool) -> float:
    """Seconds of a step that loses nothing."""
    return alone * base / devices if strong else alone


def _size(
    devices: int, found: dict[str, Floats], base: dict[str, Floats], n0: int, whole: float
) -> Size:
    step = float(found["step_p50"][0])
    made = Size(
        devices=devices,
        step=step,
        rate=float(found["tokens_per_second"][0]) if "tokens_per_second" in found else math.nan,
        efficiency=whole / step,
    )
    own, first = _parts(found, devices), _parts(base, n0)
    if own is None or first is None:
        return made
    scale = whole / float(base["step_p50"][0])
    lost = [(one - scale * other) / step for one, other in zip(own, first, strict=True)]
    slower, spread, communication, bubble = lost
    return msgspec.structs.replace(
        made,
        slower=slower,
        spread=spread,
        communication=communication,
        bubble=bubble if "bubble" in found else None,
    )


def _parts(found: dict[str, Floats], devices: int) -> tuple[float, float, float, float] | None:
    """Seconds of a step: mean compute, spread, communication, bubble; None where some ranks' times
    are not there."""
    own = found.get("compute")
    if own is None or own.size < devices:
        return None
    step, mean, longest = float(found["step_p50"][0]), float(own.mean()), float(own.max())
    bubble = float(found["bubble"][0]) if "bubble" in found else 0.0
    return mean, longest - mean, step - longest - bubble, bubble
