"""Many runs: a list of them, what is different between two, a metric through all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import Exit
from .json_output import JSON, print_json, tell
from .runs_asked import ASKED, asked_of
from .scoring import OUT, SPEAKING
from .verbs import Verb


@click.command(name="list", cls=Verb)
@OUT
@ASKED
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only so many, the newest.")
@click.option("--store", "url", metavar="URL", help="The runs of a team's store instead.")
@SPEAKING
@JSON
def list_(out: Path, url: str | None, last: int | None, as_json: bool, **asked: Any) -> int:
    """List the runs of a folder or a store, oldest first.

    One that has not ended, and that nobody measures any more, is said to have died.

    Exit code: 0 listed.
    """
    from ..report.runs import print_runs
    from ..runs import chosen, listed, shown_state

    wanted = asked_of(**asked)
    notes: list[str] = []
    if url is not None:
        from .storing import opened

        store = opened(url)
        from ..store.pull import held

        where, every = store.name, [one.info for one in held(store)]
    else:
        where = str(out)
        every, notes = listed(out)
        for info in every:
            info.state = shown_state(info.path, info.state)
    runs = chosen(every, wanted)
    runs = runs[-last:] if last else runs
    for note in notes:
        tell(f"note: {note}")
    if as_json:
        print_json(runs)
    elif runs:
        print_runs(runs, click.echo)
    else:
        said = f"no runs in {where}" if not every else f"none of {len(every)} runs in {where} is so"
        tell(said)
    return 0


@click.command(cls=Verb)
@click.argument("before", metavar="RUN")
@click.argument("after", metavar="RUN")
@OUT
@SPEAKING
@JSON
def diff(before: str, after: str, out: Path, as_json: bool) -> int:
    """Show what is different in the second RUN: environment, hardware, values with intervals.

    A value changed where the intervals of both lie apart. --verbose shows also what did not. Where
    both were certified or gated, what their verdicts say otherwise follows.

    Exit code: 0 shown; 3 their values are not compared, or neither has one.
    """
    from ..analysis.run_difference import run_difference
    from ..report.judgements import print_changes
    from ..report.runs import print_difference
    from ..report.terminal import console
    from ..results import RunReader
    from ..runs import find_run
    from .judged import changes

    folders = [find_run(run, out) for run in (before, after)]
    found = run_difference(*map(RunReader, folders))
    verdicts, notes = ([], []) if found.unlike else changes([[folder] for folder in folders])
    code = Exit.OK if found.metrics else Exit.INCONCLUSIVE
    if as_json:
        told = {"difference": found, "verdicts": verdicts, "notes": notes}
        print_json({"exit": int(code), **told})
    else:
        screen = console()
        print_difference(screen, found)
        print_changes(screen, verdicts, notes)
    return int(code)


@click.command(cls=Verb)
@click.argument("metric")
@click.option("--node", default="", metavar="NAME", help="Of this node, also where it was renamed.")
@click.option("--chip", default="", metavar="NAME", help="On this chip.")
@click.option(
    "--last",
    type=click.IntRange(1),
    metavar="N",
    default=200,
    show_default=True,
    help="Only so many runs, the newest.",
)
@OUT
@SPEAKING
@JSON
def trend(metric: str, node: str, chip: str, last: int, out: Path, as_json: bool) -> int:
    """Plot METRIC over the runs of a folder, and say when its level changed.

    METRIC is a label as reports print it, one with * for any text, or words of it: 'gemm flops'.
    Simulated runs, stand-ins and measured ones have lines of their own.

    Exit code: 0 shown; 3 no run has a value of it.
    """
    from ..analysis.gate.history import history
    from ..analysis.gate.wanted import Wanted
    from ..report.terminal import console
    from ..report.trend import print_trend

    found = history(out, last=last, wanted=Wanted(metric=metric, node=node, chip=chip))
    code = Exit.OK if found.metrics else Exit.INCONCLUSIVE
    if as_json:
        print_json({"exit": int(code), "history": found})
    else:
        print_trend(console(), found)
        if not found.metrics:
            tell(f"no run in {out} has a value of {metric}")
    return int(code)
