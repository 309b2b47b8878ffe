"""``hengsuan gate check``: a run against earlier runs."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UsageError
from .json_output import JSON


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="An earlier run of the same; three or more say how much runs differ.",
)
@click.option("--gate", "gate_name", default="default", show_default=True, metavar="NAME|FILE")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the reports.  [default: the run's]"
)
@JSON
def command(
    run: Path, baseline: tuple[Path, ...], gate_name: str, out: Path | None, as_json: bool
) -> int:
    """Say whether RUN is slower than earlier runs.

    Runs of their own differ by more than their samples show, so this sees less than `gate pair`:
    limits hold what sessions add, and a margin that they cannot hold is refused.

    Exit code: 0 passed; 1 regressed; 2 usage, or a margin that cannot be held; 3 inconclusive,
    missing or nothing to compare with; 4 invalid.
    """
    from ..analysis.gate.series import series
    from ..analysis.gate.stored import FEWEST, SESSION, check, unresolved
    from ..configs import load_gate
    from ..inventory import Inventory
    from ..results import RunReader
    from .gate_outputs import give, reported

    gate = load_gate(gate_name)
    readers = [RunReader(path) for path in (*baseline, run)]
    kinds = [Inventory(one.header.nodes, one.header.fleet).kinds()[1] for one in readers]
    told = [
        f"{', '.join(sorted(kind))} ({one.header.provenance})"
        for kind, one in zip(kinds, readers, strict=True)
    ]
    for path, before_that in zip(baseline, told, strict=False):
        if before_that != told[-1]:
            raise UsageError(
                f"{path} is of {before_that}, {run} of {told[-1]}",
                hint="a baseline is of the same kind of chip, and measured or simulated alike",
            )
    *before, after = (series(reader.header, reader.columns()) for reader in readers)
    judged = check(gate, before, after)
    if beyond := unresolved(gate, judged):
        shown = "; ".join(beyond[:5]) + ("; ..." if len(beyond) > 5 else "")
        raise UsageError(
            f"{len(beyond)} margin(s) of gate {gate.name} cannot be held by {len(baseline)} "
            f"baseline(s): {shown}",
            hint="give more baselines, widen the margins, or measure with `hengsuan gate pair`",
        )
    notes = []
    if len(baseline) < FEWEST:
        notes.append(
            f"with fewer than {FEWEST} baselines, {SESSION:.0%} of noise between sessions is "
            "assumed"
        )
    provenance = readers[-1].header.provenance
    said = (", ".join(map(str, baseline)), str(run))
    report = reported(gate, "check", said, judged, sorted(kinds[-1]), provenance, notes)
    return give(report, out or run, as_json)
