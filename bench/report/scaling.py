"""How training scales, in the terminal: a table of sizes, the line, and what it says beyond."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from ..analysis.scaling import Scaling
from ..units import format_value
from .terminal import line, print_table

_COLUMNS = (
    "devices",
    "step",
    "rate",
    "efficiency",
    "slower compute",
    "spread",
    "exposed communication",
    "bubble",
)


def print_scaling(made: Console, found: Sequence[Scaling]) -> None:
    """Each row of growing groups: shares of a step that are lost stand beside its efficiency."""
    for one in found:
        line(made, f"{one.name}: {one.kind} scaling against {one.base} device(s), {one.provenance}")
        rows = [
            (
                str(size.devices),
                format_value(size.step, "s"),
                format_value(size.rate, "token/s"),
                f"{size.efficiency:.1%}",
                *(
                    "" if part is None else f"{part:.1%}"
                    for part in (size.slower, size.spread, size.communication, size.bubble)
                ),
            )
            for size in one.sizes
        ]
        print_table(made, _COLUMNS, rows, right=tuple(range(len(_COLUMNS))))
        if one.bubble:
            line(made, f"by its schedule the bubble is {one.bubble:.1%} of a step")
        if any(size.slower is None for size in one.sizes):
            line(made, "where it is lost is not known: its ranks' own times are not there")
        for devices, why in one.lacking.items():
            line(made, without(devices, why))
        if one.problem:
            line(made, one.problem)
        if one.fixed is None or one.growing is None:
            continue
        line(
            made,
            f"{one.formula}: {format_value(one.fixed, 's')} and "
            f"{format_value(one.growing, 's')}, residual {one.residual:.1%}",
        )
        for far in one.further:
            high = "?" if far.high is None else f"{far.high:.1%}"
            line(
                made,
                f"by the line, {far.devices} devices: {far.efficiency:.1%} "
                f"({far.low:.1%} to {high}, 95 %)",
            )


def without(devices: int, why: str) -> str:
    """That a size has no value, and why."""
    return f"without a value on {devices} device(s): {why}"
