"""``hengsuan run``: a suite on this machine, a Ray cluster, or a simulated fleet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import Exit, UsageError
from .place import executor_of, given, make_executor, spelled

if TYPE_CHECKING:
    from ..cluster.engine import Finished, Observer
    from ..cluster.executor import Done
    from ..configs import Chip, Suite
    from ..inventory import Inventory
    from ..records import Header


@click.command(name="run")
@click.argument("suite", default="quick")
@click.option(
    "--address",
    default="local",
    show_default=True,
    metavar="HOST:PORT",
    help="Ray cluster to measure; local starts one on this machine for the run.",
)
@click.option(
    "--executor",
    "executor_name",
    type=click.Choice(["ray", "local", "sim"]),
    help="Who runs the ranks; local does without Ray.  [default: ray]",
)
@click.option("--nodes", metavar="A,B", help="Only these nodes, by name, address or Ray id.")
@click.option(
    "--labels",
    metavar="FILE",
    help="Labels of nodes (site, rack, ...), beside those of Ray.",
)
@click.option(
    "--backend",
    metavar="NAME",
    help="Only devices of this backend (see `hengsuan doctor`); sim simulates.",
)
@click.option("--cluster", metavar="NAME|FILE", help="Simulate this fleet (implies sim).")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds runs.",
)
@click.option("--resume", metavar="RUN", help="Continue a run whose driver died.")
@click.option("--profile", default="default", show_default=True, help="Profile of the scorecard.")
@click.option(
    "--samples",
    type=click.Choice(["all", "suspects", "none"]),
    default="all",
    show_default=True,
    help="Which raw samples are kept.",
)
@click.option("--share", is_flag=True, help="Measure devices that others use too; records say so.")
@click.option("--dry-run", is_flag=True, help="Print the plan, with --address for a cluster.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def command(
    suite: str,
    resume: str | None,
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
    from ..configs import load_chips, load_profile, load_suite

    if resume is not None:
        for name in ("suite", "dry_run"):
            if given(name):
                raise UsageError(
                    f"--resume continues a run as it was planned; {spelled(name)} does not go "
                    "with it"
                )
    chips = load_chips()
    scored_by = load_profile(profile)
    if dry_run:
        return _dry_run(load_suite(suite), chips, as_json, **where)
    if resume is not None:
        chosen, run_id, out, again = _resumed(resume, out)
        where["executor_name"] = executor_of(again[0], where)
    else:
        from ..cluster.engine import new_run_id

        chosen, again = load_suite(suite), None
        run_id = new_run_id(chosen.name)
    finished = _execute(chosen, chips, out, run_id, again, quiet=quiet, **where)
    return _report(finished, scored_by, chips, as_json)


def _execute(
    suite: Suite,
    chips: dict[str, Chip],
    out: Path,
    run_id: str,
    again: tuple[Header, Done, float] | None,
    *,
    quiet: bool,
    **where: Any,
) -> Finished:
    from ..cluster.engine import Silent, execute
    from .environment import environment
    from .live import watching

    executor = make_executor(chips, **where)
    with watching(quiet) as screen:
        observer: Observer = screen if screen is not None else Silent()
        return execute(
            suite,
            executor,
            out,
            run_id,
            chips=chips,
            command=["hengsuan", *sys.argv[1:]],
            environment=environment(),
            observer=observer,
            resume=again,
        )


def _resumed(resume: str, out: Path) -> tuple[Suite, str, Path, tuple[Header, Done, float]]:
    """The suite as it was, the run's id and folder, and what it has already."""
    from ..cluster.executor import Done
    from ..cluster.journal import trim
    from ..configs import suite_from_text
    from ..results import RunReader, find_run

    folder = find_run(resume, out)
    reader = RunReader(folder)
    trim(folder, reader.header.cases)
    columns = reader.columns()
    keys = set(
        zip(columns.case.tolist(), columns.group.tolist(), columns.repeat.tolist(), strict=True)
    )
    header = reader.header
    suite = suite_from_text(header.suite_text, f"{folder}/run.json (its suite)")
    last = float(columns.time.max()) if len(columns) else 0.0
    return suite, folder.name, folder.parent, (header, Done(keys), last)


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


def _dry_run(suite: Suite, chips: dict[str, Chip], as_json: bool, **where: Any) -> int:
    """Plan for this machine, a running cluster or a simulated fleet, and print it."""
    import msgspec

    from ..cluster.engine import row_count
    from ..cluster.plan import plan
    from ..report.terminal import console, print_plan
    from .planned import outline

    inventory = _planned_for(chips, **where)
    made = plan(suite, inventory, chips)
    stages = outline(made, inventory)
    if as_json:
        found = {
            "suite": made.suite,
            "nodes": inventory.node_count,
            "devices": inventory.size,
            "labels": inventory.label_counts(),
            "rows": row_count(made, inventory),
            "stages": stages,
            "notes": made.notes,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
    else:
        print_plan(console(), made.suite, inventory, stages, made.notes)
    return int(Exit.OK)


def _planned_for(chips: dict[str, Chip], **where: Any) -> Inventory:
    """The devices to plan for; a running cluster is asked for them, and left as it was."""
    simulated = where["cluster"] or where["backend"] == "sim" or where["executor_name"] == "sim"
    if simulated or given("address"):
        executor = make_executor(chips, **where)
        try:
            return executor.inventory()
        finally:
            executor.close()
    if given("nodes"):
        raise UsageError("--dry-run plans for this machine; --nodes goes with --address")
    from ..cluster.describe import describe
    from ..configs import label_nodes, load_labels
    from ..inventory import Inventory

    items = load_labels(where["labels"]) if where["labels"] else []
    node = describe(where["backend"], where["share"], "")
    if not node.devices:
        raise UsageError(f"no device to plan for: {node.problem}")
    labelled, notes = label_nodes([node], items)
    return Inventory(labelled, notes=notes)
