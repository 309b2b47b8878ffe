"""What a step is made of beside its layers: stages, messages, gradients, weights, a training."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

sys.path.insert(0, str(Path(__file__).parent))
from counted import DENSE, MIXED, WIDE, Counted

from bench.analysis.checkpointing import daly, expected_goodput
from bench.analysis.projection.layer import Layers
from bench.analysis.projection.machine import Level, Machine
from bench.analysis.projection.plan import Plan
from bench.analysis.projection.rates import Efficiency, Rates
from bench.analysis.projection.software import STACKS
from bench.analysis.projection.step import Step, step, weights
from bench.analysis.projection.training import training
from bench.analysis.projection.workload import Decoder
from bench.configs import load_cluster

SOFTWARE = replace(STACKS[2024], gradient_overlap=False, stage_overlap=False)
DEEP = replace(DENSE, layers=16)
LAYER = 512 * (512 + 2 * 128) + 512 * 512 + 2 * 512 + 3 * 512 * 1536
TABLE = 512 * 4096


def took(rates, plan, shape=DEEP, software=SOFTWARE, **model):
    return step(Decoder(shape, **model), plan, rates, software)


def parts(plan, shape=DEEP, kind="flops"):
    made = Layers(Decoder(shape), plan, Counted(kind), SOFTWARE)
    return made.layer().total, made.embedding().total, made.head().total


@pytest.mark.parametrize("batch", [1, 8])
def test_one_stage_computes_all_layers_and_both_ends_for_each_microbatch(batch):
    plan = Plan(batch)
    layer, embedding, head = parts(plan)
    one = took(Counted("flops"), plan)
    assert one.compute == pytest.approx(batch * (16 * layer + embedding + head))
    assert one.seconds == pytest.approx(one.compute)
    moved = took(Counted("bytes"), plan)
    layer, embedding, head = parts(plan, kind="bytes")
    assert moved.compute == pytest.approx(batch * (16 * layer + embedding + head))


@pytest.mark.parametrize(("pp", "virtual"), [(2, 1), (4, 1), (4, 2)])
def test_a_pipeline_goes_as_its_slowest_stage_and_fills_over_the_others(pp, virtual):
    plan = Plan(8, pp=pp, virtual=virtual)
    layer, embedding, head = parts(plan)
    each = 16 // pp * layer
    one = took(Counted("flops"), plan)
    assert one.compute == pytest.approx(8 * (each + head))  # the last has the head
    assert one.bubble == pytest.approx(((pp - 1) * each + embedding) / virtual)
    assert one.seconds == pytest.approx(one.compute + one.bubble)


def test_stages_send_what_is_between_them_both_ways():
    stream = WIDE * 256 * 512

    def sent(kind, plan, software=SOFTWARE, **efficiency):
        return took(Counted("", kind, **efficiency), plan, software=software)

    one = sent(("send_recv", 2, 2), Plan(8, pp=4, dp=2))
    assert one.stages == pytest.approx(4 * 2 * stream)  # of four microbatches, there and back
    assert one.bubble == pytest.approx(2 * 3 * stream)
    assert sent(("send_recv", 2, 2), Plan(8, pp=4, dp=2, virtual=2)).stages == 4 * 4 * stream
    # Ranks that share matrices send a part each; with the sequence whole they gather it again.
    assert sent(("send_recv", 2, 2), Plan(8, pp=2, tp=2)).stages == 8 * 2 * stream / 2
    whole = Plan(8, pp=2, tp=2, sequence=False)
    assert sent(("all_gather", 2, 1), whole).stages == 8 * 2 * stream
    assert sent(("all_gather", 2, 1), replace(whole, sequence=True)).stages == 0
    assert sent(("send_recv", 2, 1), Plan(8)).seconds == 0
    # Virtual stages compute one part while another's result is under way.
    hiding = replace(SOFTWARE, stage_overlap=True)
    for virtual, shown in ((1, 1.0), (2, 0.25)):
        plan = Plan(8, pp=4, virtual=virtual)
        rates = Counted("flops", ("send_recv", 2, 1), overlap=0.75)
        assert took(rates, plan, software=hiding).stages == 8 * 2 * virtual * stream * shown


@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 1), (2, 4)])
def test_gradients_are_reduced_and_weights_gathered_once(tp, pp):
    plan = Plan(8, dp=4, tp=tp, pp=pp)
    layers, tables = 16 // pp, 2 if pp == 1 else 1
    held = (layers * (LAYER - 2 * 512) + tables * TABLE) / tp + layers * 2 * 512 / tp
    assert weights(Decoder(DEEP), plan) == (pytest.approx(held), 0.0)

    def sent(operation, sharding):
        rates = Counted("", (operation, 4, tp))
        return took(rates, replace(plan, sharding=sharding)).gradients

    assert sent("all_reduce", "none") == pytest.approx(4 * held)
    assert sent("reduce_scatter", "none") == sent("all_reduce", "optimizer") == 0
    for sharding, times in (("optimizer", 1), ("full", 2 * 2)):  # of two microbatches
        assert sent("reduce_scatter", sharding) == pytest.approx(4 * held)
        assert sent("all_gather", sharding) == pytest.approx(WIDE * held * times)


@pytest.mark.parametrize(
    ("layers", "vocab", "held"),
    [
        (16, 4096, (4, 1)),
        (15, 4096, (4, 1)),  # the last has one fewer
        (14, 64, (4, 0)),  # the first too: one between has most
        (14, 65536, (3, 1)),  # unless the ends' tables weigh more than a layer
    ],
)
def test_the_fullest_stage_has_most_layers_or_a_table(layers, vocab, held):
    shape = replace(DENSE, layers=layers, vocab=vocab)
    found = weights(Decoder(shape), Plan(8, pp=4, tp=2))
    assert found == ((held[0] * LAYER + held[1] * 512 * vocab) / 2, 0.0)


def test_weights_that_are_shared_hide_behind_each_microbatch():
    """Gathered twice in each, before both passes; only the last has gradients to reduce as well."""
    plan = Plan(12, dp=4, sharding="full")
    held = weights(Decoder(DEEP), plan)[0]
    made = Layers(Decoder(DEEP), plan, Counted("flops"), SOFTWARE)
    passes = made.layer() * 16 + made.head()
    for rate in (1.0, 1e4, 1e6):  # gathering is hidden, in part, hardly
        forward, backward = passes.forward / rate, passes.backward / rate

        def seconds(operation, rate=rate):
            rates = Counted("flops", (operation, 4, 1), overlap=0.75)
            rates.gemm = lambda m, n, k, **more: 2 * m * n * k / rate
            rates.attention = lambda flops, **more: flops / rate
            return took(rates, plan).gradients

        gather, both = WIDE * held, forward + backward
        assert seconds("all_gather") == pytest.approx(
            3 * (2 * gather - 0.75 * min(2 * gather, both))
        )
        reduce = 4 * held
        assert seconds("reduce_scatter") == pytest.approx(reduce - 0.75 * min(reduce, backward))


def test_experts_are_reduced_over_the_ranks_that_hold_the_same():
    plan, model = Plan(8, dp=8, ep=4), Decoder(MIXED)
    expert = 3 * 512 * 768
    shared, experts = weights(model, plan)
    assert experts == 3 * 8 * expert / 4
    assert shared == 3 * (512 * 768 + 512 * 512 + 2 * 512 + 512 * 8) + 2 * TABLE
    rates = Counted("", ("reduce_scatter", 2, 4))  # two ranks of eight, four apart
    assert took(rates, plan, MIXED).gradients == pytest.approx(4 * experts)
    rates = Counted("", ("reduce_scatter", 8, 1))
    assert took(rates, plan, MIXED).gradients == pytest.approx(4 * shared)
    tied = took(Counted("", ("reduce_scatter", 8, 1)), plan, MIXED, tied=True)
    assert tied.gradients == pytest.approx(4 * (shared - TABLE))


def test_gradients_hide_behind_one_backward_pass_and_weights_behind_one_forward():
    hiding = replace(SOFTWARE, gradient_overlap=True)
    for operation, size, name in (
        ("reduce_scatter", 4, "backward"), ("all_gather", WIDE, "forward")
    ):  # fmt: skip
        plan = Plan(8, dp=4)
        rates = Counted("flops", (operation, 4, 1), overlap=0.75)
        sent = size * weights(Decoder(DEEP), plan)[0]
        made = Layers(Decoder(DEEP), plan, rates, hiding)
        beside = getattr(made.layer() * 16 + made.head(), name)
        assert sent < beside
        assert took(rates, plan, software=hiding).gradients == pytest.approx(sent / 4)
        # A chip so fast that half as long is computed hides no more than that.
        rates.machine = replace(rates.machine, flops=2 * beside / sent)
        rates.gemm = lambda m, n, k, *, count=1, beside=0, f=2 * beside / sent: 2 * m * n * k / f
        assert took(rates, plan, software=hiding).gradients == pytest.approx(sent - 0.75 * sent / 2)
        assert took(rates, plan).gradients == pytest.approx(sent)


@pytest.mark.parametrize(("sharding", "ranks"), [("none", 1), ("optimizer", 8), ("full", 8)])
def test_the_optimizer_moves_what_a_rank_holds_of_its_state(sharding, ranks):
    plan = Plan(8, dp=4, cp=2, sharding=sharding)
    held = 16 * LAYER + 2 * TABLE
    one = took(Counted("bytes"), plan)
    assert one.optimizer == pytest.approx(SOFTWARE.optimizer_bytes * held / ranks)
    plan = Plan(8, dp=8, ep=4, sharding=sharding)
    shared, experts = weights(Decoder(MIXED), plan)
    parts = (1, 1) if ranks == 1 else (8, 2)
    assert took(Counted("bytes"), plan, MIXED).optimizer == pytest.approx(
        SOFTWARE.optimizer_bytes * (shared / parts[0] + experts / parts[1])
    )


def test_more_chips_wait_for_the_slowest_of_them_and_a_host_now_and_then():
    plan = Plan(8, dp=4, pp=2, tp=2)
    once = took(Counted("flops"), plan)
    one = took(Counted("flops", jitter=0.01, host=1e9), plan)
    assert one.host == 1e9
    assert one.waiting == pytest.approx(0.01 * math.log2(16) * (once.seconds + 1e9))
    assert one.seconds == pytest.approx(once.seconds + one.host + one.waiting)
    assert took(Counted("flops", jitter=0.01), Plan(8)).waiting == 0
    levels = Level("node", 4, 2e11, 1e-5), Level("cluster", 64, 2e10, 2e-5, 0.01)
    rates = Rates(Machine("m", 4e14, 6.4e10, 2e12, levels, units=100), Efficiency(jitter=0.01))
    one = took(rates, plan)
    assert min(vars(one).values()) > 0  # every part counts
    assert one.waiting == pytest.approx(0.01 * 4 * (one.seconds - one.waiting))


def test_a_training_is_its_steps_and_what_failures_leave_of_them():
    model, plan = Decoder(DEEP), Plan(64, dp=16)
    machine = Machine("m", 1e12, 8e10, 1e12, (Level("node", 6, 1e11, 1e-6),), watts=500.0)
    one = Step(**{**dict.fromkeys(vars(took(Counted(""), plan)), 0.0), "compute": 2.0})
    operation = changed(
        load_cluster("plan-16384").operation,
        node_mtbf=3e7,
        checkpoint_bandwidth=1e8,
        recovery=600.0,
        pue=1.25,
    )
    found = training(model, plan, one, machine, operation, tokens=1e12)
    rate = 64 * 256 / 2.0
    nodes = 3  # sixteen chips, six to a node
    save, mtbf = 12 * model.parameters() / (nodes * 1e8), 3e7 / nodes
    share = expected_goodput(daly(save, mtbf), save, 600.0, mtbf)
    assert (found.tokens, found.tokens_per_second) == (1e12, rate)
    assert (found.mtbf, found.save) == (mtbf, pytest.approx(save))
    assert found.interval == pytest.approx(daly(save, mtbf))
    assert found.goodput == pytest.approx(share)
    assert found.days == pytest.approx(1e12 / rate / share / 86400)
    assert found.tokens_per_day == pytest.approx(rate * share * 86400)
    assert found.mfu == pytest.approx(rate * model.flops_per_token() / 16e12)
    assert found.mfu_palm == pytest.approx(rate * model.flops_per_token("palm") / 16e12)
    assert found.energy == pytest.approx(500 * 16 * 1.25 * found.days * 86400)
    assert found.absent == ()
    assert training(model, plan, one, machine, operation).tokens == 20 * model.parameters()
    # A checkpoint is not written more often than a step ends.
    slow = replace(one, compute=1e5)
    assert training(model, plan, slow, machine, operation).interval == 1e5
    # Circuits are set anew for the node that stands in.
    optical = replace(machine, levels=(machine.levels[0], Level("net", 64, 1e9, 0.0, 300.0)))
    share = expected_goodput(daly(save, mtbf), save, 900.0, mtbf)
    assert training(model, plan, one, optical, operation).goodput == pytest.approx(share)
    lost = training(model, plan, one, machine, changed(operation, node_mtbf=1e-3))
    assert (lost.goodput, lost.days, lost.tokens_per_day) == (0.0, math.inf, 0.0)
