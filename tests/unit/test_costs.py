"""FLOPs and bytes against figures that others published, and against a counter."""

import pytest

from bench.kernels import costs, model_costs

LLAMA_8B = model_costs.ModelShape(4096, 32, 32, 8, 14336, 128256, 8192)


def test_llama_3_8b():
    """Parameters as published; FLOPs a token as two well-known trainers count them at T = 8192."""
    assert model_costs.parameters(LLAMA_8B) == 8_030_261_248
    assert model_costs.flops_per_token(LLAMA_8B) / 1e9 == pytest.approx(51.47, abs=0.01)
    assert model_costs.palm_flops_per_token(LLAMA_8B) / 1e9 == pytest.approx(61.07, abs=0.01)


def test_a_step_costs_what_a_counter_counts():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from bench.workloads.model import Decoder

    shape = model_costs.ModelShape(64, 2, 4, 2, 96, 50, 32)
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
