"""The scorecard: what was achieved, against what the datasheet and the topology predict.

A pure function of a run and a profile. The efficiency of a metric is achieved over reference
(reference over achieved where lower is better); a category is the weighted geometric mean of
its metrics, the overall score that of all metrics, from 0 to 100. The geometric mean is the one
whose ranking does not depend on the unit or machine that figures are normalised by (Fleming and
Wallace, *How not to lie with statistics*, CACM 1986). An efficiency above 1 counts as 1 and is a
finding: either the datasheet or the measurement is wrong.

A score never stands without its *coverage*: the weight of what could be scored, times the share
of groups that answered, over the weight of all that the profile asks for.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from ..configs import Chip, Profile, ProfileMetric
from ..errors import Exit, UsageError
from ..records import PROVENANCES, STATUS_MEANING, STATUSES, Header, Provenance, Status
from ..results import Columns
from ..stats import geometric_mean
from ..units import format_value
from .criteria import NO_TOTAL, criteria, judgement, unmeasured, without_value
from .datasheets import Datasheets
from .drift import drift
from .finding import Finding, ratio
from .health import incidents
from .pairs import pair_fabrics
from .selection import selected
from .steadiness import unsteady
from .summary import CaseSummary, lacking, summarize

TOLERANCE = 0.05
"""How far above its reference a metric may lie before that is a finding."""


class MetricScore(msgspec.Struct, kw_only=True):
    """One case of a profile's line.

    ``achieved`` is the median over groups of their medians over repeats, ``p5`` and ``p95`` the
    spread over groups, ``reference`` what it is compared with, all in ``unit``; ``efficiency``
    their ratio, not capped. ``coverage`` is the share of the expected groups that have a value.
    ``scored`` is false for lines that are only shown. ``absent`` says why there is no
    efficiency, and is empty where there is one.
    """

    name: str
    metric: str
    case: int | None = None
    unit: str = ""
    weight: float = 1.0
    scored: bool = True
    achieved: float | None = None
    p5: float | None = None
    p95: float | None = None
    reference: float | None = None
    reference_from: str = ""
    efficiency: float | None = None
    groups: int = 0
    expected_groups: int = 0
    coverage: float = 0.0
    absent: str = ""


class Category(msgspec.Struct, kw_only=True):
    """A category of the profile; ``score`` is 0 to 100, None where nothing could be scored."""

    name: str
    score: float | None
    coverage: float
    metrics: list[MetricScore]


class Scorecard(msgspec.Struct, kw_only=True):
    """The scores of one run. ``overall`` is 0 to 100, None where nothing could be scored.

    ``stands_for``: the chip whose datasheet other devices were held against, in its place.
    """

    run: str
    suite: str
    profile: str
    provenance: Provenance
    stands_for: str = ""
    overall: float | None
    coverage: float
    categories: list[Category]
    findings: list[Finding]

    @property
    def exit(self) -> Exit:
        """The exit code that values ask for, and the profile's criteria."""
        return judgement(self.findings)


def scorecard(
    header: Header, columns: Columns, profile: Profile, chips: Mapping[str, Chip]
) -> Scorecard:
    """Score a run. Only rows with status ok count.

    Args:
        header: The run's header.
        columns: Its rows.
        profile: What counts, and how much.
        chips: Datasheets by name, to say what references rest on.

    Raises:
        UsageError: the run mixes provenances, or the profile asks for the largest of an axis
            that has no order.
    """
    provenance = _provenance(header, columns)
    summaries = summarize(header, columns)
    datasheets = Datasheets(header, chips)
    categories = []
    missed: list[Finding] = []
    for name, lines in profile.categories.items():
        metrics = []
        for line in lines:
            meant = {case.id for case in selected(line, header.cases, header)}
            found = [one for one in summaries if one.case.id in meant]
            if line.optional:
                found = [one for one in found if one.expected_groups]
            elif not found:
                unmatched = _unmatched(line, header.suite)
                metrics.append(unmatched)
                missed.extend(unmeasured(line, unmatched.name, unmatched.absent))
            metrics.extend(_score(line, one, len(found), datasheets) for one in found)
            missed.extend(criteria(line, found, header))
        score, coverage = _mean(metrics)
        if metrics or not all(line.optional for line in lines):
            categories.append(Category(name=name, score=score, coverage=coverage, metrics=metrics))
    overall, coverage = _mean([metric for one in categories for metric in one.metrics])
    return Scorecard(
        run=header.id,
        suite=header.suite,
        profile=profile.name,
        provenance=provenance,
        stands_for=header.stands_for,
        overall=overall,
        coverage=coverage,
        categories=categories,
        findings=[
            *_incomplete(header),
            *missed,
            *without_value(header, summaries),
            *_hosts(header),
            *_above(summaries, header.stands_for),
            *_slow(header, columns, summaries),
            *_unsteady(header, columns, summaries),
            *_statuses(summaries),
            *_notes(summaries),
        ],
    )


def _provenance(header: Header, columns: Columns) -> Provenance:
    used = np.unique(columns.provenance[columns.status == STATUSES.index("ok")]).tolist()
    if len(used) > 1:
        names = ", ".join(PROVENANCES[index] for index in used)
        raise UsageError(
            f"run {header.id} holds values of several provenances ({names}), "
            "which cannot be scored together",
            hint="give each its own run",
        )
    return PROVENANCES[used[0]] if used else header.provenance


def _unmatched(line: ProfileMetric, suite: str) -> MetricScore:
    where = ",".join(f"{axis}={value}" for axis, value in line.where.items())
    return MetricScore(
        name=f"{line.benchmark}[{where}]" if where else line.benchmark,
        metric=line.metric,
        weight=line.weight,
        scored=line.reference != "none",
        absent=f"the suite {suite} does not measure it",
    )


def _score(
    line: ProfileMetric, one: CaseSummary, share: int, datasheets: Datasheets
) -> MetricScore:
    case = one.case
    expected = one.expected_groups
    source, silent = datasheets.of(case)
    target = line.reference == "target"
    # Of several totals the one that counts is the worst: each is a link of its own.
    total = line.statistic == "total"
    totals = [value for value in one.totals.values() if value is not None]
    achieved = min(totals, default=None) if total else one.median
    score = MetricScore(
        name=one.name,
        metric=f"{case.metric} in all" if total else case.metric,
        case=case.id,
        unit=case.unit,
        weight=line.weight / share,
        scored=line.reference != "none",
        achieved=achieved,
        p5=None if total else one.p5,
        p95=None if total else one.p95,
        groups=one.groups,
        expected_groups=expected,
        coverage=one.groups / expected if expected else 0.0,
    )
    if line.reference != "none":
        score.reference = line.target if target else case.expected
        if score.reference is not None:
            score.reference_from = "profile" if target else source
    if achieved is None:
        score.absent = NO_TOTAL if total and one.median is not None else lacking(one)
    elif not score.scored:
        score.absent = "shown only: the profile compares it with nothing"
    elif score.reference is None:
        score.absent = silent
    else:
        score.efficiency = ratio(achieved, score.reference, case)
        if score.efficiency is None:
            score.absent = f"no ratio of {achieved:g} to {score.reference:g} can be taken"
    return score


def _mean(metrics: list[MetricScore]) -> tuple[float | None, float]:
    """(score from 0 to 100, coverage from 0 to 1) of some metrics."""
    wanted = [metric for metric in metrics if metric.scored]
    found = [metric for metric in wanted if metric.efficiency is not None]
    weights = np.array([metric.weight for metric in found])
    # What is beyond its reference is capped: one wrong datasheet must not lift the rest.
    capped = [min(metric.efficiency or 0.0, 1.0) for metric in found]
    covered = sum(metric.weight * metric.coverage for metric in found)
    asked = sum(metric.weight for metric in wanted)
    score = 100 * geometric_mean(capped, weights) if found else None
    return score, covered / asked if asked else 0.0


def _incomplete(header: Header) -> list[Finding]:
    if header.state == "complete":
        return []
    return [
        Finding(kind="incomplete", name=header.id, text=f"the run is {header.state}, not complete")
    ]


def _hosts(header: Header) -> list[Finding]:
    """Nodes that differ from their neighbours, and what happened to nodes during stages."""
    differ = [Finding(kind="drift", name=one.node, text=one.text) for one in drift(header)]
    happened = [Finding(kind=i.kind, name=i.node, text=i.text) for i in incidents(header)]
    return differ + happened


def _above(summaries: list[CaseSummary], stands_for: str) -> list[Finding]:
    """Cases whose best group is further above the prediction than any measurement may be.

    Of a stand-in that is only worth a note: it may be the faster chip.
    """
    findings = []
    for one in summaries:
        case = one.case
        if one.best is None or case.expected is None:
            continue
        above = ratio(one.best, case.expected, case)
        if above is not None and above > 1 + TOLERANCE:
            text = (
                f"{case.metric} {format_value(one.best, case.unit)} is {above - 1:.0%} better than "
                f"the {format_value(case.expected, case.unit)} that datasheet and topology allow: "
            )
            kind, why = "above-reference", "one of them is wrong"
            if stands_for:
                kind, why = (
                    "note",
                    f"what stands in for {stands_for} is faster, and counts as equal",
                )
            findings.append(Finding(kind=kind, name=one.name, text=text + why))
    return findings


def _slow(header: Header, columns: Columns, summaries: list[CaseSummary]) -> list[Finding]:
    """Who the pairs say is slow, once for all cases that say it."""
    told: dict[tuple[str, ...], Finding] = {}
    for one in pair_fabrics(header, columns, summaries):
        for suspect in one.suspects:
            name = " – ".join(suspect.names)
            finding = Finding(kind=suspect.kind, name=name, text=suspect.text(one.metric))
            told.setdefault((suspect.kind, name), finding)
    return list(told.values())


def _unsteady(header: Header, columns: Columns, summaries: list[CaseSummary]) -> list[Finding]:
    """Streams that stood still, and receivers that their senders do not share evenly."""
    found = unsteady(header, columns, summaries)
    return [Finding(kind=one.kind, name=one.name, text=one.text) for one in found]


def _notes(summaries: list[CaseSummary]) -> list[Finding]:
    """What rows that count say of themselves, once for all metrics of a benchmark."""
    told: dict[tuple[str, str, str], Finding] = {}
    for one in summaries:
        text = one.reasons.get("ok", "")
        if text:
            key = (one.case.stage, one.name, text)
            told.setdefault(key, Finding(kind="note", name=one.name, text=text))
    return list(told.values())


def _statuses(summaries: list[CaseSummary]) -> list[Finding]:
    """Per benchmark and status, how many rows do not count, and the most frequent reason.

    The metrics of a benchmark share its fate, so they are told once.
    """
    told: dict[tuple[str, str, Status], Finding] = {}
    for one in summaries:
        for status, count in one.statuses.items():
            if status != "ok":
                rows = f"{count} of {one.rows} measurements {status}"
                text = f"{rows}: {one.reasons.get(status) or STATUS_MEANING[status]}"
                key = (one.case.stage, one.name, status)
                told.setdefault(key, Finding(kind=status, name=one.name, text=text))
    order = {status: index for index, status in enumerate(STATUSES)}
    return sorted(told.values(), key=lambda finding: order[finding.kind])  # type: ignore[index]
