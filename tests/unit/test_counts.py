"""`counts`: what kernels take, cross-compiled on whatever machine this is."""

import pytest

from bench.errors import Unmeasurable, UsageError
from bench.timing import Rule
from bench.workloads.base import Context, make, title_of
from bench.workloads.runner import run

pytest.importorskip("triton")


class Backend:
    """Of a chip that can do nothing: it is not asked."""

    name, stand_in, triton = "acme", True, ""
    lacking = {"tf32": "no such mode"}
    event = staticmethod(lambda: None)
    synchronize = staticmethod(lambda device: None)


def counted(monkeypatch, arch=None, rank=0, **axes):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    context = Context(backend=Backend(), device=None, arch=arch, rank=rank)
    outcome = run(make("counts", axes), context, Rule())
    return outcome, {one.metric: one.value for one in outcome.values}


def test_counts_are_those_of_the_compiler_and_of_the_cost_model(monkeypatch):
    axes = {"op": "rmsnorm", "arch": "sm_90", "shape": "256x512"}
    outcome, found = counted(monkeypatch, **axes)
    assert outcome.status == "ok"
    assert (found["launches"], found["kernels"], found["spills"]) == (1, 1, 0)
    assert found["flops"] == 4 * 256 * 512
    assert found["bytes"] == (2 * 256 * 512 + 512) * 2 + 4 * 256
    assert 0 < found["registers"] <= 255
    again, same = counted(monkeypatch, **axes)
    assert (again.status, same) == ("ok", found)


def test_several_launches_of_a_kernel_are_one_compilation(monkeypatch):
    axes = {"op": "linear_cross_entropy", "dtype": "fp32", "shape": "64x512x64", "arch": "sm_80"}
    found = counted(monkeypatch, **axes)[1]
    assert found["launches"] >= found["kernels"] >= 1


def test_the_device_is_not_asked_what_it_can_do(monkeypatch):
    axes = {"op": "gemm", "dtype": "tf32", "shape": "256x256x256"}
    assert counted(monkeypatch, arch="sm_80", **axes)[0].status == "ok"


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"op": "stream"}, "this device is no target of the compiler: name one as arch"),
        ({"op": "stream", "arch": "z80"}, "the compiler has no target z80; it has"),
        ({"op": "gemm", "dtype": "fp8_e4m3", "arch": "sm_80"}, "sm_80 has no fp8_e4m3"),
        (
            {"op": "attention", "shape": "1x8x2x128x96", "arch": "sm_90"},
            "the kernel refused it: q: head_dim: got 96, takes one of 64, 128, 256",
        ),
    ],
)
def test_what_cannot_be_counted_is_skipped_with_its_reason(monkeypatch, axes, said):
    outcome, found = counted(monkeypatch, **axes)
    assert (outcome.status, said in outcome.reason, found) == ("skipped", True, {}), outcome


def test_the_interpreter_compiles_nothing(monkeypatch):
    bench = make("counts", {"op": "stream", "arch": "sm_80"})
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(Unmeasurable, match="nothing is compiled"):
        bench.setup(Context(backend=Backend(), device=None))


@pytest.mark.parametrize(
    "axes",
    [
        {"op": "none"},
        {"op": "gemm", "shape": "4"},
        {"dtype": "int4"},
        {"op": "attention", "shape": "1x8x3x128x64"},  # three do not divide eight heads
    ],
)
def test_what_there_is_not_is_a_usage_error(axes):
    with pytest.raises(UsageError):
        make("counts", axes)


def test_what_is_empty_is_filled_in_and_said():
    bench = make("counts", {"op": "attention", "arch": "sm_90"})
    assert title_of(bench) == "counts attention causal bf16 2x32x8x8192x128 sm_90"
    assert all(one.exact and one.better == "lower" for one in bench.measures)
