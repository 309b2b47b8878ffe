"""Two devices at a time: bandwidth and latency of one link, near or far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np

from ..records import Measure
from ..timing import Timing
from .base import (
    IN_HOST_MEMORY,
    Benchmark,
    Bytes,
    Check,
    Context,
    Facts,
    Metric,
    Unmeasurable,
    benchmark,
)
from .collective_checks import poison
from .runner import all_or_none

PINGS = 200
"""Round trips of eight bytes that are timed."""
TWO = Facts(chip=None, ranks=2)
"""All that `derived` must know of a pair."""


class _Pair(Benchmark):
    """What benchmarks of two ranks share: a payload of ``size`` bytes, the answer of eight."""

    per_sample = True
    fitting = {"size": ("64MiB", "4MiB")}
    worded = {"memory": {"device": "", "host": "host-memory"}, "direction": {"unidirectional": ""}}

    size: Bytes = Bytes(16 << 20)
    """Bytes of the payload."""
    direction: str = ""
    """One way at a time, or both at once."""
    memory: Literal["device", "host"] = "device"
    """Where the payload lies: on the device, over its collective library, or in host memory, over
    the hosts' network."""

    def _join(self, context: Context) -> None:
        """Find the other rank.

        Raises `Unmeasurable` where there are not two ranks, or half of memory cannot hold buffers.
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
        self.place = torch.device("cpu") if self.memory == "host" else context.place
        self.other = dist.get_global_rank(self.group, 1 - context.rank)
        self.small = torch.zeros(8, dtype=torch.uint8, device=self.place)
        self.send, self.receive = dist.send, dist.recv

    def _payload(self, rank: int) -> Any:
        import torch

        generator = torch.Generator().manual_seed(2 * self.context.seed + rank)
        payload = torch.randint(0, 256, (int(self.size),), dtype=torch.uint8, generator=generator)
        return payload.to(self.place)

    def clock(self) -> Literal["device", "host"]:
        """A round trip ends on the host that began it."""
        return "host"

    def note(self) -> str:
        """Says so where payloads of devices lie in host memory."""
        through = self.context.through_host and self.memory == "device"
        return IN_HOST_MEMORY if through else ""

    def _round_trip(self, out: Any, back: Any) -> None:
        """Rank 0 sends ``out`` and gets ``back``; the other rank does the opposite."""
        group, other = self.group, self.other
        if self.first:
            self.send(out, other, group=group)
            self.receive(back, other, group=group)
        else:
            self.receive(out, other, group=group)
            self.send(back, other, group=group)

    def _pings(self) -> Any:
        """float64[PINGS]: seconds of round trips of eight bytes."""
        spans = np.empty(PINGS)
        synchronize, device = self.context.backend.synchronize, self.context.device
        for index in range(PINGS + 20):
            synchronize(device)
            start = perf_counter()
            self._round_trip(self.small, self.small)
            synchronize(device)
            if index >= 20:
                spans[index - 20] = perf_counter() - start
        return spans

    def _arrived(self, buffer: Any, wanted: Any) -> Check:
        import torch

        self.context.backend.synchronize(self.context.device)
        same = bool(torch.equal(buffer, wanted))
        return Check(same, "the payload arrived" if same else "the payload arrived changed")


def _shares(name: str, spans: Any) -> Iterator[Metric]:
    """The median of ``spans``, and their far ends as metrics of their own."""
    yield Metric(name, samples=spans)
    for end, share in (("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        yield Metric(f"{name}_{end}", value=float(np.quantile(spans, share)))


def _hidden(trip: float, seconds: Any) -> float:
    """The round trip's share of the whole; 0 up to a half, beyond, the rest is mostly noise."""
    whole = float(np.median(seconds))
    return trip / whole if trip > whole / 2 else 0.0


def _times(name: str, about: str, formula: str = "") -> tuple[Measure, ...]:
    ends = {"": "median", "_p95": "95th percentile", "_p99": "99th percentile", "_max": "longest"}
    return tuple(
        Measure(f"{name}{end}", "s", "lower", about=f"{about}: {which}", formula=formula)
        for end, which in ends.items()
    )


@benchmark(scope="pair")
class Pairs(_Pair):
    """What the link between two ranks carries, and how long eight bytes take.

    Unidirectional: ``size`` bytes go there and come back; bandwidth is payload over half a round
    trip. Bidirectional: both ranks send ``size`` bytes at the same time; bandwidth is the payload
    of both directions over the time of the exchange, at most twice the other. Latency is half the
    round trip of eight bytes: its median, its 95th and 99th percentile, its longest. ``memory``
    says where the payload lies: on the device, over its collective library, or in host memory,
    over the network of the hosts. What arrives is compared with what was sent.
    """

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="payload that the link carries, in both directions together where both send",
            formula="2 · size / seconds there and back, or of the exchange",
        ),
        *_times("latency", "one way of eight bytes", "round trip / 2"),
    )

    direction: Literal["unidirectional", "bidirectional"] = "unidirectional"
    """One way at a time, or both at once."""

    def setup(self, context: Context) -> None:
        """Allocate random payloads that both ranks can compute, and room for what arrives.

        Raises:
            Unmeasurable: the buffers need more than half of the device's memory.
        """
        import torch

        self._join(context)
        both = self.direction == "bidirectional"
        # Rank 1 returns what it gets, unless both send at once.
        self.sent = self._payload(context.rank if both else 0)
        self.wanted = self._payload(1 - context.rank) if both else self.sent
        self.buffer = torch.empty_like(self.sent) if both else self.sent.clone()
        self.exchange = self._exchange()

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
            self._round_trip(self.buffer, self.buffer)

    def check(self) -> Check:
        """The payload arrives, in memory that was wiped before; there and back if one way."""
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
            self._round_trip(self.buffer, self.buffer)
        return self._arrived(self.buffer, self.wanted)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bandwidth from the timed calls, latency from a loop of small round trips."""
        spans = self._pings() / 2
        yield from self.derived(timing.seconds, TWO, {})
        yield from _shares("latency", spans)

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Bandwidth: two payloads pass in a span, one after the other or at the same time."""
        yield Metric("bandwidth", samples=2 * int(self.size) / seconds)

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


@benchmark(scope="pair")
class Link(_Pair):
    """What a long link carries one way, and its round trip, each without the other.

    ``size`` bytes go ``there``, from the lower rank to the other, or come ``back``; eight bytes the
    other way begin or end the exchange. It takes size / bandwidth + one round trip, and the median
    round trip of eight bytes is measured by itself: what is left of the time is the payload's.
    Bandwidth is in bit/s, as links between sites are sold; ``round_trip`` is the whole way there
    and back. Many of these at the same time (``together: true``) add up to what sites share.
    """

    measures = (
        Measure(
            "bandwidth",
            "bit/s",
            "higher",
            about="payload that the link carries one way",
            formula="8 · size / (seconds - round_trip); / seconds where that is more than half",
        ),
        *_times("round_trip", "there and back of eight bytes"),
    )

    size: Bytes = Bytes(256 << 20)
    """Bytes of the payload."""
    direction: Literal["there", "back"] = "there"
    """``there``: from the lower rank to the other; ``back``: the other way."""

    def setup(self, context: Context) -> None:
        """Allocate what is sent, or what arrives beside what should.

        Raises:
            Unmeasurable: the buffers need more than half of the device's memory.
        """
        import torch

        self._join(context)
        self.payload = self._payload(0)
        self.sends = self.first == (self.direction == "there")
        self.buffer = self.payload if self.sends else torch.empty_like(self.payload)
        self.hidden = 0.0

    def step(self) -> None:
        """The payload one way, eight bytes the other."""
        there = self.direction == "there"
        self._round_trip(*((self.buffer, self.small) if there else (self.small, self.buffer)))

    def check(self) -> Check:
        """The payload arrives, in memory that was wiped before."""
        if not self.sends:
            poison(self.buffer)
        self.step()
        return self._arrived(self.buffer, self.payload)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bandwidth from the timed calls, round trips from a loop of small ones."""
        spans = self._pings()
        trip = float(np.median(spans))
        self.hidden = _hidden(trip, timing.seconds)
        yield from self.derived(timing.seconds, TWO, {"round_trip": trip})
        yield from _shares("round_trip", spans)

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Bandwidth: bits over what the timed calls took beyond the median round trip."""
        if "round_trip" not in beside:
            return
        trip = beside["round_trip"]
        if not _hidden(trip, seconds):
            seconds = np.maximum(seconds - trip, trip / 2)
        yield Metric("bandwidth", samples=8 * int(self.size) / seconds)

    def note(self) -> str:
        """Says so where the payload is too small to tell a bandwidth."""
        said = super().note()
        if not self.hidden:
            return said
        small = f"{self.hidden:.0%} of the time is the round trip: more than {self.size} is needed"
        return f"{said}; {small}" if said else small

    def expected(self, facts: Facts) -> dict[str, float]:
        """What the nodes' own network allows; what lies between sites no datasheet knows."""
        inside = facts.nodes <= 1
        beta = facts.link if inside else facts.network
        alpha = facts.link_latency if inside else facts.network_latency
        if inside and self.memory == "host":
            return {}
        known = {
            "bandwidth": 8 * beta if beta else None,
            "round_trip": 2 * alpha if alpha else None,
        }
        return {name: value for name, value in known.items() if value}
