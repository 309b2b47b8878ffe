"""The analytic memory of a training step beside what fresh processes took."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from memory_ranks import growth

from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape
from bench.kernels.model_memory import estimate

RANKS, BATCH = 2, 2
SIZES = {
    "wide": ModelShape(dim=768, layers=4, heads=12, kv_heads=4, ffn=2048, vocab=8000, seq=64),
    "deep": ModelShape(dim=320, layers=12, heads=8, kv_heads=8, ffn=896, vocab=4000, seq=256),
    "long": ModelShape(dim=256, layers=4, heads=8, kv_heads=2, ffn=704, vocab=2000, seq=1024),
    "words": ModelShape(dim=256, layers=2, heads=4, kv_heads=4, ffn=704, vocab=24000, seq=256),
    "mixture": ModelShape(
        dim=256, layers=3, heads=8, kv_heads=4, ffn=512, vocab=4000, seq=256, experts=8, top_k=2
    ),
}
"""Weights, layers, activations, logits and experts lead, one in each."""
LAYOUTS = {"ddp": Layout(), "fsdp": Layout("fsdp"), "tp": Layout(tp=2)}
EXPERTS = Layout("fsdp", ep=2)
"""A mixture's in place of tp, which does not split one."""


@pytest.mark.parametrize("size", SIZES)
def test_memory(figure, size):
    shape = SIZES[size]
    for name, layout in LAYOUTS.items():
        if shape.experts and layout.tp > 1:
            name, layout = "fsdp + ep", EXPERTS
        taken = max(growth(shape, layout, RANKS, batch=BATCH))
        said = estimate(shape, layout.over(RANKS), batch=BATCH, staged=True).total
        what = f"memory of a step, estimated over measured {taken / 1e6:.0f} MB: {size}, {name}"
        figure(what, said / taken, "", low=0.85, high=1.15)
