"""Runs one benchmark on this rank: set-up, sanity, timing, sanity again, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from ..errors import Unmeasurable
from ..host import threads_working
from ..ledger import Book
from ..records import LEAST_FIGURE, MOST_FIGURE, THROTTLED, Status
from ..stats import series_interval
from ..timing import EventTimer, HostTimer, Rule, Timer, Timing, measure
from .base import Benchmark, Check, Context, Metric, axes_of
from .lacking import declared

ELSEWHERE = "on another rank of the group"
"""In reasons of a rank whose own part went well; the reason proper is the other rank's."""


class Value(msgspec.Struct, frozen=True):
    """One metric of an outcome: median, interval, number of samples (None: nothing measured)."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class Outcome(msgspec.Struct, kw_only=True):
    """What came of one benchmark on one rank. ``calls`` and ``seconds`` are its raw samples."""

    status: Status
    reason: str = ""
    values: list[Value] = []
    calls: int = 0
    seconds: list[float] = []
    timer: str = ""
    stopped: str = ""
    tables: str = ""
    """Files that the kernels' configurations came from, with digests; empty where none did."""
    contention: str = ""
    """What other work took of the cores while the samples were timed; empty if they were quiet."""
    throttled: str = ""
    """Why samples were left out, in words; empty where none were."""


def run(
    bench: Benchmark,
    context: Context,
    rule: Rule,
    *,
    throttled: Callable[[], str] | None = None,
    watch: Callable[[Sequence[int] | None], Callable[[], str]] | None = None,
    book: Book | None = None,
) -> Outcome:
    """Measure ``bench``. ``watch(cores)`` begins to account for them, what it gives ends that.

    ``book`` is told of each part as it begins; what goes on by itself is all samples in it.

    ``throttled()`` says why the device throttles now, in words; empty if it runs freely.
    Raises what the benchmark raises, except `Unmeasurable`.

    The outcome is ``skipped`` with the benchmark's reason or with that of the backend, if it
    declares that these chips lack what is asked for, ``invalid`` if a sanity check did not hold on
    any rank or if only throttled samples could be had, ``invalid`` with values if the
    benchmark found a fault of the device, else ``ok``.
    """
    if bench.of_device and (missing := lacked(bench, context)):
        return Outcome(status="skipped", reason=missing)
    rule = bench.rule(rule)
    book = book or Book()
    try:
        book.enter("setup")
        try:
            bench.setup(context)
            problem = ""
        except Unmeasurable as error:
            problem = error.message
        # All ranks of a group must take the same way: one that cannot stops all.
        if anyone(context, bool(problem)):
            return Outcome(status="skipped", reason=problem or f"cannot be measured {ELSEWHERE}")
        book.enter("check")
        bad = _failed(context, bench.check(), "before")
        if bad is not None:
            return bad
        slowed: dict[str, None] = {}

        def looked() -> bool:
            why = throttled() if throttled is not None else ""
            slowed.update(dict.fromkeys(filter(None, why.split(", "))))
            return bool(why)

        cores = bench.cores()
        minded = watch is not None and bench.timed and cores != ()
        watched = watch(cores) if watch is not None and minded else None
        look = looked if throttled is not None and bench.timed else None
        book.enter("samples", bench.patience())  # of what goes on by itself
        timing = bench.observe(rule, look)
        stepped = timing is None
        if timing is None:
            timing = measure(
                bench.step,
                timer_for(bench, context),
                rule,
                between=_flusher(context) if bench.cold() else None,
                refresh=bench.refresh if bench.lifetime() else None,
                refresh_every=bench.lifetime(),
                agree=context.agree,
                meet=bench.meet if bench.ends_apart and context.size > 1 else None,
                throttled=look,
                per_sample=bench.per_sample or bench.cold(),
                book=book,
            )
        contention = watched() if watched is not None else ""
        if stepped:
            book.to("between")
            seconds = drained(partial(context.backend.synchronize, context.device))
            if not bench.asynchronous:
                book.ended_late(seconds)
        book.judged = stepped and bench.timed
        book.enter("check")
        if bench.lifetime():
            bench.refresh()
        bad = _failed(context, bench.check(), "after")
        if bad is not None:
            return bad
        why = ", ".join(slowed)
        if anyone(context, timing.seconds.size == 0):
            reason = f"{THROTTLED} ({why})"
            return Outcome(status="invalid", reason=reason, throttled=why)
        if bad := _failed(context, bench.proof(timing), "while"):
            return bad
        book.enter("teardown")
        return _outcome(bench, timing, contention, why)
    finally:
        book.enter("teardown")
        bench.teardown()


_LOOK = 1e-3
"""Seconds between two looks at whether threads of this process still work."""
_QUIET = 2
"""Looks in a row that find none at work."""
_LOOKED = 1.0
"""Seconds after which they are left to themselves."""


def drained(synchronize: Callable[[], object]) -> float:
    """Wait until the device, and all other threads of this process, have nothing left to do.

    A benchmark whose step only begins its work leaves some behind the last sample. Threads that
    work are seen by the processor time that they take while this one sleeps.

    Returns:
        Seconds until then; a few `_LOOK` are none.
    """
    begun = time.perf_counter()
    synchronize()
    quiet = 0
    while quiet < _QUIET and time.perf_counter() - begun < _LOOKED:
        before = time.process_time() - time.thread_time()
        time.sleep(_LOOK)
        took = time.process_time() - time.thread_time() - before
        # Who waits for a core takes no time: where others work as well, the kernel's word counts.
        quiet = 0 if took > 0.5 * _LOOK or threads_working() else quiet + 1
    return time.perf_counter() - begun


def lacked(bench: Benchmark, context: Context) -> str:
    """Why these chips cannot do it, as their backend declares; empty if it declares nothing.

    The same on every rank of a group, also where one kind of chip can do it.
    """
    backend = context.backend
    why = declared(backend.lacking, [bench.name, *map(str, axes_of(bench).values())])
    if not why and getattr(bench, "impl", "") == "triton":
        why = backend.triton
    if not anyone(context, bool(why)):
        return ""
    said = f"not supported, as backend {backend.name} declares: {why}"
    return said if why else f"not supported {ELSEWHERE}"


def timer_for(bench: Benchmark, context: Context) -> Timer:
    """Device events where the benchmark wants them and the device has them, else the wall clock."""
    backend, device = context.backend, context.device
    synchronize = partial(backend.synchronize, device)
    # What goes through host memory is over when the host's call is.
    events = bench.clock() == "device" and not context.through_host
    if events and backend.event() is not None:
        return EventTimer(backend.event, synchronize)
    immediate = bench.asynchronous or device.type == "cpu"
    return HostTimer(None if immediate else synchronize)


def _outcome(bench: Benchmark, timing: Timing, contention: str, why: str) -> Outcome:
    # Rows are made of what is written of their samples, so that anybody finds them again.
    timing.seconds = np.array([float(f"{one:.6e}") for one in timing.seconds])
    values = [summarised(metric) for metric in bench.metrics(timing)]
    throttled = f"{timing.throttled} throttled samples left out ({why})" if timing.throttled else ""
    for one in values:
        for figure in (one.value, one.low, one.high):
            if figure and not LEAST_FIGURE <= abs(figure) <= MOST_FIGURE:
                return Outcome(status="invalid", reason=f"{one.metric} came out as {figure}")
    fault = bench.fault()
    return Outcome(
        status="invalid" if fault else "ok",
        contention=contention,
        throttled=why,
        values=values,
        calls=timing.calls,
        seconds=[float(s) for s in timing.seconds],
        timer=timing.timer,
        tables=bench.tables(),
        stopped=timing.stopped,
        reason="; ".join(filter(None, (fault, bench.note(), throttled))),
    )


def summarised(metric: Metric) -> Value:
    """Median and interval of a metric's samples, which are in the order taken; of one without
    samples, its value."""
    if metric.samples is None:
        return Value(metric.name, metric.value, metric.value, metric.value, 1)
    samples = np.asarray(metric.samples, dtype=np.float64)
    value, low, high = series_interval(samples)
    # Below six samples their extremes are no 95 % interval of the median.
    known = samples.size >= 6
    return Value(
        metric.name, value, low if known else None, high if known else None, int(samples.size)
    )


def _failed(context: Context, check: Check, when: str) -> Outcome | None:
    if not anyone(context, not check.ok):
        return None
    detail = check.detail if not check.ok else f"the check failed {ELSEWHERE}"
    return Outcome(status="invalid", reason=f"sanity check {when} measuring failed: {detail}")


def anyone(context: Context, mine: bool) -> bool:
    """Whether it is so on any rank of the group: one that stays away leaves the others waiting."""
    if context.gather is None:
        return mine
    return any(flags[0] for flags in context.gather([float(mine)]))


def all_or_none(context: Context, problem: str) -> None:
    """Raise `Unmeasurable` on every rank if any has a problem, before they wait for each other.

    ``problem`` is this rank's, as a sentence; empty where it has none.
    """
    if anyone(context, bool(problem)):
        raise Unmeasurable(problem or f"cannot be measured {ELSEWHERE}")


def _flusher(context: Context) -> Callable[[], Any]:
    """Evicts the last-level cache: fills a buffer of twice its size (at least 8 MiB)."""
    import torch

    size = max(2 * context.cache, 8 << 20)
    buffer = torch.empty(size // 4, dtype=torch.int32, device=context.device)
    return buffer.zero_
