"""The fabric in the terminal: the usual pair, who is slow, and what the pairs cannot tell."""

from __future__ import annotations

from rich.console import Console

from ..analysis.pairs import PairFabric
from ..units import format_value
from .language import spoken
from .terminal import line, print_table

SHOWN = 40
"""Suspects that are shown, the slowest; the rest is counted."""


def print_fabric(made: Console, one: PairFabric) -> None:
    """One case's links of one place: what is usual, suspects from the slowest on, limits."""
    taking = f"{one.pairs} pairs of {one.items} devices on {one.nodes} nodes"
    if one.items == one.nodes:
        taking = f"{one.pairs} pairs of {one.nodes} nodes"
    line(made, f"{one.name}, {one.where}: {taking}, {one.provenance}", "bold")
    for usual in one.usual:
        of = f" of {usual.pairs} ({usual.name})" if usual.name else ""
        line(made, f"usual pair{of}: {one.metric} {format_value(usual.value, one.unit)}")
    line(
        made,
        f"noise of a pair around its ends {one.noise:.2%}, spread of the ends {one.spread:.2%}",
    )
    rows = [
        (
            spoken(suspect.kind.removeprefix("slow-")),
            " – ".join(suspect.names),
            f"{suspect.effect:+.1%}",
            f"{suspect.low:+.1%} {spoken('to')} {suspect.high:+.1%}",
            str(suspect.pairs),
            f"{suspect.chance:.1e}",
        )
        for suspect in one.suspects[:SHOWN]
    ]
    if rows:
        columns = ("slow", "name", one.metric, "95 % interval", "pairs", "by chance")
        print_table(made, columns, rows, right=(2, 3, 4, 5))
    else:
        line(made, "nobody stands out")
    if len(one.suspects) > SHOWN:
        line(made, f"{len(one.suspects) - SHOWN} more; see --json")
    for limit in one.limits:
        line(made, f"cannot tell: {limit}")
    made.print()
