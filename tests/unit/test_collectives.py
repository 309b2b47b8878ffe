"""Collectives on real ranks: every operation in every form, and every check made to fail."""

import sys
import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context, outcomes, several

from bench.errors import Unmeasurable, UsageError
from bench.kernels.messages import PARTED, bus_factor, elements, skewed_edges, steps
from bench.timing import Rule
from bench.workloads.base import IN_HOST_MEMORY, Facts, axes_of, make
from bench.workloads.collectives import DTYPES, ONE_BUFFER, TWO_BUFFERS, Op
from bench.workloads.runner import run

torch = pytest.importorskip("torch")

OPS = tuple(op for op in get_args(Op) if op != "barrier")
BOTH_FORMS = [op for op in OPS if op not in ONE_BUFFER + TWO_BUFFERS]
SMALL = Rule(budget=0.05, warmup=0.01, min_samples=3)


def values(outcome):
    return {value.metric: value.value for value in outcome.values}


def forms(size):
    """Axes of every operation in every dtype, then in place, then in flight."""
    found = [{"op": op, "size": size, "dtype": dtype} for op in OPS for dtype in DTYPES]
    found += [{"op": op, "size": size, "buffers": "in_place"} for op in BOTH_FORMS]
    return found + [
        {"op": op, "size": size, "in_flight": number}
        for op in (*OPS, "barrier")
        for number in (1, 3)
    ]


def test_two_ranks_do_every_operation_in_every_form():
    every = forms("4KiB")
    found = several([("collectives", axes, None) for axes in every], rule=SMALL)
    assert len(found) == len(every) == 10 * 6 + 4 + 22
    for axes, (first, second) in zip(every, found, strict=True):
        assert first.status == second.status == "ok", (axes, first.reason)
        assert first.calls == second.calls
        got, flight = values(first), axes.get("in_flight", 1)
        seconds = np.array(first.seconds) / flight
        assert got["time"] == pytest.approx(np.median(seconds), rel=1e-6)
        assert got["time_p95"] <= got["time_p99"] <= got["time_max"]
        assert got["time_max"] == pytest.approx(seconds.max(), rel=1e-6)
        assert got["skew"] >= 0
        if axes["op"] == "barrier":
            assert "busbw" not in got
            continue
        # The median of rates, not the rate of the median: they part where samples are few.
        assert got["algbw"] == pytest.approx(np.median(4096 / seconds), rel=1e-6)
        assert got["busbw"] == pytest.approx(got["algbw"] * bus_factor(axes["op"], 2), rel=1e-6)


def test_three_ranks_at_sizes_that_do_not_divide():
    sizes = ((8, "fp32"), (1000, "fp16"), ("100KiB", "uint8"))
    every = [{"op": op, "size": size, "dtype": dtype} for op in OPS for size, dtype in sizes]
    every += [{"op": op, "size": 1000, "buffers": "in_place"} for op in BOTH_FORMS]
    every += [{"op": op, "size": 1000, "in_flight": 2} for op in OPS] + [{"op": "barrier"}]
    found = several([("collectives", axes, None) for axes in every], size=3, rule=SMALL)
    for axes, ranks in zip(every, found, strict=True):
        assert {one.status for one in ranks} == {"ok"}, (axes, ranks[0].reason)
        rounded = axes["op"] in PARTED and axes.get("size") == 8
        assert ("the array has 12B" in ranks[0].reason) == rounded, axes


def receiver(bench):
    """A rank that must find a result: the root of a reduce or gather, else the second."""
    return 0 if bench.op in ("reduce", "gather") else 1


def flip(bench, rank):
    """After every call, one element of the last buffer on one rank is another."""
    call = bench.call

    def broken():
        call()
        if rank == receiver(bench):
            taken = bench.flight[-1].taken
            taken[7] = 3 if taken[7] != 3 else 4

    bench.call = broken


def silence(bench, rank):
    """The operation does nothing at all."""
    bench.call = lambda: None


def test_a_corrupted_collective_is_invalid_on_every_rank():
    kinds = [{"op": op} for op in OPS] + [
        {"op": "all_reduce", "in_flight": 3},
        {"op": "send_recv", "in_flight": 2},
        {"op": "all_gather", "dtype": "int64"},
        *({"op": op, "buffers": "in_place"} for op in BOTH_FORMS),
    ]
    jobs = [
        ("collectives", {"size": "4KiB", **axes}, spoil)
        for axes in kinds
        for spoil in (flip, silence)
    ]
    for (_, axes, spoil), both in zip(jobs, several(jobs), strict=True):
        assert {one.status for one in both} == {"invalid"}, axes
        if spoil is flip:
            named = receiver(make("collectives", axes))
            assert f"rank {named}: 1 of " in both[named].reason


def confuse(bench, rank):
    """Two calls in flight find each other's result."""
    call = bench.call

    def broken():
        call()
        first, second = bench.flight[0].taken, bench.flight[1].taken
        kept = first.clone()
        first.copy_(second)
        second.copy_(kept)

    bench.call = broken


def swap(bench, rank):
    """Every rank finds the parts of ranks 0 and 2 exchanged."""
    call, part = bench.call, bench.part

    def broken():
        call()
        taken = bench.flight[0].taken
        first, third = taken[:part], taken[2 * part : 3 * part]
        kept = first.clone()
        first.copy_(third)
        third.copy_(kept)

    bench.call = broken


def slip(bench, rank):
    """Rank 0 does not wait at the barrier; nobody waits for rank 0."""
    import torch.distributed as dist

    some = dist.new_group([1, 2])
    bench.call = (lambda: None) if rank == 0 else (lambda: dist.barrier(group=some))


def test_exchanged_parts_confused_calls_and_open_barriers_are_invalid():
    bad = [
        ({"op": "all_gather", "size": 999}, swap),
        ({"op": "all_to_all", "size": 999}, swap),
        *(({"op": op, "size": "1KiB", "in_flight": 2}, confuse) for op in ("all_reduce", "gather")),
        ({"op": "barrier"}, silence),
        ({"op": "barrier"}, slip),
    ]
    jobs = [("collectives", axes, spoil) for axes, spoil in bad]
    for (_, axes, spoil), ranks in zip(jobs, several(jobs, size=3, rule=SMALL), strict=True):
        assert {one.status for one in ranks} == {"invalid"}, (axes, spoil)


def linger(bench, rank):
    """Timed calls take a tenth of a second longer on rank 1, whatever the other does."""
    import time

    bench.step = lambda: time.sleep(0.101 if rank == 1 else 0.001)


def test_skew_is_how_much_longer_one_rank_was_inside_than_another():
    ranks = outcomes("collectives", {"size": "1KiB"}, spoil=linger, rule=Rule(budget=0.4))
    for one in ranks:
        assert one.status == "ok", one.reason
    # The same figure on every rank, for it is a property of the group.
    assert values(ranks[0])["skew"] == values(ranks[1])["skew"] == pytest.approx(0.1, abs=0.05)
    assert values(ranks[0])["time"] < 0.08 < values(ranks[1])["time"]


def test_data_stays_finite_over_thousands_of_calls():
    rule = Rule(budget=60.0, warmup=0.1, min_samples=2000, max_samples=3000, precision=1e-9)
    first, _ = outcomes("collectives", {"op": "all_reduce", "size": "1KiB"}, rule=rule)
    assert first.status == "ok"
    assert len(first.seconds) >= 2000
    for axes in ({"op": "all_reduce"}, {"op": "reduce_scatter", "buffers": "in_place"}):
        assert 2.0 ** make("collectives", {**axes, "dtype": "fp16"}).lifetime() < 65504
    for axes in ({"op": "reduce_scatter"}, {"dtype": "int32"}, {"op": "gather"}):
        assert make("collectives", axes).lifetime() == 0


def pattern(op, rank, ranks, count=4096, salt=0):
    from bench.workloads.collective_checks import Pattern

    return Pattern(op, rank, ranks, elements(op, 2 * count, 2, ranks), "cpu", salt)


def given(op, rank, ranks, kind=torch.bfloat16):
    """What a rank puts in, whole."""
    made = pattern(op, rank, ranks)
    count = made.part if op in ("all_gather", "gather") else made.count
    return made.given(0, count).to(kind)


def exchanged(op, rank, everyone):
    """What ``rank`` finds after ``op`` on the ranks' inputs, by the definition of ``op``."""
    ranks = len(everyone)
    if op in ("all_reduce", "reduce"):
        return torch.stack(everyone).sum(0)
    if op == "reduce_scatter":
        return torch.stack(everyone).sum(0).chunk(ranks)[rank]
    if op in ("all_gather", "gather"):
        return torch.cat(everyone)
    if op == "all_to_all":
        return torch.cat([one.chunk(ranks)[rank] for one in everyone])
    if op == "all_to_all_skewed":
        edges = skewed_edges(everyone[0].numel(), ranks)
        return torch.cat([one[edges[rank] : edges[rank + 1]] for one in everyone])
    if op == "scatter":
        return everyone[0].chunk(ranks)[rank]
    return everyone[0] if op == "broadcast" else everyone[(rank - 1) % ranks]


@pytest.mark.parametrize("ranks", [2, 5, 130])
@pytest.mark.parametrize("op", OPS)
def test_what_is_wanted_is_what_the_definition_gives(op, ranks):
    everyone = [given(op, rank, ranks) for rank in range(ranks)]
    for rank in {0, 1, ranks - 1}:
        found = exchanged(op, rank, everyone)
        made = pattern(op, rank, ranks)
        # In pieces, as the check of a large message does.
        half = found.numel() // 2
        wanted = torch.cat([made.wanted(0, half), made.wanted(half, found.numel() - half)])
        assert torch.equal(wanted.to(found.dtype), found)


@pytest.mark.parametrize("ranks", [2, 3, 8, 64, 320])
def test_sums_are_exact_in_every_dtype_and_order(ranks):
    """Added one after the other in the dtype itself, as a library may."""
    for kind in (torch.float16, torch.bfloat16, torch.uint8):
        total = given("all_reduce", 0, ranks, kind)
        for rank in range(1, ranks):
            mine = given("all_reduce", rank, ranks, kind)
            assert int(mine.count_nonzero()) > 0
            total = total + mine
        assert torch.equal(total, pattern("all_reduce", 0, ranks).wanted(0, 4096).to(kind))


@pytest.mark.parametrize("op", ["send_recv", "all_gather"])
def test_parts_of_different_ranks_differ(op):
    ranks = 9
    every = [given(op, rank, ranks) for rank in range(ranks)]
    for one in range(ranks):
        for other in range(one):
            assert not torch.equal(every[one], every[other])
        # Nor is a part a shifted copy of itself, whatever the shift.
        assert not any(torch.equal(every[one], every[one].roll(n)) for n in range(1, 400))


@pytest.mark.parametrize("other", [1, 3, 126, 127, 254, 16129, 80_000])
def test_no_two_ranks_of_a_large_fleet_give_the_same(other):
    one, two = (pattern("send_recv", rank, 100_000) for rank in (5, 5 + other))
    assert not torch.equal(one.given(0, 256), two.given(0, 256))


@pytest.mark.parametrize("op", ["all_reduce", "scatter", "send_recv"])
def test_values_go_on_beyond_their_period(op):
    from bench.workloads.collective_checks import PERIOD

    made = pattern(op, 1, 3, count=3 * PERIOD)
    first, count = PERIOD - 50, PERIOD + 100
    whole = made.wanted(first, count)
    assert whole.numel() == count
    for begin in (0, 30, 60, PERIOD + 20):
        assert torch.equal(whole[begin : begin + 40], made.wanted(first + begin, 40))
    # The same as computed place by place.
    place = torch.arange(first, first + count)
    place = place + made.part if op == "scatter" else place
    digits = place % 127 * 7 + place // 127 % 127 * 11 + place // 127**2 % 127 * 17
    salts = (0, 1) if op == "all_reduce" else (0,)
    alone = sum((digits + 31 * salt) % 127 + 1 for salt in salts)
    assert torch.equal(whole.long(), alone)


def test_bus_factors_are_those_of_nccl_tests():
    """doc/PERFORMANCE.md; scatter and gather as in their ``GetBw`` functions."""
    assert bus_factor("all_reduce", 8) == 2 * 7 / 8
    for op in ("all_gather", "reduce_scatter", "all_to_all", "scatter", "gather"):
        assert bus_factor(op, 8) == 7 / 8
    for op in ("broadcast", "reduce", "send_recv"):
        assert bus_factor(op, 8) == 1


def by_hand(op, given):
    """What every rank ends with, and the most elements that one rank's link carries one way.

    The collective done by hand: rings for what is summed or spread to all, a chain for broadcast
    and reduce, direct messages for the rest. ``given``: an array of n parts for every rank.
    """
    ranks = len(given)
    held = [rows.copy() for rows in given]
    sent, received = np.zeros(ranks, int), np.zeros(ranks, int)

    def send(source, target, data):
        sent[source] += data.size
        received[target] += data.size
        return data.copy()

    def turn(first, add):
        """n - 1 steps, in each of which every rank passes one part on to the next."""
        for step in range(ranks - 1):
            parts = [(rank + first - step) % ranks for rank in range(ranks)]
            passed = [
                send(rank, (rank + 1) % ranks, held[rank][part]) for rank, part in enumerate(parts)
            ]
            for rank, (part, data) in enumerate(zip(parts, passed, strict=True)):
                there = held[(rank + 1) % ranks]
                there[part] = there[part] + data if add else data

    if op in ("all_reduce", "reduce_scatter"):
        turn(-1, add=True)  # rank r ends with the sum of part r
    if op in ("all_reduce", "all_gather"):
        turn(0, add=False)
    if op == "broadcast":
        for rank in range(1, ranks):
            held[rank] = send(rank - 1, rank, held[rank - 1])
    if op == "reduce":
        for rank in range(ranks - 1, 0, -1):
            held[rank - 1] = held[rank - 1] + send(rank, rank - 1, held[rank])
    if op in ("all_to_all", "scatter", "gather"):
        pairs = [
            (source, target)
            for source in range(ranks)
            for target in range(ranks)
            if source != target
            and (op == "all_to_all" or (target if op == "gather" else source) == 0)
        ]
        for source, target in pairs:
            part, place = (source, source) if op == "gather" else (target, source)
            held[target][target if op == "scatter" else place] = send(
                source, target, given[source][part]
            )
    if op == "send_recv":
        held = [send(rank - 1, rank, given[rank - 1]) for rank in range(ranks)]
    return held, int(max(sent.max(), received.max()))


def defined(op, given):
    """What ranks must hold of each part, by the definition; None: of no matter."""
    ranks, total = len(given), sum(given)
    every = range(ranks)
    return {
        "all_reduce": [[total[part] for part in every]] * ranks,
        "reduce_scatter": [[total[p] if p == r else None for p in every] for r in every],
        "all_gather": [[given[part][part] for part in every]] * ranks,
        "broadcast": [list(given[0])] * ranks,
        "reduce": [list(total)] + [[None] * ranks] * (ranks - 1),
        "all_to_all": [[given[source][rank] for source in every] for rank in every],
        "scatter": [[given[0][r] if p == r else None for p in every] for r in every],
        "gather": [[given[part][part] for part in every]] + [[None] * ranks] * (ranks - 1),
        "send_recv": [list(given[rank - 1]) for rank in every],
    }[op]


@pytest.mark.parametrize("ranks", [2, 3, 5, 7])
@pytest.mark.parametrize("op", [op for op in OPS if op not in ("barrier", "all_to_all_skewed")])
def test_the_bus_factor_is_what_a_link_carries_when_it_is_done_by_hand(op, ranks):
    """Over S, the whole array: of odd sizes as well."""
    for size in (1, 999, 4099):
        count = elements("all_reduce", size, 4, ranks) * ranks  # in equal parts, for every op
        generator = np.random.default_rng(count)
        given = [generator.integers(1, 100, (ranks, count // ranks)) for _ in range(ranks)]
        held, most = by_hand(op, given)
        for found, wanted in zip(held, defined(op, given), strict=True):
            for one, other in zip(found, wanted, strict=True):
                assert other is None or np.array_equal(one, other)
        assert most == pytest.approx(count * bus_factor(op, ranks))


@pytest.mark.parametrize("ranks", [2, 3, 8, 1000])
def test_arrays_are_whole_elements_in_equal_parts(ranks):
    for op in OPS:
        count = elements(op, 1000, 4, ranks)
        assert count >= 1
        assert abs(count * 4 - 1000) < 4 * ranks
        assert op not in PARTED or count % ranks == 0
    edges = skewed_edges(12_000_000, ranks)
    shares = np.diff(edges)
    assert (edges[0], edges[-1]) == (0, 12_000_000)
    assert shares[-1] / shares.mean() == pytest.approx(2 * ranks / (ranks + 1), rel=0.01)
    assert shares[0] < shares[-1]


def test_messages_beyond_memory_forms_and_dtypes_that_lack_are_skipped():
    for axes, reason in (
        ({"size": "8GiB"}, "needs 8589934592 bytes of buffers, half of memory is 536870912"),
        ({"size": "256MiB", "in_flight": 4}, "4 x all_reduce of 256MiB needs 1073741824"),
        ({"op": "gather", "size": "512MiB"}, "needs 805306368 bytes"),
        ({"buffers": "out_of_place"}, "all_reduce in place only"),
        ({"op": "send_recv", "buffers": "in_place"}, "has no form in place"),
        ({"op": "barrier", "buffers": "in_place"}, "a barrier has no buffers"),
    ):
        with pytest.raises(Unmeasurable, match=reason):
            make("collectives", axes).setup(context(0, 2))
    with pytest.raises(UsageError, match="in_flight must be at least 1, not 0"):
        make("collectives", {"in_flight": 0})
    with pytest.raises(UsageError, match="a size must be positive"):
        make("collectives", {"size": 0})
    every = [make("collectives", {"op": "barrier", "size": size}) for size in (8, "1GiB")]
    assert axes_of(every[0]) == axes_of(every[1])
    assert axes_of(make("collectives", axes_of(every[0]))) == axes_of(every[0])


def test_one_rank_without_memory_stops_all_and_nobody_waits():
    """Rank 0 holds the whole of a gather, the others a part of it: they could go on alone."""
    for one in outcomes("collectives", {"op": "gather", "size": "512MiB"}):
        assert one.status == "skipped"


def failing(text, kind=RuntimeError):
    """A broadcast whose library raises on its first call."""

    def call():
        raise kind(text)

    bench = make("collectives", {"op": "broadcast", "size": "1KiB", "dtype": "bf16"})
    bench._bind = lambda: call
    return bench


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Backend gloo does not support reduce_scatter"),
        RuntimeError("ProcessGroupGloo: no support for alltoall_base"),
        RuntimeError("Unsupported data type for this library"),
        ValueError("Invalid scalar type"),
        NotImplementedError("Could not run 'c10d::broadcast_'"),
    ],
)
def test_what_the_library_lacks_is_skipped(error):
    bench = failing(str(error), type(error))
    with pytest.raises(Unmeasurable, match="gloo cannot do broadcast of bf16: "):
        bench.setup(context(0, 2))
    assert run(failing(str(error), type(error)), context(0, 2), RULE).status == "skipped"


@pytest.mark.parametrize(
    "text",
    [
        "[net] Connection closed by peer [10.0.0.2]:41230",
        "Timed out waiting 60000ms for recv operation to complete",
        "out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_a_fault_in_the_first_call_is_no_missing_feature(text):
    with pytest.raises(RuntimeError) as caught:
        run(failing(text), context(0, 2), RULE)
    assert str(caught.value) == text


def test_nothing_deprecated_is_called_in_the_timed_region(recwarn):
    """A wrapper that warns takes microseconds of every call."""
    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/s", rank=0, world_size=1)
        try:
            for op in (*OPS, "barrier"):
                if op == "send_recv":
                    continue  # nobody to send to
                bench = make("collectives", {"op": op, "size": 64})
                bench.context, bench.ranks = context(0, 1, dist.group.WORLD), 1
                bench.count = bench.part = 16
                bench.flight = [bench._buffers(16, 16)]
                bench._bind()()
        finally:
            dist.destroy_process_group()
    assert not [str(one.message) for one in recwarn if "deprecated" in str(one.message)]


def test_rings_between_nodes_share_the_whole_network_of_a_node():
    facts = Facts(chip=None, ranks=32, nodes=4, per_node=8, link=4.5e11, network=4e11)
    for op in ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce"):
        found = make("collectives", {"op": op, "size": "1GiB"}).expected(facts)
        assert found["busbw"] == pytest.approx(4e11), op
    slow = Facts(chip=None, ranks=32, nodes=4, per_node=8, link=1e11, network=4e11)
    assert make("collectives", {"size": "1GiB"}).expected(slow)["busbw"] == pytest.approx(1e11)
    crossing = make("collectives", {"op": "all_to_all", "size": "1GiB"}).expected(facts)
    # 24 of 32 parts leave the node, by an eighth of its network each device.
    assert crossing["algbw"] == pytest.approx(5e10 * 32 / 24)
    skewed = make("collectives", {"op": "all_to_all_skewed", "size": "1GiB"}).expected(facts)
    assert crossing["algbw"] / skewed["algbw"] == pytest.approx(2 * 32 / 33)
    one = make("collectives", {"op": "send_recv", "size": "1GiB"}).expected(facts)
    assert one["busbw"] == pytest.approx(5e10)
    # The root's device is what limits a gather: 31 of 32 parts pass its link.
    gathered = make("collectives", {"op": "gather", "size": "1GiB"}).expected(facts)
    assert gathered["busbw"] == pytest.approx(4.5e11)
    assert make("collectives", {}).expected(Facts(chip=None, ranks=32, nodes=4, link=1e11)) == {}


def test_a_barrier_is_latency_alone():
    facts = Facts(chip=None, ranks=32, nodes=4, per_node=8, network_latency=2e-6)
    assert make("collectives", {"op": "barrier"}).expected(facts) == {"time": 5 * 2e-6}
    assert make("collectives", {"op": "barrier"}).expected(Facts(chip=None, ranks=32)) == {}
    assert [steps("barrier", n) for n in (1, 2, 3, 4, 5)] == [0, 1, 2, 2, 3]
    reported = {measure.name for measure in make("collectives", {"op": "barrier"}).reported()}
    assert reported == {"time", "time_p95", "time_p99", "time_max", "skew"}


def test_between_kinds_of_chip_what_is_exchanged_lies_in_host_memory():
    """Tensors of the device ``meta`` hold no data: whatever were exchanged from there is wrong."""
    jobs = [
        ("collectives", {"op": op, "size": "1KiB"}, None)
        for op in ("all_reduce", "all_gather", "barrier")
    ]
    jobs += [("pairs", {"size": "1KiB"}, None), ("pairs", {"memory": "host"}, None)]
    jobs += [("link", {"size": "1MiB"}, None), ("train", {}, None)]
    *found, train = several(jobs, rule=SMALL, device="meta")
    for (name, axes, _), ranks in zip(jobs, found, strict=False):
        assert {one.status for one in ranks} == {"ok"}, (name, axes, ranks)
        elsewhere = axes.get("op") != "barrier" and axes.get("memory") != "host"
        assert (IN_HOST_MEMORY in ranks[0].reason) == elsewhere, (name, axes)
    assert {one.status for one in train} == {"skipped"}
    assert "no library to meet in" in train[0].reason
