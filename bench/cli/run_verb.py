"""``hengsuan run``: a suite on this machine, a Ray cluster, or a simulated fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit, UsageError
from .measuring import ONLY, chosen_suite, measured, places, print_planned, resumed
from .place import executor_of, given, spelled, stood_in_for

if TYPE_CHECKING:
    from ..cluster.engine import Finished
    from ..configs import Chip


@click.command(name="run")
@click.argument("suite", default="quick")
@places
@click.option("--resume", metavar="RUN", help="Continue a run whose driver died.")
@click.option("--profile", default="default", show_default=True, help="Profile of the scorecard.")
@ONLY
@click.option("--dry-run", is_flag=True, help="Print the plan, with --address for a cluster.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def command(
    suite: str,
    resume: str | None,
    only: str | None,
    out: Path,
    dry_run: bool,
    profile: str,
    as_json: bool,
    quiet: bool,
    **where: Any,
) -> int:
    """Measure SUITE (a name or a YAML file) and print the scorecard.

    Exit code: 0 measured; 1 a sanity check failed or a criterion of the profile was missed;
    2 usage; 3 nothing could be measured, or not what a criterion needs; 4 a node, rank or
    benchmark was lost; 130 interrupted. What was measured is kept in any case.
    """
    from ..configs import load_chips, load_profile

    if resume is not None:
        for name in ("suite", "only", "dry_run"):
            if given(name):
                raise UsageError(
                    f"--resume continues a run as it was planned; {spelled(name)} does not go "
                    "with it"
                )
    chips = load_chips()
    scored_by = load_profile(profile)
    if dry_run:
        return print_planned(chosen_suite(suite, only), chips, as_json, **where)
    if resume is not None:
        chosen, run_id, out, again = resumed(resume, out)
        where["executor_name"] = executor_of(again[0], where)
        where |= stood_in_for(again[0], where)
    else:
        from ..cluster.engine import new_run_id

        chosen, again = chosen_suite(suite, only), None
        run_id = new_run_id(chosen.name)
    finished = measured(chosen, chips, out, run_id, again, quiet=quiet, **where)
    return _report(finished, scored_by, chips, as_json)


def _report(finished: Finished, profile: Any, chips: dict[str, Chip], as_json: bool) -> int:
    import msgspec

    from ..analysis.scorecard import scorecard
    from ..records import STATUSES
    from ..report.terminal import console, print_outcome, print_scorecard
    from ..results import RunReader
    from . import reader_may_leave

    reader = RunReader(finished.folder)
    columns = reader.columns()
    card = scorecard(reader.header, columns, profile, chips)
    # A resumed run is judged whole, with the rows that it had before.
    numbers = ((columns.status == index).sum() for index in range(len(STATUSES)))
    finished.counts = {s: int(n) for s, n in zip(STATUSES, numbers, strict=True) if n}
    code = Exit.worst([finished.exit, card.exit])
    with reader_may_leave():
        if as_json:
            found = {
                "run": finished.header.id,
                "folder": str(finished.folder),
                "state": finished.header.state,
                "exit": int(code),
                "rows": finished.counts,
                "lost": finished.lost,
                "scorecard": card,
            }
            click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        else:
            out, folder = console(), str(finished.folder)
            print_scorecard(out, card)
            print_outcome(out, finished.header, folder, finished.counts, finished.lost)
    return int(code)
