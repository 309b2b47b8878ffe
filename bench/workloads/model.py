"""A Llama-style decoder: what the `train` benchmark trains.

RMSNorm, grouped-query attention with rotary embeddings, SwiGLU, untied head (Touvron et al.,
2023; Grattafiori et al., 2024). Tensors are [batch, seq, dim] unless said otherwise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (PyTorch's own abbreviation)
from torch import Tensor, nn

from ..kernels.model_costs import ModelShape

EPSILON = 1e-5
ROPE_BASE = 500_000.0


class RMSNorm(nn.Module):
    """x / rms(x) · weight (Zhang & Sennrich, 2019), in fp32 inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] → [..., dim]."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)
        return (wide * scale).to(x.dtype) * self.weight.to(x.dtype)


class Attention(nn.Module):
    """Causal grouped-query attention (Ainslie et al., 2023) with rotary embeddings (Su, 2021)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.width = shape.heads, shape.kv_heads, shape.head_dim
        queries, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q = nn.Linear(shape.dim, queries, bias=False)
        self.k = nn.Linear(shape.dim, kv, bias=False)
        self.v = nn.Linear(shape.dim, kv, bias=False)
        self.out = nn.Linear(queries, shape.dim, bias=False)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """[batch, seq, dim] → the same; ``rope`` is [2, seq, head_dim / 2]: cosines and sines."""
        batch, seq, _ = x.shape

        def split(projected: Tensor, heads: int) -> Tensor:
            return projected.view(batch, seq, heads, self.width).transpose(1, 2)

        q = rotate(split(self.q(x), self.heads), rope)
        k = rotate(split(self.k(x), self.kv_heads), rope)
        v = split(self.v(x), self.kv_heads)
        repeats = self.heads // self.kv_heads
        if repeats > 1:  # not every vendor's SDPA takes grouped heads itself
            k = k.repeat_interleave(repeats, dim=1)
            v = v.repeat_interleave(repeats, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        joined: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, seq, -1))
        return joined


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)) (Shazeer, 2020)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.dim, shape.ffn, bias=False)
        self.up = nn.Linear(shape.dim, shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, shape.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] → [..., dim]."""
        narrow: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return narrow


class Block(nn.Module):
    """Attention and SwiGLU, each behind a norm and beside a residual."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(shape.dim), RMSNorm(shape.dim)
        self.attention = Attention(shape)
        self.ffn = SwiGLU(shape)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """[batch, seq, dim] → the same."""
        x = x + self.attention(self.norm1(x), rope)
        deep: Tensor = x + self.ffn(self.norm2(x))
        return deep


class Decoder(nn.Module):
    """The whole model; `forward` gives the mean cross-entropy of the next token, in nats."""

    rope: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab, shape.dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.dim)
        self.head = nn.Linear(shape.dim, shape.vocab, bias=False)
        self.register_buffer("rope", rope_table(shape), persistent=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
        for name, weight in self.named_parameters():
            # Residual branches start small, so that depth does not change the scale (GPT-2).
            if name.endswith(("attention.out.weight", "ffn.down.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * shape.layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Loss of predicting ``tokens[:, 1:]``; ``tokens`` is int64 [batch, seq + 1]."""
        x = self.embedding(tokens[:, :-1])
        for block in self.blocks:
            x = block(x, self.rope)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def rope_table(shape: ModelShape) -> Tensor:
    """fp32 [2, seq, head_dim / 2]: cosines and sines of position × base^(-2i / head_dim)."""
    half = shape.head_dim // 2
    rates = ROPE_BASE ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(shape.seq, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate pairs (i, i + half) of [batch, heads, seq, head_dim] by position."""
    cosine, sine = rope.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
