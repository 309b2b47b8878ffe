"""The measuring loop: timers, warm-up, stopping rule, cache flush, throttle guard.

The loop knows nothing of backends or groups. It is given a timer, a step, and callables for
what happens outside the timed region.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter, perf_counter_ns
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from .ledger import Book
from .stats import Array, relative_half_width

T = TypeVar("T")
Step = Callable[[], object]
OVERTIME = 4.0
"""Times the budget that are spent, at most, to get the least number of samples."""

SETTLED = 0.1
"""Share by which calls may still become faster when the warm-up ends."""
UNSETTLED = 4
"""Batches that the warm-up waits for that, at most."""


class Rule(msgspec.Struct, kw_only=True, frozen=True):
    """When to stop: the median is known to ``precision``, or ``budget`` seconds are over."""

    precision: float = 0.01
    """Relative half-width of the 95 % interval of the median."""
    budget: float = 1.0
    """Seconds, or a duration."""
    warmup: float = 0.1
    """Seconds before the first sample."""
    block: float = 0.05
    """Seconds of measuring between two looks."""
    min_samples: int = 10
    """At least."""
    max_samples: int = 5_000
    """At most."""
    sustained: float = 0.0
    """Run back to back for at least this many seconds and keep the second half (0: burst)."""
    again: int = 0
    """How often a job is measured once more, at once, where other work used its ranks' cores."""


class Timing(msgspec.Struct, kw_only=True):
    """Samples (seconds per call, one per timed batch of ``calls`` calls) and why it stopped."""

    seconds: Any  # Array
    calls: int
    stopped: str  # "precision" | "budget" | "samples"; "ended" of what ends by itself
    timer: str
    throttled: int = 0
    """Samples that were taken while the device throttled and are not in ``seconds``."""
    taken: int = 0
    """All samples since the warm-up, throttled ones included."""
    places: Any = None  # int64[samples]
    """Where each of ``seconds`` stands among the samples taken."""

    def kept(self, records: Sequence[T]) -> list[T]:
        """Those of a benchmark's own records, one for every sample, that belong to ``seconds``.

        Records of calls before the samples (warm-up) come first and are left out.
        """
        first = len(records) - self.taken
        return [records[first + place] for place in self.places]


class Timer(Protocol):
    """Times batches. ``resolution`` is the shortest span it can tell, in seconds.

    ``beside``: seconds of its last `run` that ``between`` took.
    """

    name: str
    resolution: float
    beside: float

    def run(self, step: Step, calls: int, samples: int, between: Step | None) -> Array:
        """Seconds per call of ``samples`` batches of ``calls`` calls each."""
        ...


class HostTimer(Timer):
    """Wall clock around the calls and, on an asynchronous device, a synchronisation after them."""

    name = "host"

    def __init__(self, synchronize: Step | None = None) -> None:
        self._synchronize = synchronize
        self.resolution = 1e-7 if synchronize is None else 1e-5
        self.beside = 0.0

    def run(self, step: Step, calls: int, samples: int, between: Step | None) -> Array:
        clock = perf_counter_ns
        synchronize = self._synchronize
        spans = np.empty(samples, dtype=np.float64)
        beside = 0
        for index in range(samples):
            if between is not None:
                begun = clock()
                between()
                if synchronize is not None:
                    synchronize()
                beside += clock() - begun
            elif synchronize is not None:
                synchronize()
            if calls == 1:
                start = clock()
                step()
            else:
                start = clock()
                for _ in range(calls):
                    step()
            if synchronize is not None:
                synchronize()
            spans[index] = clock() - start
        self.beside = beside * 1e-9
        spans *= 1e-9 / calls
        return spans


class EventTimer(Timer):
    """Device events around the calls; one synchronisation after all batches."""

    name = "device"
    resolution = 2e-6

    def __init__(self, event: Callable[[], Any], synchronize: Step) -> None:
        self._event = event
        self._synchronize = synchronize
        self.beside = 0.0

    def run(self, step: Step, calls: int, samples: int, between: Step | None) -> Array:
        marks = [(self._event(), self._event()) for _ in range(samples)]
        before = self._event()
        before.record()
        for begin, end in marks:
            if between is not None:
                between()
            begin.record()
            for _ in range(calls):
                step()
            end.record()
        self._synchronize()
        # On the device's clock, as the samples: the host is ahead of it, and waits at the end.
        gaps = pairwise([(before, before), *marks]) if between is not None else ()
        self.beside = 1e-3 * sum(end.elapsed_time(begin) for (_, end), (begin, _) in gaps)
        return np.array([begin.elapsed_time(end) for begin, end in marks]) * 1e-3 / calls


def measure(
    step: Step,
    timer: Timer,
    rule: Rule,
    *,
    between: Step | None = None,
    refresh: Step | None = None,
    refresh_every: int = 0,
    agree: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None,
    meet: Step | None = None,
    throttled: Callable[[], bool] | None = None,
    per_sample: bool = False,
    book: Book | None = None,
) -> Timing:
    """Time ``step`` until the rule is met.

    Args:
        step: The work of one call.
        timer: Host or device timer.
        rule: Warm-up, precision, budget.
        between: Called before every sample, outside the timed region (flush or rotate caches).
        refresh: Called at least every ``refresh_every`` calls, outside the timed region (new
            data where calls change their input in place).
        agree: Where several ranks measure together: takes this rank's proposal and returns that
            of rank 0, outside the timed region. All ranks then run the same number of calls.
        meet: Where ranks that measure together may end a call apart: waits until all have. Called
            at the end of every block and timed as the end of its last sample, for in work that
            goes on, a rank that is early waits for the others in its next call.
        throttled: Asked after every block; its samples are counted but not used if true.
        per_sample: Time every call by itself, however short (latency distributions).
        book: Where the time goes, see `bench.ledger`.

    Returns:
        Samples in seconds per call, in the order taken.
    """
    share = agree or (lambda proposal: proposal)
    book = book or Book()
    book.enter("warmup")
    per_call, beside = _warm_up(step, timer, rule, between, refresh, refresh_every, share, book)
    calls = 1 if per_sample else max(1, int(np.ceil(500 * timer.resolution / max(per_call, 1e-9))))
    if rule.sustained and not per_sample:
        # Long enough batches that the wanted time ends before the samples do.
        calls = max(calls, int(np.ceil(1.5 * rule.sustained / rule.max_samples / per_call)))
    if refresh_every:
        calls = min(calls, refresh_every)
    (calls,) = share((calls,))

    kept: list[Array] = []
    places: list[Any] = []
    lost = 0
    count = 0
    longest = OVERTIME * max(rule.budget, rule.sustained)
    book.enter("samples", longest + 2 * (per_call * calls + beside))
    book.to("between")
    start = perf_counter()
    collecting = gc.isenabled()
    gc.disable()
    try:
        while True:
            left = max(rule.budget, rule.sustained) - (perf_counter() - start)
            span = min(rule.block, left)
            # Flushing a cache may take a thousand times as long as what is timed after it.
            samples = int(np.clip(span / max(per_call * calls + beside, 1e-9), 1, 512))
            if refresh_every:
                samples = max(1, min(samples, refresh_every // calls))
            samples = min(samples, max(1, rule.max_samples - count))
            book.to("meeting")
            (samples,) = share((samples,))
            book.to("between")
            if refresh is not None:
                refresh()
            book.to("rest")
            block = timer.run(step, calls, samples, between)
            book.sampled("samples", float(block.sum()) * calls, timer.beside, samples)
            if meet is not None:
                over = perf_counter()
                meet()
                block[-1] += (perf_counter() - over) / calls
            # Who looks for all ranks waits for them.
            waited = book.to("meeting" if agree is not None else "between")
            slow = throttled is not None and throttled()
            met = book.to("between")
            if slow:
                lost += samples
                # A throttled device needs rest, not more work; the budget bounds the wait.
                time.sleep(min(0.2, rule.budget / 10))
            else:
                kept.append(block)
                places.append(np.arange(samples) + count + lost)
                count += samples
            why = stopped(kept, count, perf_counter() - start, rule)
            book.to("meeting")
            (code,) = share((_STOPS.index(why),))
            met += book.to("between")
            book.prolonged(waited if meet is not None else 0.0, met if agree is not None else 0.0)
            if code:
                break
    finally:
        if collecting:
            gc.enable()
    seconds = np.concatenate(kept) if kept else np.empty(0)
    where = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
    if rule.sustained and seconds.size > 1:
        seconds, where = seconds[seconds.size // 2 :], where[seconds.size // 2 :]
    return Timing(
        seconds=seconds,
        calls=calls,
        stopped=_STOPS[code],
        timer=timer.name,
        throttled=lost,
        taken=count + lost,
        places=where,
    )


_STOPS = ("", "precision", "budget", "samples")


def stopped(kept: list[Array], count: int, elapsed: float, rule: Rule) -> str:
    """Why measuring stops with ``count`` samples in ``kept``, after ``elapsed`` seconds.

    ``precision``, ``budget`` or ``samples``; empty where it goes on.
    """
    budget = max(rule.budget, rule.sustained)
    # Fewer samples than the least are worth a longer wait, but not for ever.
    if elapsed >= budget and (count >= rule.min_samples or elapsed >= OVERTIME * budget):
        return "budget"
    if elapsed < rule.sustained:
        return ""
    if count >= rule.max_samples:
        return "samples"
    if count < rule.min_samples:
        return ""
    return "precision" if relative_half_width(np.concatenate(kept)) <= rule.precision else ""


def _warm_up(
    step: Step,
    timer: Timer,
    rule: Rule,
    between: Step | None,
    refresh: Step | None,
    refresh_every: int,
    share: Callable[[tuple[int, ...]], tuple[int, ...]],
    book: Book,
) -> tuple[float, float]:
    """Run at least two calls and ``rule.warmup`` seconds, and then until a call settles.

    It has when a batch is not `SETTLED` faster than the one before it; after `UNSETTLED` more
    batches it is taken as it is.

    Estimates of the seconds of a call, and of what a sample takes beside its calls.
    """
    start = perf_counter()
    calls, batches, late, before = 1, 0, 0, 0.0
    while True:
        if refresh is not None:
            refresh()
        begun = perf_counter()
        per_call = float(timer.run(step, calls, 1, between)[0])
        beside = max(0.0, perf_counter() - begun - per_call * calls)
        batches += 1
        warm = batches > 1 and perf_counter() - start >= rule.warmup
        enough = warm and (per_call >= (1 - SETTLED) * before or late == UNSETTLED)
        late, before = late + warm, per_call
        longest = refresh_every or 1_000_000
        wanted = int(np.clip(rule.warmup / 4 / max(per_call, 1e-9), 2, min(longest, calls * 16)))
        if batches == 1:
            book.enter("warmup", rule.warmup + (UNSETTLED + 2) * (2 * per_call + beside))
        calls, done = share((wanted, int(enough)))
        if done:
            return per_call, beside
