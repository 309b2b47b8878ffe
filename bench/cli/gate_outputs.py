"""What a gate found, as a report: written, printed, and as an exit code."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..gates import GateReport
from ..report.amount import quiet
from .json_output import print_json, tell

if TYPE_CHECKING:
    from ..configs import Gate
    from ..gates import Judged
    from ..records import Provenance


def reported(
    gate: Gate,
    how: Literal["pair", "check"],
    sides: tuple[str, str],
    judged: list[Judged],
    kinds: list[str],
    provenance: Provenance | None,
    notes: list[str],
) -> GateReport:
    """The report of what was judged on devices of these kinds."""
    return GateReport(
        gate=gate.name,
        how=how,
        baseline=sides[0],
        candidate=sides[1],
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        alpha=gate.alpha,
        inconclusive=gate.inconclusive,
        provenance=provenance,
        devices=kinds,
        judged=judged,
        notes=notes,
    )


def give(report: GateReport, out: Path, as_json: bool) -> int:
    """Write it into a folder, print it, and give the exit code."""
    from ..report.gate.outputs import write_outputs
    from ..report.gate.terminal import print_gate
    from ..report.terminal import console

    out.mkdir(parents=True, exist_ok=True)
    said = write_outputs(out, report)
    for line in said.warnings:
        tell(line)
    if as_json:
        print_json({"exit": int(report.exit), "folder": str(out), "report": report})
        return int(report.exit)
    print_gate(console(), report)
    for line in (
        () if quiet() else said.annotations
    ):  # at the beginning of lines, where they are looked for
        click.echo(line)
    return int(report.exit)
