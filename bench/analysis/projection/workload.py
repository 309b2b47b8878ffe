"""A decoder to be trained: weights and FLOPs, under each convention that is published.

A multiply-add counts as two FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...kernels.model_costs import ModelShape

Convention: TypeAlias = Literal["causal", "full", "hardware", "palm"]
"""How FLOPs are counted: see `Decoder.flops_per_token`."""


@dataclass(frozen=True)
class Decoder:
    """A `ModelShape`, and what published models have otherwise than Llama.

    ``gated``: feed-forward of three matrices (SwiGLU), else of two (GELU). ``tied``: the head's
    weights are the embedding's. ``positions``: learnt positions, one for each place in a sequence.
    """

    shape: ModelShape
    gated: bool = True
    tied: bool = False
    positions: bool = False

    @property
    def matrices(self) -> int:
        """Of the feed-forward."""
        return 3 if self.gated else 2

    @property
    def attention(self) -> int:
        """Weights of a layer's attention: queries, keys, values and the projection after it."""
        shape = self.shape
        return 2 * shape.dim * (shape.heads + shape.kv_heads) * shape.head_dim

    @property
    def expert(self) -> int:
        """Weights of one feed-forward; of a mixture, of one expert."""
        return self.matrices * self.shape.dim * self.shape.ffn

    @property
    def dense(self) -> int:
        """Weights of a layer beside those of experts: attention, norms, router or feed-forward."""
        shape = self.shape
        rest = shape.dim * shape.experts if shape.experts else self.expert
        return self.attention + 2 * shape.dim + rest

    @property
    def table(self) -> int:
        """Weights of the embedding, and of the head."""
        return self.shape.dim * self.shape.vocab

    def parameters(self, *, active: bool = False) -> int:
        """All weights; ``active``: those that one token meets."""
        shape = self.shape
        copies = shape.top_k if active else shape.experts
        ends = self.table * (1 if self.tied else 2) + shape.dim
        ends += shape.dim * shape.seq * self.positions
        return shape.layers * (self.dense + copies * self.expert) + ends

    def matrix_weights(self) -> int:
        """Weights of matrix products that one token meets: all but embedding and norms."""
        shape = self.shape
        layer = self.dense - 2 * shape.dim + shape.top_k * self.expert
        return shape.layers * layer + self.table

    def scores(self) -> int:
        """FLOPs of one token's scores and values in the forward pass, without a causal mask.

        4·T·heads·head_dim a layer.
        """
        shape = self.shape
        return 4 * shape.seq * shape.heads * shape.head_dim * shape.layers

    def flops_per_token(self, convention: Convention = "causal") -> float:
        """Training FLOPs of one token.

        - ``causal``: 6 a matrix weight, attention under its mask; that of ``mfu``
          (`model_costs.flops_per_token`).
        - ``full``: attention without the mask (Korthikanti et al., 2022, eq. 7).
        - ``hardware``: the same, with the forward pass of all layers once more, as full recompute
          has it (Narayanan et al., 2021, eq. 3; Korthikanti et al., 2022, eq. 8).
        - ``palm``: 6N + 12·L·H·Q·T (Chowdhery et al., PaLM, 2022, app. B).
        """
        if convention == "palm":
            return 6 * self.parameters(active=True) + 3 * self.scores()
        forward = 2 * self.matrix_weights()
        scores = self.scores() / (2 if convention == "causal" else 1)
        again = forward - 2 * self.table + scores if convention == "hardware" else 0
        return 3 * (forward + scores) + again
