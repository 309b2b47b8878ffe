"""Weights, FLOPs and bytes of a model's training step. Imports no torch.

A multiply-add counts as two FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """A decoder as in Llama: RMSNorm, grouped-query attention with RoPE, SwiGLU, untied head.

    ``dim`` model width, ``ffn`` inner width of SwiGLU, ``seq`` tokens of a sequence. ``head_dim``
    is ``dim // heads`` where it is not given. With ``experts``, every layer is a mixture of them:
    a router sends each token through ``top_k``, and ``ffn`` is the inner width of one.
    """

    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    seq: int
    head_dim: int = 0
    experts: int = 0
    top_k: int = 0

    def __post_init__(self) -> None:
        """Fill in the width of a head."""
        object.__setattr__(self, "head_dim", self.head_dim or self.dim // self.heads)

    @classmethod
    def of(cls, model: Any) -> ModelShape:
        """The shape of a model's configuration; what that leaves out (None) is the default."""
        given = {name: getattr(model, name) for name in cls.__dataclass_fields__}
        return cls(**{name: value for name, value in given.items() if value is not None})


def matrix_parameters(shape: ModelShape, *, active: bool = False) -> int:
    """Weights of all matrix products: attention, router, SwiGLU, head (the embedding is a lookup).

    ``active``: only those that one token meets, ``top_k`` experts of all.
    """
    attention = 2 * shape.dim * (shape.heads + shape.kv_heads) * shape.head_dim
    copies = (shape.top_k if active else shape.experts) if shape.experts else 1
    layer = attention + shape.dim * shape.experts + copies * 3 * shape.dim * shape.ffn
    return shape.layers * layer + shape.dim * shape.vocab


def parameters(shape: ModelShape, *, active: bool = False) -> int:
    """All weights: matrices, embedding, two norms a layer and a last one.

    ``active``: with ``top_k`` experts of all, as publishers of mixtures count "activated" ones.
    """
    norms = (2 * shape.layers + 1) * shape.dim
    return matrix_parameters(shape, active=active) + shape.dim * shape.vocab + norms


def flops_per_token(shape: ModelShape) -> float:
    """Training FLOPs of one token, causal-exact: the numerator of ``mfu``.

    Forward 2 FLOPs a matrix weight that the token meets; attention scores and values
    4·T·heads·head_dim a layer, halved because half of the scores are masked; backward twice the
    forward. Recomputation is not counted. Agrees with Megatron-LM's
    ``num_floating_point_operations``.
    """
    attention = 4 * shape.seq * shape.heads * shape.head_dim * shape.layers / 2
    return 3 * (2 * matrix_parameters(shape, active=True) + attention)


def recomputed_flops(shape: ModelShape, *, last: bool) -> float:
    """FLOPs of one token that full recompute adds to a step, counted as in `flops_per_token`: its
    way through all layers, without the head (Korthikanti et al., 2022).

    Of a dense layer's last product no gradient needs the result, and PyTorch stops as soon as it
    has what gradients need; ``last``: it is computed all the same. A mixture weighs its results,
    whose gradient needs them.
    """
    matrices = matrix_parameters(shape, active=True) - shape.dim * shape.vocab
    if not last and not shape.experts:
        matrices -= shape.layers * shape.dim * shape.ffn
    return 2 * matrices + 2 * shape.seq * shape.heads * shape.head_dim * shape.layers


def palm_flops_per_token(shape: ModelShape) -> float:
    """6·N + 12·L·H·Q·T: the numerator of ``mfu_palm`` (Chowdhery et al., PaLM, 2022, app. B).

    N counts all parameters (of a mixture, the active ones); attention is not halved for the
    causal mask.
    """
    attention = 12 * shape.layers * shape.heads * shape.head_dim * shape.seq
    return 6 * parameters(shape, active=True) + attention


def optimizer_bytes(count: int) -> int:
    """AdamW over ``count`` fp32 weights: weight and moments read and written, gradient read."""
    return count * (3 * 4 * 2 + 4)
