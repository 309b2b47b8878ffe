"""Weights, FLOPs and bytes of a model's training step. Imports no torch.

A multiply-add counts as two FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelShape:
    """A dense decoder as in Llama: RMSNorm, grouped-query attention with RoPE, SwiGLU, untied head.

    ``dim`` model width, ``ffn`` inner width of SwiGLU, ``seq`` tokens of a sequence.
    """

    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    seq: int

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.heads


def matrix_parameters(shape: ModelShape) -> int:
    """Weights of all matrix products: attention, SwiGLU, head (the embedding is a lookup)."""
    kv = shape.kv_heads * shape.head_dim
    attention = 2 * shape.dim * shape.dim + 2 * shape.dim * kv
    layer = attention + 3 * shape.dim * shape.ffn
    return shape.layers * layer + shape.dim * shape.vocab


def parameters(shape: ModelShape) -> int:
    """All weights: matrices, embedding, two norms a layer and a last one."""
    norms = (2 * shape.layers + 1) * shape.dim
    return matrix_parameters(shape) + shape.dim * shape.vocab + norms


def flops_per_token(shape: ModelShape) -> float:
    """Training FLOPs of one token, causal-exact: the numerator of ``mfu``.

    Forward 2 FLOPs a matrix weight; attention scores and values 4·T·dim a layer, halved because
    half of the scores are masked; backward twice the forward. Recomputation is not counted.
    Agrees with Megatron-LM's ``num_floating_point_operations``.
    """
    attention = 4 * shape.seq * shape.dim * shape.layers / 2
    return 3 * (2 * matrix_parameters(shape) + attention)


def palm_flops_per_token(shape: ModelShape) -> float:
    """6·N + 12·L·H·Q·T: the numerator of ``mfu_palm`` (Chowdhery et al., PaLM, 2022, app. B).

    N counts all parameters; attention is not halved for the causal mask.
    """
    return 6 * parameters(shape) + 12 * shape.layers * shape.dim * shape.seq


def optimizer_bytes(count: int) -> int:
    """AdamW over ``count`` fp32 weights: weight and moments read and written, gradient read."""
    return count * (3 * 4 * 2 + 4)
