"""From a profile's line to its metrics: what was achieved, against which reference, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ..configs import ProfileMetric
from ..kernels import costs
from ..units import format_value
from .criteria import NO_TOTAL, criteria, unmeasured
from .derived import DERIVED, Derived
from .derived.value import Value
from .estimates import Estimate
from .finding import Finding, misses, ratio
from .joining import what
from .scores import MetricScore, trusted
from .selection import selected
from .subject import Run, Subject
from .summary import CaseSummary, lacking

SHOWN_ONLY = "shown only: the profile compares it with nothing"


class Found(NamedTuple):
    """A case that a line means, and the run that it counts of."""

    run: Run
    one: CaseSummary


class Lines:
    """The lines of a profile over a subject.

    Attributes:
        missed: Findings of required lines that were missed, or not measured.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.missed: list[Finding] = []

    def metrics(self, line: ProfileMetric) -> list[MetricScore]:
        """What a line scores; what it means and nobody measured is in it, absent."""
        kind = DERIVED.get((line.benchmark, line.metric))
        if kind is not None:
            return self._derived(line, kind)
        found = self._found(line)
        if line.optional:
            found = [each for each in found if each.one.expected_groups]
        elif not found:
            suites = ", ".join(dict.fromkeys(run.header.suite for run in self._subject.runs))
            missing = _unmatched(line, suites)
            self.missed.extend(unmeasured(line, missing.name, missing.absent))
            return [missing]
        for run in dict.fromkeys(each.run for each in found):
            mine = [each.one for each in found if each.run is run]
            self.missed.extend(criteria(line, mine, run.header))
        return [self._case(line, each, len(found)) for each in found]

    def _found(self, line: ProfileMetric) -> list[Found]:
        """The cases that the line means. Of what several runs measured, the latest value counts;
        the largest size is that of each run."""
        by_key: dict[bytes, list[list[Found]]] = {}
        for run in self._subject.runs:
            meant = {case.id for case in selected(line, run.header.cases, run.header)}
            mine: dict[bytes, list[Found]] = {}
            for one in run.summaries:
                if one.case.id in meant:
                    mine.setdefault(_key(run, one), []).append(Found(run, one))
            for key, those in mine.items():
                by_key.setdefault(key, []).append(those)
        found = []
        for choices in by_key.values():
            measured = (those for those in choices if any(f.one.median is not None for f in those))
            found.extend(next(measured, choices[0]))
        return found

    def _case(self, line: ProfileMetric, found: Found, share: int) -> MetricScore:
        run, one = found
        case = one.case
        source, silent = run.datasheets.of(case)
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
            low=None if total else one.low,
            high=None if total else one.high,
            values=0 if total else one.values,
            groups=one.groups,
            expected_groups=one.expected_groups,
            coverage=one.groups / one.expected_groups if one.expected_groups else 0.0,
            provenance=run.label if achieved is not None else "",
            run=run.header.id,
        )
        _titled(score, line)
        ends = None
        if line.reference == "datasheet" and case.expected is not None:
            score.reference, score.reference_from = case.expected, source
        elif line.reference == "ceiling":
            known, score.reference_from, silent = self._ceiling(run, one)
            if known is not None:
                score.reference, ends = known.value, (known.low, known.high)
        elif line.reference in ("target", "threshold"):
            score.reference, score.reference_from, silent = self._asked(line)
        why = NO_TOTAL if total and one.median is not None else lacking(one)
        return _compared(score, case, silent, why, ends)

    def _derived(self, line: ProfileMetric, kind: Derived) -> list[MetricScore]:
        value = kind.find(self._subject)
        if line.optional and value.value is None:
            return []
        score = derived_score(line.benchmark, line.metric, kind, value)
        score.weight, score.scored = line.weight, line.reference != "none"
        _titled(score, line)
        silent = "no datasheet says what it could be"
        if line.reference == "datasheet":
            score.reference, score.reference_from = value.reference, value.reference_from
        elif line.reference in ("target", "threshold"):
            score.reference, score.reference_from, silent = self._asked(line)
        elif line.reference == "ceiling":
            silent = "no ceiling is measured for it"
        _compared(score, kind, silent, value.absent)
        self._judge(line, kind, score)
        return [score]

    def _judge(self, line: ProfileMetric, kind: Derived, score: MetricScore) -> None:
        if not line.required or line.target is None:
            return
        least = "at least" if kind.better == "higher" else "at most"
        asked = f"{least} {format_value(line.target, kind.unit)} is required"
        word: Literal["undecided", "criterion"] = "criterion"
        if score.achieved is None:
            word, text = "undecided", f"{line.metric} {asked}: {score.absent}"
        elif misses(score.achieved, line.target, kind.better):
            text = f"{line.metric} {format_value(score.achieved, kind.unit)}, {asked}"
        else:
            return
        self.missed.append(Finding(kind=word, name=line.title or line.benchmark, text=text))

    def _asked(self, line: ProfileMetric) -> tuple[float | None, str, str]:
        """(what a line asks for, who says so, why nobody does)."""
        if line.reference == "target":
            return line.target, "profile", ""
        declared = self._subject.facility
        given = declared.thresholds.get(line.threshold) if declared is not None else None
        why = f"no threshold {line.threshold!r} is given in SYSTEM.yaml"
        return given, "" if given is None else f"threshold {line.threshold}", why

    def _ceiling(self, run: Run, one: CaseSummary) -> tuple[Estimate | None, str, str]:
        """The measured roof of a case, in its unit: of operations, and of MFU."""
        for chip in run.rooflines:
            for point in chip.points:
                reached, limit = point.measured.fraction, point.measured.limit
                if point.case == one.case.id and reached and one.median is not None:
                    roof = chip.measured.roof(limit, costs.PEAK.get(point.dtype, point.dtype))
                    scale = one.median / reached / roof.value
                    return roof.known.times(scale), f"measured {limit} ceiling", ""
        if one.case.metric in ("mfu", "hfu") and len(run.kinds) == 1:
            (kind,) = run.kinds
            dtype = one.case.axes.get("dtype", "")
            chip_ = self._subject.chips.get(kind)
            peak = chip_.peak(dtype) if chip_ is not None else None
            best = self._subject.ceilings.get((kind, costs.PEAK.get(dtype, dtype)))
            if peak and best:
                why = f"measured {dtype} matrix product over peak"
                return best.known.times(1 / peak), why, ""
        return None, "", "no ceiling is measured for it"


def derived_score(benchmark: str, metric: str, kind: Derived, value: Value) -> MetricScore:
    """A derived value as a metric, not yet compared with anything."""
    measured = value.value is not None
    return MetricScore(
        name=benchmark,
        metric=metric,
        unit=kind.unit,
        scored=False,
        achieved=value.value,
        low=value.low,
        high=value.high,
        values=value.values,
        coverage=value.coverage if measured else 0.0,
        provenance=value.provenance,
        run=value.run,
        absent=value.absent,
        detail=value.detail,
        title=kind.about,
    )


def _compared(
    score: MetricScore,
    case: Any,
    silent: str,
    why: str,
    ends: tuple[float | None, float | None] | None = None,
) -> MetricScore:
    """The same with its efficiency, or why it has none. ``case`` says which way is better.

    ``ends`` is the interval of a reference that is measured itself: both err, each in its worse
    way (`estimates.over`), and where one's is not known, that of the efficiency is not.
    """
    if score.achieved is None:
        score.absent = why
    elif not score.scored:
        score.absent = SHOWN_ONLY
    elif score.reference is None:
        score.absent = silent
    else:
        score.efficiency = ratio(score.achieved, score.reference, case)
        if score.efficiency is None:
            score.absent = f"no ratio of {score.achieved:g} to {score.reference:g} can be taken"
        else:
            against = (score.reference,) if ends is None else ends
            found = [
                None if end is None or each is None else ratio(end, each, case)
                for end in (score.low, score.high)
                for each in against
            ]
            known = [end for end in found if end is not None]
            if len(known) == len(found):
                score.efficiency_low, score.efficiency_high = min(known), max(known)
    score.confidence = trusted(score)
    return score


def _titled(score: MetricScore, line: ProfileMetric) -> None:
    """What the line calls it, where it does."""
    for name in ("title", "title_zh", "clause", "quote"):
        if text := getattr(line, name):
            setattr(score, name, text)


def _key(run: Run, one: CaseSummary) -> bytes:
    """Equal for the same measurement in several runs."""
    spec = what(run.header.schedules[one.case.schedule])
    said = (one.case.benchmark, one.case.axes, one.case.metric, spec.kind, spec.arguments)
    return msgspec.json.encode(said, order="deterministic")


def _unmatched(line: ProfileMetric, suite: str) -> MetricScore:
    where = ",".join(f"{axis}={value}" for axis, value in line.where.items())
    missing = MetricScore(
        name=f"{line.benchmark}[{where}]" if where else line.benchmark,
        metric=line.metric,
        weight=line.weight,
        scored=line.reference != "none",
        absent=f"the suite {suite} does not measure it",
    )
    _titled(missing, line)
    return missing


def required_by(lines: Sequence[ProfileMetric]) -> Iterator[str]:
    """The thresholds that lines ask for."""
    for line in lines:
        if line.threshold:
            yield line.threshold
