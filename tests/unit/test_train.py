"""The benchmark `train` in its layouts and by its operations, on this machine's cores."""

import copy
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, several

from bench.backends.answers import Telemetry
from bench.configs import load_chip
from bench.errors import InfraError, Unmeasurable, UsageError
from bench.kernels.fp8_linear import linear
from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape, matrix_parameters, recomputed_flops
from bench.kernels.op import NoTargetError
from bench.kernels.reference import TOLERANCE, relative_error
from bench.timing import Rule, Timing
from bench.workloads.base import make
from bench.workloads.feed import feed
from bench.workloads.ops import TORCH, choose
from bench.workloads.phases import Phases
from bench.workloads.runner import run
from bench.workloads.steps import times
from bench.workloads.tokens import Sequences, open_set, synthetic, write_set

RULE = Rule(budget=0.2, warmup=0.02, min_samples=3)


def metrics(outcome):
    return {one.metric for one in outcome.values}


def curve(outcome):
    return [one.value for one in outcome.values if one.metric.startswith("loss_")]


def climb(bench, rank):
    """Steps up the slope instead of down."""
    bench.optimizer.param_groups[0]["lr"] *= -1


def stray(bench, rank):
    """One rank's copy of the weights goes its own way, and its part of the loss with it."""
    if rank == 1:
        with torch.no_grad():
            next(bench.trainer.parts[0].parameters()).to_local().mul_(1.01)


SPREAD = (
    {"dp": "fsdp"},
    {"tp": 2},
    {"cp": 2},
    {"pp": 2, "microbatches": 2},
    {"model": "tiny-moe", "dp": "fsdp", "ep": 2},
)


def test_every_layout_is_measured_and_checked():
    jobs = [("train", {"batch": 2, **axes}, None) for axes in SPREAD]
    jobs += [("train", {"batch": 2, "pp": 2, "microbatches": 2}, climb)]
    *sound, climbed = several(jobs, rule=RULE)
    for axes, outcomes in zip(SPREAD, sound, strict=True):
        assert [one.status for one in outcomes] == ["ok", "ok"], (axes, outcomes)
        assert {"tokens_per_second", "step_p50"} <= metrics(outcomes[0])
        assert {"compute", "wait"} <= metrics(outcomes[0])
        losses = curve(outcomes[0])  # of a busy machine, the first only
        assert losses and losses == sorted(losses, reverse=True)
    # Ranks that have no loss of their own know that of the last stage.
    assert all("sanity check after measuring failed: loss went" in one.reason for one in climbed)


def test_copies_that_differ_are_found_in_any_layout():
    ((first, *_),) = several([("train", {"dp": "hsdp", "replicas": 2}, stray)], size=2, rule=RULE)
    assert first.status == "invalid"
    assert "ranks hold different weights: 1 differ" in first.reason


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"tp": 2}, "1 ranks do not divide by tp 2 = 2"),
        ({"ops": "triton"}, "no Triton target on this device"),
        ({"ops": "vendor"}, "this device's backend brings no operations of its own"),
    ],
)
def test_what_this_group_or_device_has_not_is_skipped_with_the_reason(axes, reason):
    outcome = run(make("train", axes), context(0, 1), RULE)
    assert (outcome.status, reason in outcome.reason) == ("skipped", True), outcome.reason


@pytest.mark.parametrize(
    ("dtype", "head_dim", "context_parallel", "words"),
    [
        ("fp32", 64, False, "computes in bf16: take dtype bf16"),
        ("bf16", 32, False, "takes heads of 64, 128, 256, not 32"),
        ("bf16", 64, True, "cp takes ops torch"),
    ],
)
def test_triton_says_what_it_does_not_take(dtype, head_dim, context_parallel, words):
    shape = ModelShape(128, 1, 2, 2, 96, 50, 16, head_dim=head_dim)
    with pytest.raises(NoTargetError, match=words):
        choose("triton", shape, dtype, arch="sm_90", vendor={}, context_parallel=context_parallel)


def test_a_vendors_own_operations_train():
    called = []

    def swiglu(gate, up):
        called.append(gate.shape)
        return TORCH.swiglu(gate, up)

    given = context(0, 1)
    given.backend = copy.copy(given.backend)
    given.backend.functions = lambda: {"swiglu": swiglu}
    assert run(make("train", {"ops": "vendor"}), given, RULE).status == "ok"
    assert called
    given.backend.functions = lambda: {"swigloo": swiglu}
    outcome = run(make("train", {"ops": "vendor"}), given, RULE)
    assert "the backend brings 'swigloo', which is none of" in outcome.reason


@pytest.mark.parametrize("axes", [{"dtype": "bf16"}, {"dtype": "fp8"}, {"model": "tiny-moe"}])
def test_formats_and_mixtures_learn(axes):
    outcome = run(make("train", axes), context(0, 1), RULE)
    assert outcome.status == "ok", outcome.reason


def test_products_in_fp8_are_right_and_so_are_their_gradients():
    generator = torch.Generator().manual_seed(0)
    x, weight, above = (
        torch.randn(*size, generator=generator).bfloat16()
        for size in ((2, 24, 64), (48, 64), (2, 24, 48))
    )
    found = [x.requires_grad_(), weight.requires_grad_()]
    exact = [one.detach().double().requires_grad_() for one in found]
    product, wanted = linear(*found), exact[0] @ exact[1].t()
    product.backward(above)
    wanted.backward(above.double())
    pairs = [(product, wanted), *((a.grad, b.grad) for a, b in zip(found, exact, strict=True))]
    for mine, right in pairs:
        assert relative_error(mine.detach(), right.detach()) < TOLERANCE["fp8_e4m3"]


def test_phases_are_what_lies_between_marks():
    clock = iter(np.cumsum([0.0, 1.0, 2.0, 1.0, 2.0, 4.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]).tolist())
    phases = Phases(lambda: next(clock))
    for _ in range(2):
        phases.step()
        for name in ("data", "forward", "backward", "forward", "backward", ""):
            phases(name)
    timing = Timing(
        seconds=np.array([10.0]), calls=1, stopped="budget", timer="host", taken=2, places=[0]
    )
    found = phases.seconds(timing, ("data", "forward", "backward", "bubble"))
    said = {name: seconds.tolist() for name, seconds in found.items()}
    assert said == {"data": [1.0], "forward": [4.0], "backward": [5.0], "bubble": [0.0]}


def test_a_step_is_split_and_its_phases_add_up():
    jobs = [
        ("train", {"microbatches": 2}, None),
        ("train", {"pp": 2, "microbatches": 2}, None),
        ("train", {"dp": "fsdp"}, None),
    ]
    ddp, pipeline, fsdp = several(jobs, rule=RULE)
    for (outcome, _), more in ((ddp, {"wait"}), (pipeline, {"bubble"}), (fsdp, {"wait"})):
        found = {one.metric: one.value for one in outcome.values if one.value is not None}
        parts = {"data", "forward", "backward", "optimizer"} | more
        assert parts <= set(found), outcome
        assert ("bubble" in found) == ("bubble" in more)
        assert all(found[name] > 0 for name in parts)
        # Medians of parts need not add up to the median of the whole; they are near it.
        assert 0.3 < sum(found[name] for name in parts) / found["step_p50"] < 2


def test_tokens_come_from_a_set(tmp_path):
    write_set(tmp_path / "tokens", 50_000, 500, seed=1)
    axes = {"token_set": str(tmp_path / "tokens")}
    given = context(0, 1)
    outcome = run(make("train", axes), given, RULE)
    assert outcome.status == "ok", outcome.reason
    bench = make("train", axes)
    bench.setup(given)
    seen = [bench.first, bench.feed.next(), bench.feed.next()]
    bench.teardown()
    order = Sequences(open_set(tmp_path / "tokens"), bench.shape.seq, shuffled=True)
    for number, batch in enumerate(seen):
        for row in range(bench.batch):
            start = order.start(number * bench.batch + row)
            wanted = synthetic(1, start, bench.shape.seq + 1, 500) % 16
            assert batch[row].tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{}/none", "No such file or directory (hengsuan tokens new {}/none --size 1GiB)"),
        ("{}/text", "is no packed token set"),
        ("{}/few", "has 2 sequence(s) of 128 tokens, and 4 reader(s) need one each"),
        ("$NOWHERE/tokens", "no such variable"),
    ],
)
def test_a_set_that_is_none_is_said(tmp_path, path, reason):
    (tmp_path / "text").write_text("tokens")
    write_set(tmp_path / "few", 300, 500)
    given = context(0, 1)
    if "few" in path:
        with pytest.raises(Unmeasurable, match=re.escape(reason)):
            feed(given, str(tmp_path / "few"), 500, 128, 1, reader=0, readers=4)
        return
    outcome = run(make("train", {"token_set": path.format(tmp_path)}), given, RULE)
    said = reason.format(tmp_path)
    assert (outcome.status, said in outcome.reason) == ("skipped", True), outcome.reason


def test_what_is_computed_again_counts_as_the_hardware_does_it():
    given = context(0, 1)
    given.chip = load_chip("sim-a")
    found = {}
    for recompute in ("none", "selective", "full"):
        outcome = run(make("train", {"recompute": recompute}), given, RULE)
        found[recompute] = {one.metric: one.value for one in outcome.values}
    ratio = {name: one["hfu"] / one["mfu"] for name, one in found.items()}
    assert ratio["none"] == ratio["selective"] == pytest.approx(1)
    shape = make("train", {}).shape
    whole, head = recomputed_flops(shape, last=True), 2 * shape.dim * shape.vocab
    again = whole - 2 * shape.layers * shape.dim * shape.ffn
    assert ratio["full"] == pytest.approx(1 + again / (3 * (whole + head)))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (ModelShape(64, 2, 4, 2, 96, 50, 32, head_dim=24), "fp32"),
        (ModelShape(64, 2, 4, 2, 96, 50, 32, head_dim=16), "fp8"),
        (ModelShape(64, 2, 4, 2, 96, 50, 32, experts=4, top_k=2), "fp32"),
    ],
    ids=["dense", "fp8", "mixture"],
)
@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_hfu_has_the_products_that_a_step_computes(shape, dtype, recompute, monkeypatch):
    from torch.utils.flop_counter import FlopCounterMode

    from bench.workloads.modelled import OnModel
    from bench.workloads.ops import choose
    from bench.workloads.parallel.trainer import Trainer

    spread = Layout(microbatches=2).over(1)
    trainer = Trainer(
        shape,
        spread,
        0,
        torch.device("cpu"),
        batch=2,
        ops=choose("torch", shape, dtype, arch=None, vendor={}),
        dtype=torch.bfloat16 if dtype == "fp8" else torch.float32,
        again=recompute,
    )
    tokens = torch.randint(shape.vocab, (2, shape.seq + 1))
    with FlopCounterMode(display=False) as counter:
        trainer.gradients(tokens)
    trainer.close()
    counts = counter.get_flop_counts()["Global"]
    # What the counter knows of attention differs from device to device: products alone.
    products = sum(n for op, n in counts.items() if "mm" in str(op)) / tokens[:, 1:].numel()
    monkeypatch.setattr(OnModel, "shape", shape)
    bench = make("train", {"dtype": dtype, "recompute": recompute})
    passes = 4 if recompute == "full" else 3
    attention = 2 * passes * shape.seq * shape.heads * shape.head_dim * shape.layers
    assert products == bench._hardware_flops() - attention
    assert products >= 6 * matrix_parameters(shape, active=True)


@pytest.mark.parametrize(
    ("model", "axes", "known"),
    [
        ("tiny", {"recompute": "selective", "ops": "triton", "dtype": "bf16"}, False),
        ("tiny", {"recompute": "full", "ops": "triton", "dtype": "bf16"}, True),
        ("tiny", {"recompute": "full", "ops": "vendor"}, False),
        ("tiny-moe", {"recompute": "full", "ops": "vendor"}, True),
    ],
)
def test_what_nobody_knows_to_be_computed_again_has_no_hfu(model, axes, known):
    names = {one.name for one in make("train", {"model": model, **axes}).reported()}
    assert ("hfu" in names) == known


def test_a_rerun_with_the_same_seed_has_the_same_losses():
    timing = Timing(
        seconds=np.array([1.0]), calls=1, stopped="budget", timer="host", taken=1, places=[0]
    )

    def losses(**axes):
        bench = make("train", {"model": "tiny", **axes})
        bench.setup(context(0, 1))
        for _ in range(12):
            bench.step()
        found = [one for one in bench.metrics(timing) if one.name.startswith("loss_")]
        bench.teardown()
        assert [one.name for one in found] == ["loss_1", "loss_4", "loss_12"]
        return [one.value for one in found]

    first = losses()
    assert first[0] > first[1] > first[2]
    assert first == losses()
    assert first == pytest.approx(losses(microbatches=2), abs=5e-4)  # the same sums, reordered


def test_wide_models_learn_in_smaller_steps():
    from bench.workloads.optimizer import rate
    from bench.workloads.parallel.trainer import Trainer

    assert rate(64) == rate(1024) == 1e-3
    published = {4096: 3e-4, 8192: 1.5e-4, 16384: 8e-5}  # Llama 3, table 3
    assert [width for width, one in published.items() if abs(rate(width) / one - 1) > 0.07] == []
    wide = ModelShape(2048, 1, 8, 8, 64, 128, 16)
    spread = Layout().over(1)
    trainer = Trainer(wide, spread, 0, torch.device("cpu"), batch=1)
    assert trainer.optimizer.param_groups[0]["lr"] == rate(2048) < 1e-3
    trainer.close()


def test_what_libraries_hold_is_no_part_of_a_models_memory():
    class Counting:
        """An allocator that has 100 bytes of workspaces, and at most 1,000 in all."""

        def __init__(self, backend):
            self.backend, self.peak = backend, 700

        def __getattr__(self, name):
            return getattr(self.backend, name)

        def memory_peak(self, device, *, reset=False):
            self.peak, last = (1000, 100) if reset else (self.peak, self.peak)
            return last

    place = context(0, 1)
    place.backend = Counting(place.backend)
    bench = make("train", {"model": "tiny"})
    bench.setup(place)
    bench.step()
    timing = Timing(
        seconds=np.array([1.0]), calls=1, stopped="budget", timer="host", taken=1, places=[0]
    )
    found = {one.name: one.value for one in bench.metrics(timing)}
    bench.teardown()
    assert found["peak_memory"] == 900


def test_energy_is_what_all_counters_moved():
    class Metered:
        def __init__(self, backend):
            self.backend, self.joule = backend, 100.0

        def __getattr__(self, name):
            return getattr(self.backend, name)

        def telemetry(self, index):
            self.joule += 50.0
            return Telemetry(energy=self.joule)

    given = context(0, 1)
    given.backend = Metered(given.backend)
    bench = make("train", {})
    bench.setup(given)
    assert bench.check()
    bench.step()
    assert bench.check().detail.startswith("loss")
    timing = Timing(
        seconds=np.array([1.0]), calls=1, stopped="budget", timer="host", taken=1, places=[0]
    )
    found = {one.name: one.value for one in bench.metrics(timing)}
    tokens = bench.batch * bench.shape.seq
    bench.teardown()
    assert found["energy_per_token"] == pytest.approx(50.0 / tokens)


def test_ranks_that_have_other_sets_are_told(tmp_path):
    write_set(tmp_path / "set", 50_000, 500, seed=0)
    theirs = [50_000.0, 500.0, 1.0, 2.0]
    given = context(0, 2, gather=lambda own: [own, theirs if len(own) == 4 else own])
    with pytest.raises(Unmeasurable, match="is another set on another node"):
        feed(given, str(tmp_path / "set"), 500, 64, 1, reader=0, readers=1)


def test_a_set_that_becomes_shorter_is_named(tmp_path):
    write_set(tmp_path / "set", 50_000, 500)
    made = feed(context(0, 1), str(tmp_path / "set"), 500, 64, 1, reader=0, readers=1)
    made.next()
    with (tmp_path / "set").open("r+b") as file:
        file.truncate(10_000)
    with pytest.raises(InfraError, match="became shorter while it was read"):
        for _ in range(10):  # some were read before
            made.next()
    made.close()


def test_jitter_survives_the_digits_that_samples_are_kept_in():
    seconds = np.random.default_rng(0).normal(1.0, 0.002, 60)
    kept = np.array([float(f"{one:.7g}") for one in seconds])
    first, again = ({one.name: one.value for one in times(some)} for some in (seconds, kept))
    assert first["jitter"] == pytest.approx(again["jitter"], rel=1e-6)


def test_what_does_not_go_together_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match="does not compile blocks whose matrices are in parts"):
        make("train", {"tp": 2, "ops": "compile"})
    with pytest.raises(UsageError, match="token_set must be a file, not s3://bucket/set"):
        make("train", {"token_set": "s3://bucket/set"})
    with pytest.raises(UsageError, match=r"takes at least 846\.6 GB"):
        make("train", {"model": "llama-70b", "ops": "compile"}).check_ranks(1, 80 << 30)
