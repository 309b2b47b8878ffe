"""``hengsuan results``: show a run, its roofline and its fabric; list, compare and keep many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .history import diff, list_, trend
from .json_output import JSON, print_json, print_json_line, tell
from .scoring import OUT, SPEAKING
from .storing import export, prune, pull, push
from .verbs import Commands

if TYPE_CHECKING:
    from rich.console import Console

    from ..records import Header, Node
    from ..results import RunReader


@click.group(name="results", cls=Commands)
def command() -> None:
    """List, show, compare and keep runs. RUN is an id, the beginning of one, or a path."""


for _one in (list_, diff, trend, prune, export, push, pull):
    command.add_command(_one)


@command.command()
@click.argument("run")
@OUT
@SPEAKING
@JSON
@click.option("--rows", is_flag=True, help="Every row in full words instead of a line a case.")
def show(run: str, out: Path, as_json: bool, rows: bool) -> int:
    """Show a run: one line a case, or every row."""

    from ..analysis.spending import spending
    from ..analysis.summary import summary
    from ..inventory import Inventory
    from ..ledger import read_ledger
    from ..report.cases import print_cases
    from ..report.spending import print_spending
    from ..report.terminal import console, line, print_labels, verdict
    from ..results import RunReader, cut
    from ..runs import find_run, shown_state

    reader = RunReader(find_run(run, out))
    if rows:
        return _rows(reader, as_json)
    cases = summary(reader)
    spent = spending(reader.header, read_ledger(reader.path))
    if as_json:
        found = {"header": reader.header, "cases": cases, "time": spent}
        print_json(found)
        return 0
    header = reader.header
    state = shown_state(reader.path, header.state)
    screen = console()
    verdict(
        screen,
        f"run {header.id}: suite {header.suite}, {state}, {header.executor}, "
        f"{header.label}, started {header.started}",
        "",
    )
    if why := cut(header, sum(one.rows for one in cases)):
        line(screen, f"incomplete: {why}", "yellow")
    print_labels(screen, Inventory(header.nodes, header.fleet))
    print_cases(screen, cases)
    print_spending(screen, spent)
    for event in header.events:
        line(screen, ": ".join(filter(None, (event["kind"], event["node"], event["text"]))))
    return 0


@command.command()
@click.argument("run")
@OUT
@SPEAKING
@JSON
def roofline(run: str, out: Path, as_json: bool) -> int:
    """Show how near each case comes to what the chip's arithmetic and memory allow."""

    from ..analysis.roofline import roofline as analysed
    from ..configs import load_chips
    from ..report.roofline import print_roofline
    from ..results import RunReader
    from ..runs import find_run

    reader = RunReader(find_run(run, out))
    found = analysed(reader.header, reader.columns(), load_chips())

    def show(made: Console) -> None:
        for one in found:
            print_roofline(made, one)

    return _analysis(
        reader,
        {"chips": found},
        as_json,
        "gemm, stream, compute or memory: nothing has a place under a roofline",
        show,
    )


@command.command()
@click.argument("run")
@OUT
@SPEAKING
@JSON
def links(run: str, out: Path, as_json: bool) -> int:
    """Split every collective's time into latency and bandwidth, by a line through its sizes."""

    from ..analysis.alphabeta import links as fitted
    from ..report.links import print_links
    from ..results import RunReader
    from ..runs import find_run

    reader = RunReader(find_run(run, out))
    found = fitted(reader.header, reader.columns())
    return _analysis(
        reader,
        {"links": found},
        as_json,
        "collectives: no line can be drawn",
        lambda made: print_links(made, found),
    )


@command.command()
@click.argument("run")
@OUT
@SPEAKING
@JSON
@click.option(
    "--to",
    "beyond",
    type=click.IntRange(1),
    multiple=True,
    help="Draw the line to so many devices; may be repeated. [default: 2, 4, 8 times the largest]",
)
def scaling(run: str, out: Path, as_json: bool, beyond: tuple[int, ...]) -> int:
    """Show how training scales over growing groups, and where it loses."""

    from ..analysis.scaling import scaling as analysed
    from ..analysis.scaling import valueless
    from ..report.scaling import print_scaling, without
    from ..results import RunReader
    from ..runs import find_run

    reader = RunReader(find_run(run, out))
    header, columns = reader.header, reader.columns()
    found = analysed(header, columns, beyond)
    if not found:
        for case, why in valueless(header, columns):
            devices = header.schedules[case.schedule].arguments["devices"]
            tell(f"{case.short()}: {without(devices, why)}")
    return _analysis(
        reader,
        {"scaling": found},
        as_json,
        "train over growing groups (over: growing): nothing is known of how it scales",
        lambda made: print_scaling(made, found),
    )


@command.command()
@click.argument("run")
@OUT
@SPEAKING
@JSON
@click.option("--metric", default="bandwidth", show_default=True, help="Which metric of the pairs.")
def fabric(run: str, out: Path, as_json: bool, metric: str) -> int:
    """Name the slow nodes, devices and links behind a run's pairs."""

    from ..analysis.pairs import pair_fabrics
    from ..analysis.summary import summarize
    from ..errors import unknown
    from ..report.fabric import print_fabric
    from ..results import RunReader
    from ..runs import find_run

    reader = RunReader(find_run(run, out))
    header, columns = reader.header, reader.columns()
    known = {case.metric for case in header.cases if case.scope == "pair"}
    if known and metric not in known:
        raise unknown("metric of pairs", metric, known)
    found = pair_fabrics(header, columns, summarize(header, columns), metric)

    def show(made: Console) -> None:
        for one in found:
            print_fabric(made, one)

    return _analysis(
        reader,
        {"fabrics": found},
        as_json,
        "pairs: nothing is known of its links",
        show,
    )


@command.command()
@click.argument("run")
@OUT
@SPEAKING
@JSON
@click.option(
    "--share",
    type=click.FloatRange(0.5, 1.0, min_open=True),
    default=0.6,
    show_default=True,
    help="Of the nodes, how many must agree before the others are said to differ.",
)
@click.option("--node", metavar="NAME", help="All facts of this node instead.")
def facts(run: str, out: Path, as_json: bool, share: float, node: str | None) -> int:
    """Show which nodes differ from their neighbours, and what happened to nodes during stages."""

    from ..analysis.drift import drift
    from ..analysis.health import incidents
    from ..report.facts import print_differences, print_node
    from ..report.terminal import console
    from ..results import RunReader
    from ..runs import find_run

    header = RunReader(find_run(run, out)).header
    if node is not None:
        chosen = _named(header, node)
        if as_json:
            print_json(chosen)
        else:
            for one in chosen:
                print_node(console(), one)
        return 0
    drifts, happened = drift(header, share), incidents(header)
    if as_json:
        whole = {"run": header.id, "drift": drifts, "incidents": happened}
        print_json(whole)
    else:
        print_differences(console(), header, drifts, happened)
    return 0


def _named(header: Header, name: str) -> list[Node]:
    """The nodes of that name: several where they share a machine."""
    from ..errors import unknown
    from ..records import Node

    nodes = header.nodes
    if header.fleet is not None:
        names = map(header.fleet.name, range(header.fleet.count))
        nodes = [
            Node(id=one, name=one, facts=header.fleet.facts_of(index))
            for index, one in enumerate(names)
        ]
    chosen = [one for one in nodes if name in (one.name, one.id)]
    if not chosen:
        raise unknown("node", name, {one.name for one in nodes})
    return chosen


def _rows(reader: object, as_json: bool) -> int:
    """Every row in full words: a JSON object a line, or ``key: value`` text."""
    import msgspec

    from ..inventory import Inventory
    from ..report.language import spoken
    from ..report.plain import plain
    from ..results import RunReader
    from ..rounds import schedule_for
    from ..units import format_value

    assert isinstance(reader, RunReader)
    reader.columns()  # says which row refers to what there is not, before one is shown
    header = reader.header
    inventory = Inventory(header.nodes, header.fleet)
    schedules = [schedule_for(spec, inventory) for spec in header.schedules]
    for row in reader.rows():
        case = header.cases[row.case]
        ranks = schedules[case.schedule].members(row.group)
        names = [inventory.rank_name(rank) for rank in ranks[:8]]
        stated = 0 <= row.conditions < len(header.conditions)
        known = header.conditions[row.conditions] if stated else None
        more = spoken(f" and {len(ranks) - 8} more") if len(ranks) > 8 else ""
        more += spoken(f" in {known.library}") if known is not None and known.library else ""
        if as_json:
            full = {
                **msgspec.structs.asdict(row),
                "case": case,
                "ranks": list(ranks),
                "conditions": known,
            }
            print_json_line(full)
            continue
        value = format_value(row.value, case.unit)
        spread = ""
        if row.n > 1:
            low, high = format_value(row.low, case.unit), format_value(row.high, case.unit)
            spread = f" ({low} {spoken('to')} {high}, n={row.n})"
        reason = f": {spoken(row.reason)}" if row.reason else ""
        said = (
            f"{row.time:9.3f} s  {case.label()} {case.metric}{spoken(' on ')}{', '.join(names)}"
            f"{more}, {spoken(f'repeat {row.repeat}')}: {value}{spread} {spoken(row.status)}, "
            f"{spoken(row.provenance)}{reason}"
        )
        click.echo(plain(said))
    return 0


def _analysis(
    reader: RunReader,
    found: dict[str, Sequence[Any]],
    as_json: bool,
    lacking: str,
    show: Callable[[Console], object],
) -> int:
    """Print what was found of a run, under its one name: JSON, what ``show`` draws, or which values
    are ``lacking``."""
    from ..report.terminal import console, verdict

    run = reader.header.id
    if as_json:
        print_json({"run": run, **found})
    elif any(found.values()):
        screen = console()
        said = ", ".join(f"{len(parts)} {name}" for name, parts in found.items())
        verdict(screen, f"run {run}, {reader.header.label}: {said}", "")
        show(screen)
    else:
        tell(f"run {run} has no good value of {lacking}")
    return 0
