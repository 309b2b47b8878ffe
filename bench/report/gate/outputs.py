"""All that the gate leaves for continuous integration, in one folder, and where GitHub looks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InfraError
from ...files import document, replace_file
from ...gates import GATE, GateReport, write_gate
from ..room import MOST_BYTES, RESERVE
from .annotations import warning, workflow_commands
from .exports import bencher, benchmark_action
from .junit import write_junit
from .markdown import COMMENT_BYTES, gate_markdown

JUNIT = "gate.xml"
MARKDOWN = "gate.md"
SMALLER = "benchmark-smaller.json"
BIGGER = "benchmark-bigger.json"
BENCHER = "bencher.json"
STEP_BYTES = 1 << 20
"""GitHub drops a step's whole summary above this size."""


class Said(NamedTuple):
    """Lines for standard output (GitHub's workflow commands) and for standard error."""

    annotations: list[str]
    warnings: list[str]


def write_outputs(folder: Path, report: GateReport) -> Said:
    """Write every form of the report into a folder, which is made where there is none.

    Where ``GITHUB_STEP_SUMMARY`` names a file, the Markdown is appended to it; that it cannot be is
    a warning, for the verdict stands without it. Where ``GITHUB_ACTIONS`` is ``true``, annotations
    (and that warning) are given back as workflow commands.

    Raises:
        InfraError: the folder or a file in it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_gate(folder / GATE, report)
        write_junit(folder / JUNIT, report)
        markdown = gate_markdown(report, COMMENT_BYTES)
        replace_file(folder / MARKDOWN, markdown.encode("utf-8", "replace"))
        _write_json(folder / SMALLER, benchmark_action(report, "lower"))
        _write_json(folder / BIGGER, benchmark_action(report, "higher"))
        _write_json(folder / BENCHER, bencher(report))
    except OSError as error:
        where = error.filename or folder
        raise InfraError(f"cannot be written: {error.strerror}", where=str(where)) from None
    warnings = _summarize(report)
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return Said([], warnings)
    return Said([*workflow_commands(report), *map(warning, warnings)], warnings)


def _write_json(path: Path, value: Any) -> None:
    replace_file(path, document(value))


def _summarize(report: GateReport) -> list[str]:
    """Append to the step's summary what has room there; what went wrong, as sentences."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return []
    try:
        with Path(name).open("ab") as file:
            # A step may have written there before: its limit is one for all of it.
            room = min(MOST_BYTES, STEP_BYTES - file.tell() - 1)
            if room < 2 * RESERVE:
                return [f"the summary has no room left for the gate: {name}"]
            file.write(b"\n" * (file.tell() > 0))
            file.write(gate_markdown(report, room).encode("utf-8", "replace"))
    except OSError as error:
        return [f"the summary cannot be written: {name}: {error.strerror}"]
    return []
