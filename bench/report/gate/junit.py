"""What the gate says as JUnit XML: a test case for every metric."""

from __future__ import annotations

from pathlib import Path

from ...gates import GateReport, Judged, State, ordered
from ..junit import Case, Kind, write
from ..plain import plain
from .words import clipped, sentence

TEXT = 4000
"""Characters of a reason: the file has it twice, and readers of such files have limits."""
_KINDS: dict[State, Kind] = {
    "REGRESSED": "failure",
    "INVALID": "error",
    "MISSING": "skipped",
    "NO_BASELINE": "skipped",
    "CHANGED": "skipped",
    "INCONCLUSIVE": "skipped",
    "IMPROVED": "",
    "PASS": "",
}


def write_junit(path: Path, report: GateReport) -> None:
    """Write ``gate.xml``, worst first. Raises `OSError` if the file cannot be written.

    A metric that regressed is a failure, one that is invalid an error. What could not be judged is
    *skipped* with its reason, never a test that passed: JUnit has no other word for it. A reader
    that counts skipped tests as good therefore sees less than the exit code says, which decides.

    The figures are in the text: some readers leave out attributes and properties.
    """
    write(path, plain(f"gate {report.gate}"), [_case(one) for one in ordered(report.judged)])


def _case(one: Judged) -> Case:
    lines = [f"{one.state}: {clipped(plain(one.reason), TEXT) or sentence(one)}"]
    if one.reason:
        lines.append(sentence(one))
    return Case(plain(one.name), 0.0, _KINDS[one.state], "\n".join(lines))
