"""Where the wall time of a run's jobs went, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..analysis.spending import Spending
from ..ledger import PART_NAMES
from ..units import format_value
from .amount import verbose
from .terminal import line, print_table

if TYPE_CHECKING:
    from rich.console import Console

LEAD = 4
"""Parts that a line names."""


def print_spending(made: Console, found: Sequence[Spending]) -> None:
    """A line, with ``--verbose`` a table by benchmark and part; nothing where nothing is known."""
    if not found:
        return
    whole = sum(one.seconds for one in found)
    parts: dict[str, float] = {}
    for one in found:
        for part, seconds in one.parts.items():
            parts[part] = parts.get(part, 0.0) + seconds
    largest = sorted(parts, key=lambda part: -parts[part])[:LEAD]
    said = ", ".join(f"{PART_NAMES[part]} {parts[part] / whole:.0%}" for part in largest)
    jobs = sum(one.jobs for one in found)
    line(made, f"where the time went: {format_value(whole, 's')} of wall time, {jobs} jobs: {said}")
    if not verbose():
        return
    shown = [part for part in PART_NAMES if parts.get(part)]
    rows = [
        (
            one.benchmark,
            str(one.jobs),
            format_value(one.seconds, "s"),
            *(_share(one.parts.get(part, 0.0), one.seconds) for part in shown),
        )
        for one in found
    ]
    columns = ("benchmark", "jobs", "wall time", *(PART_NAMES[part] for part in shown))
    print_table(made, columns, rows, right=range(1, len(columns)))


def _share(seconds: float, whole: float) -> str:
    # What is less than half of the last digit would read as none.
    return f"{seconds / whole:.1%}" if whole and seconds / whole >= 0.0005 else ""
