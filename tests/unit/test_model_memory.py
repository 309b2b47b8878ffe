"""The analytic memory of a step: what autograd keeps, orders of pipelines, what does not fit."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from live_bytes import Live, without_launches

from bench.errors import UsageError
from bench.kernels.layout import Layout, order
from bench.kernels.model_costs import ModelShape, parameters
from bench.kernels.model_memory import estimate, kept
from bench.workloads import fitting
from bench.workloads.base import make
from bench.workloads.fitting import shortage
from bench.workloads.model import Decoder
from bench.workloads.ops import TORCH, choose
from bench.workloads.parallel.trainer import Trainer
from bench.workloads.text import text

DENSE = ModelShape(dim=128, layers=2, heads=8, kv_heads=2, ffn=352, vocab=1000, seq=128)
EQUAL = replace(DENSE, kv_heads=8)
MIXTURE = replace(DENSE, ffn=64, experts=8, top_k=2)
ALONE = Layout().over(1)
HEADS = replace(DENSE, layers=3, heads=4, head_dim=64, ffn=64, vocab=64)
WORDS = replace(DENSE, layers=1, heads=2, kv_heads=1, head_dim=64, vocab=4096)
FEW = replace(MIXTURE, heads=2, kv_heads=1, head_dim=64, ffn=128, experts=4)
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def operations(name, shape):
    """Those of a choice; the library routes, for a router's choice is looked at."""
    if name == "torch":
        return TORCH
    made = choose(name, shape, "bf16", arch="sm_90", vendor={})
    return replace(made, route=TORCH.route)


@pytest.mark.parametrize(
    ("ops", "kind"), [("torch", "fp32"), ("torch", "bf16"), ("triton", "bf16")]
)
@pytest.mark.parametrize("shape", [DENSE, EQUAL, MIXTURE], ids=["grouped", "equal", "mixture"])
def test_it_counts_what_autograd_keeps(shape, ops, kind, monkeypatch):
    without_launches(monkeypatch)
    if ops == "triton":
        shape = replace(shape, head_dim=64)
    model, found = Decoder(shape, operations(ops, shape), KINDS[kind]), {}
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(torch.randint(0, shape.vocab, (2, shape.seq + 1)))
    assert loss.requires_grad
    # Whole numbers, sums of rows and tables of angles are left out of the count.
    wanted = pytest.approx(sum(found.values()), rel=0.02)
    assert kept(shape, ALONE, batch=2, dtype=kind, ops=ops) == wanted


@pytest.mark.parametrize(
    ("shape", "ops", "kind", "again"),
    [
        (HEADS, "torch", "fp32", "none"),
        (HEADS, "torch", "bf16", "selective"),
        (HEADS, "triton", "bf16", "none"),
        (HEADS, "triton", "bf16", "full"),
        (WORDS, "torch", "bf16", "full"),
        (WORDS, "triton", "bf16", "selective"),
        (FEW, "torch", "fp32", "full"),
        (FEW, "triton", "bf16", "none"),
        (FEW, "triton", "bf16", "full"),
    ],
)
def test_it_counts_the_most_that_lives_at_once(shape, ops, kind, again, monkeypatch):
    without_launches(monkeypatch)
    layout = Layout(microbatches=2)
    with Live() as live:
        trainer = Trainer(
            shape,
            layout.over(1),
            0,
            torch.device("cpu"),
            batch=4,
            ops=operations(ops, shape),
            dtype=KINDS[kind],
            again=again,
        )
        for step in range(2):
            live.most = live.now  # making weights takes more than such a small step
            trainer.gradients(text(shape.vocab, shape.seq, 4, step))
            trainer.optimizer.step()
            trainer.optimizer.zero_grad(set_to_none=True)
    said = estimate(shape, layout.over(1), batch=4, dtype=kind, again=again, ops=ops).total
    assert said == pytest.approx(live.most, rel=0.08)


def test_states_are_shared_as_the_layout_says():
    count = parameters(DENSE)
    few = {"batch": 1, "dtype": "fp32"}
    alone = estimate(DENSE, ALONE, **few)
    assert (alone.weights, alone.moments) == (4 * count, 8 * count)
    shared = estimate(DENSE, Layout("fsdp").over(4), **few)
    assert (shared.weights, shared.moments) == (count, 2 * count)
    halves = estimate(DENSE, Layout(pp=2, microbatches=2).over(2), batch=2)
    assert halves.weights < 0.6 * 4 * count


def test_recompute_and_microbatches_take_less():
    long = replace(DENSE, layers=8, vocab=100, seq=1024)
    taken = [
        estimate(long, ALONE, batch=4, again=one).total for one in ("none", "selective", "full")
    ]
    assert taken == sorted(taken, reverse=True) and taken[2] < 0.6 * taken[0]
    assert estimate(long, Layout(microbatches=4).over(1), batch=4).total < 0.5 * taken[0]
    assert estimate(long, ALONE, batch=4, dtype="bf16").total < taken[0]


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "interleaved"])
@pytest.mark.parametrize("stage", [0, 1, 3])
def test_a_schedule_passes_each_part_once_and_forward_first(schedule, stage):
    layout = Layout(pp=4, microbatches=8, schedule=schedule)
    seen = list(order(layout, stage))
    parts = layout.stages // layout.pp
    assert len(seen) == len(set(seen)) == 2 * 8 * parts
    for part in range(parts):
        for number in range(8):
            assert seen.index((True, part, number)) < seen.index((False, part, number))
    under_way = most = 0
    for forward, _, _ in seen:
        under_way += 1 if forward else -1
        most = max(most, under_way)
    wanted = {"gpipe": 8, "1f1b": 4 - stage, "interleaved": 2 * (3 - stage) + 4 + 1}
    assert most == wanted[schedule]


def test_what_does_not_fit_is_said_with_what_would():
    case = {"batch": 4, "dtype": "fp32", "again": "none"}
    long = replace(DENSE, layers=8, vocab=100, seq=1024)
    whole = estimate(long, ALONE, batch=4, fused=True).total
    assert shortage(long, Layout(), 1, **case, memory=whole) == ""
    said = shortage(long, Layout(), 1, **case, memory=whole - 1)
    assert "with microbatches: 2 it would take" in said
    wide = replace(DENSE, dim=1024, seq=16)
    states = estimate(wide, Layout().over(4), batch=1, fused=True).total
    one = {**case, "batch": 1}
    assert "with dp: fsdp it" in shortage(wide, Layout(), 4, **one, memory=states // 2)
    assert "nothing over 1 devices" in shortage(wide, Layout(), 1, **one, memory=states // 8)


@pytest.mark.parametrize("dp", ["ddp", "fsdp"])
def test_microbatches_of_one_stage_are_alike_however_many(dp):
    few, many = (
        estimate(DENSE, Layout(dp=dp, microbatches=count).over(2), batch=2 * count)
        for count in (4, 1 << 40)
    )
    assert few == many


def test_many_sequences_are_no_long_search(monkeypatch):
    asked = []

    def counted(*words, **named):
        asked.append(named["batch"])
        assert len(asked) < 300
        return estimate(*words, **named)

    monkeypatch.setattr(fitting, "estimate", counted)
    case = {"dtype": "fp32", "again": "full"}
    for batch in (1_000_003, 1 << 31):
        asked.clear()
        said = shortage(DENSE, Layout(), 1, batch=batch, **case, memory=1 << 20)
        assert "nothing over 1 devices lets it fit" in said
    ten = Layout(microbatches=10).over(1)
    room = estimate(DENSE, ten, batch=30, again="full", fused=True).total
    said = shortage(DENSE, Layout(), 1, batch=30, **case, memory=room)
    assert "with microbatches: 10 it" in said
    # The most sequences that fit, where more parts do not help.
    monkeypatch.setattr(fitting, "_divisors", lambda number: [])
    for parts in (1, 2):
        room = estimate(
            DENSE, Layout(microbatches=parts).over(1), batch=6, again="full", fused=True
        )
        for batch in (8, 1 << 31):
            said = shortage(
                DENSE, Layout(microbatches=parts), 1, batch=batch, **case, memory=room.total
            )
            assert "with 6 sequence(s) a rank it" in said


def test_train_refuses_before_anything_is_started():
    bench = make("train", {"model": "llama-70b", "dtype": "bf16"})
    with pytest.raises(UsageError, match=r"llama-70b does not fit: a rank of 8 takes about .* GB"):
        bench.check_ranks(8, 80 << 30)
    make("train", {"model": "tiny"}).check_ranks(8, 1 << 30)
    bench.check_ranks(8)


@pytest.mark.parametrize(
    ("axes", "ranks", "gigabytes"),
    [
        # Neither fp8 nor the compiler has matrices in parts.
        ({"model": "1b", "batch": 8, "dtype": "fp8", "dp": "fsdp", "microbatches": 2}, 8, 4),
        ({"model": "llama-70b@4", "batch": 8, "ops": "compile", "microbatches": 2}, 8, 64),
        ({"model": "llama-8b", "batch": 8, "dtype": "fp8", "ops": "triton"}, 8, 24),
        # Where ranks share the batch, fewer that see different sequences see more of them.
        ({"model": "llama-70b@4", "batch": 4, "cp": 2, "batch_of": "group"}, 8, 40),
        # Weights that ranks share, and fewer sequences.
        ({"model": "llama-70b@4", "batch": 2, "dtype": "fp8"}, 72, 40),
        ({"model": "llama-70b@4", "batch": 4, "dtype": "fp8", "dp": "fsdp"}, 16, 24),
        # A layer's experts are too many for one device.
        ({"model": "moe-1t@1", "batch": 1, "dtype": "bf16"}, 8, 80),
    ],
)
def test_what_is_said_to_let_a_model_fit_does(axes, ranks, gigabytes):
    memory = gigabytes * 10**9
    with pytest.raises(UsageError, match="does not fit: ") as caught:
        make("train", axes).check_ranks(ranks, memory)
    words = re.search(r"; with (.*) it would take", caught.value.message)
    assert words is not None, caught.value.message
    taken = dict(axes)
    for one in words[1].split(", "):
        axis, _, value = one.partition(": ")
        if number := re.fullmatch(r"(\d+) sequence\(s\) a rank", one):
            axis, value = "batch", number[1]
        taken[axis] = int(value) if value.isdecimal() else value
    make("train", taken).check_ranks(ranks, memory)
