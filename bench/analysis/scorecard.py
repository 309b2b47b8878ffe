"""The scorecard: what was achieved, against what the datasheet and the topology predict.

A pure function of runs and a profile. The efficiency of a metric is achieved over reference
(reference over achieved where lower is better); a category is the weighted geometric mean of
its metrics, the overall score that of all metrics or of the categories, from 0 to 100. The
geometric mean is the one whose ranking does not depend on the unit or machine that figures are
normalised by (Fleming and Wallace, *How not to lie with statistics*, CACM 1986). An efficiency
above 1 counts as 1 and is a finding: either the datasheet or the measurement is wrong.

A score never stands without its *coverage*: the weight of what could be scored, times the share
of groups that answered, over the weight of all that the profile asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..configs import Chip, Profile
from ..records import STATUS_MEANING, STATUSES, Header, Status
from ..results import Columns, cut
from ..units import format_value
from .criteria import without_value
from .derived import DERIVED, SHOWN
from .drift import drift
from .finding import Finding, ratio
from .health import incidents
from .lines import Lines, derived_score
from .pairs import pair_fabrics
from .scores import TOLERANCE, Category, MetricScore, Scorecard, settle, trusted
from .steadiness import unsteady
from .subject import Run, Subject
from .summary import CaseSummary

__all__ = ["TOLERANCE", "Category", "MetricScore", "Scorecard", "score", "scorecard"]


def scorecard(
    header: Header, columns: Columns, profile: Profile, chips: Mapping[str, Chip]
) -> Scorecard:
    """Score one run. Only rows with status ok count.

    Args:
        header: The run's header.
        columns: Its rows.
        profile: What counts, and how much.
        chips: Datasheets by name, to say what references rest on.

    Raises:
        UsageError: the run mixes provenances, or the profile asks for the largest of an axis
            that has no order.
    """
    return score(Subject([Run(header, columns, chips)], chips), profile)


def score(
    subject: Subject, profile: Profile, *, chain: bool = False, culprits: bool = True
) -> Scorecard:
    """Score all runs of a subject as one system.

    Args:
        subject: The runs, and what is declared.
        profile: What counts, and how much.
        chain: Whether the factors of the whole cluster are shown beside it.
        culprits: Whether findings name who makes pairs slow, which of a large fleet takes as long
            as all the rest.

    Raises:
        UsageError: the profile asks for the largest of an axis that has no order.
    """
    lines = Lines(subject)
    categories = []
    for name, asked in profile.categories.items():
        metrics = [metric for line in asked for metric in lines.metrics(line)]
        if metrics or not all(line.optional for line in asked):
            title = profile.categories_zh.get(name, "")
            categories.append(
                Category(name=name, score=None, coverage=0.0, metrics=metrics, title_zh=title)
            )
    whole = settle(categories, profile.weights)
    first = subject.runs[0]
    headers = [run.header for run in subject.runs]
    return Scorecard(
        run=", ".join(header.id for header in headers),
        suite=", ".join(dict.fromkeys(header.suite for header in headers)),
        profile=profile.name,
        provenance=first.provenance,
        stands_for=first.header.stands_for,
        kinds=first.kinds,
        overall=whole.score,
        low=whole.low,
        high=whole.high,
        single=whole.single,
        coverage=whole.coverage,
        categories=categories,
        chain=list(_chain(subject)) if chain else [],
        findings=_findings(subject, lines.missed, culprits),
        note=profile.note,
        note_zh=profile.note_zh,
    )


def _chain(subject: Subject) -> Iterator[MetricScore]:
    for metric in SHOWN:
        kind = DERIVED["cluster", metric]
        one = derived_score("cluster", metric, kind, kind.find(subject))
        one.confidence = trusted(one)
        yield one


def _findings(subject: Subject, missed: list[Finding], culprits: bool) -> list[Finding]:
    """What a reader must know of each run; of several, the name says of which."""
    found = []
    for number, run in enumerate(subject.runs):
        header, summaries = run.header, run.summaries
        told = [
            *_incomplete(header, len(run.columns)),
            *(missed if number == 0 else []),
            *without_value(header, summaries),
            *_hosts(header),
            *_above(summaries, header.stands_for),
            *(_slow(header, run.columns, summaries) if culprits else ()),
            *_unsteady(header, run.columns, summaries),
            *_statuses(summaries),
            *_notes(summaries),
        ]
        if len(subject.runs) > 1:
            for one in told:
                if one not in missed and one.name != header.id:
                    one.name = f"{header.id}: {one.name}"
        found.extend(told)
    return found


def _incomplete(header: Header, rows: int) -> list[Finding]:
    text = cut(header, rows)
    if header.state != "complete":
        text = f"the run is {header.state}, not complete"
    return [Finding(kind="incomplete", name=header.id, text=text)] if text else []


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
