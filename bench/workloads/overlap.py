"""A collective beside matrix products on the same devices: what is hidden, what it costs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from ..errors import UsageError
from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Shape, Unmeasurable, benchmark
from .collectives import Collectives
from .gemm import Gemm
from .marks import mark, span, start_together
from .operations import Impl
from .runner import all_or_none

TRIALS = 3
"""Calls of each, alone, by which the number of products is chosen."""
MOST = 10_000
"""Products beside one collective, at most."""
BLIND = "the device has no timing events on a second stream"
"""Why the ends of two things at once cannot be seen."""


class Round(NamedTuple):
    """One turn of all three, in seconds: each alone, both together, and each of these two."""

    compute: float
    communication: float
    together: float
    compute_beside: float
    communication_beside: float


@benchmark(scope="group")
class Overlap(Benchmark):
    """One collective beside matrix products, against each alone; figures are rank 0's.

    Every step measures products alone, the collective alone and both together, in an order drawn
    anew each time: what drifts meets all three alike. All ranks start each of them together.
    With the times t_p of the products alone, t_c of the collective alone and t of both:

    - ``exposed`` = max(0, t - t_p), the communication that computing does not hide;
    - ``efficiency`` = max(0, min(1, (t_p + t_c - t) / min(t_p, t_c))): 1 where the shorter is
      hidden whole, 0 where they might as well run one after the other (MPI Benchmarks, user
      guide, IMB-NBC, Measuring Communication and Computation Overlap);
    - ``compute_slowdown`` and ``communication_slowdown``: the time of each beside the other,
      from their common start to its own end, over its time alone.

    Marks are events in the device's streams. On the host's own cores they are of its clock: the
    collective runs in its library's threads, and a thread beside this one waits for it. ``calls``
    is the number of products; without it as many as take about as long as the collective, and the
    row says how many. In a suite, ``shape: fitting`` is 4096x4096x4096 on an accelerator and
    512x512x512 on a weak device.
    """

    measures = (
        Measure(
            "efficiency",
            "ratio",
            "higher",
            about="share of the shorter of both that the other hides",
            formula="max(0, min(1, (t_p + t_c - t) / min(t_p, t_c)))",
            source="MPI Benchmarks, user guide, IMB-NBC",
        ),
        Measure(
            "exposed",
            "s",
            "lower",
            about="communication that computing does not hide",
            formula="max(0, t - t_p)",
        ),
        Measure(
            "compute_slowdown",
            "",
            "lower",
            about="time of the products beside the collective over that alone",
        ),
        Measure(
            "communication_slowdown",
            "",
            "lower",
            about="time of the collective beside the products over that alone",
        ),
        Measure("compute_time", "s", "lower", about="time of the products alone", formula="t_p"),
        Measure(
            "communication_time", "s", "lower", about="time of the collective alone", formula="t_c"
        ),
        Measure(
            "together_time",
            "s",
            "lower",
            about="time of both at once, until the later one ends",
            formula="t",
        ),
    )
    per_sample = True
    fitting = {"shape": ("4096x4096x4096", "512x512x512")}

    op: Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"] = "all_reduce"
    """The collective."""
    size: Bytes = Bytes(64 << 20)
    """Bytes of its whole array."""
    dtype: Literal["fp32", "bf16"] = "bf16"
    """Of both."""
    shape: Shape = Shape((4096, 4096, 4096))
    """M×N×K of the products."""
    impl: Impl = "torch"
    """Who computes the products."""
    calls: int | None = None
    """Products beside a collective; without it as many as take about as long."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if self.calls is not None and not 1 <= self.calls <= MOST:
            raise UsageError(f"overlap: calls must be from 1 to {MOST}, not {self.calls}")
        self._parts()

    def _parts(self) -> tuple[Collectives, Gemm]:
        """The two that run beside each other, as benchmarks of their own."""
        return (
            Collectives(op=self.op, size=self.size, dtype=self.dtype, in_flight=1),
            Gemm(shape=self.shape, dtype=self.dtype, impl=self.impl),
        )

    def setup(self, context: Context) -> None:
        """Set up both; choose the number of products.

        Raises:
            Unmeasurable: a group of one or across kinds of chip, a device whose work is not seen
                to end (no events, or no second stream), or one of both cannot be had on some rank;
                together they get half of the device's memory.
        """
        if context.size < 2:
            raise Unmeasurable("a group of one has nothing to exchange")
        if context.through_host:
            raise Unmeasurable("between kinds of chip no device works at an exchange")
        self.context, backend = context, context.backend
        # Without events a second stream only makes this thread wait.
        self.side = backend.side(context.device) if backend.event() is not None else None
        self.collective, self.product = self._parts()
        half = msgspec.structs.replace(context, memory=context.memory // 2)
        # Of the host's own work its clock knows the end; of a device's only the asking.
        problem = BLIND if self.side is None and context.device.type != "cpu" else ""
        try:
            self.product.setup(half)
        except Unmeasurable as error:
            problem = error.message
        all_or_none(context, problem)
        self.collective.setup(half)
        self.helper = ThreadPoolExecutor(1)
        self.order = random.Random(context.seed)
        self.rounds: list[list[Any]] = []
        self.align = start_together(context)
        self.count = self.calls or self._balanced()

    def _balanced(self) -> int:
        """Products that take about as long as the collective alone, the same on every rank."""
        self.count, turns = 1, []
        for _ in range(TRIALS):
            self.refresh()
            turns.append((self._alone(self._compute), self._alone(self._exchange)))
        self.context.backend.synchronize(self.context.device)
        product, exchange = (
            min(span(*marks) for marks in kind) for kind in zip(*turns, strict=True)
        )
        wanted = int(np.clip(round(exchange / max(product, 1e-9)), 1, MOST))
        return self.context.agree((wanted,))[0] if self.context.agree is not None else wanted

    def _compute(self) -> None:
        for _ in range(self.count):
            self.product.step()

    def _exchange(self) -> None:
        self.collective.call()

    def _alone(self, work: Any) -> tuple[Any, Any]:
        """Marks before and after ``work``."""
        self.align()
        begin = mark(self.context)
        work()
        return begin, mark(self.context)

    def _together(self) -> tuple[Any, Any, Any, Any]:
        """Marks: before both, after both, after the products, after the collective."""
        self.align()
        begin = mark(self.context)
        end = partial(self._end, self.collective.start())
        if self.side is None:
            waiting = self.helper.submit(end)
            self._compute()
            computed, exchanged = mark(self.context), waiting.result()
        else:
            self.side.follow()
            exchanged = self.side.run(end)
            self._compute()
            computed = mark(self.context)
            self.side.join()
        return begin, mark(self.context), computed, exchanged

    def _end(self, works: list[Any]) -> Any:
        """A mark of the collective's end, set beside the products: in a second stream or thread."""
        for work in works:
            work.wait()
        return mark(self.context)

    def step(self) -> None:
        """All three once, in an order drawn for this step, the same on every rank."""
        found: dict[str, Any] = {}
        turns = {
            "compute": lambda: self._alone(self._compute),
            "communication": lambda: self._alone(self._exchange),
            "together": self._together,
        }
        for name in self.order.sample(sorted(turns), len(turns)):
            found[name] = turns[name]()
        self.rounds.append([found[name] for name in turns])

    def lifetime(self) -> int:
        """A sum in place grows with every call, of which a step has two."""
        calls = self.collective.lifetime() if "collective" in self.__dict__ else 0
        return max(1, calls // 2) if calls else 0

    def refresh(self) -> None:
        """New data for the collective."""
        self.collective.refresh()

    def check(self) -> Check:
        """Every element of a collective and the error of a product that ran while it was on."""
        inner: list[Check] = []

        def beside() -> None:
            works = self.collective.start()
            inner.append(self.product.check())
            for work in works:
                work.wait()

        call, self.collective.call = self.collective.call, beside
        try:
            found = self.collective.check()
        finally:
            self.collective.call = call
        bad = [one.detail for one in (found, *inner) if not one.ok]
        return Check(not bad, "; ".join(bad) or f"both right: {found.detail}, {inner[0].detail}")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Medians over the steps; ratios are taken within a step."""
        rounds = [self._read(*one) for one in timing.kept(self.rounds)]
        t = Round(*np.array(rounds).T)
        shorter = np.minimum(t.compute, t.communication)
        hidden = (t.compute + t.communication - t.together) / shorter
        yield Metric("efficiency", samples=np.clip(hidden, 0.0, 1.0))
        yield Metric("exposed", samples=np.maximum(0.0, t.together - t.compute))
        yield Metric("compute_slowdown", samples=t.compute_beside / t.compute)
        slowed = t.communication_beside / t.communication
        yield Metric("communication_slowdown", samples=slowed)
        yield Metric("compute_time", samples=t.compute)
        yield Metric("communication_time", samples=t.communication)
        yield Metric("together_time", samples=t.together)

    def _read(self, compute: Any, communication: Any, together: Any) -> Round:
        begin, end, computed, exchanged = together
        return Round(
            span(*compute),
            span(*communication),
            span(begin, end),
            span(begin, computed),
            span(begin, exchanged),
        )

    def note(self) -> str:
        """How many products there were, where that was chosen here."""
        if self.calls is not None:
            return ""
        return f"{self.count} x gemm {self.shape} beside one {self.op}"

    def tables(self) -> str:
        """The files that the product's configuration came from."""
        return self.product.tables()

    def teardown(self) -> None:
        """Free both, and the second thread."""
        if (helper := self.__dict__.get("helper")) is not None:
            helper.shutdown()
        for part in (self.__dict__.get("collective"), self.__dict__.get("product")):
            if part is not None:
                part.teardown()
        super().teardown()

    def expected(self, facts: Facts) -> dict[str, float]:
        """The shorter hidden whole; each alone as its own benchmark expects.

        How long products and both together take is known where ``calls`` says how many there are.
        """
        collective, product = self._parts()
        exchange, flops = (
            collective.expected(facts).get("time"),
            product.expected(facts).get("flops"),
        )
        if not exchange or not flops:
            return {}
        found = {"efficiency": 1.0, "communication_time": exchange}
        if self.calls is not None:
            found["compute_time"] = self.calls * product.cost().flops / flops
            found["together_time"] = max(found["compute_time"], exchange)
        return found
