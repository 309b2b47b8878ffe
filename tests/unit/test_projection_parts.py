"""Memory of a step, seconds of single operations and messages, and what more of each is worth."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from counted import DENSE, MIXED

from bench.analysis.projection.bottleneck import bottleneck
from bench.analysis.projection.machine import Level, Machine
from bench.analysis.projection.memory import kept_of_layer, memory, underway
from bench.analysis.projection.plan import Plan
from bench.analysis.projection.rates import EDGE, LAUNCH, Efficiency, Rates
from bench.analysis.projection.search import search
from bench.analysis.projection.software import STACKS
from bench.analysis.projection.step import step, weights
from bench.analysis.projection.workload import Decoder

SOFTWARE = STACKS[2024]
DEEP = replace(DENSE, layers=16)
NODE, NET = Level("node", 8, 2e11, 1e-5), Level("cluster", 1024, 2e10, 4e-5)
MACHINE = Machine("m", 4e14, 6.4e10, 2e12, (NODE, NET), units=100)


# ---- memory ----


def test_one_stage_keeps_all_layers_and_the_logits_in_two_formats():
    model, plan = Decoder(DEEP), Plan(8, tp=2, micro=3)
    one = memory(model, plan, SOFTWARE)
    assert one.state == (2 + 4 + 12) * weights(model, plan)[0]
    assert one.activations == 16 * kept_of_layer(model, plan, SOFTWARE)
    assert one.logits == (2 + 4) * 3 * 256 * 4096 / 2
    assert one.buffers == 0
    assert one.total == one.state + one.activations + one.logits
    wide = memory(model, plan, SOFTWARE, wide=4)
    assert wide.state == (4 + 4 + 12) * weights(model, plan)[0]
    assert wide.logits == 8 * 3 * 256 * 4096 / 2
    narrow = memory(model, plan, replace(SOFTWARE, gradient_width=1))
    assert narrow.state == (2 + 2 + 12) * weights(model, plan)[0]  # what is kept, not what is sent


def test_the_fullest_stage_is_the_first_or_that_of_the_logits():
    plan = Plan(16, pp=4)
    first, last = underway(plan), underway(plan, last=True)
    assert (first, last) == (4, 1)
    for vocab, of_last in ((64, False), (1 << 20, True)):
        model = Decoder(replace(DEEP, vocab=vocab))
        one, each = memory(model, plan, SOFTWARE), kept_of_layer(model, plan, SOFTWARE)
        assert one.activations == 4 * each * (last if of_last else first)
        assert one.logits == (6 * 256 * vocab if of_last else 0)
    # What is computed again is there as a whole, a layer at a time.
    again = replace(plan, recompute="full")
    model = Decoder(replace(DEEP, vocab=64))
    whole = kept_of_layer(model, again, SOFTWARE, recompute="none")
    assert memory(model, again, SOFTWARE).activations == 4 * 4 * 2 * 512 * 256 + whole


def test_the_last_stage_keeps_what_waits_for_its_other_parts():
    assert underway(Plan(64, pp=4, virtual=2), last=True) == 1 + 4 / 2
    assert underway(Plan(2, pp=4, virtual=4), last=True) == 2


def test_weights_that_are_shared_are_there_two_layers_at_a_time():
    plan = Plan(8, dp=8, ep=4, sharding="full")
    model = Decoder(MIXED)
    one = memory(model, plan, SOFTWARE)
    dense = 512 * 768 + 512 * 512 + 2 * 512 + 512 * 8
    assert one.buffers == 2 * 2 * (dense + 8 * 3 * 512 * 768 / 4)
    shared, experts = weights(model, plan)
    assert one.state == 18 * (shared / 8 + experts / 2)
    tensor = memory(Decoder(DENSE), Plan(8, dp=4, tp=2, sharding="full"), SOFTWARE)
    assert tensor.buffers == 2 * 2 * Decoder(DENSE).dense / 2


def test_a_layer_keeps_what_its_gradients_read():
    tokens, dim = 256, 512
    kept = kept_of_layer(Decoder(DENSE), Plan(8, tp=2), SOFTWARE)
    between = tokens / 2 * dim * 4 * 2  # two norms: in and out
    products = 2 * tokens * (2 * dim / 2 + 2 * 64) + 4 * tokens * 8 / 2
    assert kept == between + products + 2 * tokens * 3 * 1536 / 2
    cheap = kept_of_layer(Decoder(DENSE), Plan(8, tp=2, recompute="selective"), SOFTWARE)
    assert cheap == between / 2 + products + 2 * tokens * 2 * 1536 / 2
    mixed = kept_of_layer(Decoder(MIXED), Plan(8, ep=4), SOFTWARE)
    rows = tokens * 2
    assert mixed == (
        tokens * dim * 8 + 2 * tokens * (2 * dim + 2 * 128) + 4 * tokens * 8
        + 2 * rows * (3 * 768 + 2 * dim)
    )  # fmt: skip


# ---- operations and messages ----


def test_a_chip_of_unknown_units_computes_evenly():
    one = Rates(replace(MACHINE, units=0), Efficiency(gemm=0.5))
    assert one.modelled(100, 200, 300, 4) == pytest.approx(
        LAUNCH + 2 * 100 * 200 * (300 + EDGE) * 4 / 2e14
    )


def test_tiles_go_in_waves_over_all_units():
    one = Rates(MACHINE, Efficiency(gemm=0.5))
    each = 2e14 / 100
    tile = 2 * 256 * 128 * (1024 + EDGE) / each
    assert one.modelled(256 * 10, 128 * 10, 1024) == pytest.approx(LAUNCH + tile)
    assert one.modelled(256 * 5, 128 * 10, 1024, 2) == pytest.approx(LAUNCH + tile)
    assert one.modelled(256 * 10, 128 * 20, 1024) == pytest.approx(LAUNCH + 2 * tile)
    # Small tiles read more for what they compute: 64 x 64 are bound by that.
    small = 2 * 64 * 64 * (1024 + EDGE) / each * 0.75 * (256 * 128 / 384) / 32
    assert one.modelled(64, 64, 1024) == pytest.approx(LAUNCH + small)


def test_products_take_as_long_as_their_bytes_and_what_is_moved_beside_them():
    one = Rates(MACHINE, Efficiency(memory=0.5), width=2)
    moved = 2 * (8 * 4096 + 4096 * 4096 + 8 * 4096)
    assert one.gemm(8, 4096, 4096) == pytest.approx(moved / 1e12)
    assert one.gemm(8, 4096, 4096, beside=1e9) == pytest.approx((moved + 1e9) / 1e12)
    assert one.gemm(8, 4096, 4096, count=3) == pytest.approx(3 * moved / 1e12)
    assert one.streams(1e9) == pytest.approx(LAUNCH + 1e9 / 1e12)


def test_what_was_measured_is_taken_but_for_what_is_above_the_peak():
    key = ("grouped_gemm", (8, 1024, 256, 512), "even", "bf16")
    one = Rates(MACHINE, Efficiency(), measured={key: 5e-3})
    assert one.gemm(128, 256, 512, count=8) == 5e-3
    assert one.used == {"grouped_gemm 8x1024x256x512 bf16"}
    fast = Rates(MACHINE, Efficiency(), measured={("gemm", (8192,) * 3, "nn", "bf16"): 1e-9})
    assert fast.gemm(8192, 8192, 8192) == pytest.approx(2 * 8192**3 / 4e14)
    shape = (1, 8, 2, 256, 64)
    measured = {("attention", shape, "causal_backward", "bf16"): 0.25}
    one = Rates(MACHINE, Efficiency(attention=(0.5, 0.25)), measured=measured)
    assert one.attention(4e14, backward=True, shape=shape) == 1.0  # no faster than its peak
    assert one.attention(4e13, backward=True, shape=shape) == 0.25
    assert one.attention(4e14, shape=shape) == pytest.approx(LAUNCH + 2.0)
    assert one.attention(4e14, backward=True) == pytest.approx(LAUNCH + 4.0)
    eight = Rates(replace(MACHINE, attention=1e14), Efficiency(attention=(0.5, 0.25)), dtype="fp8")
    assert eight.attention(4e14) == pytest.approx(LAUNCH + 8.0)  # in 16 bits


def test_messages_take_their_latencies_and_their_share():
    machine = MACHINE
    assert machine.seconds("send_recv", 1e9, 2, 1) == pytest.approx(1e-5 + 1e9 / 2e11)
    assert machine.seconds("send_recv", 1e9, 2, 8) == pytest.approx(4e-5 + 1e9 / 2e10)
    near, far = 1e-5, 4e-5
    assert machine.seconds("all_gather", 1e-30, 8) == pytest.approx(near)
    assert machine.seconds("all_reduce", 1e-30, 8) == pytest.approx(2 * near)
    # Beyond the node as deep as a tree over nodes.
    assert machine.seconds("all_gather", 1e-30, 64) == pytest.approx(near + far * 3)
    assert machine.seconds("all_gather", 1e-30, 4, 8) == pytest.approx(far * 2)
    assert machine.seconds("all_gather", 0, 8) == machine.seconds("all_gather", 1e9, 1) == 0
    assert machine.seconds("reduce_scatter", 1e9, 4) == pytest.approx(near + 0.75 * 1e9 / 2e11)
    assert [machine.crossed(*group) for group in ((8, 1), (9, 1), (2, 8), (1, 8))] == [0, 1, 1, 0]


# ---- what more of something is worth ----


def test_more_of_a_resource_is_worth_what_it_saves_of_a_step():
    model, plan = Decoder(DEEP), Plan(64, tp=8, dp=8)
    levels = (NODE, replace(NET, reconfiguration=0.01))
    rates = Rates(replace(MACHINE, levels=levels, attention=3e14), Efficiency())
    now = step(model, plan, rates, SOFTWARE).seconds

    def worth(**changes):
        machine = replace(rates.machine, **changes)
        return 1 - step(model, plan, Rates(machine, Efficiency()), SOFTWARE).seconds / now

    found = {one.resource: one.gain for one in bottleneck(model, plan, rates, SOFTWARE, more=0.5)}
    assert found["FLOPS"] == pytest.approx(worth(flops=6e14, attention=4.5e14))
    assert found["memory bandwidth"] == pytest.approx(worth(bandwidth=3e12))
    near, far = levels
    assert found["bandwidth inside a node"] == pytest.approx(
        worth(levels=(replace(near, bandwidth=3e11), far))
    )
    assert found["bandwidth between nodes"] == pytest.approx(
        worth(levels=(near, replace(far, bandwidth=3e10)))
    )
    quick = tuple(
        replace(one, latency=one.latency / 1.5, reconfiguration=one.reconfiguration / 1.5)
        for one in levels
    )
    assert found["latency"] == pytest.approx(worth(levels=quick))
    assert min(found.values()) >= 0
    assert all(math.isfinite(gain) for gain in found.values())


def test_more_memory_is_worth_a_layout_that_it_lets_fit():
    model = Decoder(replace(DEEP, layers=64, dim=4096, heads=32, ffn=16384))
    plan = Plan(64, tp=8, dp=8)

    def room(memory, more):
        rates = Rates(replace(MACHINE, memory=memory), Efficiency())
        gains = bottleneck(model, plan, rates, SOFTWARE, more=more)
        assert [one.gain for one in gains] == sorted((one.gain for one in gains), reverse=True)
        (found,) = [one for one in gains if one.resource == "memory"]
        return found

    def best(memory):
        rates = Rates(replace(MACHINE, memory=memory), Efficiency())
        return search(model, plan.batch, rates, SOFTWARE, chips=plan.chips).best

    now, then = best(8e9), best(3.2e10)
    assert then.step.seconds < now.step.seconds
    found = room(8e9, 3.0)
    assert found.gain == pytest.approx(1 - then.step.seconds / now.step.seconds)
    assert found.plan == then.plan.said()
    plenty = room(1e13, 3.0)
    assert (plenty.gain, plenty.plan) == (0.0, "")
    assert room(1.0, 3.0).gain == 0.0  # nothing fits, then neither
