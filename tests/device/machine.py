"""A device that is open: what it says of itself, and how its cache and memory are emptied."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch

from bench.backends.base import Backend

SWEPT = 256 << 20
"""Bytes swept through the cache where its size is not known; twice that at most."""


class DeviceLostError(Exception):
    """The device no longer answers; this process is of no more use."""


@dataclass
class Machine:
    """A device that is open, and how long to time a task on it, in seconds."""

    backend: Backend
    device: torch.device
    index: int
    seconds: float = 2.0
    said: Callable[[str], None] = lambda stage: None
    so_far: Callable[[Any], None] = lambda record: None
    """Is told what a record says already, where more is to follow."""
    _sweep: torch.Tensor | None = field(default=None, repr=False)

    def synchronize(self) -> None:
        """Wait for the device."""
        self.backend.synchronize(self.device)

    def probe(self) -> None:
        """Raise `DeviceLostError` if a fault has left the device unusable for this process."""
        try:
            (torch.ones(8, device=self.device) + 1).sum().item()
            self.synchronize()
        except Exception as error:
            raise DeviceLostError(f"the device no longer answers: {in_a_line(error)}") from None

    def state(self) -> dict[str, Any]:
        """What the device says of its clocks, heat and power."""
        known = msgspec.to_builtins(self.backend.telemetry(self.index))
        return {key: one for key, one in known.items() if one not in (None, "", {})}

    def sweep(self) -> None:
        """Read so much that nothing of the operands stays in the cache, nor dirty lines."""
        if self._sweep is None:
            size = min(2 * self.backend.cache(self.device) or SWEPT, 2 * SWEPT)
            self._sweep = torch.ones(size // 4, dtype=torch.int32, device=self.device)
        self._sweep.amax()


def forget(device: torch.device) -> None:
    """Give back what the last task left: memory, and compiled code (the compiler falls back to
    plain calls after a few shapes of one function)."""
    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    cached = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if cached is not None:
        cached()


def in_a_line(error: BaseException) -> str:
    """An error's kind and first words, without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
