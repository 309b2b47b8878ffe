"""Benchmarks measure what they say, and their sanity checks can fail."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context, outcomes

from bench.errors import UsageError
from bench.timing import Rule
from bench.workloads.base import Facts, Metric, axes_of, make, registry
from bench.workloads.runner import run


def alone(name, axes, rule=RULE, **options):
    """Outcome of a benchmark on this process alone."""
    given = context(0, 1)
    for key, value in options.items():
        setattr(given, key, value)
    return run(make(name, axes), given, rule)


def values(outcome):
    return {value.metric: value.value for value in outcome.values}


def test_declarations_import_no_accelerator_stack():
    script = (
        "import sys; from bench.workloads.base import registry; assert len(registry()) >= 7; "
        "assert not {'torch', 'triton', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", sorted(registry()))
def test_every_benchmark_can_be_made_from_its_own_axes(name):
    axes = axes_of(make(name, {}))
    assert axes_of(make(name, axes)) == axes


@pytest.mark.parametrize(
    ("written", "read"),
    [("1000h", "3600000s"), ("1234567.5s", "1234567.5s"), ("300ms", "0.3s"), ("10us", "0.00001s")],
)
def test_a_duration_of_any_length_is_recorded_so_that_it_is_read_again(written, read):
    axes = axes_of(make("stability", {"duration": written}))
    assert axes["duration"] == read
    assert axes_of(make("stability", axes)) == axes


@pytest.mark.parametrize(
    ("kind", "name", "shape", "said"),
    [
        ("compute", "attention", "1x8x2x128x96", "q: head_dim: got 96, takes one of 64, 128, 256"),
        ("memory", "rmsnorm", "8x65537", "x: width: got 65537, takes 1 to 65536"),
    ],
)
def test_sizes_without_a_kernel_are_skipped_and_not_failed(kind, name, shape, said):
    pytest.importorskip("triton", reason="Triton is not installed")
    axes = {"op": name, "shape": shape, "impl": "triton", "dtype": "fp16"}
    outcome = alone(kind, axes, arch="generic")
    assert (outcome.status, said in outcome.reason) == ("skipped", True), outcome


def test_unknown_axes_and_bad_values_are_sentences():
    with pytest.raises(UsageError, match=r"unknown axis of gemm 'shap'[\s\S]*shape"):
        make("gemm", {"shap": "1x1x1"})
    with pytest.raises(UsageError, match="batch must be at least 1"):
        make("train", {"batch": 0})
    with pytest.raises(UsageError, match=r"train: tiny: tp = 3 does not divide 4 \(heads\)"):
        make("train", {"tp": 3})
    with pytest.raises(UsageError, match=r"memory: 'fitting' is not a shape of rope"):
        make("memory", {"op": "rope", "shape": "fitting"})
    for axes in ({"shape": "1x0x3"}, {"shape": "axb"}, {"shape": "8x8"}, {"dtype": "fp7"}):
        with pytest.raises(UsageError, match="gemm"):
            make("gemm", axes)
    with pytest.raises(UsageError, match="is not a size"):
        make("stream", {"size": "huge"})


def test_training_on_two_ranks_lowers_the_loss():
    rule = Rule(budget=1.5, warmup=0.02, min_samples=3)
    first, second = outcomes("train", {"model": "tiny", "batch": 2}, rule=rule)
    assert first.status == second.status == "ok", first.reason
    found = values(first)
    rates = 2 * 64 * 2 / np.array(first.seconds)
    assert found["tokens_per_second"] == pytest.approx(np.median(rates), rel=1e-6)
    assert found["step_p99"] >= found["step_p50"]
    assert found["peak_memory"] > 1e6
    assert "mfu" not in found  # no datasheet, no utilisation
    assert len(first.seconds) >= 12


def diverge(bench, rank):
    """Rank 1 changes a weight behind the others' backs."""
    import torch

    step = bench.optimizer.step

    def broken():
        step()
        if rank == 1:
            with torch.no_grad():
                next(bench.net.parameters()).add_(0.01)

    bench.optimizer.step = broken


def freeze(bench, rank):
    """The optimizer does nothing: the loss cannot fall."""
    bench.optimizer.step = lambda: None


@pytest.mark.parametrize(
    ("spoil", "reason"), [(diverge, "different weights"), (freeze, "loss went")]
)
def test_training_that_goes_wrong_is_invalid(spoil, reason):
    found = outcomes("train", {"model": "tiny", "batch": 1}, spoil=spoil)
    assert {one.status for one in found} == {"invalid"}
    assert any(reason in one.reason for one in found)


def test_utilisation_is_given_where_the_chip_has_a_peak():
    from bench.configs import load_chip
    from bench.kernels.model_costs import ModelShape, flops_per_token

    chip = load_chip("sim-a")
    outcome = alone("train", {"model": "tiny", "batch": 1}, Rule(budget=0.3, warmup=0), chip=chip)
    found = values(outcome)
    shape = ModelShape(128, 2, 4, 2, 352, 512, 64)
    wanted = found["tokens_per_second"] * flops_per_token(shape) / chip.peak("fp32")
    assert found["mfu"] == pytest.approx(wanted, rel=0.01)
    assert found["mfu_palm"] > found["mfu"]


@pytest.mark.parametrize(
    ("name", "axes", "reason"),
    [
        ("collectives", {}, "a group of one has nothing to exchange"),
        ("transfer", {}, "the device is the host"),
        ("launch", {"view": "device"}, "no timing events"),
        ("gemm", {"impl": "triton"}, "no Triton target"),
        ("gemm", {"shape": "65536x65536x65536"}, "half of memory"),
        ("gemm", {"dtype": "tf32", "shape": "8x8x8"}, "has no such mode on a CPU"),
        ("stream", {"size": "1GiB"}, "an eighth of memory"),
        ("compute", {"op": "attention"}, "are for an accelerator"),
        ("precision", {}, "17.18 GFLOP and 25.17 MB a call are for an accelerator"),
        ("memory", {"op": "swiglu", "shape": "llama-8b/tp1/swiglu"}, "704.6 MB a call are for"),
    ],
)
def test_what_cannot_be_measured_is_skipped_with_the_reason(name, axes, reason):
    outcome = alone(name, axes)
    assert outcome.status == "skipped"
    assert reason in outcome.reason


def test_arrays_that_fit_the_cache_are_refused():
    outcome = alone("stream", {"size": "1MiB"}, cache=32 << 20)
    assert outcome.status == "skipped"
    assert "cache" in outcome.reason


@pytest.mark.parametrize(
    ("name", "axes", "metric"),
    [
        ("gemm", {"shape": "64x96x32", "dtype": "fp32"}, "flops"),
        ("gemm", {"shape": "64x96x32", "dtype": "bf16"}, "flops"),
        ("stream", {"size": "1MiB", "op": "copy"}, "bandwidth"),
        ("stream", {"size": "1MiB", "op": "triad"}, "bandwidth"),
        ("compute", {"op": "attention", "variant": "full_backward", "shape": "small"}, "flops"),
        ("compute", {"op": "linear_cross_entropy", "shape": "small"}, "flops"),
        ("memory", {"op": "adamw", "shape": "small", "dtype": "fp32"}, "bandwidth"),
        ("launch", {"op": "empty"}, "time"),
        ("launch", {"op": "add"}, "time"),
        ("train", {"model": "tiny", "batch": 1}, "tokens_per_second"),
    ],
)
def test_device_benchmarks_alone(name, axes, metric):
    outcome = alone(name, axes)
    assert outcome.status == "ok", outcome.reason
    assert values(outcome)[metric] > 0
    assert outcome.seconds  # how many fit the budget is a matter of the machine's load


def test_a_wrong_product_is_invalid(monkeypatch):
    from bench.kernels import gemm

    def wrong(case, inputs, outputs):
        return lambda: {"out": inputs["a"] @ inputs["b"] * 1.001}

    monkeypatch.setitem(gemm.OP.implementations, "torch", wrong)
    outcome = alone("gemm", {"shape": "32x32x32", "dtype": "fp32"})
    assert outcome.status == "invalid"
    assert "tolerance" in outcome.reason


class Analogue:
    """The CPU's backend, as that of a chip which is right to two digits only."""

    def __init__(self, **tolerances):
        from bench.backends.cpu import Cpu

        self.tolerances = tolerances
        self._cpu = Cpu()

    def __getattr__(self, name):
        return getattr(self._cpu, name)


def blurred(monkeypatch, error):
    """Products come out this much too large."""
    from bench.kernels import gemm

    def wrong(case, inputs, outputs):
        return lambda: {"out": inputs["a"] @ inputs["b"] * (1 + error)}

    monkeypatch.setitem(gemm.OP.implementations, "torch", wrong)


def test_a_backend_may_declare_its_tolerance_and_the_row_says_so(monkeypatch):
    blurred(monkeypatch, 0.01)
    axes = {"shape": "32x32x32", "dtype": "fp32"}
    outcome = alone("gemm", axes, backend=Analogue(fp32=0.02))
    assert outcome.status == "ok"
    assert outcome.reason == (
        "judged by the backend's own tolerance for fp32, 0.02; elsewhere it is 1e-05"
    )
    assert values(outcome)["error"] == pytest.approx(0.01, rel=1e-3)  # as measured
    outcome = alone("gemm", axes, backend=Analogue(fp32=0.005))
    assert outcome.status == "invalid"
    assert "tolerance 0.005 (judged by the backend's own" in outcome.reason
    outcome = alone("gemm", axes, backend=Analogue(bf16=0.02))
    assert outcome.status == "invalid"
    assert "own tolerance" not in outcome.reason


@pytest.mark.parametrize(
    ("axes", "error", "accuracy"),
    [
        ({"dtype": "bf16"}, 0.0, 1.0),
        ({"dtype": "int8"}, 0.0, 1.0),
        ({"dtype": "fp32"}, 2.0**-10.2, 0.5),
    ],
)
def test_accuracy_and_speed_are_one_figure(monkeypatch, axes, error, accuracy):
    if error:
        blurred(monkeypatch, error)
    outcome = alone("precision", {"shape": "64x64x2048", **axes})
    assert outcome.status == "ok", outcome.reason
    found = values(outcome)
    assert found["accuracy"] == pytest.approx(accuracy, rel=0.04)
    credited = found["flops"] * min(1.0, found["accuracy"])
    assert found["effective_flops"] == pytest.approx(credited, rel=1e-9)


def test_noise_has_no_precision(monkeypatch):
    blurred(monkeypatch, -2.0)
    outcome = alone("precision", {"shape": "32x32x32", "dtype": "fp32"})
    assert outcome.status == "invalid"
    assert "relative error 2" in outcome.reason


@pytest.mark.parametrize("figure", [np.inf, np.nan, 1e31, -1e31, 1e-31])
def test_a_figure_that_nobody_can_have_measured_is_invalid(monkeypatch, figure):
    bench = make("launch", {})
    monkeypatch.setattr(
        type(bench), "metrics", lambda *_: [Metric("time", value=figure)], raising=0
    )
    outcome = run(bench, context(0, 1), Rule(budget=0.01, warmup=0))
    assert (outcome.status, outcome.reason) == ("invalid", f"time came out as {figure}")


def test_always_throttled_is_invalid():
    outcome = run(
        make("launch", {}), context(0, 1), Rule(budget=0.1, warmup=0), throttled=lambda: "power cap"
    )
    assert outcome.status == "invalid"
    assert "throttled during every sample (power cap)" in outcome.reason


def test_expectations_follow_the_datasheet():
    from bench.configs import load_chip

    chip = load_chip("sim-a")
    facts = Facts(chip=chip)
    big = make("gemm", {"shape": "8192x8192x8192", "dtype": "bf16"}).expected(facts)
    assert big["flops"] == chip.peak("bf16")
    thin = make("gemm", {"shape": "8192x1x8192", "dtype": "bf16"}).expected(facts)
    assert thin["flops"] == pytest.approx(chip.memory_bandwidth.value, rel=0.01)
    assert make("gemm", {"dtype": "bf16"}).expected(Facts(chip=None)) == {}
    ring = Facts(chip=chip, ranks=8, nodes=1, per_node=8, link=2e11, link_latency=0.0)
    found = make("collectives", {"size": "1GiB"}).expected(ring)
    assert found["busbw"] == pytest.approx(2e11)
    assert found["algbw"] == pytest.approx(2e11 / (2 * 7 / 8))
    assert make("collectives", {}).expected(Facts(chip=chip, ranks=8)) == {}


def test_rotary_embedding_is_a_rotation():
    torch = pytest.importorskip("torch")
    from bench.kernels.model_costs import ModelShape, parameters
    from bench.workloads.model import Decoder, rope_table
    from bench.workloads.ops import TORCH

    shape = ModelShape(64, 2, 4, 2, 96, 50, 16)
    x = torch.randn(2, 16, 4, 16)
    turned, _ = TORCH.rope(x, x, rope_table(shape))
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.allclose(turned[:, 0], x[:, 0])
    # Scores depend on the distance of positions only.
    q, k = (torch.randn(16).expand(1, 16, 1, 16) for _ in range(2))
    q, k = (one[0, :, 0] for one in TORCH.rope(q, k, rope_table(shape)))
    scores = q @ k.t()
    for distance in (1, 5):
        along = torch.diagonal(scores, distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-4)
    assert sum(p.numel() for p in Decoder(shape).parameters()) == parameters(shape)


def test_the_decoder_sees_no_future():
    torch = pytest.importorskip("torch")
    from bench.kernels.model_costs import ModelShape
    from bench.workloads.model import Decoder

    torch.manual_seed(0)
    net = Decoder(ModelShape(64, 2, 4, 2, 96, 50, 16))
    tokens = torch.randint(0, 50, (1, 17))
    seen = net.embedding(tokens[:, :-1])
    changed = seen.clone()
    changed[:, 10:] += 1.0
    for block in net.blocks:
        seen, changed = block(seen, net.rope), block(changed, net.rope)
    assert torch.allclose(seen[:, :10], changed[:, :10], atol=1e-6)
    assert not torch.allclose(seen[:, 10:], changed[:, 10:])


def test_samples_are_kept_in_the_order_taken():
    outcome = alone("launch", {})
    assert np.all(np.array(outcome.seconds) > 0)
    assert outcome.stopped in ("precision", "budget", "samples")
