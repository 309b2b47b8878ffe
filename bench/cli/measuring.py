"""What verbs that measure share: options that say where, the run itself, and resuming one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..errors import Exit, UsageError
from .json_output import print_json, say, tell
from .parameters import Duration
from .place import check_stand_in, executor_of, given, make_executor, spelled, stood_in_for

if TYPE_CHECKING:
    from ..cluster.engine import Finished
    from ..cluster.executor import Done
    from ..cluster.further import Campaign
    from ..cluster.observer import Observer
    from ..configs import Chip, Suite
    from ..inventory import Inventory
    from ..records import Header

F = TypeVar("F", bound=Callable[..., Any])

_PLACES = (
    click.option(
        "--address",
        default="local",
        show_default=True,
        metavar="HOST:PORT",
        help="Ray cluster to measure; local starts one on this machine for the run.",
    ),
    click.option(
        "--executor",
        "executor_name",
        type=click.Choice(["ray", "local", "sim"]),
        help="Who runs the ranks; local does without Ray.  [default: ray]",
    ),
    click.option("--nodes", metavar="A,B", help="Only these nodes, by name, address or Ray id."),
    click.option(
        "--labels",
        metavar="FILE",
        help="Labels of nodes (site, rack, ...), beside those of Ray.",
    ),
    click.option(
        "--backend",
        metavar="NAME",
        help="Only devices of this backend (see `hengsuan doctor`); sim simulates.",
    ),
    click.option(
        "--cluster",
        "--sim",
        "cluster",
        metavar="NAME|FILE",
        help="Simulate this fleet (implies sim).",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=Path("results"),
        show_default=True,
        help="Folder that holds runs.",
    ),
    click.option(
        "--samples",
        type=click.Choice(["all", "suspects", "none"]),
        default="all",
        show_default=True,
        help="Which raw samples are kept.",
    ),
    click.option(
        "--stand-in",
        metavar="CHIP",
        help="The devices stand in for this chip: judged by its datasheet, labelled as a stand-in.",
    ),
    click.option(
        "--impose",
        metavar="memory",
        help="Give the stand-ins that chip's limits, as far as they can be imposed.",
    ),
    click.option(
        "--share", is_flag=True, help="Measure devices that others use too; records say so."
    ),
)


TELEMETRY = click.option(
    "--telemetry",
    type=Duration(0.05, off=True),
    default="1s",
    show_default=True,
    help="How often clocks, power, heat and load are looked at beside the run; or off.",
)

ONLY = click.option(
    "--only", metavar="CHECK", help="Only this check of the suite, as reports call it; * fits all."
)

SET = click.option(
    "--set",
    "axes",
    multiple=True,
    metavar="AXIS=VALUE",
    help="Give this axis this value in every benchmark that has it, as path=/mnt/data.",
)


def chosen_suite(suite: str, only: str | None, axes: Sequence[str] = ()) -> Suite:
    """A suite by name or path, with other axes (`SET`), or a part of it (`ONLY`)."""
    from ..configs import load_suite

    whole = load_suite(suite)
    if only is None and not axes:
        return whole
    from ..cluster import choice

    for one in axes:
        whole = choice.with_axis(whole, *_assigned(one))
    return whole if only is None else choice.only(whole, only)


def _assigned(text: str) -> tuple[str, Any]:
    """``batch=8`` as a suite would have it."""
    import yaml

    key, equals, value = text.partition("=")
    try:
        found = yaml.safe_load(value) if key and equals else None
    except yaml.YAMLError:
        found = None
    if not isinstance(found, str | int | float):
        raise UsageError(f"--set {text}: write AXIS=VALUE, for example path=/mnt/data")
    return key, found


def places(command: F) -> F:
    """The options that say where is measured, and where results go."""
    for option in reversed(_PLACES):
        command = option(command)
    return command


class Work(NamedTuple):
    """A suite, the run that it goes into, and the folder that holds runs.

    ``again``: of a run to continue, its header, which rows it has, and the time of its last one.
    """

    suite: Suite
    run_id: str
    out: Path
    again: tuple[Header, Done, float] | None = None


def work_of(
    suite: str, only: str | None, resume: str | None, out: Path, axes: Sequence[str] = ()
) -> Work:
    """What the options ask for: a suite in a new run, or the rest of one whose driver died."""
    if resume is not None:
        return _resumed(resume, out)
    chosen = chosen_suite(suite, only, axes)
    from ..cluster.engine import new_run_id  # dear, and nothing to whoever asked for no suite

    return Work(chosen, new_run_id(chosen.name), out)


def resumes_as_planned(resume: str | None, *others: str) -> None:
    """Raise `UsageError` where an option that asks for something else stands beside --resume."""
    for name in others:
        if resume is not None and given(name):
            raise UsageError(
                f"--resume continues a run as it was planned; {spelled(name)} does not go with it"
            )


def measured(
    work: Work,
    chips: dict[str, Chip],
    *,
    unseen: bool = False,
    campaign: Campaign | None = None,
    revive: bool = False,
    also: Observer | None = None,
    **where: Any,
) -> Finished:
    """Execute a suite as the options say, on the terminal unless only the verdict is wanted.

    Args:
        work: What to measure.
        chips: Datasheets by name.
        unseen: Show nothing while measuring.
        campaign: Asked for further stages.
        revive: Take back nodes that were lost and are there again, before it is asked.
        also: Told of everything, as the terminal is.
        where: The options of `places`; a continued run keeps its own executor and stand-in.
    """
    from ..cluster.engine import execute
    from ..cluster.observer import Several
    from ..configs import broken_chips
    from .environment import command_line, environment
    from .live import watching

    for problem in broken_chips():
        tell(f"warning: {problem}")
    if work.again is not None:
        where["executor_name"] = executor_of(work.again[0], where)
        where |= stood_in_for(work.again[0], where)
    executor = make_executor(chips, **where)
    with watching(unseen) as screen:
        observer = Several([one for one in (screen, also) if one is not None])
        return execute(
            work.suite,
            executor,
            work.out,
            work.run_id,
            chips=chips,
            command=command_line(),
            environment=environment(),
            observer=observer,
            resume=work.again,
            campaign=campaign,
            revive=revive,
        )


_UNUSED = ("failed", "invalid", "contended", "missing")
"""Statuses of which another try might make a value."""


def _resumed(resume: str, out: Path) -> Work:
    """A run to continue, with its suite as it was; what has a row is not measured again.

    Raises `UsageError` for a run of another verb, whose stages this one would not ask for.
    """
    import numpy as np

    from ..cluster.executor import Done
    from ..cluster.journal import trim
    from ..cluster.resuming import recount
    from ..configs import suite_from_text
    from ..records import STATUSES
    from ..results import RunReader
    from ..runs import find_run

    folder = find_run(resume, out)
    reader = RunReader(folder)
    if reader.header.provenance == "imported":
        raise UsageError(
            f"run {reader.header.id} was imported: another tool has measured it, and nothing of it "
            "can be continued"
        )
    verb = click.get_current_context().info_name
    began = [word for word in reader.header.command[1:] if word != "--debug"][:1]
    if verb not in began and began in (["run"], ["certify"]):
        raise UsageError(
            f"run {reader.header.id} was begun by `hengsuan {began[0]}`",
            hint=f"hengsuan {began[0]} --resume {folder}",
        )
    if began == ["goodput"]:
        raise UsageError(
            f"run {reader.header.id} was begun by `hengsuan goodput`, and is not continued: what "
            "came of its training is known at its end",
            hint="begin anew with hengsuan goodput",
        )
    trim(folder, reader.header.cases)
    columns = reader.columns()
    keys = set(
        zip(columns.case.tolist(), columns.group.tolist(), columns.repeat.tolist(), strict=True)
    )
    counts = np.bincount(columns.status, minlength=len(STATUSES))
    kept = sum(int(counts[STATUSES.index(one)]) for one in _UNUSED)
    if kept:
        say(
            f"note: {kept} values that do not count stay as they are (failed, missing, invalid or "
            "contended): a new run measures them again"
        )
    header = reader.header
    recount(header, columns)
    suite = suite_from_text(header.suite_text, f"{folder}/run.json (its suite)")
    last = float(columns.time.max()) if len(columns) else 0.0
    return Work(suite, folder.name, folder.parent, (header, Done(keys), last))


def print_planned(suite: Suite, chips: dict[str, Chip], as_json: bool, **where: Any) -> int:
    """Plan for this machine, a running cluster or a simulated fleet, and print it."""

    from ..cluster.engine import row_count
    from ..cluster.planning import plan
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
        print_json(found)
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
    from ..cluster.describe import describe, passed_over
    from ..configs import label_nodes, load_labels
    from ..inventory import Inventory

    check_stand_in(chips, where["stand_in"], where["impose"])
    items = load_labels(where["labels"]) if where["labels"] else []
    node = describe(
        where["backend"],
        where["share"],
        "",
        stands_for=where["stand_in"] or "",
        impose_memory=where["impose"] is not None,
    )
    if not node.devices:
        raise UsageError(f"no device to plan for: {node.problem}")
    labelled, notes = label_nodes([node], items)
    return Inventory(labelled, notes=[*notes, *passed_over([node])])
