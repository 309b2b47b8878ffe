"""Collective operations over a group, defined and computed as nccl-tests does.

``size`` is S, the bytes of the whole array: what one rank holds for all_reduce, broadcast, reduce
and send_recv, what all ranks' parts add up to for all_gather, reduce_scatter, scatter, gather and
all_to_all. algbw = S / t; busbw = algbw × k (`bench.kernels.messages`). Bandwidths are
unidirectional. In a skewed all_to_all the rank that receives most gets 2n/(n+1) times the mean.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from ..errors import UsageError
from ..kernels import messages
from ..kernels.messages import bus_factor
from ..records import Measure
from ..timing import Timing
from ..units import format_size
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
from .collective_checks import Buffers, Pattern, barrier_check
from .lacking import lacks
from .marks import every_rank
from .runner import all_or_none

Op = Literal[
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "all_to_all_skewed",
    "broadcast",
    "reduce",
    "scatter",
    "gather",
    "send_recv",
    "barrier",
]
DTYPES = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
}
ONE_BUFFER = ("all_reduce", "broadcast", "reduce")
"""What `torch.distributed` does in place only."""
TWO_BUFFERS = ("all_to_all", "all_to_all_skewed", "send_recv")
"""What has no form in place: what is received would overwrite what has not been sent."""
_HEADROOM = {"fp32": 120, "bf16": 120, "fp16": 12}
"""Doublings of a value around one that stay finite, with room to spare; integers wrap around."""
_TIMES = (
    Measure(
        "time",
        "s",
        "lower",
        about="duration of a call on rank 0",
        formula="span of the calls in flight / their number",
    ),
    Measure("time_p95", "s", "lower", about="95th percentile of the calls' durations"),
    Measure("time_p99", "s", "lower", about="99th percentile of the calls' durations"),
    Measure("time_max", "s", "lower", about="longest call"),
    Measure(
        "skew",
        "s",
        "lower",
        about="by how much ranks differ in the duration of the same call",
        formula="longest - shortest duration of a call over the ranks",
    ),
)


@benchmark(scope="group")
class Collectives(Benchmark):
    """One collective over all ranks of the group; times are those of rank 0's calls.

    ``time`` is their median, the percentiles are over the same calls. ``skew`` compares ranks: of
    every call, the longest duration on any rank minus the shortest. Each duration is read from
    one clock, and clocks of different ranks are never compared, so skew says by how much the
    last rank entered or left after the first, but not which of the two: a rank that comes late
    to an all_reduce has the shortest duration, a root that is done early likewise.
    """

    measures = (
        Measure(
            "busbw",
            "B/s",
            "higher",
            about="bandwidth that the hardware between ranks carries, whatever the group's size",
            formula="algbw × k; k = 2(n-1)/n for all_reduce, (n-1)/n for all_gather, "
            "reduce_scatter, all_to_all, scatter and gather, 1 for broadcast, reduce and send_recv",
            source="nccl-tests, doc/PERFORMANCE.md",
        ),
        Measure(
            "algbw",
            "B/s",
            "higher",
            about="size of the array over the time of a call",
            formula="size / time",
            source="nccl-tests, doc/PERFORMANCE.md",
        ),
        *_TIMES,
    )
    per_sample = True
    fitting = {"size": ("256MiB", "16MiB")}

    op: Op = "all_reduce"
    """The collective; ``send_recv`` passes to the next rank and takes from the one before."""
    size: Bytes = Bytes(16 << 20)
    """S: bytes of the whole array, what one rank holds or what all ranks' parts add up to."""
    dtype: Literal["fp32", "bf16", "fp16", "int32", "int64", "uint8"] = "fp32"
    """Of the elements."""
    buffers: Literal["", "in_place", "out_of_place"] = ""
    """Whether the result takes the place of what is given; empty: as the operation usually has
    it."""
    in_flight: int | None = None
    """Calls that are issued before the first is waited for, each on buffers of its own; without it
    a call blocks until its result is there."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if self.in_flight is not None and self.in_flight < 1:
            raise UsageError(f"collectives: in_flight must be at least 1, not {self.in_flight}")
        if self.op == "barrier":
            self.size = Bytes(1)  # it moves no data, whatever a suite says of all operations

    def reported(self) -> tuple[Measure, ...]:
        """A barrier moves no data: it has times and no bandwidth."""
        return _TIMES if self.op == "barrier" else self.measures

    def setup(self, context: Context) -> None:
        """Allocate; try the operation once, for libraries differ in what they have.

        Raises:
            Unmeasurable: a group of one, buffers beyond half of the device's memory, a form in
                or out of place that the operation lacks, or a dtype that the library lacks.
        """

        if context.size < 2:
            raise Unmeasurable("a group of one has nothing to exchange")
        if why := self._lacking_form():
            raise Unmeasurable(why)
        self.context, self.ranks = context, context.size
        unit = messages.ITEMSIZE[self.dtype]
        self.count = messages.elements(self.op, int(self.size), unit, self.ranks)
        self.bytes, self.part = self.count * unit, self.count // self.ranks
        flight = self.in_flight or 1
        given, taken = self._lengths()
        need = flight * unit * (max(given, taken) if self._in_place() else given + taken)
        full = bool(context.memory) and need > context.memory // 2
        problem = (
            f"{flight} x {self.op} of {self.size} needs {need} bytes of buffers, "
            f"half of memory is {context.memory // 2}"
        )
        all_or_none(context, problem if full else "")
        self.flight = [self._buffers(given, taken) for _ in range(flight)]
        self.call = self._bind()
        self.refresh()
        try:
            self.call()
        except (RuntimeError, ValueError) as error:
            if not lacks(error):  # a lost peer or no memory is a fault, not a missing feature
                raise
            raise Unmeasurable(
                f"{context.library} cannot do {self.op} of {self.dtype}: {_first(error)}"
            ) from None

    def _lacking_form(self) -> str:
        if self.op == "barrier":
            return "a barrier has no buffers" if self.buffers else ""
        if self.buffers == "out_of_place" and self.op in ONE_BUFFER:
            return f"torch.distributed has {self.op} in place only"
        if self.buffers == "in_place" and self.op in TWO_BUFFERS:
            return f"{self.op} has no form in place"
        return ""

    def _in_place(self) -> bool:
        return self.op in ONE_BUFFER or self.buffers == "in_place"

    def _lengths(self) -> tuple[int, int]:
        """Elements that this rank gives and finds."""
        full, part, rank = self.count, self.part, self.context.rank
        if self.op == "all_to_all_skewed":
            edges = messages.skewed_edges(full, self.ranks)
            return full, self.ranks * (edges[rank + 1] - edges[rank])
        at_root = full if rank == 0 else 0
        return {
            "all_gather": (part, full),
            "reduce_scatter": (full, part),
            "scatter": (at_root, part),
            "gather": (part, at_root),
        }.get(self.op, (full, full))

    def _buffers(self, given: int, taken: int) -> Buffers:
        """In place, a rank's own part lies where it belongs within the whole (as in nccl-tests)."""
        import torch

        kind, device = getattr(torch, DTYPES[self.dtype]), self.context.place

        def empty(count: int) -> Any:
            return torch.empty(count, dtype=kind, device=device)

        if self.op in ONE_BUFFER:
            both = empty(given)
            return Buffers(both, both)
        if not self._in_place() or not (given and taken):
            return Buffers(empty(given), empty(taken))
        whole, first = empty(max(given, taken)), self.context.rank * self.part
        own = whole[first : first + self.part]
        return Buffers(whole, own) if given > taken else Buffers(own, whole)

    def _bind(self) -> Callable[[], Any]:
        """The timed call with everything bound, as thin as a bare one."""
        if self.in_flight is None:
            return self._bound(self.flight[0], False)
        self.starts = [self._bound(buffers, True) for buffers in self.flight]

        def together() -> None:
            for work in self.start():
                work.wait()

        return together

    def start(self) -> list[Any]:
        """Begin the calls that are in flight together (``in_flight``); what is to be waited for."""
        begun = [start() for start in self.starts]
        return [work for one in begun for work in (one if isinstance(one, list) else (one,))]

    def _bound(self, buffers: Buffers, later: bool) -> Callable[[], Any]:
        """One call. ``later``: give what is to be waited for, at once; else wait for it."""
        import torch.distributed as dist

        group, (given, taken) = self.context.group, buffers
        root = self.context.rank == 0
        if self.op == "all_reduce":
            return lambda: dist.all_reduce(given, group=group, async_op=later)
        # Torch 2.13 renamed two; their old names warn on every call, which takes microseconds.
        if self.op == "all_gather":
            gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
            return lambda: gather(taken, given, group=group, async_op=later)
        if self.op == "reduce_scatter":
            scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
            return lambda: scatter(taken, given, group=group, async_op=later)
        if self.op == "all_to_all":
            return lambda: dist.all_to_all_single(taken, given, group=group, async_op=later)
        if self.op == "all_to_all_skewed":
            edges = messages.skewed_edges(self.count, self.ranks)
            shares = [end - begin for begin, end in itertools.pairwise(edges)]
            mine = [shares[self.context.rank]] * self.ranks
            return lambda: dist.all_to_all_single(
                taken, given, mine, shares, group=group, async_op=later
            )
        if self.op == "broadcast":
            return lambda: dist.broadcast(given, group=group, group_src=0, async_op=later)
        if self.op == "reduce":
            return lambda: dist.reduce(given, group=group, group_dst=0, async_op=later)
        if self.op == "scatter":
            pieces = list(given.chunk(self.ranks)) if root else None
            return lambda: dist.scatter(taken, pieces, group=group, group_src=0, async_op=later)
        if self.op == "gather":
            places = list(taken.chunk(self.ranks)) if root else None
            return lambda: dist.gather(given, places, group=group, group_dst=0, async_op=later)
        if self.op == "barrier":
            return lambda: dist.barrier(group=group, async_op=later)
        # Around the ring: to the next rank, from the one before (nccl-tests' sendrecv).
        after = dist.get_global_rank(group, (self.context.rank + 1) % self.ranks)
        before = dist.get_global_rank(group, (self.context.rank - 1) % self.ranks)
        both = [
            dist.P2POp(dist.isend, given, after, group=group),
            dist.P2POp(dist.irecv, taken, before, group=group),
        ]
        if later:
            return lambda: dist.batch_isend_irecv(both)

        def exchange() -> None:
            for work in dist.batch_isend_irecv(both):
                work.wait()

        return exchange

    def step(self) -> None:
        """One call, or ``in_flight`` of them."""
        self.call()

    def clock(self) -> Literal["device", "host"]:
        """A barrier holds the host; the data of all others is the device's."""
        return "host" if self.op == "barrier" else "device"

    def lifetime(self) -> int:
        """A sum in place grows with every call, at most by the group's size; others do not."""
        if self.dtype not in _HEADROOM or self.op not in messages.SUMS or not self._in_place():
            return 0
        ranks = self.__dict__.get("ranks", 2)
        return max(1, int(_HEADROOM[self.dtype] / math.log2(max(ranks, 2))))

    def refresh(self) -> None:
        """Random data, never zeros: between one half and one, or integers from 1 to 127."""
        for given, _ in self.flight:
            if given.dtype.is_floating_point:
                given.uniform_(0.5, 1.0)
            else:
                given.random_(1, 128)

    def check(self) -> Check:
        """Every element of a call on integers that are exact in every dtype is as computed here."""
        if self.op == "barrier":
            return barrier_check(self.context, self.call)
        rank, device = self.context.rank, self.context.place
        patterns = [
            Pattern(self.op, rank, self.ranks, self.count, device, salt)
            for salt in range(len(self.flight))
        ]
        for pattern, buffers in zip(patterns, self.flight, strict=True):
            pattern.fill(buffers)
        self.call()
        self.context.backend.synchronize(self.context.device)
        wrong = sum(p.wrong(buffers) for p, buffers in zip(patterns, self.flight, strict=True))
        total = sum(buffers.taken.numel() for buffers in self.flight)
        self.refresh()
        return Check(
            wrong == 0,
            f"rank {rank}: {wrong} of {total} elements of {self.op} are wrong"
            if wrong
            else "all values exact",
        )

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bandwidths and times of rank 0's calls; all ranks run the same number of them."""
        yield from self.derived(timing.seconds, self.context.facts, {})
        if self.context.gather is not None:
            # Per call: longest minus shortest duration over the ranks.
            seconds = timing.seconds / (self.in_flight or 1)
            yield Metric("skew", samples=np.ptp(every_rank(self.context, seconds)[1], axis=0))

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Bandwidths of the array that these ranks exchange, and times."""
        seconds = seconds / (self.in_flight or 1)
        if self.op != "barrier":
            unit = messages.ITEMSIZE[self.dtype]
            algbw = messages.elements(self.op, int(self.size), unit, facts.ranks) * unit / seconds
            yield Metric("busbw", samples=algbw * bus_factor(self.op, facts.ranks))
            yield Metric("algbw", samples=algbw)
        yield Metric("time", samples=seconds)
        for name, share in (("time_p95", 0.95), ("time_p99", 0.99), ("time_max", 1.0)):
            yield Metric(name, value=float(np.quantile(seconds, share)))

    def note(self) -> str:
        """Says where data lies elsewhere, or equal parts make another size than was asked for."""
        said = [IN_HOST_MEMORY] if self.context.through_host and self.op != "barrier" else []
        if self.op != "barrier" and abs(self.bytes - int(self.size)) > 0.01 * self.size:
            said.append(f"the array has {format_size(self.bytes)}: whole elements, equal parts")
        return "; ".join(said)

    def expected(self, facts: Facts) -> dict[str, float]:
        """α–β model of a ring (a pipeline for broadcast and reduce, else direct exchange).

        t = steps × α + the longer of what a device's link and what a node's network need (Chan
        et al., Collective communication, 2007, §6). S × k passes each device's link, in a skewed
        all_to_all 2n/(n+1) times as much at the busiest. Rings cross a node's border once, so the
        same S × k shares the node's whole network; in all_to_all each device of a node sends
        S × (ranks outside) / n across, and the root of a scatter or gather as much in all. A
        send_recv has the network share of one device.
        """
        n, size, several = facts.ranks, int(self.size), facts.nodes > 1
        alpha = facts.network_latency if several else facts.link_latency
        if self.op == "barrier":
            return {"time": messages.steps(self.op, n) * alpha} if alpha and n > 1 else {}
        if n < 2 or not (facts.network if several else facts.link):
            return {}
        factor = bus_factor(self.op, n)
        busiest = 2 * n / (n + 1) if self.op == "all_to_all_skewed" else 1.0
        spans = [size * factor * busiest / facts.link] if facts.link else []
        if several and facts.network:
            beyond = size * (n - facts.per_node) / n
            outside = {
                "all_to_all": beyond * facts.per_node,
                "all_to_all_skewed": beyond * facts.per_node * busiest,
                "scatter": beyond,
                "gather": beyond,
                "send_recv": size * facts.per_node,
            }.get(self.op, size * factor)
            spans.append(outside / facts.network)
        time = messages.steps(self.op, n) * (alpha or 0.0) + max(spans)
        algbw = size / time
        return {"busbw": algbw * factor, "algbw": algbw, "time": time}


def _first(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
