"""``hengsuan gate check``: a run against earlier runs."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import InfraError, UsageError
from .json_output import JSON
from .scoring import SPEAKING
from .verbs import Verb


@click.command(cls=Verb)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--baseline",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="An earlier run of the same, or a folder of runs: its newest on such chips under such a "
    "driver. Three or more say how much runs differ.",
)
@click.option(
    "--any-driver", is_flag=True, help="Baselines under other drivers too: the driver is judged."
)
@click.option("--gate", "gate_name", default="default", show_default=True, metavar="NAME|FILE")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the reports.  [default: the run's]"
)
@SPEAKING
@JSON
def command(
    run: Path,
    baseline: tuple[Path, ...],
    any_driver: bool,
    gate_name: str,
    out: Path | None,
    as_json: bool,
) -> int:
    """Say whether RUN is slower than earlier runs.

    Runs of their own differ by more than their samples show, so this sees less than `gate pair`:
    limits hold what sessions add, and a margin that they cannot hold is refused. Baselines are of
    the same kind of chip and driver.

    Exit code: 0 passed; 1 regressed; 2 usage, or a margin that cannot be held; 3 inconclusive,
    missing or nothing to compare with; 4 invalid.
    """
    from ..analysis.gate.baselines import choose, key_of
    from ..analysis.gate.series import series
    from ..analysis.gate.stored import FEWEST, SESSION, check, unresolved
    from ..configs import load_gate
    from ..results import RunReader, cut
    from .gate_outputs import give, reported

    run, baseline = _found(run), tuple(map(_found, baseline))
    gate = load_gate(gate_name)
    chosen = choose(baseline, run, any_driver=any_driver)
    notes, before, kept = list(chosen.notes), [], []
    for path in chosen.paths:
        reader = RunReader(path)
        columns = reader.columns()
        if why := cut(reader.header, len(columns)):
            notes.append(f"{path} is left out: {why}")
            continue
        kept.append(path)
        before.append(series(reader.header, columns))
    reader = RunReader(run)
    columns = reader.columns()
    if why := cut(reader.header, len(columns)):
        raise InfraError(why, where=str(run))
    after = series(reader.header, columns)
    judged = check(gate, before, after)
    if beyond := unresolved(gate, judged):
        shown = "; ".join(beyond[:5]) + ("; ..." if len(beyond) > 5 else "")
        raise UsageError(
            f"{len(beyond)} margin(s) of gate {gate.name} cannot be held by {len(before)} "
            f"baseline(s): {shown}",
            hint="give more baselines, widen the margins, or measure with `hengsuan gate pair`",
        )
    if 0 < len(before) < FEWEST and not all(one.exact for one in judged):
        notes.append(
            f"with fewer than {FEWEST} baselines, {SESSION:.0%} of noise between sessions is "
            "assumed"
        )
    provenance = reader.header.provenance
    said = (", ".join(map(str, kept or baseline)), str(run))
    kinds = list(key_of(reader.header).chips)
    report = reported(gate, "check", said, judged, kinds, provenance, notes)
    return give(report, out or run, as_json)


def _found(named: Path) -> Path:
    """A path, or a run of ``results`` by its id, as other verbs take it."""
    from ..runs import find_run

    return named if named.exists() else find_run(str(named), Path("results"))
