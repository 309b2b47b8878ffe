"""FLOPs, bytes and memory of generating text: prompt (prefill) and token by token (decode).

Imports no torch. A multiply-add counts as two FLOPs. Bytes are the least that must move between
memory and the chip: every weight that is met read once, keys and values read and written once.
What passes between layers is left out: it is small where memory limits.
"""

from __future__ import annotations

from .costs import ITEMSIZE, Cost, attention_pairs
from .model_costs import ModelShape, matrix_parameters, parameters


def prefill(shape: ModelShape, batch: int, context: int, dtype: str) -> Cost:
    """Of ``batch`` prompts of ``context`` tokens, up to the first token that follows.

    Only the last token of a prompt needs the head. Attention is causal-exact.
    """
    head = shape.dim * shape.vocab
    token = 2 * (matrix_parameters(shape, active=True) - head)
    attention = 4 * attention_pairs(context, causal=True) * shape.heads * shape.head_dim
    flops = batch * (token * context + 2 * head + attention * shape.layers)
    written = cache_bytes(shape, batch, context, dtype)
    return Cost(flops, _met_bytes(shape, batch * context, dtype) + written)


def decode(shape: ModelShape, batch: int, context: int, dtype: str) -> Cost:
    """Of one step: the next token of ``batch`` sequences that then have ``context`` tokens.

    It reads all keys and values but its own, which it writes (Pope et al., Efficiently Scaling
    Transformer Inference, 2022, §2).
    """
    attention = 4 * context * shape.heads * shape.head_dim * shape.layers
    flops = batch * (2 * matrix_parameters(shape, active=True) + attention)
    moved = cache_bytes(shape, batch, context, dtype)
    return Cost(flops, _met_bytes(shape, batch, dtype) + moved)


def cache_bytes(shape: ModelShape, batch: int, tokens: int, dtype: str) -> int:
    """Keys and values of ``batch`` sequences of ``tokens`` in all layers."""
    pair = 2 * shape.kv_heads * shape.head_dim * ITEMSIZE[dtype]
    return batch * tokens * shape.layers * pair


def weight_bytes(shape: ModelShape, dtype: str) -> int:
    """All weights, in the format in which the model computes."""
    return parameters(shape) * ITEMSIZE[dtype]


def workspace_bytes(shape: ModelShape, batch: int, context: int, dtype: str) -> int:
    """What a layer holds besides while it reads prompts, at least.

    The residual and its norm; gate and up, silu of the gate and the product of both, of every
    expert that a token meets, with its input there.
    """
    experts = max(1, shape.top_k)
    width = 2 * shape.dim + experts * 4 * shape.ffn + (shape.top_k and shape.top_k * shape.dim)
    return batch * context * width * ITEMSIZE[dtype]


def _met_bytes(shape: ModelShape, tokens: int, dtype: str) -> int:
    """Weights that some of ``tokens`` meet: matrices, norms, their rows of the embedding.

    Of the experts of a layer as many as tokens meet that choose evenly and by themselves:
    E · (1 - (1 - k/E)^tokens).
    """
    norms = (2 * shape.layers + 1) * shape.dim
    met = matrix_parameters(shape) + norms + min(tokens, shape.vocab) * shape.dim
    if shape.experts:
        unmet = shape.experts * (1 - shape.top_k / shape.experts) ** tokens
        met -= round(unmet * shape.layers * 3 * shape.dim * shape.ffn)
    return met * ITEMSIZE[dtype]
