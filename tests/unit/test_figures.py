"""What benchmarks make of durations, with every figure worked out by hand."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context

from bench.configs import load_chip
from bench.timing import Timing
from bench.workloads import checkpoint, fio, pairs, stability
from bench.workloads.base import Facts, make
from bench.workloads.fio import Report
from bench.workloads.phases import Phases
from bench.workloads.saved import StateError, state_bytes

TINY = 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 352) + 128 * 512
"""Weights of the products of the model `tiny`: two layers of attention and SwiGLU, the head."""


def timing(seconds):
    count = len(seconds)
    return Timing(
        seconds=np.array(seconds, dtype=float),
        calls=1,
        stopped="budget",
        timer="host",
        taken=count,
        places=np.arange(count),
    )


def of(metrics):
    """Samples by metric, or the value where it has no samples."""
    return {
        one.name: one.value if one.samples is None else np.asarray(one.samples).tolist()
        for one in metrics
    }


def ranks(*others):
    """A context's ``gather``: this rank gives its own, those behind it ``others``."""
    return lambda own: [own, *others]


# ---- one device ----


def test_a_stream_counts_the_arrays_that_it_reads_and_writes():
    arrays = {"copy": 2, "scale": 2, "add": 3, "triad": 3, "dot": 2, "read": 1}  # STREAM
    for op, count in arrays.items():
        bench = make("stream", {"op": op, "size": "4KB", "dtype": "bf16"})
        found = of(bench.derived(np.array([0.5, 2.0]), Facts(chip=None), {}))
        assert found == {"bandwidth": [8000 * count, 2000 * count]}, op
    # Of 4003 bytes there are 1000 whole numbers.
    odd = make("stream", {"op": "copy", "size": "4003B"})
    assert of(odd.derived(np.array([2.0]), Facts(chip=None), {}))["bandwidth"] == [4000.0]


def test_a_product_has_two_operations_for_each_multiplication():
    bench = make("gemm", {"shape": "3x5x7", "dtype": "fp32"})
    assert of(bench.derived(np.array([0.5]), Facts(chip=None), {})) == {"flops": [420.0]}
    launch = make("launch", {})
    assert of(launch.derived(np.array([0.5]), Facts(chip=None), {})) == {"time": [0.5]}


@pytest.mark.parametrize(("direction", "rate"), [("h2d", 500.0), ("d2h", 500.0), ("both", 1000.0)])
def test_copies_count_their_payload_in_each_direction(direction, rate):
    bench = make("transfer", {"direction": direction, "size": 1000})
    assert of(bench.derived(np.array([2.0]), Facts(chip=None), {})) == {"bandwidth": [rate]}


def test_a_request_is_split_at_its_first_token():
    chip = load_chip("sim-a")
    bench = make("generate", {"model": "tiny", "batch": 2, "context": 10, "output": 3})
    bench.place = context(0, 1)
    bench.place.chip = chip
    # Begin, first token, second, third; of two requests.
    bench.marks = [[0.0, 2.0, 3.0, 5.0], [10.0, 14.0, 15.0, 21.0]]
    found = of(bench.metrics(timing([5.0, 11.0])))
    assert found["ttft"] == [2.0, 4.0]
    assert found["prefill_tokens_per_second"] == [10.0, 5.0]
    assert found["decode_tokens_per_second"] == [4 / 3, 4 / 7]
    assert found["tokens_per_second"] == [6 / 5, 6 / 11]
    assert found["token_p50"] == [1.0, 2.0, 1.0, 6.0]
    assert found["token_p99"] == pytest.approx(2 + 0.97 * 4)  # of 1, 1, 2, 6
    # Two prompts of ten tokens, whose 55 pairs of a head take four operations for each of the 32
    # numbers of it; the head only for the last token.
    layers = TINY - 128 * 512
    flops = 2 * (2 * layers * 10 + 2 * 128 * 512 + 4 * 55 * 2 * 4 * 32)
    assert found["mfu"] == pytest.approx([flops / (5e13 * 2), flops / (5e13 * 4)])
    # Every weight in fp32, two rows of the embedding; keys and values of 11, then 12 tokens.
    weights = TINY + 5 * 128 + 2 * 128
    moved = 4 * (2 * weights + 2 * (11 + 12) * 2 * 2 * 64)
    assert found["mbu"] == pytest.approx([moved / (2e12 * 3), moved / (2e12 * 7)])


def test_a_cache_has_whole_pages_for_all_tokens_but_the_last():
    for page, room in ((0, 12), (4, 12), (5, 15), (16, 16)):
        assert make("generate", {"context": 10, "output": 3, "page": page}).capacity == room


# ---- a node's storage ----


def test_a_run_of_fio_shares_the_file_among_its_threads(monkeypatch):
    given = []
    monkeypatch.setattr(fio, "run", lambda folder, options, seconds: given.append(options))
    monkeypatch.setattr(fio, "parse", lambda text: text)
    axes = {"op": "rand_read", "size": "1MiB", "jobs": 3, "duration": "1500ms"}
    bench = make("storage", axes)
    bench.scratch, bench.direct, bench.reports = SimpleNamespace(folder=""), True, []
    bench.step()
    # Of 256 blocks each thread has 85, beginning where the one before ends.
    wanted = {"bs": 4096, "size": 85 * 4096, "offset_increment": 85 * 4096, "numjobs": 3}
    wanted |= {"runtime": "1500000us", "rw": "randread", "iodepth": 32, "direct": 1}
    assert {key: given[0][key] for key in wanted} == wanted
    assert "end_fsync" not in given[0]
    bench = make("storage", {"op": "seq_write", "size": "8MiB", "depth": 5})
    bench.scratch, bench.direct, bench.reports = SimpleNamespace(folder=""), False, []
    bench.step()
    wanted = {"bs": 1 << 20, "size": 8 << 20, "iodepth": 5, "rw": "write", "direct": 0}
    wanted |= {"end_fsync": 1}  # what the page cache holds is not yet written
    assert {key: given[1][key] for key in wanted} == wanted


def test_a_report_of_fio_is_told_under_its_own_names():
    bench = make("storage", {})
    bench.scratch = object()
    bench.reports = [
        Report(bandwidth=n, iops=2 * n, operations=1, p50=3 * n, p99=4 * n, p999=5 * n)
        for n in (7.0, 1.0, 2.0)  # the first is of the warm-up
    ]
    assert of(bench.metrics(timing([1.0, 1.0]))) == {
        "bandwidth": [1.0, 2.0],
        "iops": [2.0, 4.0],
        "latency_p50": [3.0, 6.0],
        "latency_p99": [4.0, 8.0],
        "latency_p999": [5.0, 10.0],
    }
    bench.scratch = None  # of a rank that did nothing
    assert of(bench.metrics(timing([1.0]))) == {}


def test_names_a_second_are_those_of_each_part():
    bench = make("metadata", {"files": 8})
    bench.scratch = object()
    bench.spans = [(9.0, 9.0, 9.0), (2.0, 1.0, 4.0)]
    found = of(bench.metrics(timing([7.0])))
    assert found == {"create_rate": [4.0], "stat_rate": [8.0], "remove_rate": [2.0]}
    bench.scratch = None
    assert of(bench.metrics(timing([1.0]))) == {}


def test_the_parts_of_a_step_on_names_are_timed_apart(tmp_path, monkeypatch):
    from bench.workloads import storage

    clock = iter([1.0, 3.0, 4.0, 8.0])
    monkeypatch.setattr(storage, "perf_counter", lambda: next(clock))
    bench = make("metadata", {"path": str(tmp_path), "files": 2})
    bench.setup(context(0, 1))
    bench.step()
    found = bench.spans
    bench.teardown()
    assert found == [(2.0, 1.0, 4.0)]


def test_ranks_of_a_node_read_each_at_its_own_pace():
    axes = {"seq": 10, "batch": 2, "ahead": 3}
    tokens = 16 * 3 * 2 * 10  # of a rank's step
    bench = make("data", axes)
    bench.context = context(0, 2, gather=ranks([4.0, 1.0]))
    bench.tokens = SimpleNamespace(width=4)
    found = of(bench.metrics(timing([2.0, 1.0])))
    assert found["tokens_per_second"] == [tokens / 2 + tokens / 4, 2 * tokens]
    assert found["bandwidth"] == [4 * (tokens / 2 + tokens / 4), 8 * tokens]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_checkpoint_is_the_state_over_the_time_of_each_way(mode):
    weights = TINY + 128 * 512 + 5 * 128  # the embedding, two norms a layer and a last one
    assert state_bytes("tiny") == 12 * weights
    bench = make("checkpoint", {"mode": mode})
    bench.bytes = 1200
    bench.spans = [(9.0, 9.0, 9.0), (2.0, 0.5, 3.0)]  # saved, blocked, restored
    found = of(bench.metrics(timing([6.0])))
    assert found.pop("blocked", None) == ([0.5] if mode == "async" else None)
    assert found == {
        "save_bandwidth": [600.0],
        "restore_bandwidth": [400.0],
        "save_time": [2.0],
        "restore_time": [3.0],
    }


@pytest.mark.parametrize("damaged", [False, True])
def test_a_restore_lasts_until_the_last_rank_has_its_state(monkeypatch, damaged):
    """All meet before it and behind it; the row is that of the first rank."""

    def restore(place):
        if damaged:
            raise StateError("cut short")

    met = iter([10.0, 14.0])
    monkeypatch.setattr(checkpoint, "together", lambda context: next(met))
    bench = make("checkpoint", {})
    bench.context = context(0, 1)
    bench.training = SimpleNamespace(restore=restore, digests=dict)
    bench.wanted, bench.spans = {}, []
    bench._restore("nowhere", 2.0, 1.0)
    assert bench.spans == [(2.0, 1.0, 4.0)]
    assert bench.problem == ("the checkpoint cannot be read back: cut short" if damaged else "")


# ---- pairs ----


def test_eight_bytes_take_half_of_their_round_trip(monkeypatch):
    bench = make("pairs", {"size": 1000})
    bench.context, bench.small = context(0, 2), None
    now = [0.0]
    trips = iter([1.0] * 20 + [0.002] * 198 + [0.004, 0.006])

    def trip(out, back):
        now[0] += next(trips)

    bench._round_trip = trip
    monkeypatch.setattr(pairs, "perf_counter", lambda: now[0])
    found = of(bench.metrics(timing([4.0])))
    assert found["bandwidth"] == [500.0]  # there and back
    assert found["latency"] == pytest.approx([0.001] * 198 + [0.002, 0.003])
    assert found["latency_max"] == pytest.approx(0.003)
    assert found["latency_p95"] == pytest.approx(0.001)
    # Of 200 the 99th percentile lies just above the 198th.
    assert found["latency_p99"] == pytest.approx(0.001 + 0.01 * 0.001)


def test_what_a_call_takes_beyond_the_round_trip_is_the_payloads():
    bench = make("link", {"size": 1000})
    seconds = np.array([0.011, 0.011, 0.0012])
    found = of(bench.derived(seconds, pairs.TWO, {"round_trip": 0.001}))
    # A call as short as the trip is no sign of an endless bandwidth.
    assert found["bandwidth"] == pytest.approx([8e5, 8e5, 8000 / 0.0005])
    assert of(bench.derived(seconds, pairs.TWO, {})) == {}


@pytest.mark.parametrize(("direction", "ways"), [("unidirectional", 1), ("bidirectional", 2)])
def test_a_pair_is_expected_to_have_its_link_and_to_wait_for_the_first_byte(direction, ways):
    axes = {"direction": direction, "size": "1MB"}
    facts = Facts(
        chip=None,
        ranks=2,
        link=1e9,
        link_latency=1e-3,
        network=5e8,
        network_latency=2e-3,
    )
    assert make("pairs", axes).expected(facts) == {
        "bandwidth": pytest.approx(ways * 5e8),  # a millisecond each for latency and payload
        "latency": 1e-3,
    }
    assert make("pairs", {**axes, "memory": "host"}).expected(facts) == {}
    between = Facts(
        chip=None, ranks=2, nodes=2, link=1e9, link_latency=1e-3, network=5e8, network_latency=2e-3
    )
    for memory in ("device", "host"):
        found = make("pairs", {**axes, "memory": memory}).expected(between)
        assert found == {"bandwidth": pytest.approx(ways * 2.5e8), "latency": 2e-3}
    known = make("pairs", axes).expected(Facts(chip=None, ranks=2, link=1e9))
    assert known == {"bandwidth": ways * 1e9}


def test_a_link_is_expected_in_bits_and_there_and_back():
    known = {"link": 1e9, "link_latency": 1e-3, "network": 5e8, "network_latency": 2e-3}
    inside, between = (Facts(chip=None, ranks=2, nodes=nodes, **known) for nodes in (1, 2))
    assert make("link", {}).expected(inside) == {"bandwidth": 8e9, "round_trip": 2e-3}
    assert make("link", {"memory": "host"}).expected(inside) == {}
    for memory in ("device", "host"):
        found = make("link", {"memory": memory}).expected(between)
        assert found == {"bandwidth": 4e9, "round_trip": 4e-3}


# ---- groups ----


def test_bandwidths_of_a_collective_are_of_whole_elements_and_one_call():
    # Of 1000 bytes over three ranks: three parts of 83 numbers.
    bench = make("collectives", {"op": "all_gather", "size": 1000, "in_flight": 4})
    facts = Facts(chip=None, ranks=3)
    found = of(bench.derived(np.array([8.0]), facts, {}))
    assert (found["time"], found["algbw"]) == ([2.0], [996 / 2])
    assert found["busbw"] == pytest.approx([996 / 2 * 2 / 3])
    found = of(bench.derived(4.0 * np.arange(1, 102), facts, {}))
    ends = {"time_p95": 96, "time_p99": 100, "time_max": 101}
    assert {name: found[name] for name in ends} == ends
    barrier = make("collectives", {"op": "barrier"})
    assert set(of(barrier.derived(np.ones(3), facts, {}))) == {"time", *ends}


def test_skew_is_between_the_longest_and_the_shortest_of_the_same_call():
    bench = make("collectives", {"in_flight": 2})
    bench.context = context(0, 3, gather=ranks([1.0, 5.0], [4.0, 2.0]))
    # Rank 0 took 2 and 6 seconds for two calls each.
    assert of(bench.metrics(timing([2.0, 6.0])))["skew"] == [3.0, 3.0]


def test_latency_and_payload_of_a_collective_add_up():
    facts = Facts(chip=None, ranks=4, link=1e9, link_latency=1e-3)
    found = make("collectives", {"op": "all_reduce", "size": "2MB"}).expected(facts)
    # Six steps, and one and a half arrays over the link of each.
    assert found["time"] == pytest.approx(6e-3 + 3e-3)
    assert found["algbw"] == pytest.approx(2e6 / 9e-3)
    assert found["busbw"] == pytest.approx(3e6 / 9e-3)
    far = Facts(
        chip=None, ranks=4, nodes=2, per_node=2, network=1e9, network_latency=2e-3, link_latency=1.0
    )
    found = make("collectives", {"op": "scatter", "size": "2MB"}).expected(far)
    # Three steps; half of the array leaves the root's node.
    assert found["time"] == pytest.approx(3 * 2e-3 + 1e-3)
    skewed = make("collectives", {"op": "all_to_all_skewed", "size": "2MB"}).expected(facts)
    # The last of four gets four tenths from everyone: three times 0.8 MB beside its own.
    assert skewed["time"] == pytest.approx(3e-3 + 3 * 0.4 * 2e6 / 1e9)


def test_many_senders_are_told_by_who_gets_least():
    bench = make("incast", {"size": 100})
    bench.ranks, bench.turns = 3, [0, 1, 2]
    bench.context = context(0, 3, gather=ranks([2.0, 8.0, 1.0] * 2, [4.0, 4.0, 2.0] * 2))
    bench.found = [(9, 0.0, 99.0)]  # of the warm-up
    bench.found += [(turn % 3, 10.0, 10.0 + 2.0) for turn in range(6)]
    found = of(bench.metrics(timing(np.ones(6))))
    assert found["bandwidth"] == [100.0, 25.0, 100.0] * 2
    assert found["slowest_receiver"] == [25.0, 25.0]
    # Rates of ranks 1 and 2 (50, 25), of 0 and 2 (50, 25), of 0 and 1 (50, 100).
    assert found["least_share"] == pytest.approx([2 / 3] * 6)
    assert found["fairness"] == pytest.approx([75**2 / (2 * (50**2 + 25**2))] * 4 + [0.9] * 2)
    assert bench.note() == "rank 1 receives least"

    # Rank 2 sends a ninth of what the other does; nobody was asked to receive but 0 and 1.
    bench.context = context(0, 3, gather=ranks([1.0, 9.0], [9.0, 9.0]))
    bench.found = [(0, 0.0, 9.0), (1, 0.0, 1.0)]
    found = of(bench.metrics(timing(np.ones(2))))
    assert found["least_share"] == pytest.approx([0.2, 0.2])
    said = "rank 2 gets 20% of a sender's usual share; 2 of 3 ranks received in the time there was"
    assert bench.note() == said


def test_a_receiver_is_held_back_by_its_link_or_by_its_nodes_network():
    bench = make("incast", {"size": "1MB"})
    inside = Facts(chip=None, ranks=3, link=1e9, link_latency=1e-3, network=1.0)
    # Two arrays of a millisecond each, behind one of latency.
    assert bench.expected(inside)["bandwidth"] == pytest.approx(2e6 / 3e-3)
    known = {"ranks": 8, "nodes": 2, "per_node": 4, "network_latency": 1e-3, "link_latency": 1.0}
    across = Facts(chip=None, network=1e9, **known)
    # Four of seven come through the network.
    assert bench.expected(across)["bandwidth"] == pytest.approx(7e6 / 5e-3)
    slow = Facts(chip=None, network=1e9, link=5e8, **known)
    assert bench.expected(slow)["slowest_receiver"] == pytest.approx(7e6 / 15e-3)
    assert bench.expected(Facts(chip=None, link=1e9, **known)) == {}
    assert bench.expected(Facts(chip=None, ranks=3, network=1e9)) == {}
    unknown = bench.expected(Facts(chip=None, ranks=5, link=1e9))
    assert unknown["bandwidth"] == pytest.approx(1e9)


def test_a_stream_is_in_steps_of_a_millisecond_and_fifty_windows(monkeypatch):
    """Of messages that take a quarter of a millisecond each."""
    monkeypatch.setattr(
        pairs.Pairs, "setup", lambda self, context: setattr(self, "context", context)
    )
    monkeypatch.setattr(pairs.Pairs, "step", lambda self: clock.__setitem__(0, clock[0] + 250e-6))
    clock = [0.0]
    monkeypatch.setattr(stability, "mark", lambda context: clock[0])
    bench = make("stability", {"duration": "10s", "size": 1000})
    bench.setup(context(0, 2))
    assert (bench.messages, bench.steps, bench.streams) == (4, 200, [])
    bench.step()
    bench.step()
    found = of(bench.metrics(timing([0.2, 0.2])))
    assert found["bandwidth"] == pytest.approx([2 * 1000 / 250e-6] * 2)
    assert found["longest_gap"] == pytest.approx(1e-3)
    assert (found["stalls"], found["low_share"]) == (0.0, 0.0)
    # What this rank finds itself is not what counts: rank 0 had messages of four milliseconds.
    bench.setup(context(1, 2, agree=lambda mine: (int(4e6 * bench.messages),)))
    assert (bench.messages, bench.steps) == (1, 50)


def test_both_together_are_expected_to_take_as_long_as_the_longer():
    facts = Facts(chip=load_chip("sim-a"), ranks=2, link=1e9)
    axes = {"shape": "1000x1000x1000", "dtype": "fp32", "size": "1MB"}
    product, exchange = 2e9 / 5e13, 1e-3
    found = make("overlap", {**axes, "calls": 3}).expected(facts)
    assert found == {
        "efficiency": 1.0,
        "communication_time": pytest.approx(exchange),
        "compute_time": pytest.approx(3 * product),
        "together_time": pytest.approx(exchange),
    }
    found = make("overlap", {**axes, "calls": 100}).expected(facts)
    assert found["together_time"] == found["compute_time"] == pytest.approx(100 * product)
    found = make("overlap", axes).expected(facts)  # as many products as take about as long
    assert found == {"efficiency": 1.0, "communication_time": pytest.approx(exchange)}
    assert make("overlap", axes).expected(Facts(chip=load_chip("sim-a"), ranks=2)) == {}
    assert make("overlap", axes).expected(Facts(chip=None, ranks=2, link=1e9)) == {}


# ---- training ----

FLOPS = 3 * (2 * TINY + 2 * 64 * 128 * 2)
"""Of a token of `tiny`: three passes over its weights, and half of the pairs of 64 tokens."""
PALM = 6 * (TINY + 128 * 512 + 5 * 128) + 12 * 2 * 128 * 64


def test_tokens_of_a_step_are_those_of_all_ranks_that_see_different_ones():
    bench = make("train", {"model": "tiny", "batch": 3, "tp": 2})
    facts = Facts(chip=load_chip("sim-a"), ranks=8)
    seconds = np.linspace(1.0, 3.0, 101)
    found = of(bench.derived(seconds, facts, {}))
    rate = 3 * 64 * 4 / seconds  # four ranks see different sequences
    assert found["tokens_per_second"] == pytest.approx(rate.tolist())
    assert found["step_p50"] == seconds.tolist()
    assert (found["step_p95"], found["step_p99"]) == (pytest.approx(2.9), pytest.approx(2.98))
    assert found["jitter"] == pytest.approx(2.9 / 2.0)
    assert found["mfu"] == pytest.approx((rate * FLOPS / (8 * 5e13)).tolist())
    assert found["mfu_palm"] == pytest.approx((rate * PALM / (8 * 5e13)).tolist())
    assert found["hfu"] == found["mfu"]
    assert "mfu" not in of(bench.derived(seconds, Facts(chip=None, ranks=8), {}))
    whole = make("train", {"model": "tiny", "batch": 8, "batch_of": "group"})
    found = of(whole.derived(np.array([2.0]), Facts(chip=None, ranks=4), {}))
    assert found["tokens_per_second"] == [8 * 64 / 2]


def test_a_pipeline_is_expected_to_stand_still_for_its_bubble():
    facts = Facts(chip=load_chip("sim-a"), ranks=4)
    bench = make("train", {"model": "tiny", "batch": 4, "pp": 2, "microbatches": 4})
    found = bench.expected(facts)
    rate = 0.8 * 4 * 5e13 / FLOPS  # one more turn than the four that work: 1/4
    step = 4 * 64 * 2 / rate
    assert found["tokens_per_second"] == pytest.approx(rate)
    for name in ("step_p50", "step_p95", "step_p99"):
        assert found[name] == pytest.approx(step)
    assert found["forward"] == pytest.approx(0.8 * step / 3)
    assert found["backward"] == pytest.approx(0.8 * step * 2 / 3)
    assert found["bubble"] == pytest.approx(0.2 * step)
    assert found["compute"] == pytest.approx(0.8 * step)
    assert (found["mfu"], found["hfu"]) == (pytest.approx(0.8), pytest.approx(0.8))
    assert found["mfu_palm"] == pytest.approx(0.8 * PALM / FLOPS)
    assert "wait" not in found
    linked = Facts(chip=load_chip("sim-a"), ranks=4, link=1e9, link_latency=0.0)
    plain = make("train", {"model": "tiny"}).expected(linked)
    assert plain["wait"] == pytest.approx(1.5 * 4 * 512 * 128 / 1e9)  # 2(n-1)/n of its gradient
    assert "wait" not in make("train", {"model": "tiny"}).expected(facts)


def test_energy_of_all_devices_is_shared_by_the_tokens_of_all_ranks():
    bench = make("train", {"model": "tiny", "batch": 3, "ops": "compile"})
    bench.context = context(0, 2, gather=lambda own: [own, [50.0] if own == [30.0] else own])
    bench.over, bench.phases = bench.spread_over(2), Phases(None)
    bench.held, bench.energy, bench.turn = 0, 30.0, 5
    bench.losses = [float(n) for n in range(5)]
    found = of(bench.metrics(timing([1.0])))
    assert found["energy_per_token"] == pytest.approx(80 / (5 * 2 * 3 * 64))
    assert (found["loss_1"], found["loss_4"]) == (0.0, 3.0)
    assert "loss_12" not in found
    bench.context = context(0, 2, gather=lambda own: [own, [float("nan")] * len(own)])
    assert "energy_per_token" not in of(bench.metrics(timing([1.0])))


@pytest.mark.parametrize("size", [1, 2])
def test_phases_are_the_mean_over_ranks_and_waits_each_ranks_own(size):
    marks = iter([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])  # data 1, forward 2, wait 4, backward 8, ... 16
    bench = make("train", {"model": "tiny"})
    bench.phases = Phases(lambda: next(marks))
    bench.phases.step()
    for name in ("data", "forward", "wait", "backward", "optimizer", ""):
        bench.phases(name)
    gather = (lambda own: [own, [3.0 * own[0]]]) if size == 2 else None
    bench.context = context(0, size, gather=gather)
    found = of(bench._parts(timing([31.0])))
    shared = 2.0 if size == 2 else 1.0
    assert found.pop("compute") == [1.0 + 2.0 + 8.0 + 16.0]
    assert found.pop("wait", None) == ([4.0] if size == 2 else None)
    own = {"data": 1.0, "forward": 2.0, "backward": 8.0, "optimizer": 16.0}
    assert found == {name: [shared * seconds] for name, seconds in own.items()}
