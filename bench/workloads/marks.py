"""Durations of parts of a step, where a step has several, and the same of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from .base import Context

_GATHERED = 1 << 18
"""Durations of all ranks that are compared, at most: a large group compares fewer calls."""


def mark(context: Context) -> Any:
    """Now, in the current stream of the device; on the host's clock where it has no events.

    A device passes the mark when it has done all that came before it: the host may be far ahead.
    Where there are no events the host waits for that.
    """
    # Between kinds of chip the work is the host's.
    event = None if context.through_host else context.backend.event()
    if event is None:
        context.backend.synchronize(context.device)
        return perf_counter()
    event.record()
    return event


def span(begin: Any, end: Any) -> float:
    """Seconds from one mark to another. The device must have passed both."""
    if isinstance(begin, float):
        return float(end - begin)
    return float(begin.elapsed_time(end)) * 1e-3


def start_together(context: Context) -> Callable[[], Any]:
    """A call that no rank's device leaves before all have entered it: what follows starts at once.

    It is a sum of one element, in the order of the device's other work.
    """
    import torch
    import torch.distributed as dist

    one = torch.zeros(1, device=context.place)
    return lambda: dist.all_reduce(one, group=context.group)


def every_rank(context: Context, seconds: Sequence[float] | Any) -> tuple[Any, Any]:
    """Which of this rank's samples were compared, and those of all: int64[n], float64[ranks, n].

    All ranks call this after timing, with equally many samples. A rank alone has only its own.
    """
    mine = np.asarray(seconds, dtype=np.float64)
    kept = max(1, min(mine.size, _GATHERED // context.size))
    picked = np.linspace(0, mine.size - 1, kept).astype(np.int64)
    own = mine[picked].tolist()
    return picked, np.array([own] if context.gather is None else context.gather(own))
