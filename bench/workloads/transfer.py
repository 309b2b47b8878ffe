"""Copies between host and device memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Unmeasurable, benchmark


@benchmark(scope="device")
class Transfer(Benchmark):
    """Bandwidth of one copy over the host link, one direction.

    Pinned memory lets the device's copy engine read the host directly; pageable memory is
    staged by the driver, which is what a careless data loader gets. The copy is checked byte by
    byte before and after.
    """

    measures = (Measure("bandwidth", "B/s", "higher"),)

    direction: Literal["h2d", "d2h"] = "h2d"
    memory: Literal["pageable", "pinned"] = "pinned"
    size: Bytes = Bytes(256 << 20)

    def setup(self, context: Context) -> None:
        """Allocate one random buffer on each side."""
        import torch

        if context.device.type == "cpu":
            raise Unmeasurable("the device is the host: there is no link between them")
        generator = torch.Generator().manual_seed(context.seed)
        host = torch.randint(0, 256, (int(self.size),), dtype=torch.uint8, generator=generator)
        if self.memory == "pinned":
            try:
                host = host.pin_memory()
            except RuntimeError as error:
                raise Unmeasurable(f"this stack cannot pin host memory: {error}") from None
        device = host.to(context.device)
        self.wanted = host.clone()
        self.host, self.device = host, device
        self.wait = context.backend.synchronize
        self.where = context.device
        pinned = self.memory == "pinned"
        source, target = (host, device) if self.direction == "h2d" else (device, host)
        self.copy = partial(target.copy_, source, non_blocking=pinned)
        self.target = target

    def step(self) -> None:
        """One copy."""
        self.copy()

    def check(self) -> Check:
        """Copy into a buffer that was wiped, and compare every byte."""
        import torch

        self.target.fill_(0)
        self.copy()
        self.wait(self.where)
        same = bool(torch.equal(self.target.cpu(), self.wanted))
        return Check(same, "the copy equals its source" if same else "the copy differs")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Payload over time."""
        yield Metric("bandwidth", samples=int(self.size) / timing.seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The datasheet's host link, one direction."""
        link = facts.chip.host_link if facts.chip else None
        return {"bandwidth": link.value} if link else {}
