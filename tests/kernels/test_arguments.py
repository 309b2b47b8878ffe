"""Bad arguments are sentences before any launch; the torch implementations agree with fp64."""

import importlib

import pytest
import torch

from bench.kernels import gate_up, gemm, op, ops, reference, stream, tuning
from bench.kernels.attention import forward as attention
from bench.kernels.costs import SPECS
from bench.kernels.decode_attention import decode_attention
from bench.kernels.gemm import check_operands
from bench.kernels.launch import recording

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
        (lambda a, b, c: (a.half(), b, c), "b: got torch.float32, takes torch.float16"),
        (lambda a, b, c: (a.double(), b, c), "a: got torch.float64, takes torch.bfloat16 or"),
        (lambda a, b, c: (a, torch.zeros(12, 10)[::2, ::2], c), r"b: got strides \(20, 2\)"),
        (lambda a, b, c: (a, b[:3], c), r"b: got shape \(3, 5\), takes \(6, any\)"),
        (lambda a, b, c: (a, b, c.t().contiguous()), r"out: got shape \(5, 4\), takes \(4, 5\)"),
        (lambda a, b, c: (a, b, torch.zeros(5, 4).t()), "out: got inner stride 4, takes 1"),
        (lambda a, b, c: (a[0], b, c), "a: got 1 dimensions, takes 2"),
        (lambda a, b, c: (a, b.to("meta"), c), "b: is on meta, takes cpu"),
        (lambda a, b, c: (a, b, c, c[:, 0]), r"bias: got shape \(4,\), takes \(5,\)"),
        (lambda a, b, c: (a, b, c, None, c[0]), "scale: got shape"),
        (lambda a, b, c: (a, b, c, None, None, "tanh"), "activation: got 'tanh'"),
    ],
)
def test_operands_of_gemm(change, message):
    with pytest.raises(ValueError, match=message):
        check_operands(*change(*matrices()))


def test_int8_has_no_epilogue():
    a, b, _ = matrices(kind=torch.int8)
    out = torch.zeros(4, 5, dtype=torch.int32)
    assert check_operands(a, b, out) == "int8"
    with pytest.raises(ValueError, match="int8 takes none"):
        check_operands(a, b, out, activation="relu")


def test_head_dimension_without_a_kernel():
    q = torch.zeros(1, 2, 8, 96, dtype=torch.float16)
    with pytest.raises(ValueError, match="head_dim: got 96, takes one of 64, 128, 256"):
        attention(q, q, q, q, torch.zeros(1, 2, 8), causal=True)
    q, k = torch.zeros(1, 3, 8, 64).half(), torch.zeros(1, 2, 8, 64).half()
    with pytest.raises(ValueError, match="k: got 2 heads, takes a divisor of 3"):
        attention(q, k, k, q, torch.zeros(1, 3, 8), causal=True)


def cached(pages=6, page=16, kv_heads=2, dim=64, kind=torch.float16):
    """Three sequences of two pages each."""
    k = torch.zeros(pages, page, kv_heads, dim, dtype=kind)
    table = torch.arange(6, dtype=torch.int32).view(3, 2)
    return {"q": torch.zeros(3, 4, 1, dim, dtype=kind), "k": k, "v": k.clone(), "table": table}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.zeros(3, 4, 64).half()}, "q: got 3 dimensions, takes 4"),
        ({"q": torch.zeros(3, 3, 1, 64).half()}, "k: got 2 heads, takes a divisor of 3"),
        ({"k": torch.zeros(6, 16, 0, 64).half()}, "k: got 0 heads, takes a divisor of 4"),
        ({"table": None}, r"k: got shape \(6, 16, 2, 64\), takes \(3, any, any, 64\)"),
        ({"table": torch.zeros(3, 2).long()}, "table: got torch.int64, takes torch.int32"),
        ({"table": torch.zeros(2, 2).int()}, r"table: got shape \(2, 2\), takes \(3, any\)"),
        ({"lengths": torch.zeros(2).int()}, r"lengths: got shape \(2,\), takes \(3,\)"),
        (
            {"lengths": torch.zeros(6).int()[::2]},
            r"lengths: got strides \(2,\), takes a contiguous",
        ),
        ({"longest": 33}, "longest: got 33, takes 0 to 32"),
        ({"longest": -1}, "longest: got -1, takes 0 to 32"),
        ({"q": torch.zeros(3, 4, 1, 96).half()}, "head_dim: got 96, takes one of 64, 128, 256"),
        ({"v": torch.zeros(6, 16, 2, 128).half()[..., ::2]}, "v: got inner stride 2, takes 1"),
        (
            {"q": torch.zeros(3, 4, 1, 64).half().requires_grad_()},
            "q: got a tensor that requires a gradient, takes none",
        ),
    ],
    ids=str,
)
def test_what_decoding_refuses(change, message):
    with recording() as launches, pytest.raises(ValueError, match=message):
        decode_attention(**{**cached(), **change})
    assert not launches


def zeros(*shape, kind=torch.float32):
    return torch.zeros(shape, dtype=kind)


X, SCALAR, TOKENS = zeros(2, 3, 4), zeros(), zeros(6, kind=torch.int64)
TABLE, OFFSETS = zeros(2, 3, 2), torch.tensor([0, 3], dtype=torch.int32)
FUNCTIONS = {
    "gemm.linear": [
        ((X.half(), zeros(5, 4)), "weight: got torch.float32, takes torch.float16"),
        ((X, zeros(5, 6)), r"weight: got shape \(5, 6\), takes \(any, 4\)"),
        ((X, zeros(2, 5, 4)), "weight: got 3 dimensions, takes 2"),
        ((X.double(), zeros(5, 4).double()), "x: got torch.float64, takes torch.bfloat16 or"),
        ((SCALAR, zeros(5, 4)), "x: got 0 dimensions, takes 1 or more"),
    ],
    "gate_up.feed_in": [
        ((X, zeros(4), zeros(4)), "gate: got 1 dimensions, takes 2"),
        ((X, zeros(5, 4), zeros(6, 4)), r"up: got shape \(6, 4\), takes \(5, 4\)"),
        ((X, zeros(5, 4), zeros(5, 4).half()), "up: got torch.float16, takes torch.float32"),
        ((SCALAR, zeros(5, 4), zeros(5, 4)), "x: got 0 dimensions, takes 1 or more"),
    ],
    "fp8_linear.linear": [
        ((X.bfloat16(), zeros(5, 6).bfloat16()), r"weight: got shape \(5, 6\), takes \(any, 4\)"),
        ((SCALAR, zeros(5, 4)), "x: got 0 dimensions, takes 1 or more"),
    ],
    "grouped_gemm.grouped_gemm": [
        ((X[0], zeros(4, 5), OFFSETS), "weight: got 2 dimensions, takes 3"),
        ((X, zeros(1, 4, 5), OFFSETS), "x: got 3 dimensions, takes 2"),
        ((X[0], zeros(0, 4, 5), OFFSETS[:1]), "weight: experts: got 0, takes 1 to 65535"),
        ((X[0], zeros(1, 4, 5), OFFSETS.long()), "offsets: got torch.int64, takes torch.int32"),
    ],
    "rmsnorm.rmsnorm": [
        ((X, zeros(4), zeros(6, 4)), r"residual: got shape \(6, 4\), takes \(2, 3, 4\)"),
        ((X, zeros(4).half()), "weight: got torch.float16, takes torch.float32"),
        ((zeros(2, 0), zeros(0)), "x: width: got 0, takes 1 to 65536"),
        ((SCALAR, zeros(1)), "x: got 0 dimensions, takes 1 or more"),
    ],
    "layernorm.layernorm": [
        ((X, zeros(4), zeros(5)), r"bias: got shape \(5,\), takes \(4,\)"),
        ((SCALAR, zeros(1), zeros(1)), "x: got 0 dimensions, takes 1 or more"),
    ],
    "swiglu.swiglu": [
        ((X, zeros(3, 2, 4)), r"up: got shape \(3, 2, 4\), takes \(2, 3, 4\)"),
        ((SCALAR, SCALAR), "gate: got 0 dimensions, takes 1 or more"),
    ],
    "softmax.softmax": [
        ((zeros(3, 4).t(),), "x: got inner stride 4, takes 1"),
        ((SCALAR,), "x: got 0 dimensions, takes 1 or more"),
    ],
    "rope.rope": [
        ((X, X, zeros(2, 2, 2).half()), "table: got torch.float16, takes torch.float32"),
        ((zeros(2, 3, 5), X, TABLE), "q: got head_dim 5, takes an even one"),
    ],
    "cross_entropy.cross_entropy": [
        ((X, TOKENS), r"labels: got shape \(6,\), takes \(2, 3\)"),
        ((zeros(6, 0), TOKENS), "logits: vocab: got 0, takes 1 to"),
        ((zeros(6, 4), TOKENS.int()), "labels: got torch.int32, takes torch.int64"),
        ((SCALAR, TOKENS[0]), "logits: got 0 dimensions, takes 1 or more"),
    ],
    "linear_cross_entropy.linear_cross_entropy": [
        ((X, zeros(7, 4), TOKENS), r"labels: got shape \(6,\), takes \(2, 3\)"),
        ((zeros(6, 4), zeros(7, 5), TOKENS), r"weight: got shape \(7, 5\), takes \(any, 4\)"),
        ((zeros(6, 4), zeros(0, 4), TOKENS), "weight: vocab: got 0, takes 1 to"),
        ((SCALAR, zeros(7, 4), TOKENS[0]), "x: got 0 dimensions, takes 1 or more"),
    ],
    "embedding.embedding": [
        ((zeros(5, 4).double(), TOKENS), "table: got torch.float64, takes torch.bfloat16 or"),
        ((zeros(5, 4), TOKENS.int()), "ids: got torch.int32, takes torch.int64"),
    ],
    "moe.routed": [
        ((X, 2), "logits: got 3 dimensions, takes 2"),
        ((X[0], 5), "top_k: got 5, takes 1 to 4"),
        ((X[0], -1), "top_k: got -1, takes 1 to 4"),
    ],
}
"""Differentiable functions, what they do not take, and what they say of it."""


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        pytest.param(name, *one, id=f"{name}-{number}")
        for name, some in FUNCTIONS.items()
        for number, one in enumerate(some)
    ],
)
def test_what_differentiable_functions_refuse(name, given, message):
    module, function = name.split(".")
    run = getattr(importlib.import_module(f"bench.kernels.{module}"), function)
    with recording() as launches, pytest.raises(ValueError, match=f"^{message}"):
        run(*given)
    assert not launches


CASES = [
    pytest.param(name, variant, id=f"{name}-{variant}")
    for name, spec in SPECS.items()
    for variant in spec.variants
]

NOT_TAKEN = {
    ("rmsnorm", "add_backward"): {"x", "residual"},  # their sum is what the kernel takes
    ("cross_entropy", "in_place"): {"logits"},  # the gradient is the same memory
    ("layernorm", "backward"): {"bias"},  # no gradient depends on it
    ("rope", "backward"): {"q", "k"},  # a turn is linear: its gradient needs no input
}
FITS = {("cross_entropy", "gradient", "shape"), ("moe", "logits", "shape")}
"""Changes that make another valid call."""


def small(name, variant):
    """The operation's small case in fp16, where it has that, with its inputs and outputs."""
    known, spec = ops.get(name), SPECS[name]
    dtype = "fp16" if "fp16" in spec.dtypes else spec.dtypes[0]
    case = op.Case(name, spec.small, dtype, variant, "generic")
    inputs = known.inputs(case, op.Fill(CPU, 0))
    return case, inputs, known.outputs(case, inputs)


def wrong(tensor):
    """The same tensor with something that no kernel takes."""
    yield "device", tensor.to("meta")
    yield "dimensions", tensor.unsqueeze(0)
    if tensor.dtype.is_floating_point:
        yield "dtype", tensor.to(torch.float64)
        yield "dtype", tensor.to(torch.int16)
    else:
        yield "dtype", tensor.to(torch.float32)
    if tensor.dim() >= 2 and min(tensor.shape) > 1:
        yield "shape", tensor[..., :-1].contiguous()


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_every_wrong_tensor_is_refused_before_any_launch(name, variant):
    case, inputs, outputs = small(name, variant)
    given = {**inputs, **outputs}
    refused = 0
    for spoiled in set(given) - NOT_TAKEN.get((name, variant), set()):
        for what, tensor in wrong(given[spoiled]):
            if (name, spoiled, what) in FITS:
                continue
            mine = {**inputs, spoiled: tensor} if spoiled in inputs else dict(inputs)
            theirs = {**outputs, spoiled: tensor} if spoiled in outputs else dict(outputs)
            with recording() as launches:
                try:
                    work = ops.get(name).implementations["triton"](case, mine, theirs)
                except (ValueError, RuntimeError, IndexError, NotImplementedError):
                    continue  # preparing what is not timed (a reference forward pass) failed
                launches.clear()
                # One tensor may be the odd one out or the only one of its kind: either way the
                # sentence says what was got and what is taken.
                with pytest.raises(ValueError, match=r"(got|is on) .*takes") as raised:
                    work()
                assert not launches, (spoiled, what, str(raised.value))
                refused += 1
    assert refused >= 3


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_an_output_whose_rows_lie_over_each_other_is_refused(name, variant):
    case, inputs, outputs = small(name, variant)
    for spoiled, tensor in outputs.items():
        if tensor.dim() < 2 or min(tensor.shape) < 2:
            continue
        for outer in (0, tensor.shape[-1] - 1):  # all in one place; begun before the last has ended
            strides = (*[outer] * (tensor.dim() - 1), 1)
            over = torch.zeros_like(tensor).as_strided(tensor.shape, strides)
            with recording() as launches:
                work = ops.get(name).implementations["triton"](
                    case, inputs, {**outputs, spoiled: over}
                )
                launches.clear()
                with pytest.raises(ValueError, match=r"got .*strides? .*takes"):
                    work()
                assert not launches, spoiled


def test_unknown_names():
    x = torch.zeros(4)
    with pytest.raises(ValueError, match="op: got 'sum'"):
        stream.stream("sum", x, x, x)
    with pytest.raises(ValueError, match=r"y: got shape \(3,\), takes \(4,\)"):
        stream.stream("add", x, x[:3], x)
    with pytest.raises(ValueError, match="out: got inner stride 2, takes 1"):
        stream.stream("add", x, x, torch.zeros(8)[::2])
    with pytest.raises(ValueError, match="impl: got 'magic'"):
        bind(impl="magic")
    with pytest.raises(ValueError, match="op: got 'gem'"):
        ops.Case("gem", (1, 1, 1), "fp32")
    with pytest.raises(ValueError, match="dtype: got 'fp7'"):
        ops.Case("gemm", (1, 1, 1), "fp7")
    with pytest.raises(ValueError, match="variant: got 'tt'"):
        ops.Case("gemm", (1, 1, 1), "fp32", "tt")
    with pytest.raises(ValueError, match="shape: got 1x1, gemm takes M×N×K"):
        ops.Case("gemm", (1, 1), "fp32")
    with pytest.raises(ValueError, match="no configuration for gemm in fp3"):
        tuning.config("sm_90", "gemm", "fp3", size=1, rows=1, turned=0, turned_a=0, aligned=1)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_products_that_are_kept_are_two(count):
    x, weight = zeros(8, 4), zeros(16, 4).t()
    keep = tuple(zeros(8, 16) for _ in range(count))
    with recording() as launches, pytest.raises(ValueError, match=f"keep: got {count} tensors"):
        gate_up.gate_up(x, weight, weight, zeros(8, 16), keep=keep)
    assert not launches


def test_of_one_column_no_descriptor_is_made():
    """Rows that follow each other at once lie closer than the 16 bytes that descriptors take."""
    pytest.importorskip("triton", reason="Triton is not installed")
    half = torch.float16
    chosen = {"block_m": 64, "block_n": 64, "block_k": 32, "group_m": 8, "tma": 1, "waves": 1}
    for m, n, k, kernel in (
        (16, 16, 8, "gate_up_tma_kernel"),
        (16, 16, 1, "gate_up_kernel"),
        (16, 1, 8, "gate_up_kernel"),
    ):
        x = zeros(k, m, kind=half).t() if k == 1 else zeros(m, k, kind=half)
        h = zeros(n, m, kind=half).t() if n == 1 else zeros(m, n, kind=half)
        gate = zeros(n, 8, kind=half)[:, :k]
        with recording() as launches, tuning.forcing("gate_up", chosen):
            gate_up.gate_up(x, gate.t(), gate.t(), h)
        assert [one.kernel.fn.__name__ for one in launches] == [kernel], (m, n, k)


def bind(impl="torch", dtype="fp32", cache=0, memory=1 << 30, shape=(33, 20, 47), **more):
    case = ops.Case("gemm", shape, dtype)
    return ops.bind(impl, CPU, case, cache=cache, memory=memory, seed=1, **more)


ROUGH = {("layernorm", "backward", "bf16")}
"""What torch adds up in bf16 on a CPU, and misses the tolerance by less than a factor of two."""


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_torch_implementations_keep_their_tolerance(name, variant):
    spec = SPECS[name]
    for dtype in spec.dtypes:
        try:
            case = ops.Case(name, spec.small, dtype, variant)
            call = ops.bind("torch", CPU, case, seed=1)
            call()
        except (ValueError, ops.NoTargetError, RuntimeError, NotImplementedError):
            continue  # a dtype that this variant or this host does not have
        errors = call.errors()
        assert errors
        rough = 2.0 if (name, variant, dtype) in ROUGH else 1.0
        assert max(errors.values()) <= rough * call.tolerance, (dtype, errors)
        assert (call.flops, call.bytes) == (case.cost.flops, case.cost.bytes)


@pytest.mark.parametrize("name", ["gemm", "decode_attention", "rmsnorm", "softmax", "swiglu"])
def test_compiled_implementations_keep_their_tolerance(name):
    spec = SPECS[name]
    call = ops.bind("compile", CPU, ops.Case(name, spec.small, "fp32"), seed=1)
    call()
    assert call.error() <= call.tolerance


def test_a_vendors_own_implementation_is_judged_like_all_others():
    def exact(case, inputs, outputs):
        return lambda: {"out": torch.mm(inputs["a"], inputs["b"], out=outputs["out"])}

    assert bind("vendor", vendor={"gemm": exact}).error() <= 1e-5
    with pytest.raises(ops.NoTargetError, match="brings no gemm of its own"):
        bind("vendor")


def test_a_wrong_product_and_an_unwritten_element_are_seen():
    def wrong(case, inputs, outputs):
        def work():
            torch.mm(inputs["a"], inputs["b"], out=outputs["out"])[0, 0] += 1.0
            return outputs

        return work

    def lazy(case, inputs, outputs):
        def work():
            outputs["out"][1:] = (inputs["a"] @ inputs["b"])[1:]
            return outputs

        return work

    for broken, expected in ((wrong, 1e-4), (lazy, float("inf"))):
        assert bind("vendor", vendor={"gemm": broken}).error() >= expected


def test_operand_sets_exceed_the_cache_and_stay_within_memory():
    one = 4 * (33 * 47 + 47 * 20 + 33 * 20)
    assert len(bind(cache=10 * one).works) == 21
    assert len(bind(cache=10 * one, memory=3 * one).works) == 3
    with pytest.raises(ValueError, match="one set of operands takes"):
        bind(memory=one - 1)


def test_triton_without_a_target_says_so():
    with pytest.raises(ops.NoTargetError, match="no Triton target"):
        bind(impl="triton")
    known = ops.get("gemm")
    case = ops.Case("gemm", (8, 8, 8), "fp8_e4m3", "nt", "sm_80")
    with pytest.raises(ops.NoTargetError, match="sm_80 has no fp8_e4m3"):
        ops.implementation(known, "triton", case)


def test_fp32_products_are_not_tf32():
    bind(dtype="fp32")
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ops.NoTargetError, match="tf32"):
        bind(dtype="tf32")


def test_relative_error():
    ones = torch.ones(4, dtype=torch.float64)
    assert reference.relative_error(torch.full((4,), float("nan")), ones) == float("inf")
    assert reference.relative_error(ones, ones) == 0.0
    assert reference.relative_error(ones * 1.5, ones) == pytest.approx(0.5)
    assert reference.relative_error(ones[:3], ones) == float("inf")
    assert reference.relative_error(ones * 0 + 1e-3, ones * 0) == pytest.approx(2e-3)


def test_one_wrong_row_of_many_is_no_small_error():
    wanted = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0)).view(-1, 1024)
    rounded = wanted.bfloat16()
    plain = float((rounded.double() - wanted.double()).norm() / wanted.double().norm())
    assert reference.relative_error(rounded, wanted) == pytest.approx(plain), "of even errors"
    rounded[77] = rounded[78]
    assert reference.relative_error(rounded, wanted) > 10 * reference.TOLERANCE["bf16"]


def test_a_step_that_moves_no_weight_is_seen():
    def idle(case, inputs, outputs):
        def work():
            weight = outputs["weight"].clone()
            ops.get("adamw").implementations["torch"](case, inputs, outputs)()
            outputs["weight"].copy_(weight)
            return outputs

        return work

    for dtype in SPECS["adamw"].dtypes:
        call = ops.bind(
            "vendor", CPU, ops.Case("adamw", (1 << 12,), dtype), seed=1, vendor={"adamw": idle}
        )
        assert call.errors()["weight"] > 0.9


def test_effective_bits():
    assert reference.effective_bits(2.0**-8) == 8.0
    assert reference.effective_bits(0.0) == 53.0
    assert reference.effective_bits(float("inf")) == 0.0


def test_data_is_what_its_distribution_says():
    for name in op.DISTRIBUTIONS:
        made = op.Fill(CPU, 1, name).operand(256, 256, kind=torch.float32)
        assert torch.isfinite(made).all()
        assert made.std() > 0.1
        again = op.Fill(CPU, 1, name).operand(256, 256, kind=torch.float32)
        assert torch.equal(made, again)
    assert op.Fill(CPU, 1, "uniform").operand(64, 64, kind=torch.float32).min() >= 0
    with pytest.raises(ValueError, match="distribution: got 'odd'"):
        op.Fill(CPU, 1, "odd")


def test_offsets_pass_31_bits(monkeypatch):
    """Strides of more than 2³¹ elements reach the kernels as 64-bit integers."""
    from bench.kernels.codegen import describe, kernels_of

    pytest.importorskip("triton", reason="Triton is not installed")
    case = ops.Case("gemm", (65536, 65536, 65536), "bf16", "nn", "sm_90")
    for kernel in kernels_of(ops.get("gemm"), case):
        assert {kind for _, kind, _ in kernel.arguments} <= {"*bf16", "*fp32", "i32", "constexpr"}
    far = torch.empty_strided((4, 8), (1 << 32, 1), dtype=torch.bfloat16, device="meta")
    with recording() as launches:
        gemm.gemm(far, torch.empty(8, 4, dtype=torch.bfloat16, device="meta"),
                  torch.empty(4, 4, dtype=torch.bfloat16, device="meta"), arch="sm_80")  # fmt: skip
    kinds = {name: kind for name, kind, _ in describe(launches[0]).arguments}
    assert kinds["stride_am"] == "i64"


@pytest.mark.parametrize(("count", "most"), [(8192, 128), (1000, 64), (65, 64), (64, 64), (3, 64)])
def test_a_checked_part_meets_every_band(count, most):
    found = set()
    for seed in range(20):
        picked = op.Fill(CPU, seed).pick(count, most)
        found.add(tuple(picked.tolist()))
        assert picked.unique().numel() == min(count, most)
        widest = -(-count // most)
        gaps = torch.cat([torch.tensor([-1]), picked, torch.tensor([count])]).diff()
        assert int(gaps.max()) <= 2 * widest
    assert (len(found) > 1) == (count > most)
    assert op.Fill(CPU, 0).pick(0).numel() == 0


def test_a_wrong_tile_of_a_product_is_seen_at_any_size():
    """Tiles of 128 rows: one of 128 is wrong, in which no random row of 64 need lie."""
    case = ops.Case("gemm", (16384, 8, 8), "fp32")
    known = ops.get("gemm")
    for tile in (0, 57, 127):
        inputs = known.inputs(case, op.Fill(CPU, tile))
        out = inputs["a"] @ inputs["b"]
        out[128 * tile : 128 * (tile + 1)] = 0
        assert known.errors(case, inputs, {"out": out}, op.Fill(CPU, 3))["out"] > 0.05
