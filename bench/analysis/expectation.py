"""Is this number normal? Beside each measurement what was to be expected, and the fleet's own.

A pure function of a run. The *prediction* is what datasheet and topology allow (`Case.expected`,
what the benchmark itself declares), the *fleet* what its groups gave: quantiles over groups, and
how many lie further out than chance lets any group of a healthy fleet of this size lie.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from ..configs import Chip
from ..records import DIGEST, Provenance
from ..stats import mad, student_quantile
from .assumptions import Assumptions, Model
from .finding import reached
from .scores import TOLERANCE
from .subject import Run
from .summary import CaseSummary, group_medians, lacking, rows_by_case

QUANTILES = (5, 25, 50, 75, 95)
FEWEST = 8
"""Groups from which it is asked who lies outside."""
FAMILY = 0.01
"""Share of healthy fleets, of normal scatter, in which any group lies outside, at most."""
KNOWN = 0.37
"""Of the degrees of freedom of a standard deviation, what the MAD has: its efficiency (Rousseeuw
and Croux, JASA 88, 1993). If the spread is taken as known exactly, one of nine healthy fleets of
eight groups has one outside."""


class Fleet(msgspec.Struct, kw_only=True, frozen=True):
    """What the groups of a case gave, in its unit.

    ``quantiles`` by percent; ``best`` and ``worst`` in the metric's direction; ``spread`` is the
    robust relative standard deviation over groups (scaled MAD over median). ``outside`` counts
    groups further from the median, on the worse side, than any of a healthy fleet but for chance
    (`FAMILY` over all groups, by Bonferroni); None of fewer than `FEWEST` groups.
    """

    groups: int
    quantiles: dict[int, float]
    best: float
    worst: float
    spread: float
    outside: int | None


class Expectation(msgspec.Struct, kw_only=True, frozen=True):
    """One measurement beside what was to be expected of it.

    ``measured`` is the median over groups, ``expected`` the prediction, both in ``unit``; ``ratio``
    how near the one comes to the other (1 is there, above 1 beyond). ``beyond``: further above than
    a measurement may err, so that one of both is wrong. ``assumption`` says what the prediction
    rests on, ``models`` what other models say. ``absent`` says why there is no ratio.
    """

    case: int
    stage: str
    name: str
    metric: str
    unit: str
    provenances: list[Provenance]
    measured: float | None
    low: float | None
    high: float | None
    expected: float | None
    ratio: float | None
    beyond: bool
    assumption: str
    models: list[Model]
    fleet: Fleet | None
    absent: str


def farthest(groups: int) -> float:
    """Scaled MADs from the median beyond which no group of a healthy fleet lies but for chance."""
    return student_quantile(FAMILY / groups, KNOWN * (groups - 1))


def expectations(run: Run, chips: Mapping[str, Chip]) -> list[Expectation]:
    """Every case of a run but digests, in the order of its header.

    Args:
        run: The run.
        chips: Datasheets by name.
    """
    assumptions = Assumptions(run, dict(chips))
    rows = rows_by_case(run.columns, len(run.header.cases))
    found = []
    for one in run.summaries:
        case = one.case
        if case.unit == DIGEST:
            continue
        _, medians = group_medians(run.columns, rows[case.id])
        assumed = assumptions.of(case)
        near = reached(one.median, case)
        found.append(
            Expectation(
                case=case.id,
                stage=case.stage,
                name=one.name,
                metric=case.metric,
                unit=case.unit,
                provenances=one.provenances,
                measured=one.median,
                low=one.low,
                high=one.high,
                expected=case.expected,
                ratio=near,
                beyond=near is not None and near > 1 + TOLERANCE,
                assumption=assumed.text,
                models=assumed.models,
                fleet=_fleet(one, medians) if one.median is not None else None,
                absent=_absent(run, one, near),
            )
        )
    return found


def _absent(run: Run, one: CaseSummary, near: float | None) -> str:
    if one.median is None:
        return lacking(one)
    if one.case.expected is None:
        return run.datasheets.of(one.case)[1]
    return "" if near is not None else "no ratio to what is expected can be taken"


def _fleet(one: CaseSummary, medians: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Fleet:
    assert one.best is not None
    assert one.worst is not None
    middle = float(np.median(medians))
    scale = mad(medians)
    outside = None
    if medians.size >= FEWEST:
        far = farthest(medians.size) * scale
        worse = middle - medians if one.case.better == "higher" else medians - middle
        outside = int((worse > far).sum()) if scale > 0 else int((worse > 0).sum())
    return Fleet(
        groups=int(medians.size),
        quantiles=dict(zip(QUANTILES, np.percentile(medians, QUANTILES).tolist(), strict=True)),
        best=one.best,
        worst=one.worst,
        spread=scale / abs(middle) if middle else 0.0,
        outside=outside,
    )
