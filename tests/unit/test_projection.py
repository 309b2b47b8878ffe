"""The model of a step: FLOPs, operations, collectives, stages, memory, training."""

import random
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from bench.analysis.checkpointing import daly, expected_goodput
from bench.analysis.projection.layer import Layers
from bench.analysis.projection.machine import Level, Machine, machine_of
from bench.analysis.projection.memory import harness, kept_of_layer, memory, underway
from bench.analysis.projection.plan import Plan, stages
from bench.analysis.projection.rates import Efficiency, Rates
from bench.analysis.projection.software import STACKS, stack
from bench.analysis.projection.step import step
from bench.analysis.projection.training import training
from bench.analysis.projection.workload import Decoder
from bench.configs import Operation, load_chip, load_cluster, load_model
from bench.errors import ConfigError
from bench.kernels.layout import Layout
from bench.kernels.model_costs import (
    ModelShape,
    flops_per_token,
    palm_flops_per_token,
    parameters,
)
from bench.kernels.model_memory import estimate

NODE, NET = Level("node", 8, 2e11, 1e-5), Level("cluster", 1024, 2e10, 2e-5)
MACHINE = Machine("m", 4e14, 6.4e10, 2e12, (NODE, NET), units=100)
SOFTWARE = STACKS[2024]


def decoder(name):
    return Decoder(ModelShape.of(load_model(name)))


def rates(machine=MACHINE, **changes):
    return Rates(machine, replace(Efficiency(), **changes))


@pytest.mark.parametrize("name", ["llama-8b", "dense-1t", "moe-1t", "tiny-moe"])
def test_weights_and_flops_are_those_of_the_trainer(name):
    model = decoder(name)
    assert model.parameters() == parameters(model.shape)
    assert model.parameters(active=True) == parameters(model.shape, active=True)
    assert model.flops_per_token() == flops_per_token(model.shape)
    assert model.flops_per_token("palm") == palm_flops_per_token(model.shape)


def test_full_recompute_counts_all_layers_once_more():
    # 96·B·s·l·h²·(1 + s/6h + V/16lh): Narayanan et al., 2021, equation 3.
    dim, layers, vocab, seq = 2304, 24, 51200, 2048
    shape = ModelShape(
        dim=dim, layers=layers, heads=24, kv_heads=24, ffn=4 * dim, vocab=vocab, seq=seq
    )
    model = Decoder(shape, gated=False, tied=True)
    said = 96 * layers * dim**2 * (1 + seq / (6 * dim) + vocab / (16 * layers * dim))
    assert model.flops_per_token("hardware") == pytest.approx(said)


def test_a_measured_shape_is_taken_as_it_was_measured():
    key = ("gemm", (4096, 6144, 4096), "nt", "bf16")
    one = Rates(MACHINE, Efficiency(), measured={key: 0.123})
    assert one.gemm(4096, 6144, 4096) == 0.123
    assert one.used == {"gemm 4096x6144x4096 bf16"}
    assert one.gemm(4096, 6144, 4095) < 0.01
    assert "matrix products" in one.typical


def test_a_wave_that_is_nearly_empty_costs_as_much_as_a_full_one():
    one = rates()
    full = one.gemm(256 * 10, 128 * 10, 8192)
    more = one.gemm(256 * 10, 128 * 10 + 1, 8192)
    assert more > 1.15 * full
    assert one.gemm(256 * 10, 128 * 10 - 60, 8192) == pytest.approx(full)


def test_a_product_that_moves_much_takes_as_long_as_its_bytes():
    one = rates()
    moved = 2 * (16 * 8192 + 8192 * 65536 + 16 * 65536)
    assert one.gemm(16, 65536, 8192) == pytest.approx(moved / (2e12 * 0.7))


def test_reductions_go_as_fast_as_the_tightest_level():
    inside = MACHINE.seconds("all_reduce", 1e9, 8)
    assert inside == pytest.approx(2 * 7 / 8 * 1e9 / 2e11, rel=0.01)
    # Eight of a node carry together: 8 · 2e10 < 2e11.
    both = MACHINE.seconds("all_reduce", 1e9, 64)
    assert both == pytest.approx(2 * 63 / 64 * 1e9 / 1.6e11, rel=0.02)
    # One of each node is alone on its own.
    apart = MACHINE.seconds("all_reduce", 1e9, 8, stride=8)
    assert apart == pytest.approx(2 * 7 / 8 * 1e9 / 2e10, rel=0.01)
    assert MACHINE.seconds("all_reduce", 1e9, 1) == 0


def test_all_to_all_carries_its_own_over_every_level():
    took = MACHINE.seconds("all_to_all", 1e9, 64)
    assert took == pytest.approx(1e9 * 56 / 64 / 2e10, rel=0.01)


def test_stages_that_do_not_divide():
    plan = Plan(64, pp=16, virtual=4, dp=1)
    assert stages(128, plan) == (8, 8, 8)
    assert stages(126, plan) == (7, 8, 7)
    assert stages(127, plan) == (8, 8, 7)
    assert stages(100, plan) == (8, 8, 8)


def test_a_bubble_shrinks_with_virtual_stages_and_microbatches():
    model = decoder("llama-70b")
    base = Plan(64, tp=8, pp=8)
    one = step(model, base, rates(), SOFTWARE)
    assert one.bubble / (one.compute + one.tensor) == pytest.approx(7 / 64, rel=0.2)
    assert step(model, replace(base, virtual=2), rates(), SOFTWARE).bubble < 0.6 * one.bubble
    more = step(model, replace(base, batch=128), rates(), SOFTWARE)
    assert more.bubble == pytest.approx(one.bubble, rel=0.01)
    assert more.seconds > 1.8 * one.seconds


def test_parts_of_a_step_add_up():
    model = decoder("moe-1t")
    one = step(model, Plan(1024, tp=2, ep=64, dp=512), rates(), SOFTWARE)
    assert sum(vars(one).values()) == one.seconds
    assert one.tensor > 0
    assert one.gradients > 0


def test_recompute_costs_time_and_saves_memory():
    model, plan = decoder("llama-8b"), Plan(64, dp=64)
    took, held = [], []
    for again in ("none", "selective", "full"):
        one = replace(plan, recompute=again)
        took.append(step(model, one, rates(), SOFTWARE).seconds)
        held.append(memory(model, one, SOFTWARE).total)
    assert took == sorted(took)
    assert held == sorted(held, reverse=True)
    assert took[2] < 1.45 * took[0]


def test_sharing_state_saves_memory():
    model = decoder("llama-8b")
    held = [
        memory(model, Plan(64, dp=64, sharding=kind), SOFTWARE).state
        for kind in ("none", "optimizer", "full")
    ]
    assert held[0] == pytest.approx(18 * model.parameters())
    assert held[1] == pytest.approx((6 + 12 / 64) * model.parameters())
    assert held[2] == pytest.approx(18 / 64 * model.parameters())


def test_activations_are_those_of_the_formula():
    # Korthikanti et al., 2022, table 2: s·b·h·(10 + 24/t + 5as/ht), and s·b·h·34/t.
    shape = ModelShape(
        dim=6144, layers=48, heads=64, kv_heads=64, ffn=4 * 6144, vocab=51200, seq=2048
    )
    model, old = Decoder(shape, gated=False), stack(2022)
    whole = 2048 * 4 * 6144
    plan = Plan(4, tp=8, micro=4, sequence=False)
    kept = kept_of_layer(model, plan, old)
    assert kept == pytest.approx(whole * (10 + 24 / 8 + 5 * 64 * 2048 / (6144 * 8)))
    selective = replace(plan, recompute="selective", sequence=True)
    assert kept_of_layer(model, selective, old) == pytest.approx(whole * 34 / 8)
    assert kept_of_layer(model, replace(plan, recompute="full"), old) == 2 * whole


def test_what_is_under_way_in_a_pipeline():
    assert underway(Plan(64)) == 1
    assert underway(Plan(64, pp=8)) == 8
    assert underway(Plan(64, pp=8, virtual=3)) == pytest.approx(8 * (1 + 7 / 24))
    assert underway(Plan(4, pp=8)) == 4


def test_the_own_trainers_memory_is_its_own_account():
    model = decoder("tiny")
    found = harness(model, Plan(8, dp=2, sharding="full"), "bf16")
    said = estimate(model.shape, Layout(dp="fsdp", microbatches=4).over(2), batch=4, dtype="bf16")
    assert found.total == said.total
    with pytest.raises(ValueError, match="not one of"):
        harness(model, Plan(8, dp=2), "bf16")


@pytest.mark.parametrize(
    ("name", "plan", "why"),
    [
        ("tiny-moe", Plan(8, tp=2, dp=2, sharding="full"), "mixture of experts is not split"),
        ("llama-8b", Plan(32, pp=5, dp=2, sharding="none"), "pp = 5 does not divide 32"),
        ("llama-8b", Plan(8, pp=8, dp=4, sharding="none"), "as many microbatches or more"),
        ("llama-8b", Plan(32, tp=16, dp=2, sharding="full"), r"does not divide 8 \(kv_heads\)"),
    ],
)
def test_a_layout_that_the_own_trainer_refuses_has_no_memory_of_it(name, plan, why):
    plan.check(decoder(name))  # a cluster may train so
    with pytest.raises(ValueError, match=why):
        harness(decoder(name), plan, "bf16")


def test_circuits_change_where_several_kinds_of_group_cross_them():
    slow = replace(NET, reconfiguration=0.01)
    machine = replace(MACHINE, levels=(NODE, slow))
    model = decoder("llama-70b")
    one = step(model, Plan(64, tp=8, pp=8), rates(machine), SOFTWARE)
    assert one.circuits == 0
    both = step(model, Plan(128, tp=8, pp=8, dp=2), rates(machine), SOFTWARE)
    assert both.circuits == pytest.approx(0.02)


def test_a_plan_says_what_does_not_divide():
    model = decoder("llama-8b")
    for changes, why in (
        ({"tp": 3}, "tp = 3 does not divide 32"),
        ({"dp": 3}, "dp · micro = 3 does not divide 64"),
        ({"pp": 40}, "40 is more than 32 layers"),
        ({"virtual": 2}, "need a pipeline"),
        ({"pp": 4, "virtual": 2, "micro": 32}, "a multiple of pp = 4"),
        ({"ep": 2}, "no experts"),
        ({"micro": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=why):
            replace(Plan(64), **changes).check(model)


def test_tensor_parallel_ranks_share_what_they_compute():
    model = decoder("llama-70b")
    alone = Layers(model, Plan(8), rates(), SOFTWARE).layer()
    shared = Layers(model, Plan(8, tp=8), rates(), SOFTWARE).layer()
    assert shared.forward < alone.forward / 6
    assert shared.exposed > 0
    assert alone.exposed == 0


def test_a_machine_says_what_nobody_knows():
    cluster, chip = load_cluster("two-sites"), load_chip("sim-a")
    made = machine_of(chip, cluster, "bf16", link=1.0, network=1.0)
    assert [level.size for level in made.levels] == [8, 32, 64, 128]
    assert made.levels[1].bandwidth == pytest.approx(5e10 / 8)
    for changes, dtype, why in (
        ({}, "fp9", "no peak in fp9"),
        ({"network": None}, "bf16", "'rack' is unknown"),
        ({"link": None}, "bf16", "links inside a node is unknown"),
        ({"memory": None}, "bf16", "the memory of sim-a is unknown"),
    ):
        with pytest.raises(ConfigError, match=why):
            machine_of(changed(chip, **changes), cluster, dtype, link=1.0, network=1.0)


def test_a_rack_of_one_node_says_nothing_of_the_network_beyond():
    """What lies between nodes is not taken to be as fast as what lies inside of one."""
    cluster = changed(load_cluster("two-sites"), labels={"rack": 1})
    chip = load_chip("sim-a")
    made = machine_of(chip, cluster, "bf16", link=1.0, network=0.5)
    assert [level.size for level in made.levels] == [8, 8, 128]
    assert made.levels[2].bandwidth == pytest.approx(0.5 * 5e10 / 8)
    with pytest.raises(ConfigError, match="'cluster' is unknown"):
        machine_of(changed(chip, network=None), cluster, "bf16", link=1.0, network=1.0)


def test_a_planned_network_divides_what_is_oversubscribed():
    cluster, chip = load_cluster("plan-16384"), load_chip("sim-a")
    made = machine_of(chip, cluster, "bf16", link=1.0, network=0.5)
    assert [level.name for level in made.levels] == ["node", "rack", "hall", "cluster"]
    assert [level.bandwidth for level in made.levels] == [2e11, 2.5e10, 2.5e10, 1.25e10]
    assert made.chips == 16384


def test_days_energy_and_goodput():
    model, plan = decoder("llama-8b"), Plan(1024, dp=1024)
    machine = replace(MACHINE, watts=500.0)
    one = step(model, plan, rates(machine), SOFTWARE)
    operation = Operation(node_mtbf=1e7, checkpoint_bandwidth=1e9, recovery=600.0, pue=1.2)
    found = training(model, plan, one, machine, operation, tokens=1e12)
    save = 12 * model.parameters() / (128 * 1e9)
    assert found.save == pytest.approx(save)
    assert found.interval == pytest.approx(max(daly(save, 1e7 / 128), one.seconds))
    assert found.goodput == pytest.approx(expected_goodput(found.interval, save, 600.0, 1e7 / 128))
    seconds = 1e12 / found.tokens_per_second / found.goodput
    assert found.days == pytest.approx(seconds / 86400)
    assert found.energy == pytest.approx(500 * 1024 * 1.2 * seconds)
    assert found.mfu == pytest.approx(
        found.tokens_per_second * flops_per_token(model.shape) / (4e14 * 1024)
    )


def test_what_is_unknown_of_a_training_is_absent_and_said():
    model, plan = decoder("llama-8b"), Plan(64, dp=64)
    one = step(model, plan, rates(), SOFTWARE)
    found = training(model, plan, one, MACHINE, Operation())
    assert (found.energy, found.goodput) == (None, None)
    assert len(found.absent) == 3
    assert found.tokens == 20 * model.parameters()


def test_more_of_anything_never_makes_a_step_longer():
    """What computes hides at most as much as it takes: faster chips do not lose by it."""
    draw, counted = random.Random(7), 0
    while counted < 60:
        model = decoder(draw.choice(["llama-8b", "moe-1t"]))
        plan = Plan(
            batch=draw.choice([512, 1024, 2048]),
            dp=draw.choice([8, 64, 512]),
            ep=draw.choice([1, 16]),
            recompute=draw.choice(["none", "selective", "full"]),
            sharding=draw.choice(["none", "optimizer", "full"]),
        )
        try:
            plan.check(model)
        except ValueError:
            continue
        counted += 1
        before = step(model, plan, rates(), SOFTWARE)
        assert min(vars(before).values()) >= 0
        wider = tuple(replace(one, bandwidth=one.bandwidth * 1.3) for one in MACHINE.levels)
        nearer = tuple(replace(one, latency=one.latency / 2) for one in MACHINE.levels)
        for more in (
            {"flops": MACHINE.flops * 1.3},
            {"bandwidth": MACHINE.bandwidth * 1.3},
            {"levels": wider},
            {"levels": nearer},
        ):
            after = step(model, plan, rates(replace(MACHINE, **more)), SOFTWARE)
            assert after.seconds <= before.seconds * (1 + 1e-12), (plan, more)
