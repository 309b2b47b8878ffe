"""Who comes late where ranks wait for each other once in a step."""

from __future__ import annotations

from typing import Any

from ..units import format_value

LATE = 0.1
"""Share of a step from which it is said that one rank comes so much later than the others."""


def lateness(waits: Any) -> Any:
    """Seconds by which each rank is ready after the others, in the mean over steps: float64[ranks].

    Args:
        waits: float64[ranks, steps], at least two ranks: seconds from when a rank was ready until
            all were; who waits longer was ready earlier. Negative: before the others.
    """
    others = (waits.sum(axis=0) - waits) / (len(waits) - 1)
    return (others - waits).mean(axis=1)


def straggler(waits: Any, step: float) -> str:
    """Which rank costs the others `LATE` of a step, as a sentence; empty where none does.

    Args:
        waits: As `lateness` takes them.
        step: Seconds of a step.
    """
    late = lateness(waits)
    last = int(late.argmax())
    if late[last] < LATE * step:
        return ""
    return (
        f"rank {last} holds up the others: what it gives them comes "
        f"{format_value(float(late[last]), 's')} after theirs in a step of "
        f"{format_value(step, 's')}"
    )
