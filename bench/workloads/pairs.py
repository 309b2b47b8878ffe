"""Two devices at a time: bandwidth and latency of one link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np

from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Unmeasurable, benchmark
from .collective_checks import poison
from .runner import all_or_none

PINGS = 200
"""Round trips of eight bytes; half of one is a latency."""


@benchmark(scope="pair")
class Pairs(Benchmark):
    """What the link between two ranks carries, and how long eight bytes take.

    Unidirectional: ``size`` bytes go there and come back; bandwidth is payload over half a round
    trip. Bidirectional: both ranks send ``size`` bytes at the same time; bandwidth is the payload
    of both directions over the time of the exchange, at most twice the other. Latency is half the
    round trip of eight bytes: its median, its 95th and 99th percentile, its longest. ``memory``
    says where the payload lies: on the device, over its collective library, or in host memory,
    over the network of the hosts. What arrives is compared with what was sent.
    """

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("bandwidth", "B/s", "higher"),
        Measure("latency", "s", "lower"),
        Measure("latency_p95", "s", "lower"),
        Measure("latency_p99", "s", "lower"),
        Measure("latency_max", "s", "lower"),
    )
    per_sample = True

    size: Bytes = Bytes(16 << 20)
    direction: Literal["unidirectional", "bidirectional"] = "unidirectional"
    memory: Literal["device", "host"] = "device"

    def setup(self, context: Context) -> None:
        """Allocate random payloads that both ranks can compute, and room for what arrives.

        Raises:
            Unmeasurable: not two ranks, or buffers of more than half of the device's memory.
        """
        import torch
        import torch.distributed as dist

        if context.size != 2:
            raise Unmeasurable(f"a pair has two ranks, this group has {context.size}")
        need = 3 * int(self.size)
        full = bool(context.memory) and need > context.memory // 2
        problem = (
            f"a pair of {self.size} needs {need} bytes of buffers, "
            f"half of memory is {context.memory // 2}"
        )
        all_or_none(context, problem if full else "")
        self.context = context
        self.first = context.rank == 0
        self.group = context.control if self.memory == "host" else context.group
        self.place = torch.device("cpu") if self.memory == "host" else context.device
        self.other = dist.get_global_rank(self.group, 1 - context.rank)
        both = self.direction == "bidirectional"
        # Rank 1 returns what it gets, unless both send at once.
        self.sent = self._payload(context.rank if both else 0)
        self.wanted = self._payload(1 - context.rank) if both else self.sent
        self.buffer = torch.empty_like(self.sent) if both else self.sent.clone()
        self.small = torch.zeros(8, dtype=torch.uint8, device=self.place)
        self.send, self.receive = dist.send, dist.recv
        self.exchange = self._exchange()

    def _payload(self, rank: int) -> Any:
        import torch

        generator = torch.Generator().manual_seed(2 * self.context.seed + rank)
        payload = torch.randint(0, 256, (int(self.size),), dtype=torch.uint8, generator=generator)
        return payload.to(self.place)

    def _exchange(self) -> Callable[[], None]:
        import torch.distributed as dist

        both = [
            dist.P2POp(dist.isend, self.sent, self.other, group=self.group),
            dist.P2POp(dist.irecv, self.buffer, self.other, group=self.group),
        ]

        def exchange() -> None:
            for work in dist.batch_isend_irecv(both):
                work.wait()

        return exchange

    def step(self) -> None:
        """There and back, or both ways at once."""
        if self.direction == "bidirectional":
            self.exchange()
        else:
            self._round_trip(self.buffer)

    def clock(self) -> Literal["device", "host"]:
        """A round trip ends on the host that began it."""
        return "host"

    def _round_trip(self, tensor: Any) -> None:
        group, other = self.group, self.other
        if self.first:
            self.send(tensor, other, group=group)
            self.receive(tensor, other, group=group)
        else:
            self.receive(tensor, other, group=group)
            self.send(tensor, other, group=group)

    def check(self) -> Check:
        """The payload arrives, in memory that was wiped before; there and back if one way."""
        import torch

        if self.direction == "bidirectional":
            poison(self.buffer)
            self.exchange()
        elif self.first:
            self.buffer.copy_(self.sent)
            self.send(self.buffer, self.other, group=self.group)
            poison(self.buffer)
            self.receive(self.buffer, self.other, group=self.group)
        else:
            poison(self.buffer)
            self._round_trip(self.buffer)
        self.context.backend.synchronize(self.context.device)
        same = bool(torch.equal(self.buffer, self.wanted))
        return Check(same, "the payload arrived" if same else "the payload arrived changed")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bandwidth from the timed calls, latency from a loop of small round trips."""
        spans = np.empty(PINGS)
        synchronize, device = self.context.backend.synchronize, self.context.device
        for index in range(PINGS + 20):
            synchronize(device)
            start = perf_counter()
            self._round_trip(self.small)
            synchronize(device)
            if index >= 20:
                spans[index - 20] = (perf_counter() - start) / 2
        # Two payloads pass in the timed span, one after the other or at the same time.
        yield Metric("bandwidth", samples=2 * int(self.size) / timing.seconds)
        yield Metric("latency", samples=spans)
        for name, share in (("latency_p95", 0.95), ("latency_p99", 0.99), ("latency_max", 1.0)):
            yield Metric(name, value=float(np.quantile(spans, share)))

    def expected(self, facts: Facts) -> dict[str, float]:
        """The slower of the links on the way (twice that in both directions), one hop's latency.

        Nothing is known of the way between host memories inside one node.
        """
        inside = facts.nodes <= 1
        if inside and self.memory == "host":
            return {}
        beta = facts.link if inside else facts.network
        alpha = facts.link_latency if inside else facts.network_latency
        found = {}
        if beta:
            ways = 2 if self.direction == "bidirectional" else 1
            found["bandwidth"] = ways * int(self.size) / ((alpha or 0.0) + int(self.size) / beta)
        if alpha:
            found["latency"] = alpha
        return found
