"""The analytic memory of a training step beside what fresh processes took."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from memory_ranks import growth

from bench.kernels.layout import Layout
from bench.kernels.model_costs import ModelShape
from bench.kernels.model_memory import estimate

BATCH = 2
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
PLAIN = {"ddp": Layout(), "fsdp": Layout("fsdp"), "tp": Layout(tp=2)}
EXPERTS = {"ddp": Layout(), "fsdp": Layout("fsdp"), "fsdp + ep": Layout("fsdp", ep=2)}
"""Of a mixture, which tp does not split."""
CASES = {
    f"{size}, {name}": (size, layout, 2, "none")
    for size, shape in SIZES.items()
    for name, layout in (EXPERTS if shape.experts else PLAIN).items()
}
CASES |= {
    "long, ddp, 2 microbatches": ("long", Layout(microbatches=2), 2, "none"),
    "deep, fsdp, 2 microbatches": ("deep", Layout("fsdp", microbatches=2), 2, "none"),
    "deep, gpipe": ("deep", Layout(pp=2, schedule="gpipe", microbatches=4), 2, "none"),
    "wide, 1f1b": ("wide", Layout(pp=2, microbatches=4), 2, "none"),
    "long, interleaved": ("long", Layout(pp=2, schedule="interleaved", microbatches=2), 2, "none"),
    "long, cp": ("long", Layout(cp=2), 2, "none"),
    "long, ddp, selective": ("long", Layout(), 2, "selective"),
    "deep, fsdp, full": ("deep", Layout("fsdp"), 2, "full"),
    "mixture, fsdp, full": ("mixture", Layout("fsdp"), 2, "full"),
    "deep, tp, selective": ("deep", Layout(tp=2), 2, "selective"),
    "long, 1f1b, full": ("long", Layout(pp=2, microbatches=4), 2, "full"),
    "deep, hsdp": ("deep", Layout("hsdp", 2), 4, "none"),
    "words, fsdp + tp": ("words", Layout("fsdp", tp=2), 4, "none"),
    "deep, 1f1b + fsdp": ("deep", Layout("fsdp", pp=2, microbatches=2), 4, "none"),
    "long, 1f1b + tp": ("long", Layout(pp=2, tp=2, microbatches=2), 4, "none"),
}
"""Every other kind of layout and of recompute once: a size, how many ranks, and the kind."""


@pytest.mark.parametrize("name", CASES)
def test_memory(figure, name):
    size, layout, ranks, again = CASES[name]
    shape, spread = SIZES[size], layout.over(ranks)
    batch = BATCH * layout.microbatches
    taken = growth(shape, layout, ranks, batch=batch, again=again)
    said = [
        estimate(shape, spread, batch=batch, again=again, rank=rank, staged=True).total
        for rank in range(ranks)
    ]
    # Of the rank that is furthest off: stages of a pipeline differ.
    ratios = (one / own for one, own in zip(said, taken, strict=True))
    off = max(ratios, key=lambda ratio: abs(ratio - 1))
    what = f"memory of a step, estimated over measured {max(taken) / 1e6:.0f} MB: {name}"
    figure(what, off, "", low=0.85, high=1.15)
