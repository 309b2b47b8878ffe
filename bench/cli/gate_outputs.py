"""What a gate found, as a report: written, printed, and as an exit code."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..gates import GATE, GateReport, write_gate
from .json_output import print_json

if TYPE_CHECKING:
    from ..configs import Gate
    from ..gates import Judged
    from ..records import Header


def reported(
    gate: Gate,
    how: Literal["pair", "check"],
    sides: tuple[str, str],
    judged: list[Judged],
    header: Header,
    notes: list[str],
) -> GateReport:
    """The report of what was judged on the devices of ``header``."""
    devices = [device for node in header.nodes for device in node.devices]
    return GateReport(
        gate=gate.name,
        how=how,
        baseline=sides[0],
        candidate=sides[1],
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        alpha=gate.alpha,
        inconclusive=gate.inconclusive,
        devices=sorted({device.chip or device.name for device in devices}),
        judged=judged,
        notes=notes,
    )


def give(report: GateReport, out: Path, as_json: bool) -> int:
    """Write it into a folder, print it, and give the exit code."""
    from ..report.terminal import console

    out.mkdir(parents=True, exist_ok=True)
    write_gate(out / GATE, report)
    if as_json:
        print_json({"exit": int(report.exit), "report": report})
    else:
        made = console()
        for one in report.judged:
            made.print(
                f"{one.state} {one.name} {one.change} {one.low} {one.high} {one.blocks} "
                f"{one.reason}"
            )
    return int(report.exit)
