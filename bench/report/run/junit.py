"""A run as JUnit XML: a test case for every case that was measured.

A case of which a value failed its check, crashed or is missing is a failure; one that has no value
is *skipped* with its reason, never a test that passed.
"""

from __future__ import annotations

from ...analysis.expectation import Expectation
from ...analysis.summary import CaseSummary, lacking
from ...records import STATUS_MEANING, Status
from ...units import format_value
from ..html.source import Source
from ..junit import Case, Kind, document
from ..plain import plain

WRONG: tuple[Status, ...] = ("invalid", "failed", "missing")
"""States that say that something is wrong, the gravest first."""


def run_junit(source: Source) -> str:
    """One test suite, the run; its name is the suite's."""
    header = source.header
    cases = [_case(one, source.expectations.get(one.case.id)) for one in source.run.summaries]
    if header.state != "complete":
        cases.append(Case("the run", 0.0, "error", f"it is {header.state}: cases may be missing"))
    return document(plain(f"{header.suite} {header.id} ({source.run.label})"), cases)


def _case(one: CaseSummary, near: Expectation | None) -> Case:
    name = plain(f"{one.case.stage}: {one.name} {one.case.metric}")
    lines = [", ".join(f"{count} {status}" for status, count in one.statuses.items()) or "no rows"]
    if one.median is not None:
        said = f"median {format_value(one.median, one.case.unit)}"
        if near is not None and near.ratio is not None:
            said += f", {near.ratio:.1%} of {format_value(near.expected, one.case.unit)} expected"
        lines.append(f"{said}, worst {format_value(one.worst, one.case.unit)}")
    wrong = [status for status in WRONG if one.statuses.get(status)]
    kind: Kind = ""
    if wrong:
        kind = "failure"
        reasons = [f"{status}: {one.reasons.get(status) or STATUS_MEANING[status]}"
                   for status in wrong]  # fmt: skip
        lines = [*reasons, *lines]
    elif not one.statuses.get("ok"):
        kind = "skipped"
        lines = [lacking(one), *lines]
    return Case(name, 0.0, kind, "\n".join(map(plain, lines)))
