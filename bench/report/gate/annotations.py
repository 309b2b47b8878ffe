"""What the gate says as workflow commands of GitHub, which it shows beside a change.

GitLab has no such thing: there the JUnit report is what is shown.
"""

from __future__ import annotations

from ...gates import GATE, GateReport, Judged
from ..plain import plain
from .words import REASON, clipped, fails, label, sentence, split, verdict_line

MOST = 9
"""Annotations of a kind beside the one that counts the rest: ten of a kind and step are shown."""
TITLE = 200
"""Characters of a title: GitHub takes 255."""


def workflow_commands(report: GateReport) -> list[str]:
    """Lines for standard output, worst first: ``::error title=...::...``.

    An error is what the gate fails for, a warning what it tolerates; what passes has none.
    """
    bad, _ = split(report)
    failing = [one for one in bad if fails(report, one)]
    tolerated = [one for one in bad if not fails(report, one)]
    if not report.judged:
        return [_command("error", "gate", verdict_line(report))]
    return [*_commands("error", failing), *_commands("warning", tolerated)]


def warning(text: str) -> str:
    """A workflow command that warns, of what is not about a metric."""
    return _command("warning", "gate", plain(text))


def _commands(kind: str, judged: list[Judged]) -> list[str]:
    lines = [
        _command(kind, f"{one.state} {label(one)}", "\n".join(filter(None, _about(one))))
        for one in judged[:MOST]
    ]
    if rest := judged[MOST:]:
        lines.append(_command(kind, "gate", f"and {len(rest)} more, in {GATE}"))
    return lines


def _about(one: Judged) -> tuple[str, str]:
    return plain(clipped(one.reason, REASON)), sentence(one)


def _command(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_property(clipped(title, TITLE))}::{_data(text)}"


def _data(text: str) -> str:
    """As GitHub's own toolkit escapes what follows the second ``::``."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
