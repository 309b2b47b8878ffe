"""``hengsuan gate history``: many runs of a folder, and since which one a metric is slower."""

from __future__ import annotations

from pathlib import Path

import click

from .json_output import JSON, print_json
from .parameters import Share
from .scoring import SPEAKING
from .verbs import Verb


@click.command(cls=Verb)
@click.argument("folder", type=click.Path(path_type=Path), default=Path("results"))
@click.option(
    "--last",
    type=click.IntRange(1),
    metavar="N",
    default=200,
    show_default=True,
    help="Only so many runs, the newest.",
)
@click.option(
    "--min-change",
    "least",
    type=Share(),
    default="3%",
    show_default=True,
    help="What changed by less is not said.",
)
@SPEAKING
@JSON
def command(folder: Path, last: int, least: float, as_json: bool) -> int:
    """Name the metrics that became slower in a FOLDER of runs, and the first bad run of each.

    Exit code: 0 none is slower; 1 any is slower now; 3 the newest run that was to measure a metric
    has no value of it, or no metric has runs enough.
    """
    from ..analysis.gate.history import history as analysed
    from ..report.gate_history import print_history
    from ..report.terminal import console
    from . import reader_may_leave

    found = analysed(folder, last=last, least=least)
    with reader_may_leave():
        if as_json:
            print_json(found)
        else:
            print_history(console(), found)
    return int(found.exit)
