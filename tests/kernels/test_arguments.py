"""Bad arguments are sentences before any launch; the torch implementations agree with fp64."""

import pytest
import torch

from bench.kernels import ops, reference, tuning
from bench.kernels.gemm import check_operands
from bench.kernels.stream import OPS, check_vectors

CPU = torch.device("cpu")


def matrices(m=4, n=5, k=6, kind=torch.float32):
    return (
        torch.zeros(m, k, dtype=kind),
        torch.zeros(k, n, dtype=kind),
        torch.zeros(m, n, dtype=kind),
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b, c: (a.half(), b, c), "a: got torch.float16, takes torch.float32"),
        (lambda a, b, c: (a, b.t().contiguous().t(), c), "b: got inner stride 6, takes 1"),
        (lambda a, b, c: (a, b[:3], c), "b: got 3 rows, takes 6"),
        (lambda a, b, c: (a, b, c.t().contiguous()), r"out: got shape \(5, 4\), takes \(4, 5\)"),
        (lambda a, b, c: (a[0], b, c), "a: got 1 dimensions, takes 2"),
        (lambda a, b, c: (a[:0], b, c), r"a: got shape \(0, 6\), takes at least one element"),
        (lambda a, b, c: (a, b.to("meta"), c), "b: is on meta, takes cpu"),
    ],
)
def test_operands_of_gemm(change, message):
    with pytest.raises(ValueError, match=message):
        check_operands(*change(*matrices()), "fp32")


def test_unknown_dtype_op_and_implementation():
    with pytest.raises(ValueError, match="dtype: got 'fp7'"):
        check_operands(*matrices(), "fp7")
    x = torch.zeros(4)
    with pytest.raises(ValueError, match="op: got 'dot'"):
        check_vectors("dot", x, x, x, "fp32")
    with pytest.raises(ValueError, match="y: got 3 elements, takes 4"):
        check_vectors("add", x, x[:3], x, "fp32")
    with pytest.raises(ValueError, match="out: got stride 2, takes 1"):
        check_vectors("add", x, x, torch.zeros(8)[::2], "fp32")
    with pytest.raises(ValueError, match="impl: got 'magic'"):
        bind(impl="magic")
    with pytest.raises(ValueError, match="no configuration for gemm in fp3"):
        tuning.config("sm_90", "gemm", "fp3")


def bind(impl="torch", dtype="fp32", cache=0, memory=1 << 30, shape=(33, 20, 47)):
    return ops.bind_gemm(impl, CPU, shape, dtype, arch=None, cache=cache, memory=memory, seed=1)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_torch_gemm_keeps_its_tolerance(dtype):
    call = bind(dtype=dtype)
    call()
    assert 0 < call.error() <= call.tolerance
    assert call.flops == 2 * 33 * 20 * 47


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["fp64", "fp32", "fp16", "bf16"])
def test_torch_stream_keeps_its_tolerance(op, dtype):
    call = ops.bind_stream(op, "torch", CPU, 1000, dtype, arch=None, seed=1)
    assert call.error() <= call.tolerance


def test_a_wrong_product_and_an_unwritten_element_are_seen(monkeypatch):
    def wrong(a, b, out, **_):
        torch.mm(a, b, out=out)
        out[0, 0] += 1.0
        return out

    def lazy(a, b, out, **_):
        out[1:] = (a @ b)[1:]
        return out

    for broken, expected in ((wrong, 1e-4), (lazy, float("inf"))):
        monkeypatch.setitem(ops.GEMM, "torch", broken)
        assert bind().error() >= expected


def test_operand_sets_exceed_the_cache_and_stay_within_memory():
    one = 4 * (33 * 47 + 47 * 20 + 33 * 20)
    assert len(bind(cache=10 * one).sets) == 21
    assert len(bind(cache=10 * one, memory=3 * one).sets) == 3
    with pytest.raises(ValueError, match="one set of operands takes"):
        bind(memory=one - 1)


def test_triton_without_a_target_says_so():
    with pytest.raises(ops.NoTargetError, match="no Triton target"):
        bind(impl="triton")


def test_fp32_products_are_not_tf32():
    bind(dtype="fp32")
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ops.NoTargetError, match="tf32"):
        bind(dtype="tf32")


def test_relative_error_of_nonsense_is_infinite():
    reference_values = torch.ones(4, dtype=torch.float64)
    assert reference.relative_error(torch.full((4,), float("nan")), reference_values) == float(
        "inf"
    )
