"""Two devices at a time: bandwidth and latency of one link."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, benchmark

PINGS = 200
"""Round trips of eight bytes whose median, halved, is the latency."""


@benchmark(scope="pair")
class Pairs(Benchmark):
    """Ping-pong between two ranks.

    Bandwidth is payload per direction over half a round trip of ``size`` bytes (unidirectional);
    latency is half the round trip of eight bytes. What comes back is compared with what was sent.
    """

    measures = (Measure("bandwidth", "B/s", "higher"), Measure("latency", "s", "lower"))
    per_sample = True

    size: Bytes = Bytes(16 << 20)

    def setup(self, context: Context) -> None:
        """Allocate a random payload on rank 0 and an empty one on rank 1."""
        import torch
        import torch.distributed as dist

        self.context = context
        self.first = context.rank == 0
        self.other = dist.get_global_rank(context.group, 1 - context.rank)
        generator = torch.Generator().manual_seed(context.seed)
        payload = torch.randint(0, 256, (int(self.size),), dtype=torch.uint8, generator=generator)
        self.sent = payload.to(context.device)
        self.buffer = self.sent.clone() if self.first else torch.zeros_like(self.sent)
        self.small = torch.zeros(8, dtype=torch.uint8, device=context.device)
        self.send, self.receive = dist.send, dist.recv

    def step(self) -> None:
        """There and back."""
        self._round_trip(self.buffer)

    def clock(self) -> Literal["device", "host"]:
        """A round trip ends on the host that began it."""
        return "host"

    def _round_trip(self, tensor: Any) -> None:
        group, other = self.context.group, self.other
        if self.first:
            self.send(tensor, other, group=group)
            self.receive(tensor, other, group=group)
        else:
            self.receive(tensor, other, group=group)
            self.send(tensor, other, group=group)

    def check(self) -> Check:
        """The payload survives the round trip, in memory that was wiped in between."""
        import torch

        group = self.context.group
        if self.first:
            self.buffer.copy_(self.sent)
            self.send(self.buffer, self.other, group=group)
            self.buffer.zero_()
            self.receive(self.buffer, self.other, group=group)
        else:
            self.buffer.zero_()
            self._round_trip(self.buffer)
        self.context.backend.synchronize(self.context.device)
        same = bool(torch.equal(self.buffer, self.sent))
        return Check(same, "the payload came back" if same else "the payload came back changed")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bandwidth from the timed round trips, latency from a loop of small ones."""
        spans = np.empty(PINGS)
        synchronize, device = self.context.backend.synchronize, self.context.device
        for index in range(PINGS + 20):
            synchronize(device)
            start = perf_counter()
            self._round_trip(self.small)
            synchronize(device)
            if index >= 20:
                spans[index - 20] = perf_counter() - start
        yield Metric("bandwidth", samples=2 * int(self.size) / timing.seconds)
        yield Metric("latency", samples=spans / 2)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The slower of the links on the way, and one hop's latency."""
        inside = facts.nodes <= 1
        beta = facts.link if inside else facts.network
        alpha = facts.link_latency if inside else facts.network_latency
        found = {}
        if beta:
            found["bandwidth"] = int(self.size) / ((alpha or 0.0) + int(self.size) / beta)
        if alpha:
            found["latency"] = alpha
        return found
