"""Where this process waits for other ranks, wherever in a pass that is.

PyTorch is asked for all collectives, by its sharding, by its distributed tensors and by what is
here, and all of them wait in three ways: for a `Work`, for the tensor of a functional collective,
and on a device's stream for an event of another stream, on which sharding has its collectives run.
Not seen are waits inside of compiled code and of C++ (those of `DistributedDataParallel`, behind
the backward pass, are: `bench.workloads.parallel.trainer`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional

Waiting = Callable[[], AbstractContextManager[Any]]


class Waits:
    """Has every wait of this process happen inside of ``waiting()``, until it is closed.

    Args:
        device: Whose streams wait; a host has none.
        waiting: A new context each time.
    """

    def __init__(self, device: torch.device, waiting: Waiting) -> None:
        self._before: list[tuple[Any, str, Any]] = []
        self._waiting = waiting
        module = None if device.type == "cpu" else getattr(torch, device.type, None)
        streams, current = getattr(module, "Stream", None), getattr(module, "current_stream", None)
        main = current() if current is not None else None

        def here(*given: Any) -> bool:
            """Not on another stream, as that of gathering: what waits there holds up nobody."""
            return current is None or current() == main

        self._wrap(dist.Work, "wait", here)
        self._wrap(functional, "wait_tensor", here)
        if streams is not None and main is not None:
            self._wrap(streams, "wait_event", lambda stream, *given: stream == main and here())

    def _wrap(self, owner: Any, name: str, counts: Callable[..., bool]) -> None:
        wait = getattr(owner, name)

        @functools.wraps(wait)
        def watched(*given: Any, **settings: Any) -> Any:
            if not counts(*given):
                return wait(*given, **settings)
            with self._waiting():
                return wait(*given, **settings)

        self._before.append((owner, name, wait))
        setattr(owner, name, watched)

    def close(self) -> None:
        """Leave everything as it was."""
        while self._before:
            owner, name, wait = self._before.pop()
            setattr(owner, name, wait)
