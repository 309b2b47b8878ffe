"""Many to one: what a receiver gets when all others send to it at once, and how evenly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import UsageError
from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Unmeasurable, benchmark
from .collective_checks import Buffers, Pattern
from .lacking import lacks
from .marks import every_rank, mark, span, start_together
from .runner import all_or_none

CHECKED = 8
"""Receivers whose contents are checked, at most: spread over the ranks, first and last included."""

BEHIND = 0.9
"""Share of the usual receiver's bandwidth below which a rank is named in the row."""
HALF = 0.5
"""Share of the senders' mean rate below which one is named: its median over the calls."""


@benchmark(scope="group")
class Incast(Benchmark):
    """All other ranks send ``size`` bytes each to one rank at the same time.

    The receiver is another rank in every call, in turn, unless ``receiver`` names one.
    ``bandwidth`` is the payload of all senders over the receiver's time, from the common start
    until the last byte is there; ``slowest_receiver`` is the median of the rank that gets least.
    Rates of senders, x_i = size over the sender's own time from that start, say how the receiver
    is shared, in each call: ``fairness`` is (Σx)² / (k Σx²) over the k senders, which is 1 if all
    get the same and 1/k if one gets all (Jain, Chiu and Hawe, A quantitative measure of fairness
    and discrimination, DEC-TR-301, 1984); ``least_share`` is the smallest rate over their mean.
    A sender is done when its library has taken the last byte: on sockets, messages of a few MB
    lie in buffers by then and look fairer than they travelled.
    """

    measures = (
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="what a receiver gets from all senders together",
            formula="(n-1) · size / seconds from the common start to the last byte",
        ),
        Measure(
            "slowest_receiver",
            "B/s",
            "higher",
            about="the same of the rank that gets least, over its own turns",
        ),
        Measure(
            "fairness",
            "ratio",
            "higher",
            about="how evenly a receiver is shared: 1 if all senders get the same, 1/k if one gets "
            "all",
            formula="(Σx)² / (k Σx²), x the rates of the k senders of a call",
            source="Jain, Chiu and Hawe, DEC-TR-301, 1984",
        ),
        Measure(
            "least_share",
            "ratio",
            "higher",
            about="what the slowest sender gets of the usual",
            formula="min x / mean x over the senders of a call",
        ),
    )
    per_sample = True

    size: Bytes = Bytes(16 << 20)
    """Bytes of each sender."""
    receiver: int | None = None
    """The rank that receives; without it each in turn."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if self.receiver is not None and self.receiver < 0:
            raise UsageError(f"incast: receiver is a rank of the group, not {self.receiver}")

    def setup(self, context: Context) -> None:
        """Allocate; try one receiver, for libraries differ in what they have.

        Raises:
            Unmeasurable: fewer than two senders, a receiver beyond the group, buffers beyond half
                of the device's memory, or a library that cannot send from one rank to another.
        """
        import torch
        import torch.distributed as dist

        ranks = context.size
        if ranks < 3:
            raise Unmeasurable(f"a group of {ranks} has no two senders for one receiver")
        if self.receiver is not None and self.receiver >= ranks:
            raise Unmeasurable(f"a group of {ranks} has no rank {self.receiver} to receive")
        self.context, self.ranks = context, ranks
        need, half = (ranks + 1) * int(self.size), context.memory // 2
        short = (
            f"{ranks - 1} x {self.size} to one rank needs {need} bytes, half of memory is {half}"
        )
        all_or_none(context, short if context.memory and need > half else "")
        whole = torch.empty(ranks * int(self.size), dtype=torch.uint8, device=context.place)
        given = torch.empty(int(self.size), dtype=torch.uint8, device=context.place)
        self.buffers = Buffers(given, whole)
        self.turns = [self.receiver] if self.receiver is not None else list(range(ranks))
        self.turn = 0
        self.batch = dist.batch_isend_irecv
        self.wanted = {receiver: self._wanted(receiver) for receiver in self.turns}
        self.align = start_together(context)
        self.found: list[tuple[int, Any, Any]] = []
        self.refresh()
        try:
            self.align()
            self._exchange(self.turns[0])
        except (RuntimeError, ValueError) as error:
            if not lacks(error):
                raise
            raise Unmeasurable(f"{context.library} cannot send between ranks: {error}") from None

    def refresh(self) -> None:
        """Random data, never zeros."""
        self.buffers.given.random_(1, 128)

    def _wanted(self, receiver: int) -> list[Any]:
        """What this rank sends to ``receiver``, or what it receives."""
        import torch.distributed as dist

        group, (given, whole) = self.context.group, self.buffers
        if self.context.rank != receiver:
            to = dist.get_global_rank(group, receiver)
            return [dist.P2POp(dist.isend, given, to, group=group)]
        return [
            dist.P2POp(dist.irecv, part, dist.get_global_rank(group, rank), group=group)
            for rank, part in enumerate(whole.chunk(self.ranks))
            if rank != receiver
        ]

    def _exchange(self, receiver: int) -> None:
        """All send to ``receiver``, which waits for all."""
        for work in self.batch(self.wanted[receiver]):
            work.wait()

    def step(self) -> None:
        """One call, all ranks starting together; its own time leaves the start out."""
        receiver = self.turns[self.turn % len(self.turns)]
        self.turn += 1
        self.align()
        begin = mark(self.context)
        self._exchange(receiver)
        self.found.append((receiver, begin, mark(self.context)))

    def check(self) -> Check:
        """Everything that everyone sent is there, byte by byte, at some or all receivers."""
        context, (given, whole) = self.context, self.buffers
        pattern = Pattern("gather", context.rank, self.ranks, whole.numel(), context.place)
        some = np.linspace(0, len(self.turns) - 1, min(CHECKED, len(self.turns))).astype(int)
        wrong: list[str] = []
        for receiver in (self.turns[index] for index in dict.fromkeys(some.tolist())):
            pattern.fill(self.buffers)
            self.align()
            self._exchange(receiver)
            context.backend.synchronize(context.device)
            if context.rank == receiver:
                whole.chunk(self.ranks)[receiver].copy_(given)  # nobody sent it
                if count := pattern.wrong(self.buffers):
                    wrong.append(f"rank {receiver}: {count} of {whole.numel()} bytes are wrong")
        self.refresh()
        return Check(not wrong, "; ".join(wrong) or "all contents arrived")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """From the durations of every rank; calls are compared one by one."""
        kept = timing.kept(self.found)
        picked, spans = every_rank(self.context, [span(*marks) for _, *marks in kept])
        receivers = np.array([kept[index][0] for index in picked])
        rates = self._rates(spans, receivers)
        reached = rates["bandwidth"]
        yield Metric("bandwidth", samples=reached)
        medians = {int(r): float(np.median(reached[receivers == r])) for r in np.unique(receivers)}
        slowest = min(medians, key=medians.__getitem__)
        yield Metric("slowest_receiver", samples=reached[receivers == slowest])
        said = []
        if medians[slowest] < BEHIND * np.median(list(medians.values())):
            said.append(f"rank {slowest} receives least")
        sent = [row[np.isfinite(row)] for row in rates["shares"]]
        shares = {rank: float(np.median(one)) for rank, one in enumerate(sent) if one.size}
        if shares[least := min(shares, key=shares.__getitem__)] < HALF:
            said.append(f"rank {least} gets {shares[least]:.0%} of a sender's usual share")
        if len(medians) < len(self.turns):
            said.append(f"{len(medians)} of {self.ranks} ranks received in the time there was")
        self.said = "; ".join(said)
        yield Metric("fairness", samples=rates["fairness"])
        yield Metric("least_share", samples=rates["least_share"])

    def _rates(self, spans: Any, receivers: Any) -> dict[str, Any]:
        """float64[calls] by metric, and float64[ranks, calls] ``shares`` of the senders' mean rate.

        From float64[ranks, calls] seconds and int64[calls] receivers, who have no share: NaN.
        """
        calls, size = np.arange(receivers.size), int(self.size)
        sending = np.ones(spans.shape, dtype=bool)
        sending[receivers, calls] = False
        x = np.where(sending, size / spans, 0.0)
        senders = self.ranks - 1
        shares = np.where(sending, x / (x.sum(axis=0) / senders), np.nan)
        return {
            "bandwidth": senders * size / spans[receivers, calls],
            "fairness": x.sum(axis=0) ** 2 / (senders * (x**2).sum(axis=0)),
            "least_share": np.nanmin(shares, axis=0),
            "shares": shares,
        }

    def note(self) -> str:
        """Who receives or sends least, if by far; how many received if time was short for all."""
        return self.said

    def expected(self, facts: Facts) -> dict[str, float]:
        """What the receiver's link carries, or its node's network where most senders are outside.

        α + the longer of (n - 1) × size over the device's link and, of several nodes, what comes
        from the (n - devices a node) ranks of other nodes over the network of the receiver's.
        """
        n, size, several = facts.ranks, int(self.size), facts.nodes > 1
        if n < 3 or not (facts.network if several else facts.link):
            return {}
        alpha = (facts.network_latency if several else facts.link_latency) or 0.0
        spans = [(n - 1) * size / facts.link] if facts.link else []
        if several and facts.network:
            spans.append((n - facts.per_node) * size / facts.network)
        reached = (n - 1) * size / (alpha + max(spans))
        return {"bandwidth": reached, "slowest_receiver": reached}
