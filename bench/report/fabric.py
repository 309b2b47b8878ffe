"""The fabric in the terminal: the usual pair, who is slow, and what the pairs cannot tell."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ..analysis.pairs import PairFabric
from ..units import format_value
from .terminal import print_table

SHOWN = 40
"""Suspects that are shown, the slowest; the rest is counted."""


def print_fabric(made: Console, one: PairFabric) -> None:
    """One case's links of one place: what is usual, suspects from the slowest on, limits."""
    taking = f"{one.pairs} pairs of {one.items} devices on {one.nodes} nodes"
    if one.items == one.nodes:
        taking = f"{one.pairs} pairs of {one.nodes} nodes"
    made.print(Text(f"{one.name}, {one.where}: {taking}, {one.provenance}", style="bold"))
    for usual in one.usual:
        of = f" of {usual.pairs} ({usual.name})" if usual.name else ""
        _say(made, f"usual pair{of}: {one.metric} {format_value(usual.value, one.unit)}")
    _say(
        made,
        f"noise of a pair around its ends {one.noise:.2%}, spread of the ends {one.spread:.2%}",
    )
    rows = [
        (
            suspect.kind.removeprefix("slow-"),
            " – ".join(suspect.names),
            f"{suspect.effect:+.1%}",
            f"{suspect.low:+.1%} to {suspect.high:+.1%}",
            str(suspect.pairs),
            f"{suspect.chance:.1e}",
        )
        for suspect in one.suspects[:SHOWN]
    ]
    if rows:
        columns = ("slow", "name", one.metric, "95 % interval", "pairs", "by chance")
        print_table(made, columns, rows, right=(2, 3, 4, 5))
    else:
        _say(made, "nobody stands out")
    if len(one.suspects) > SHOWN:
        _say(made, f"{len(one.suspects) - SHOWN} more; see --json")
    for limit in one.limits:
        _say(made, f"cannot tell: {limit}")
    made.print()


def _say(made: Console, text: str) -> None:
    made.print(Text(text), soft_wrap=True)
