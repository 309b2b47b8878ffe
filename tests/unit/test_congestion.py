"""A collective beside products, many to one, a long stream: real ranks, and checks that fail."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, several

from bench.configs import load_chip
from bench.errors import Unmeasurable, UsageError
from bench.timing import Rule, Timing
from bench.workloads.base import Facts, axes_of, make
from bench.workloads.stability import WINDOWS

torch = pytest.importorskip("torch")

SMALL = Rule(budget=0.05, warmup=0.01, min_samples=3)
BESIDE = {"size": "4KiB", "shape": "32x32x32", "dtype": "fp32"}


def values(outcome):
    return {value.metric: value.value for value in outcome.values}


def one_element(bench, rank):
    """One element of the collective's result on rank 1 is another, after every call."""
    start = bench.collective.start

    def broken():
        works = start()
        for work in works:
            work.wait()
        taken = bench.collective.flight[0].taken
        if rank == 1:
            taken[7] = 3 if taken[7] != 3 else 4
        return works

    bench.collective.start = broken


def silent(bench, rank):
    """The collective does nothing."""
    bench.collective.start = list


def wrong_product(bench, rank):
    """The products of rank 0 come out a little too large."""
    judge = bench.product.call.judge
    more = 1e-3 if rank == 0 else 0.0
    bench.product.call.judge = lambda index: {k: v + more for k, v in judge(index).items()}


class Evented:
    """The CPU's backend as one with events: marks that are read when all is done."""

    def __init__(self, backend):
        self._backend = backend

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def event(self):
        from time import perf_counter

        class Event:
            def record(self):
                self.time = perf_counter()

            def elapsed_time(self, end):
                return (end.time - self.time) * 1e3

        return Event()


def streams(bench, rank):
    """As on a device: events as marks, the end of the collective seen from a second stream."""
    from bench.backends.base import Side

    bench.context.backend = Evented(bench.context.backend)
    bench.side = Side(torch.cpu, bench.context.device)


def stop_the_peer(bench, rank):
    """Rank 1 is stopped in the middle of the stream, and goes on four tenths of a second later."""
    if rank != 1:
        return
    from time import perf_counter

    step, began, stopped = bench.step, [], []
    # Begun beforehand, and again and again: on a busy machine either may come first.
    script = f"read _; while sleep 0.4; do kill -CONT {os.getpid()} || exit; done"
    bench.waker = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE)

    def stand_still():
        bench.waker.stdin.write(b"\n")
        bench.waker.stdin.flush()
        os.kill(os.getpid(), signal.SIGSTOP)

    def stopping():
        began.append(perf_counter())
        # Up to seven windows are warm-up; by then the stream is on, and has a second to go.
        if not stopped and len(began) > 12 and began[-1] - began[0] > 1.2:
            # Not at once: this process would stand still before its next window begins.
            stopped.append(threading.Timer(0.05, stand_still))
            stopped[0].start()
        step()

    bench.step = stopping


STREAM = {"size": "256KiB", "duration": "3s", "stall": 3}
BOTH = {
    "plain": ("overlap", BESIDE, None),
    "gathered": ("overlap", {**BESIDE, "op": "all_gather", "calls": 2}, None),
    "on streams": ("overlap", BESIDE, streams),
    "one element": ("overlap", BESIDE, one_element),
    "silent": ("overlap", BESIDE, silent),
    "product": ("overlap", BESIDE, wrong_product),
    "too large": ("overlap", {**BESIDE, "size": "512MiB"}, None),
    "two ranks": ("incast", {}, None),
    "stream": ("stability", {**STREAM, "duration": "500ms"}, None),
    "back and forth": (
        "stability",
        {"size": "1KiB", "duration": "300ms", "direction": "unidirectional", "memory": "host"},
        None,
    ),
    "stopped": ("stability", STREAM, stop_the_peer),
    "too large a stream": ("stability", {"size": "512MiB"}, None),
}


@pytest.fixture(scope="module")
def two():
    """Outcomes by name of what two ranks did."""
    return dict(zip(BOTH, several(list(BOTH.values()), rule=SMALL), strict=True))


def test_a_collective_beside_products_is_measured_three_ways(two):
    for name in ("plain", "gathered", "on streams"):
        for one in two[name]:
            assert one.status == "ok", one.reason
            found = values(one)
            assert set(found) == {measure.name for measure in make("overlap", {}).measures}
            assert 0 <= found["efficiency"] <= 1
            assert found["exposed"] >= 0
            for metric in ("compute_time", "communication_time", "compute_slowdown"):
                assert found[metric] > 0
            counts = {value.n for value in one.values}
            assert counts == {len(one.seconds)}
    assert "x gemm 32x32x32 beside one all_reduce" in two["plain"][0].reason
    assert two["plain"][0].reason == two["plain"][1].reason  # as many products on every rank
    assert two["gathered"][0].reason == ""


def test_what_goes_wrong_beside_the_other_is_invalid(two):
    for name, said in (
        ("one element", "rank 1: 1 of 1024 elements of all_reduce are wrong"),
        ("silent", "elements of all_reduce are wrong"),
        ("product", "tolerance"),
    ):
        outcomes = two[name]
        assert {one.status for one in outcomes} == {"invalid"}, name
        assert any(said in one.reason for one in outcomes), name


def test_what_is_too_large_is_skipped_by_all(two):
    for name, said in (
        ("too large", "1 x all_reduce of 512MiB needs 536870912 bytes"),
        ("too large a stream", "a pair of 512MiB needs 1610612736 bytes"),
        ("two ranks", "a group of 2 has no two senders"),
    ):
        for one in two[name]:
            assert one.status == "skipped"
            assert said in one.reason


def test_a_stream_says_how_steady_it_was(two):
    for name in ("stream", "back and forth"):
        for one in two[name]:
            assert one.status == "ok", one.reason
            found = values(one)
            assert found["bandwidth"] > 0
            assert found["longest_gap"] > 0
            assert 0 <= found["low_share"] <= 1
            assert len(one.seconds) > 3  # windows: how many is a matter of the machine's load


def test_a_peer_that_stands_still_is_the_longest_gap(two):
    peer, _ = two["stopped"]
    assert peer.status == "ok", peer.reason
    found = values(peer)
    assert found["longest_gap"] > 0.35
    assert found["stalls"] >= 1
    assert found["low_share"] > 0
    assert "the longest" in peer.reason


def lazy(bench, rank):
    """Rank 1 sends what it sent last time, zeros at first."""
    if rank == 1:
        bench.buffers = bench.buffers._replace(given=torch.zeros_like(bench.buffers.given))


def swapped(bench, rank):
    """Receivers find the parts of two senders exchanged."""
    exchange = bench._exchange

    def broken(receiver):
        exchange(receiver)
        if rank == receiver:
            parts = [p for r, p in enumerate(bench.buffers.given_parts) if r != rank]
            kept = parts[0].clone()
            parts[0].copy_(parts[1])
            parts[1].copy_(kept)

    bench.buffers.__class__.given_parts = property(lambda self: self.taken.chunk(3))
    bench._exchange = broken


def late(bench, rank):
    """Rank 2 starts to send a twentieth of a second after the others."""
    import time

    exchange = bench._exchange

    def slow(receiver):
        if rank == 2:
            time.sleep(0.05)
        exchange(receiver)

    bench._exchange = slow


THREE = {
    "in turn": ("incast", {"size": "64KiB"}, None),
    "to one": ("incast", {"size": 1000, "receiver": 2}, None),
    "late": ("incast", {"size": "1KiB", "receiver": 0}, late),
    "lazy": ("incast", {"size": 999}, lazy),
    "swapped": ("incast", {"size": 999, "receiver": 1}, swapped),
    "too large": ("incast", {"size": "256MiB"}, None),
    "nobody": ("incast", {"receiver": 3}, None),
    "beside": ("overlap", {**BESIDE, "op": "reduce_scatter"}, None),
    "a pair of three": ("stability", {"duration": "100ms"}, None),
}


@pytest.fixture(scope="module")
def three():
    """Outcomes by name of what three ranks did."""
    return dict(zip(THREE, several(list(THREE.values()), size=3, rule=SMALL), strict=True))


def test_many_to_one_says_what_arrives_and_who_gets_how_much(three):
    for name in ("in turn", "to one"):
        outcomes = three[name]
        for one in outcomes:
            assert one.status == "ok", one.reason
            found = values(one)
            assert 1 / 2 <= found["fairness"] <= 1 + 1e-9
            assert 0 < found["least_share"] <= 1 + 1e-9
            assert found["slowest_receiver"] > 0
        if name == "to one":
            assert found["slowest_receiver"] == found["bandwidth"]
        # A property of the group, the same whoever reports it.
        assert values(outcomes[0]) == values(outcomes[2])
    assert three["beside"][0].status == "ok", three["beside"][0].reason


def test_a_sender_that_is_slower_gets_less_than_its_share(three):
    """It is alone when it sends, but its own time from the common start is what counts."""
    found = values(three["late"][0])
    assert found["fairness"] < 0.8
    assert found["least_share"] < 0.5
    assert "rank 2 gets " in three["late"][0].reason


def test_contents_that_are_not_what_was_sent_are_invalid_on_every_rank(three):
    for name, named in (("lazy", (0, 2)), ("swapped", (1,))):
        assert {one.status for one in three[name]} == {"invalid"}, name
        for rank in named:
            assert f"rank {rank}: " in three[name][rank].reason


def test_what_no_group_of_three_can_is_skipped(three):
    for name, said in (
        ("too large", "2 x 256MiB to one rank needs 1073741824 bytes"),
        ("nobody", "a group of 3 has no rank 3 to receive"),
        ("a pair of three", "a pair has two ranks, this group has 3"),
    ):
        for one in three[name]:
            assert one.status == "skipped"
            assert said in one.reason


@pytest.mark.parametrize("name", ["overlap", "incast", "stability"])
def test_a_group_of_one_has_nobody(name):
    with pytest.raises(Unmeasurable, match="group"):
        make(name, {}).setup(context(0, 1))


def timing(count, taken=None, places=None):
    return Timing(
        seconds=np.ones(count),
        calls=1,
        stopped="budget",
        timer="host",
        taken=taken or count,
        places=np.arange(count) if places is None else np.array(places),
    )


def test_overlap_is_the_formula_of_its_docstring():
    bench = make("overlap", {"calls": 4})
    bench.context, bench.side = context(0, 2), None

    def turn(compute, communication, together, computed, exchanged):
        both = (10.0, 10.0 + together, 10.0 + computed, 10.0 + exchanged)
        return [(0.0, compute), (0.0, communication), both]

    warm_up = turn(9.0, 9.0, 9.0, 9.0, 9.0)
    # Half of the collective hidden; all of it; none of it, and a little lost.
    rounds = [turn(4.0, 2.0, 5.0, 4.5, 5.0), turn(4.0, 2.0, 4.0, 4.0, 3.0), turn(4, 2, 7, 5, 7)]
    bench.rounds = [
        warm_up,
        *([[(0.0, float(a)), (0.0, float(b)), c] for (_, a), (_, b), c in rounds]),
    ]
    found = {metric.name: metric.samples.tolist() for metric in bench.metrics(timing(3))}
    assert found["efficiency"] == [0.5, 1.0, 0.0]
    assert found["exposed"] == [1.0, 0.0, 3.0]
    assert found["compute_slowdown"] == [4.5 / 4, 1.0, 5 / 4]
    assert found["communication_slowdown"] == [2.5, 1.5, 3.5]
    assert found["compute_time"] == [4.0] * 3
    assert found["communication_time"] == [2.0] * 3
    assert found["together_time"] == [5.0, 4.0, 7.0]


def test_fairness_is_jains_index_of_the_senders_rates():
    bench = make("incast", {"size": 100})
    bench.ranks, bench.turns = 3, [0, 1, 2]
    spans = np.array([[2.0, 1.0], [1.0, 4.0], [4.0, 1.0]])  # by rank and call
    found = bench._rates(spans, np.array([0, 1]))
    assert found["bandwidth"].tolist() == [200 / 2.0, 200 / 4.0]
    # Rates 100 and 25 of the first call's senders, 100 and 100 of the second's.
    assert found["fairness"] == pytest.approx([125**2 / (2 * (100**2 + 25**2)), 1.0])
    assert found["least_share"] == pytest.approx([25 / 62.5, 1.0])


def test_stalls_are_counted_and_the_throttled_left_out():
    bench = make("stability", {"size": 1000, "low": 0.5})
    bench.context = context(0, 2)
    bench.messages, bench.steps = 1, 4
    steady = [0.0, 0.5, 1.0, 1.5, 2.0]
    stalled = [5.0, 5.5, 16.0, 16.5, 17.0]
    thrown = [20.0, 40.0, 60.0, 80.0, 100.0]
    bench.streams = [steady, steady, thrown, stalled, steady]
    metrics = {m.name: m for m in bench.metrics(timing(3, taken=4, places=[0, 2, 3]))}
    assert metrics["stalls"].value == 1
    assert metrics["longest_gap"].value == 10.5
    assert metrics["bandwidth"].samples.tolist() == [8000 / 2, 8000 / 12, 8000 / 2]
    assert metrics["low_share"].value == 12 / 16
    assert bench.note() == "1 stall(s), the longest 10.5 s, the first after 2.5 s of the stream"


def test_a_stream_is_as_long_as_was_asked_for():
    bench = make("stability", {"duration": "3s"})
    made = bench.rule(Rule(budget=0.1, precision=0.1, max_samples=7, warmup=5.0, sustained=1.0))
    assert (made.budget, made.sustained) == (3.0, 0.0)
    assert made.precision < 0
    assert made.warmup < 3.0
    assert made.max_samples > WINDOWS
    assert axes_of(bench)["duration"] == "3s"
    assert axes_of(make("stability", axes_of(bench))) == axes_of(bench)


@pytest.mark.parametrize(
    ("name", "axes", "said"),
    [
        ("stability", {"duration": "0s"}, "must be positive"),
        ("stability", {"duration": "soon"}, "is not a duration"),
        ("stability", {"stall": 1}, "stall must be above 1"),
        ("stability", {"low": 1.5}, "low must be between 0 and 1"),
        ("overlap", {"calls": 0}, "calls must be from 1 to"),
        ("overlap", {"op": "barrier"}, "barrier"),
        ("overlap", {"shape": "8x8"}, "is not M×N×K"),
        ("incast", {"receiver": -1}, "a rank of the group, not -1"),
    ],
)
def test_bad_axes_are_sentences(name, axes, said):
    with pytest.raises(UsageError, match=said):
        make(name, axes)


def test_what_the_topology_predicts():
    facts = Facts(chip=None, ranks=32, nodes=4, per_node=8, link=4e11, network=2e11)
    found = make("incast", {"size": 1000}).expected(facts)
    # 24 of 31 messages come through the network of the receiver's node.
    assert found["bandwidth"] == pytest.approx(2e11 * 31 / 24)
    inside = Facts(chip=None, ranks=8, nodes=1, per_node=8, link=4e11, network=2e11)
    assert make("incast", {}).expected(inside)["bandwidth"] == pytest.approx(4e11)
    assert make("incast", {}).expected(Facts(chip=None, ranks=2, link=4e11)) == {}
    steady = make("stability", {}).expected(inside)
    assert (steady["bandwidth"], steady["stalls"]) == (pytest.approx(8e11), 0.0)
    assert make("stability", {}).expected(Facts(chip=None)) == {}

    known = Facts(chip=load_chip("sim-a"), ranks=8, per_node=8, link=4e11)
    axes = {"size": "64MiB", "calls": 2}
    beside = make("overlap", axes).expected(known)
    assert beside["together_time"] == max(beside["compute_time"], beside["communication_time"])
    assert beside["compute_time"] == 2 * 2 * 4096**3 / load_chip("sim-a").peak("bf16")
    assert "compute_time" not in make("overlap", {}).expected(known)
    assert make("overlap", {}).expected(Facts(chip=None, ranks=8, link=4e11)) == {}


def test_fitting_is_small_on_a_weak_device():
    cls = type(make("overlap", {}))
    for weak, wanted in ((True, "512x512x512"), (False, "4096x4096x4096")):
        (axes,) = cls.spread({"shape": "fitting"}, weak=weak)
        assert axes_of(make("overlap", axes))["shape"] == wanted
    assert cls.spread({"shape": "8x8x8"}, weak=True) == [{"shape": "8x8x8"}]
