"""The measuring loop: when it stops, what it leaves out, and that ranks stay in step."""

import gc
import threading
import time

import numpy as np
import pytest

from bench import timing as timing_module
from bench.timing import EventTimer, HostTimer, Rule, measure


class FakeTimer:
    """Gives prescribed times and counts what it is asked to run."""

    name = "fake"
    resolution = 1e-9
    beside = 0.0

    def __init__(self, span):
        self.span = span
        self.calls = 0

    def run(self, step, calls, samples, between):
        for _ in range(samples):
            if between is not None:
                between()
            for _ in range(calls):
                step()
        self.calls += calls * samples
        return np.array([self.span(self.calls + i) for i in range(samples)])


def test_stops_when_the_median_is_known():
    timing = measure(
        lambda: None, FakeTimer(lambda _: 1e-3), Rule(budget=30, warmup=0, min_samples=10)
    )
    assert timing.stopped == "precision"
    assert timing.seconds.size >= 10


def test_stops_at_the_budget_when_the_spread_stays_wide():
    spans = np.random.default_rng(0).lognormal(0, 2, 1_000_000) * 1e-3
    timing = measure(lambda: None, FakeTimer(lambda i: spans[i]), Rule(budget=0.05, warmup=0))
    assert timing.stopped in ("budget", "samples")


def test_short_calls_are_timed_in_batches_long_calls_are_not():
    timing = measure(lambda: None, HostTimer(), Rule(budget=0.1, warmup=0.01))
    assert timing.calls > 10
    single = measure(lambda: None, HostTimer(), Rule(budget=0.1, warmup=0.01), per_sample=True)
    assert single.calls == 1


def test_waiting_for_who_ends_later_belongs_to_the_last_call_of_a_block():
    met = []

    def meet():
        met.append(len(met))
        time.sleep(0.02)

    rule = Rule(budget=0.3, warmup=0, min_samples=3, max_samples=20, precision=0, block=0.05)
    long = measure(lambda: time.sleep(0.06), HostTimer(), rule, meet=meet, per_sample=True)
    assert len(met) == long.seconds.size >= 3  # a block each
    assert long.seconds.min() >= 0.08
    met.clear()
    short = measure(lambda: None, FakeTimer(lambda _: 0.01), rule, meet=meet)
    assert 0 < len(met) < short.seconds.size
    assert (short.seconds >= 0.03).sum() == len(met)
    assert (short.seconds == 0.01).sum() == short.seconds.size - len(met)


def test_refresh_comes_before_its_calls_run_out():
    left = {"calls": 0}

    def refresh():
        left["calls"] = 7

    def step():
        left["calls"] -= 1
        assert left["calls"] >= 0

    timing = measure(
        step, HostTimer(), Rule(budget=0.05, warmup=0.01), refresh=refresh, refresh_every=7
    )
    assert timing.calls <= 7


def test_throttled_blocks_are_counted_and_left_out():
    answers = iter([True, True] + [False] * 10_000)
    timing = measure(
        lambda: None,
        FakeTimer(lambda _: 1e-3),
        Rule(budget=5, warmup=0),
        throttled=lambda: next(answers),
    )
    assert timing.throttled > 0
    assert timing.seconds.size > 0


def test_always_throttled_gives_no_sample():
    timing = measure(
        lambda: None, FakeTimer(lambda _: 1e-3), Rule(budget=0.2, warmup=0), throttled=lambda: True
    )
    assert timing.seconds.size == 0
    assert timing.stopped == "budget"


def test_between_runs_before_every_sample_outside_the_span():
    seen = []
    timing = measure(
        lambda: seen.append("step"),
        HostTimer(),
        Rule(budget=0.02, warmup=0, max_samples=20),
        between=lambda: seen.append("flush"),
        per_sample=True,
    )
    assert seen.count("flush") >= timing.seconds.size
    assert seen[0] == "flush"


def test_what_a_sample_takes_beside_its_calls_counts_for_the_budget():
    timing = measure(
        lambda: None,
        HostTimer(),
        Rule(budget=0.05, warmup=0, precision=0, min_samples=3),
        between=lambda: time.sleep(0.01),
        per_sample=True,
    )
    assert timing.stopped == "budget"
    assert 3 <= timing.seconds.size <= 5


def test_sustained_runs_its_time_and_keeps_the_second_half():
    calls = []
    began = time.monotonic()
    timing = measure(
        lambda: calls.append(0),
        HostTimer(),
        Rule(budget=0.1, warmup=0.01, sustained=0.2, max_samples=100),
    )
    assert time.monotonic() - began >= 0.2
    assert timing.seconds.size * timing.calls < len(calls) * 0.6


def test_ranks_run_the_same_number_of_calls():
    """Two threads with clocks of their own follow rank 0's decisions."""
    barrier = threading.Barrier(2, timeout=120)
    proposals = [None, None]

    def agree_for(rank):
        def agree(mine):
            proposals[rank] = mine
            barrier.wait()
            chosen = proposals[0]
            barrier.wait()
            return chosen

        return agree

    calls = [0, 0]
    spans = np.random.default_rng(1).lognormal(0, 0.5, (2, 1_000_000)) * 1e-4

    def work(rank):
        def step():
            calls[rank] += 1

        timer = FakeTimer(lambda i: spans[rank][i])
        measure(step, timer, Rule(budget=0.2, warmup=0.01), agree=agree_for(rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert calls[0] == calls[1] > 0


def test_the_host_waits_for_the_device_before_and_after_what_it_times(monkeypatch):
    """A call takes the host one nanosecond, and the device ten when it is waited for."""
    now, waiting = [0], [0]
    monkeypatch.setattr(timing_module, "perf_counter_ns", lambda: now[0])

    def step():
        now[0] += 1
        waiting[0] += 10

    def synchronize():
        now[0] += waiting[0]
        waiting[0] = 0

    timer = HostTimer(synchronize)
    step()  # what came before is nobody's
    assert timer.run(step, 1, 2, None) == pytest.approx([11e-9] * 2)
    assert timer.beside == 0.0
    step()
    assert timer.run(step, 4, 1, None) == pytest.approx([11e-9])

    def flush():
        now[0] += 5
        waiting[0] += 100

    assert timer.run(step, 4, 2, flush) == pytest.approx([11e-9] * 2)
    assert timer.beside == pytest.approx(2 * 105e-9)
    assert HostTimer().run(step, 1, 1, None) == pytest.approx([1e-9])


@pytest.mark.parametrize("before", [True, False])
def test_no_garbage_is_collected_while_it_is_timed(before):
    """Behind it, it is as it was, also where a call fails."""
    seen = []

    def fail():
        seen.append(gc.isenabled())
        if len(seen) > 5:
            raise ArithmeticError

    rule = Rule(budget=0.01, warmup=0, min_samples=3, max_samples=3)
    (gc.enable if before else gc.disable)()
    try:
        measure(lambda: seen.append(gc.isenabled()), FakeTimer(lambda _: 1.0), rule)
        assert gc.isenabled() == before
        assert not seen[-1]
        seen.clear()
        with pytest.raises(ArithmeticError):
            measure(fail, FakeTimer(lambda _: 1.0), rule)
        assert not seen[-1]
        assert gc.isenabled() == before
    finally:
        gc.enable()


def test_batches_fill_five_hundred_resolutions_and_a_sustained_run():
    """Of a timer that tells 1 µs, calls of 40 µs: 500 µs are 12.5 of them."""
    timer = FakeTimer(lambda _: 40e-6)
    timer.resolution = 1e-6
    rule = Rule(budget=0.01, warmup=0, min_samples=3, max_samples=50)
    assert measure(lambda: None, timer, rule).calls == 13
    assert measure(lambda: None, timer, rule, per_sample=True).calls == 1
    refreshed = measure(lambda: None, timer, rule, refresh=lambda: None, refresh_every=7)
    assert refreshed.calls == 7
    # Half as long again as the wanted time, in fifty samples: 0.12 s × 1.5 / 50 / 40 µs.
    lasting = Rule(budget=0.01, warmup=0, sustained=0.12, max_samples=50)
    assert measure(lambda: None, timer, lasting).calls == 90


def test_event_timer_reads_device_events():
    class Event:
        now = 0.0

        def record(self):
            self.at = Event.now

        def elapsed_time(self, end):
            return end.at - self.at

    def step():
        Event.now += 2.0  # milliseconds

    synchronised = []
    timer = EventTimer(Event, lambda: synchronised.append(True))
    assert timer.run(step, 3, 4, None) == pytest.approx([2e-3] * 4)
    assert synchronised == [True]
    assert timer.beside == 0.0

    def flush():
        Event.now += 5.0

    assert timer.run(step, 1, 4, flush) == pytest.approx([2e-3] * 4)
    assert timer.beside == pytest.approx(4 * 5e-3)  # on the device, where the first comes first


def test_records_of_throttled_and_earlier_samples_are_left_out():
    records, blocks = [], []

    def throttled():
        blocks.append(len(records))
        return len(blocks) == 2

    timing = measure(
        lambda: records.append(len(records)),
        FakeTimer(lambda _: 1e-3),
        Rule(budget=0.2, warmup=0, block=0.005, min_samples=12, precision=1.0),
        throttled=throttled,
        per_sample=True,
    )
    first, second, *_ = blocks
    warm_up = len(records) - timing.taken
    assert timing.throttled == second - first > 0
    assert warm_up > 0
    assert timing.kept(records) == [*range(warm_up, first), *range(second, len(records))]
    assert len(timing.kept(records)) == timing.seconds.size


def test_records_follow_the_half_that_a_sustained_run_keeps():
    records = []
    rule = Rule(budget=0.01, warmup=0, sustained=0.05, max_samples=40)
    timing = measure(
        lambda: records.append(len(records)), FakeTimer(lambda _: 1e-3), rule, per_sample=True
    )
    half = timing.seconds.size
    assert timing.taken in (2 * half, 2 * half - 1)
    if timing.calls == 1:
        assert timing.kept(records) == records[-half:]
