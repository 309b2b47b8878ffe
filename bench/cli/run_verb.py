"""``hengsuan run``: a suite on this machine, a Ray cluster, or a simulated fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit
from .json_output import JSON, print_json
from .measuring import (
    ONLY,
    SET,
    TELEMETRY,
    chosen_suite,
    measured,
    places,
    print_planned,
    resumes_as_planned,
    work_of,
)
from .metrics import exported, metrics
from .schedule import check_measures, scheduled, scheduling
from .scoring import SPEAKING
from .storing import THEN_STORE, stored
from .verbs import Verb

if TYPE_CHECKING:
    from ..cluster.engine import Finished
    from ..configs import Chip


@click.command(cls=Verb, name="run")
@click.argument("suite", default="quick")
@places
@click.option(
    "--resume", metavar="RUN", help="Continue a run whose driver died: measure what has no row."
)
@click.option("--profile", default="default", show_default=True, help="Profile of the scorecard.")
@TELEMETRY
@metrics
@scheduling
@ONLY
@SET
@click.option("--dry-run", is_flag=True, help="Print the plan, with --address for a cluster.")
@THEN_STORE
@SPEAKING
@JSON
def command(
    suite: str,
    resume: str | None,
    only: str | None,
    axes: tuple[str, ...],
    out: Path,
    dry_run: bool,
    url: str | None,
    profile: str,
    as_json: bool,
    metrics_file: Path | None,
    metrics_port: str | None,
    every: float | None,
    idle_only: bool,
    **where: Any,
) -> int:
    """Measure SUITE (a name or a YAML file) and print the scorecard.

    Exit code: 0 measured; 1 a sanity check failed or a criterion of the profile was missed;
    2 usage; 3 no value of a benchmark counts (all were contended), or not what a criterion needs;
    4 a node, rank or benchmark was lost; 130 interrupted. What was measured is kept in any case,
    also where a store is down.
    """
    from ..configs import load_chips, load_profile

    check_measures()
    resumes_as_planned(resume, "suite", "only", "axes", "dry_run")
    chips = load_chips()
    scored_by = load_profile(profile)
    if dry_run:
        return print_planned(chosen_suite(suite, only, axes), chips, as_json, **where)
    if every is not None or idle_only:
        return scheduled(every, idle_only, out, where)
    work = work_of(suite, only, resume, out, axes)

    def measure() -> tuple[int, Path]:
        with exported(metrics_file, metrics_port) as also:
            finished = measured(work, chips, also=also, **where)
            return _report(finished, scored_by, chips, as_json), finished.folder

    return stored(url, measure)


def _report(finished: Finished, profile: Any, chips: dict[str, Chip], as_json: bool) -> int:

    from ..analysis.scorecard import scorecard
    from ..records import STATUSES
    from ..report.terminal import console, print_outcome, print_scorecard
    from ..results import RunReader
    from . import reader_may_leave
    from .ending import next_after_run, print_end, verdict_of

    reader = RunReader(finished.folder)
    columns = reader.columns()
    card = scorecard(reader.header, columns, profile, chips)
    # A resumed run is judged whole, with the rows that it had before.
    numbers = ((columns.status == index).sum() for index in range(len(STATUSES)))
    finished.counts = {s: int(n) for s, n in zip(STATUSES, numbers, strict=True) if n}
    code = Exit.worst([finished.exit, card.exit])
    said = verdict_of(finished.header, code, card)
    following = next_after_run(finished.header, finished.folder, finished.counts, card)
    with reader_may_leave():
        if as_json:
            found = {
                "run": finished.header.id,
                "folder": str(finished.folder),
                "state": finished.header.state,
                "exit": int(code),
                "verdict": said,
                "rows": finished.counts,
                "lost": finished.lost,
                "scorecard": card,
                "next": [command for command, _ in following],
            }
            print_json(found)
        else:
            out, folder = console(), str(finished.folder)
            print_scorecard(out, card)
            print_outcome(out, finished.header, folder, finished.counts, finished.lost)
            print_end(out, said, following)
    return int(code)
