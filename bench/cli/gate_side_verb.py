"""``hengsuan gate side``: what `gate pair` starts twice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .measuring import SET, Work, chosen_suite, measured, places
from .verbs import Verb


@click.command(cls=Verb, hidden=True)
@click.argument("suite")
@SET
@places
def command(suite: str, axes: tuple[str, ...], out: Path, **where: Any) -> int:
    """Measure SUITE once for every line on standard input; see `bench.campaigns.gate_side`."""
    from ..campaigns.gate_side import GateSide
    from ..cluster.engine import new_run_id
    from ..configs import load_chips

    chosen = chosen_suite(suite, None, axes)
    work = Work(chosen, new_run_id(chosen.name), out)
    # The other side holds the same devices, and is still while this one measures.
    where["share"] = True
    # What executors print goes elsewhere (`bench.cluster`); the pipe is for the protocol alone.
    campaign = GateSide(chosen, sys.stdin, sys.stdout)
    campaign.watch(sys.stdin.fileno())
    return int(measured(work, load_chips(), unseen=True, campaign=campaign, **where).exit)
