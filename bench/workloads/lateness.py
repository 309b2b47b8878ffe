"""Who comes late where ranks wait for each other once in a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..units import format_value

LATE = 0.1
"""Share of a step from which it is said that one rank comes so much later than the others."""
SLOW = 1.5
"""Medians that a step takes which is a slow one."""
OFTEN = 5
"""Slow steps from which on it is no accident who was late in them."""


def lateness(waits: Any) -> Any:
    """Seconds by which each rank is ready after the others, in the mean over steps: float64[ranks].

    Args:
        waits: float64[ranks, steps], at least two ranks: seconds from when a rank was ready until
            all were; who waits longer was ready earlier. Negative: before the others.
    """
    others = (waits.sum(axis=0) - waits) / (len(waits) - 1)
    return (others - waits).mean(axis=1)


def straggler(waits: Any, seconds: Any) -> str:
    """Which rank costs the others `LATE` of the steps, or is who they wait for in those that take
    `SLOW` medians and more, as a sentence; empty where none is.

    Args:
        waits: As `lateness` takes them.
        seconds: float64[steps], of the same steps.
    """
    late = lateness(waits)
    last, step = int(late.argmax()), float(seconds.mean())
    if late[last] >= LATE * step:
        return (
            f"rank {last} holds up the others: what it gives them comes "
            f"{format_value(float(late[last]), 's')} after theirs in a step of "
            f"{format_value(step, 's')}"
        )
    usual = float(np.median(seconds))
    slow = seconds >= SLOW * usual
    if slow.sum() < OFTEN:
        return ""
    late = lateness(waits[:, slow])
    last = int(late.argmax())
    # Were it now one rank and now another, each would be late in a part of them only.
    if late[last] < 0.5 * (float(seconds[slow].mean()) - usual):
        return ""
    return (
        f"rank {last} holds up the others in {int(slow.sum())} of {len(seconds)} steps: what it "
        f"gives them comes {format_value(float(late[last]), 's')} after theirs, and a step takes "
        f"{format_value(usual, 's')}"
    )
