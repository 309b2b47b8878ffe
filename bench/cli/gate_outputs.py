"""What a gate found, as a report: written, printed, and as an exit code."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ..errors import Exit, InfraError
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
    """The report of what was judged on devices of these kinds.

    ``sides`` may hold bytes that are no text, as arguments and names of folders may.
    """
    from ..report.plain import plain

    return GateReport(
        gate=gate.name,
        how=how,
        baseline=plain(sides[0]),
        candidate=plain(sides[1]),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        alpha=gate.alpha,
        inconclusive=gate.inconclusive,
        provenance=provenance,
        devices=kinds,
        judged=judged,
        notes=list(map(plain, notes)),
    )


def give(report: GateReport, out: Path, as_json: bool) -> int:
    """Write it into a folder, print it, and give the exit code.

    Raises `InfraError` where it cannot be written, once it is printed: what took an hour to measure
    is not lost for a folder.
    """
    from ..report.gate.outputs import Said, write_outputs
    from ..report.gate.terminal import print_gate
    from ..report.terminal import console
    from . import reader_may_leave

    code, unwritten = report.exit, None
    try:
        said = write_outputs(out, report)
    except InfraError as error:
        code, unwritten, said = Exit.worst([code, error.exit]), error, Said([], [])
    for line in said.warnings:
        tell(line)
    with reader_may_leave():
        if as_json:
            print_json({"exit": int(code), "folder": str(out), "report": report})
        else:
            print_gate(console(), report)
            # At the beginning of lines, where they are looked for.
            for line in () if quiet() else said.annotations:
                click.echo(line)
    if unwritten is not None:
        raise unwritten
    return int(code)
