"""Collective operations over a group, defined and computed as nccl-tests does.

``size`` is S, the bytes of the whole array: what one rank holds for all_reduce, broadcast and
send_recv, and what all ranks' parts add up to for all_gather, reduce_scatter and all_to_all.
algbw = S / t; busbw = algbw × k with k = 2(n-1)/n for all_reduce, (n-1)/n for all_gather,
reduce_scatter and all_to_all, 1 for broadcast and send_recv, n being the size of the group
(nccl-tests, doc/PERFORMANCE.md). Bandwidths are unidirectional.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Unmeasurable, benchmark
from .lacking import lacks

Op = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "send_recv"]
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_HEADROOM = {"fp32": 120, "bf16": 120, "fp16": 12}
"""Doublings of a value around one that stay finite, with room to spare."""


def bus_factor(op: str, ranks: int) -> float:
    """k in busbw = algbw × k."""
    if op == "all_reduce":
        return 2 * (ranks - 1) / ranks
    if op in ("all_gather", "reduce_scatter", "all_to_all"):
        return (ranks - 1) / ranks
    return 1.0


@benchmark(scope="group")
class Collectives(Benchmark):
    """One collective over all ranks of the group; time is that of rank 0's calls."""

    measures = (
        Measure("busbw", "B/s", "higher"),
        Measure("algbw", "B/s", "higher"),
        Measure("time", "s", "lower"),
    )
    per_sample = True

    op: Op = "all_reduce"
    size: Bytes = Bytes(16 << 20)
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"

    def setup(self, context: Context) -> None:
        """Allocate; try the operation once, for libraries differ in what they have."""
        import torch

        if context.size < 2:
            raise Unmeasurable("a group of one has nothing to exchange")
        self.context, self.ranks = context, context.size
        kind = getattr(torch, DTYPES[self.dtype])
        unit = torch.empty((), dtype=kind).element_size()
        # Whole elements, and equal parts where every rank holds one.
        parts = self.ranks if bus_factor(self.op, self.ranks) < 1 else 1
        self.count = max(1, int(self.size) // unit // parts) * parts
        self.bytes = self.count * unit
        self.part = self.count // self.ranks if parts > 1 else self.count
        full, part = self.count, self.part
        sizes = {"all_gather": (part, full), "reduce_scatter": (full, part)}
        given, taken = sizes.get(self.op, (full, full))
        self.input = torch.empty(given, dtype=kind, device=context.device)
        in_place = self.op in ("all_reduce", "broadcast")
        self.output = (
            self.input if in_place else torch.empty(taken, dtype=kind, device=context.device)
        )
        self.call = self._bind()
        self.refresh()
        try:
            self.call()
        except (RuntimeError, ValueError) as error:
            if not lacks(error):  # a lost peer or no memory is a fault, not a missing feature
                raise
            library = context.backend.collectives
            raise Unmeasurable(
                f"{library} cannot do {self.op} of {self.dtype}: {_first(error)}"
            ) from None

    def _bind(self) -> Callable[[], Any]:
        """The operation with everything bound, as thin as a bare call."""
        import torch.distributed as dist

        group, given, taken = self.context.group, self.input, self.output
        if self.op == "all_reduce":
            return lambda: dist.all_reduce(given, group=group)
        # Torch 2.13 renamed two; their old names warn on every call, which takes microseconds.
        if self.op == "all_gather":
            gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
            return lambda: gather(taken, given, group=group)
        if self.op == "reduce_scatter":
            scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
            return lambda: scatter(taken, given, group=group)
        if self.op == "all_to_all":
            return lambda: dist.all_to_all_single(taken, given, group=group)
        if self.op == "broadcast":
            return lambda: dist.broadcast(given, group=group, group_src=0)
        # Around the ring: to the next rank, from the one before (nccl-tests' sendrecv).
        after = dist.get_global_rank(group, (self.context.rank + 1) % self.ranks)
        before = dist.get_global_rank(group, (self.context.rank - 1) % self.ranks)
        both = [
            dist.P2POp(dist.isend, given, after, group=group),
            dist.P2POp(dist.irecv, taken, before, group=group),
        ]

        def exchange() -> None:
            for work in dist.batch_isend_irecv(both):
                work.wait()

        return exchange

    def step(self) -> None:
        """One call."""
        self.call()

    def lifetime(self) -> int:
        """all_reduce in place multiplies by the group's size with every call; others do not."""
        if self.op != "all_reduce":
            return 0
        ranks = self.__dict__.get("ranks", 2)
        return max(1, int(_HEADROOM[self.dtype] / math.log2(max(ranks, 2))))

    def refresh(self) -> None:
        """Random values between one half and one: neither zeros nor soon infinite."""
        self.input.uniform_(0.5, 1.0)

    def check(self) -> Check:
        """Every element of a call on integers that are exact in every dtype is as computed here."""
        rank, ranks = self.context.rank, self.ranks
        # What arrives must not have been there before: poison every buffer that is only written.
        if self.op == "broadcast" and rank != 0:
            self.input.fill_(float("nan"))
        else:
            self.input.copy_(self._given(rank))
        if self.output is not self.input:
            self.output.fill_(float("nan"))
        self.call()
        self.context.backend.synchronize(self.context.device)
        wanted = self._wanted(rank, ranks)
        wrong = int((self.output != wanted).sum())
        self.refresh()
        return Check(
            wrong == 0,
            f"rank {rank}: {wrong} of {wanted.numel()} elements of {self.op} are wrong"
            if wrong
            else "all values exact",
        )

    def _given(self, rank: int) -> Any:
        """What a rank puts in: distinct in rank and place, exact in every dtype (below 256).

        Of a sum, every place has two contributors and zeros from all others, so that it stays
        exact in bf16 however many ranks there are; every rank contributes somewhere.
        """
        count = self.input.numel()
        if self.op not in ("all_reduce", "reduce_scatter"):
            return self._values(count, rank)
        place = self._places(0, count)
        first = (place % self.ranks == rank) * self._values(count, 0)
        second = ((place + 1) % self.ranks == rank) * self._values(count, 1)
        return first + second

    def _places(self, first: int, count: int) -> Any:
        import torch

        return torch.arange(first, first + count, device=self.context.device)

    def _values(self, count: int, salt: Any, first: int = 0) -> Any:
        """Integers 1 to 127 by place and salt, in no period that a misplaced part could share.

        For ``count`` places from ``first`` on; of a column of salts, a row of values each.
        """
        place = self._places(first, count)
        # Salts that are equal modulo 127 differ in how fast their values change with the place.
        mixed = place * (7 + salt // 127) + place // 127 * (11 + salt // 16129)
        return ((mixed + place // 16129 * 17 + salt * 31) % 127 + 1).to(self.input.dtype)

    def _wanted(self, rank: int, ranks: int) -> Any:
        part = self.part
        mine = rank * part  # where this rank's part of the whole begins
        if self.op == "all_reduce":
            return self._values(part, 0) + self._values(part, 1)
        if self.op == "reduce_scatter":
            return self._values(part, 0, mine) + self._values(part, 1, mine)
        everyone = self._places(0, ranks)[:, None]
        if self.op == "all_gather":
            return self._values(part, everyone).flatten()
        if self.op == "all_to_all":
            return self._values(part, everyone, mine).flatten()
        source = 0 if self.op == "broadcast" else (rank - 1) % ranks
        return self._values(part, source)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bandwidths of rank 0's calls; all ranks run the same number of them."""
        algbw = self.bytes / timing.seconds
        yield Metric("busbw", samples=algbw * bus_factor(self.op, self.ranks))
        yield Metric("algbw", samples=algbw)
        yield Metric("time", samples=timing.seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """α–β model of a ring (a pipeline for broadcast, direct exchange for all_to_all).

        t = steps × α + the longer of what a device's link and what a node's network need (Chan
        et al., Collective communication, 2007, §6). S × k passes each device's link. Rings cross
        a node's border once, so the same S × k shares the node's whole network; in all_to_all
        each device of a node sends S × (ranks outside) / n across. A send_recv has the network
        share of one device.
        """
        n, size, several = facts.ranks, int(self.size), facts.nodes > 1
        alpha = facts.network_latency if several else facts.link_latency
        if n < 2 or not (facts.network if several else facts.link):
            return {}
        steps = {"all_reduce": 2 * (n - 1), "send_recv": 1}.get(self.op, n - 1)
        factor = bus_factor(self.op, n)
        spans = [size * factor / facts.link] if facts.link else []
        if several and facts.network:
            outside = {
                "all_to_all": size * facts.per_node * (n - facts.per_node) / n,
                "send_recv": size * facts.per_node,
            }.get(self.op, size * factor)
            spans.append(outside / facts.network)
        time = steps * (alpha or 0.0) + max(spans)
        algbw = size / time
        return {"busbw": algbw * factor, "algbw": algbw, "time": time}


def _first(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
