"""FLOPs and bytes against figures that others published, and against a counter."""

import pytest

from bench.configs import load_model
from bench.errors import UsageError
from bench.kernels import costs, formats, generation_costs, model_costs, shapes
from bench.kernels.model_costs import ModelShape

MODELS = ("llama-8b", "llama-70b", "llama-405b", "moe-1t")
LLAMA_8B = ModelShape(4096, 32, 32, 8, 14336, 128256, 8192)


def test_llama_3_8b():
    """Parameters as published; FLOPs a token as two well-known trainers count them at T = 8192."""
    assert ModelShape.of(load_model("llama-8b")) == LLAMA_8B
    assert model_costs.parameters(LLAMA_8B) == 8_030_261_248
    assert model_costs.flops_per_token(LLAMA_8B) / 1e9 == pytest.approx(51.47, abs=0.01)
    assert model_costs.palm_flops_per_token(LLAMA_8B) / 1e9 == pytest.approx(61.07, abs=0.01)


@pytest.mark.parametrize(
    ("name", "published", "active", "tolerance"),
    [
        # The published checkpoints' weights, to the last one.
        ("llama-70b", 70_553_706_496, 70_553_706_496, 0),
        ("llama-405b", 405_853_388_800, 405_853_388_800, 0),
        # Published as 1.04 trillion and 32.6 billion; what is simplified is in the file.
        ("moe-1t", 1.04e12, 32.6e9, 0.02),
    ],
)
def test_weights_are_as_many_as_published(name, published, active, tolerance):
    shape = ModelShape.of(load_model(name))
    assert model_costs.parameters(shape) == pytest.approx(published, rel=tolerance)
    assert model_costs.parameters(shape, active=True) == pytest.approx(active, rel=tolerance)


def test_a_token_of_a_mixture_pays_for_the_experts_it_meets():
    dense = ModelShape(64, 2, 4, 2, 96, 50, 32)
    one = ModelShape(64, 2, 4, 2, 96, 50, 32, experts=1, top_k=1)
    many = ModelShape(64, 2, 4, 2, 96, 50, 32, experts=8, top_k=3)
    router, expert = 2 * 64, 2 * 3 * 64 * 96
    assert model_costs.parameters(one) == model_costs.parameters(dense) + router
    assert model_costs.parameters(many) == model_costs.parameters(one) + 7 * (router + expert)
    more = model_costs.flops_per_token(many) - model_costs.flops_per_token(one)
    assert more == 6 * (7 * router + 2 * expert)
    wide = ModelShape(64, 2, 4, 2, 96, 50, 32, head_dim=32)
    queries_and_values = 2 * 64 * (4 + 2) * (32 - 16) * 2
    assert model_costs.parameters(wide) == model_costs.parameters(dense) + queries_and_values


def test_decoding_reads_the_cache_once():
    shape = (3, 2, 8, 2, 100, 16, 64)
    even = costs.cost("decode_attention", shape, "even", "bf16")
    pair, queries = 2 * 2 * 64 * 2, 2 * 3 * 2 * 8 * 64 * 2
    assert even.bytes == 300 * pair + queries + 4 * 3 * 7  # and the numbers of 7 pages each
    assert even.flops == 3 * 8 * (100 + 99) * 4 * 64  # the first query does not see the last key
    whole = costs.cost("decode_attention", (3, 2, 8, 2, 100, 100, 64), "even", "bf16")
    assert whole.bytes == 300 * pair + queries  # in one piece there is no table
    assert costs.decode_lengths(shape, "ragged") == [34, 67, 100]
    ragged = costs.cost("decode_attention", shape, "ragged", "bf16")
    assert ragged.bytes == 201 * pair + queries + 4 * (3 + 5 + 7) + 4 * 3
    assert costs.decode_lengths((5, 4, 1, 1, 6, 1, 64), "ragged") == [4, 4, 4, 5, 6]
    with pytest.raises(ValueError, match="got 8 queries in 7 tokens of context"):
        costs.cost("decode_attention", (1, 8, 1, 1, 7, 1, 64), "even", "bf16")
    # A step's attention of all layers is what generation counts of it.
    step, before = (generation_costs.decode(LLAMA_8B, 16, n, "bf16") for n in (8192, 8191))
    one, less = (
        costs.cost("decode_attention", (16, 1, 32, 8, n, n, 128), "even", "bf16")
        for n in (8192, 8191)
    )
    assert step.flops - before.flops == 32 * (one.flops - less.flops)
    assert step.bytes - before.bytes == 32 * (one.bytes - less.bytes)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("name", MODELS)
def test_shapes_of_a_model_do_the_work_of_its_layers(name, tp):
    """Products of all devices together hold every weight that a token meets, once."""
    model = load_model(name)
    shape = ModelShape.of(model)
    flops = {}
    for op in costs.SPECS:
        for use, sizes in shapes.model_shapes(op, shape, tp).items():
            spec = costs.SPECS[op]
            cost = costs.cost(op, sizes, spec.variants[0], spec.dtypes[0])
            flops[op, use] = cost.flops
            assert shapes.sizes(op, f"{name}/tp{tp}/{use}", load_model) == sizes
    products = {key: n for key, n in flops.items() if key[0] in ("gemm", "grouped_gemm")}
    layer = sum(n * (1 if use == "router" else tp) for (_, use), n in products.items())
    head = flops["gemm", "head"] * tp
    met = model_costs.matrix_parameters(shape, active=True)
    done = shape.layers * (layer - head) + head
    assert done == 2 * shape.seq * met
    dense = {("gate_up", "ffn"), ("gemm", "gate_up"), ("gemm", "down")}
    assert dense.isdisjoint(flops) if shape.experts else dense <= set(flops)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("llama-8b/tp2/qvk", "has gemm as qkv, out, head, gate_up, down"),
        ("llama-8b/2/qkv", "is not MODEL/tpN"),
        ("llama-8b/tp3/qkv", "takes a divisor"),
        ("8192x", "write MxNxK, typical, small, or MODEL/tpN/USE"),
        ("fitting", "is not a shape of gemm"),
    ],
)
def test_shapes_that_there_are_not(text, words):
    with pytest.raises(ValueError, match=words):
        shapes.sizes("gemm", text, load_model)
    with pytest.raises(ValueError, match="llama-8b makes no use of moe"):
        shapes.model_set("moe", "llama-8b/tp1", load_model)
    with pytest.raises(UsageError, match="unknown model"):
        shapes.sizes("gemm", "lama/tp1/qkv", load_model)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "wide", "outliers"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32", "tf32"])
def test_bits_of_a_product_are_those_of_careful_arithmetic(dtype, distribution):
    """Sums in fp32 one term after the other, rounded once, lose what the formula says."""
    torch = pytest.importorskip("torch")
    from bench.kernels.op import Fill
    from bench.kernels.reference import effective_bits, relative_error

    fill = Fill(torch.device("cpu"), 5, distribution)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
    a, b = (fill.operand(*size, kind=kind) for size in ((128, 512), (512, 128)))
    wanted = a.double() @ b.double()
    if dtype == "tf32":
        a, b = (rounded(one, formats.SIGNIFICAND["tf32"]) for one in (a, b))
    total = torch.zeros(128, 128)
    for term in range(512):
        # In fp64 the product is exact: one rounding a term, as a fused multiply-add has.
        exact = a[:, term, None].double() * b[None, term].double()
        total = (total.double() + exact).float()
    found = effective_bits(relative_error(total.to(kind), wanted))
    assert found == pytest.approx(formats.product_bits(dtype, 512, distribution), abs=0.5)


def rounded(x, bits):
    """fp32 rounded to the nearest number with a significand of ``bits``."""
    import torch

    fraction, exponent = torch.frexp(x)
    return torch.ldexp(torch.round(fraction * 2.0**bits) / 2.0**bits, exponent)


def test_a_step_costs_what_a_counter_counts():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from bench.workloads.model import Decoder

    shape = ModelShape(64, 2, 4, 2, 96, 50, 32, head_dim=24)
    tokens = torch.randint(0, 50, (3, 33))
    with FlopCounterMode(display=False) as counter:
        Decoder(shape)(tokens).backward()
    # The counter sees full attention, of which the causal mask needs half, and backward of the
    # fused operator recomputes its scores: compare the matrix products alone.
    products = 3 * 2 * model_costs.matrix_parameters(shape) * tokens[:, 1:].numel()
    counts = counter.get_flop_counts()["Global"]
    linear = sum(n for op, n in counts.items() if "mm" in str(op) and "attention" not in str(op))
    assert linear == products


def test_gemm_and_stream():
    assert costs.gemm_flops(2, 3, 4) == 48
    assert costs.gemm_bytes(2, 3, 4, "bf16") == 2 * (8 + 12 + 6)
    assert costs.stream_bytes("copy", 100, "fp32") == 800
    assert costs.stream_bytes("triad", 100, "fp64") == 2400
    assert model_costs.optimizer_bytes(10) == 280


@pytest.mark.parametrize(
    ("op", "shape", "variant", "dtype", "flops", "moved"),
    [
        ("stream", (10,), "dot", "fp64", 20, 160),
        ("stream", (10,), "triad", "fp32", 20, 120),
        ("stream", (10,), "add", "fp32", 10, 120),
        ("stream", (10,), "read", "bf16", 10, 20),
        # Eight-bit floats give bf16, integers int32.
        ("gemm", (3, 5, 7), "nn", "fp8_e4m3", 210, 21 + 35 + 2 * 15),
        ("gemm", (3, 5, 7), "nt", "int8", 210, 21 + 35 + 4 * 15),
        ("gemm", (3, 5, 7), "bias", "bf16", 210, 2 * (21 + 35 + 15 + 5)),
        ("gate_up", (3, 5, 7), "forward", "bf16", 2 * 210 + 5 * 15, 2 * (21 + 2 * 35 + 15)),
        ("grouped_gemm", (2, 4, 3, 5), "even", "bf16", 120, 2 * (4 * 5 + 2 * 15 + 4 * 3)),
        # Of four tokens over eight experts; a weight and a number for each of the two chosen.
        ("moe", (4, 8, 16, 2), "route", "fp32", 128, 4 * 32 + 8 * 8),
        ("moe", (4, 8, 16, 2), "permute", "fp32", 0, 4 * 16 * (4 + 8) + 4 * 8),
        ("moe", (4, 8, 16, 2), "unpermute", "fp32", 256, 4 * 16 * (8 + 4) + 8 * 8),
        # Three tokens are six pairs of a head, nine without the mask; four heads, two of keys.
        ("attention", (1, 4, 2, 3, 8), "causal", "bf16", 4 * 24 * 8, 2 * 2 * (96 + 48) + 48),
        ("attention", (1, 4, 2, 3, 8), "full", "bf16", 4 * 36 * 8, 2 * 2 * (96 + 48) + 48),
        (
            "attention",
            (1, 4, 2, 3, 8),
            "causal_backward",
            "bf16",
            10 * 24 * 8,
            4 * 2 * (96 + 48) + 48,
        ),
        # Ten tokens are three pages of four; ragged, the shorter sequence has five.
        ("decode_attention", (2, 1, 4, 2, 10, 4, 8), "even", "fp16", 4 * 80 * 8, 1536 + 6 * 4),
        ("decode_attention", (2, 1, 4, 2, 10, 4, 8), "ragged", "fp16", 4 * 60 * 8, 1216 + 28),
        # Of two queries the first sees three of four tokens; all lie in one page.
        ("decode_attention", (1, 2, 1, 1, 4, 8, 1), "even", "fp32", 4 * 7, 4 * (2 * 4 + 2 * 2)),
        ("rmsnorm", (2, 8), "forward", "fp32", 64, 4 * (2 * 16 + 8) + 8),
        ("rmsnorm", (2, 8), "backward", "fp32", 144, 4 * (3 * 16 + 16) + 8),
        ("rmsnorm", (2, 8), "add_forward", "fp32", 80, 4 * (4 * 16 + 8) + 8),
        ("rmsnorm", (2, 8), "add_backward", "fp32", 160, 4 * (4 * 16 + 16) + 8),
        ("rope", (2, 3, 1, 4), "forward", "bf16", 96, 2 * 2 * 32 + 4 * 2 * 4),
        ("swiglu", (2, 8), "forward", "bf16", 80, 2 * 3 * 16),
        ("swiglu", (2, 8), "backward", "bf16", 176, 2 * 5 * 16),
        ("softmax", (2, 8), "forward", "fp32", 64, 4 * 2 * 16),
        ("softmax", (2, 8), "backward", "fp32", 64, 4 * 3 * 16),
        ("cross_entropy", (2, 8), "in_place", "bf16", 96, 2 * 2 * 16 + 2 * (8 + 4)),
        ("linear_cross_entropy", (2, 8, 4), "chunked", "bf16", 3 * 128, 2 * 2 * 10 * 4 + 24),
        ("adamw", (10,), "step", "bf16", 140, 10 * (3 * 8 + 2 * 2)),
        ("quantize", (2, 8), "tensor", "bf16", 48, 16 * (2 * 2 + 1)),
        ("quantize", (2, 8), "block", "bf16", 48, 16 * (2 + 1)),
        ("transpose", (2, 3), "forward", "fp32", 0, 2 * 6 * 4),
        ("embedding", (4, 8, 2), "forward", "fp32", 0, 2 * 8 * 4 + 4 * 8),
        # Four of eight rows at random are 8 · (1 - (7/8)^4) = 3.3 different ones.
        ("embedding", (4, 8, 2), "backward", "fp32", 8, 8 * 4 + 2 * 4 * 3 * 2 + 4 * 8),
        ("local_reduce", (3, 5), "sum", "fp32", 10, 4 * 4 * 5),
    ],
)
def test_operations_cost_what_they_read_and_write(op, shape, variant, dtype, flops, moved):
    assert costs.cost(op, shape, variant, dtype) == costs.Cost(flops, moved)


def test_a_step_of_decoding_moves_what_its_tokens_meet():
    mixture = ModelShape(8, 3, 2, 1, 4, 16, 4, experts=4, top_k=1)
    # Of attention 8 · 4 · 2 · (2 + 1) weights, of the router 8 · 4, of an expert 3 · 8 · 4.
    active = 3 * (192 + 32 + 96) + 8 * 16
    found = generation_costs.decode(mixture, 2, 5, "fp32")
    assert found.flops == 2 * (2 * active + 4 * 5 * 2 * 4 * 3)
    # Two tokens meet 4 · (1 - (3/4)²) = 1.75 experts of a layer on average, seven norms, two rows.
    met = 3 * (192 + 32) + 504 + 8 * 16 + 7 * 8 + 2 * 8
    cache = 2 * 5 * 3 * 2 * 4
    assert found.bytes == 4 * (met + cache)
    assert generation_costs.prefill(mixture, 1, 2, "fp32").bytes == 4 * (met + 2 * 3 * 2 * 4)
    # The residual and its norm; four inner rows of the one expert, and its input.
    assert generation_costs.workspace_bytes(mixture, 2, 5, "bf16") == 2 * 10 * (16 + 16 + 8)
    dense = ModelShape(8, 3, 2, 1, 4, 16, 4)
    assert generation_costs.workspace_bytes(dense, 2, 5, "fp32") == 4 * 10 * (16 + 16)
