"""The benchmark `train` in its layouts and by its operations, on this machine's cores."""

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, several

from bench.kernels.fp8_linear import linear
from bench.kernels.model_costs import ModelShape
from bench.kernels.op import NoTargetError
from bench.kernels.reference import TOLERANCE, relative_error
from bench.timing import Rule
from bench.workloads.base import make
from bench.workloads.ops import TORCH, choose
from bench.workloads.runner import run

RULE = Rule(budget=0.2, warmup=0.02, min_samples=3)


def metrics(outcome):
    return {one.metric for one in outcome.values}


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
        assert metrics(outcomes[0]).isdisjoint({"compute", "wait"})
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
