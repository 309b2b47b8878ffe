"""The shapes that a model's training step gives to every operation. Imports no torch."""

from __future__ import annotations

from .costs import SPECS, Sizes
from .model_costs import ModelShape, parameters


def model_shapes(op: str, model: ModelShape, tp: int = 1) -> dict[str, Sizes]:
    """Name → shape of every use of an operation in one sequence of a decoder.

    Args:
        op: Operation.
        model: The model.
        tp: Tensor-parallel devices; heads, feed-forward and vocabulary are split over them.

    Raises:
        ValueError: an operation that there is not, or heads that cannot be split so.
    """
    if op not in SPECS:
        raise ValueError(f"op: got {op!r}, takes one of {', '.join(SPECS)}")
    if tp < 1 or model.heads % tp or model.ffn % tp or model.vocab % tp:
        raise ValueError(f"tp: got {tp}, takes a divisor of heads, ffn and vocab")
    tokens, dim, head_dim = model.seq, model.dim, model.head_dim
    heads, kv_heads = model.heads // tp, max(1, model.kv_heads // tp)
    ffn, vocab = model.ffn // tp, model.vocab // tp
    uses: dict[str, dict[str, Sizes]] = {
        "gemm": {
            "qkv": (tokens, (heads + 2 * kv_heads) * head_dim, dim),
            "out": (tokens, dim, heads * head_dim),
            "gate_up": (tokens, 2 * ffn, dim),
            "down": (tokens, dim, ffn),
            "head": (tokens, vocab, dim),
        },
        "gate_up": {"ffn": (tokens, ffn, dim)},
        "attention": {"attention": (1, heads, kv_heads, tokens, head_dim)},
        "rmsnorm": {"norm": (tokens, dim)},
        "layernorm": {"norm": (tokens, dim)},
        "rope": {"rope": (tokens, heads, kv_heads, head_dim)},
        "swiglu": {"swiglu": (tokens, ffn)},
        "softmax": {"head": (tokens, vocab)},
        "cross_entropy": {"head": (tokens, vocab)},
        "linear_cross_entropy": {"head": (tokens, vocab, dim)},
        "adamw": {"layer": ((parameters(model) - 2 * dim * model.vocab) // model.layers // tp,)},
        "quantize": {"input": (tokens, dim), "hidden": (tokens, ffn)},
        "transpose": {"input": (tokens, dim), "hidden": (tokens, ffn)},
        "embedding": {"embedding": (tokens, model.vocab, dim)},
        "local_reduce": {"activations": (max(2, tp), tokens * dim)},
    }
    return uses.get(op, {})
