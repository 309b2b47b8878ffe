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
    """One collective over all ranks of the group; time as the slowest part of rank 0's call."""

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
            problem = ""
        except (RuntimeError, NotImplementedError, ValueError) as error:
            problem = f"{context.backend.collectives} has no {self.op}: {_first(error)}"
        if problem:
            raise Unmeasurable(problem)

    def _bind(self) -> Callable[[], Any]:
        """The operation with everything bound, as thin as a bare call."""
        import torch.distributed as dist

        group, given, taken = self.context.group, self.input, self.output
        if self.op == "all_reduce":
            return lambda: dist.all_reduce(given, group=group)
        if self.op == "all_gather":
            return lambda: dist.all_gather_into_tensor(taken, given, group=group)
        if self.op == "reduce_scatter":
            return lambda: dist.reduce_scatter_tensor(taken, given, group=group)
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
        place = self._places(count)
        first = (place % self.ranks == rank) * self._values(count, 0)
        second = ((place + 1) % self.ranks == rank) * self._values(count, 1)
        return first + second

    def _places(self, count: int) -> Any:
        import torch

        return torch.arange(count, device=self.context.device)

    def _values(self, count: int, salt: int) -> Any:
        """Integers 1 to 127 by place and salt, in no period that a misplaced part could share."""
        place = self._places(count)
        mixed = place * 7 + place // 127 * 11 + place // 16129 * 17 + salt * 31
        return (mixed % 127 + 1).to(self.input.dtype)

    def _wanted(self, rank: int, ranks: int) -> Any:
        import torch

        full, part = self.count, self.part
        mine = slice(rank * part, (rank + 1) * part)
        if self.op in ("all_reduce", "reduce_scatter"):
            total = self._values(full, 0) + self._values(full, 1)
            return total[mine] if self.op == "reduce_scatter" else total
        if self.op == "all_gather":
            return torch.cat([self._values(part, r) for r in range(ranks)])
        if self.op == "all_to_all":
            return torch.cat([self._values(full, r)[mine] for r in range(ranks)])
        source = 0 if self.op == "broadcast" else (rank - 1) % ranks
        return self._values(full, source)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bandwidths of rank 0's calls; all ranks run the same number of them."""
        algbw = self.bytes / timing.seconds
        yield Metric("busbw", samples=algbw * bus_factor(self.op, self.ranks))
        yield Metric("algbw", samples=algbw)
        yield Metric("time", samples=timing.seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """α–β model of a ring (or, for broadcast and send_recv, a pipeline) over the slowest link.

        t = steps × α + S × k / β, with β the link inside a node, or a device's share of the
        network between nodes (Chan et al., Collective communication, 2007, §6).
        """
        inside = facts.nodes <= 1
        beta = facts.link if inside else facts.network and facts.network / facts.per_node
        alpha = facts.link_latency if inside else facts.network_latency
        if not beta or facts.ranks < 2:
            return {}
        steps = {"all_reduce": 2 * (facts.ranks - 1), "send_recv": 1}.get(self.op, facts.ranks - 1)
        factor = bus_factor(self.op, facts.ranks)
        time = steps * (alpha or 0.0) + int(self.size) * factor / beta
        algbw = int(self.size) / time
        return {"busbw": algbw * factor, "algbw": algbw, "time": time}


def _first(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
