"""A Llama-style decoder: what the `train` benchmark trains.

RMSNorm, grouped-query attention with rotary embeddings, SwiGLU or a mixture of experts, untied head
(Touvron et al., 2023; Grattafiori et al., 2024; Jiang et al., Mixtral, 2024). Tensors are
[batch, seq, dim] unless said otherwise. The weights are fp32; a weight that is used is rounded to
the format of what it meets, which is the format that the model computes in.

Nothing here knows of ranks but where a weight may be a part: under tensor parallelism ``weight`` is
a `DTensor`, and experts that lie elsewhere are reached through ``exchange``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Partial

from ..kernels.model_costs import ModelShape
from ..kernels.moe import sort_by_expert
from .ops import TORCH, Ops
from .weights import fill

ROPE_BASE = 500_000.0
STD = 0.02
"""Standard deviation of a new weight (Radford et al., GPT-2, 2019)."""

Exchange = Callable[["Experts", Tensor, Tensor], Tensor]
"""Sends rows [rows, dim], sorted by expert, with the number for each expert, to where the experts
are, and brings back what they make of them."""


class Linear(nn.Linear):
    """x · Wᵀ without a bias."""

    def __init__(self, inner: int, outer: int, ops: Ops) -> None:
        super().__init__(inner, outer, bias=False)
        self.ops = ops

    def reset_parameters(self) -> None:
        """`Decoder.initialise` fills all weights."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., inner] → [..., outer]."""
        return self.ops.linear(x, self.weight.to(x.dtype))


class RMSNorm(nn.Module):
    """x / rms(x) · weight (Zhang & Sennrich, 2019), in fp32 inside."""

    def __init__(self, dim: int, ops: Ops) -> None:
        super().__init__()
        self.ops = ops
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] → [..., dim]."""
        # Of sequences that are split each rank sees a part, so its gradient is a part of the sum.
        return self.ops.rmsnorm(x, local(self.weight, Partial()).to(x.dtype))


class Attention(nn.Module):
    """Causal grouped-query attention (Ainslie et al., 2023) with rotary embeddings (Su, 2021)."""

    def __init__(self, shape: ModelShape, ops: Ops) -> None:
        super().__init__()
        self.width, self.ops = shape.head_dim, ops
        queries, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q = Linear(shape.dim, queries, ops)
        self.k = Linear(shape.dim, kv, ops)
        self.v = Linear(shape.dim, kv, ops)
        self.out = Linear(queries, shape.dim, ops)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """[batch, seq, dim] → the same; ``rope`` is [2, seq, head_dim / 2]: cosines and sines."""
        # As many heads as the projections give: of a matrix that is split, a rank has some.
        q, k, v = (
            made.unflatten(-1, (-1, self.width)) for made in (self.q(x), self.k(x), self.v(x))
        )
        q, k = self.ops.rope(q, k, rope)
        mixed = self.ops.attention(*(one.transpose(1, 2) for one in (q, k, v)))
        joined: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return joined


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)) (Shazeer, 2020)."""

    def __init__(self, shape: ModelShape, ops: Ops) -> None:
        super().__init__()
        self.ops = ops
        self.gate = Linear(shape.dim, shape.ffn, ops)
        self.up = Linear(shape.dim, shape.ffn, ops)
        self.down = Linear(shape.ffn, shape.dim, ops)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] → [..., dim]."""
        narrow: Tensor = self.down(self.ops.swiglu(self.gate(x), self.up(x)))
        return narrow


class Experts(nn.Module):
    """The SwiGLU blocks of a mixture, side by side: gate and up [experts, dim, 2 · ffn], down."""

    def __init__(self, shape: ModelShape, ops: Ops) -> None:
        super().__init__()
        self.ops = ops
        self.gate_up = nn.Parameter(torch.empty(shape.experts, shape.dim, 2 * shape.ffn))
        self.down = nn.Parameter(torch.empty(shape.experts, shape.ffn, shape.dim))
        self.share = 1.0
        """Of the weights' gradient: one over the ranks whose tokens they see."""

    def forward(self, rows: Tensor, offsets: Tensor) -> Tensor:
        """Rows [rows, dim] sorted by expert, each through its own: expert e has those from
        ``offsets[e]`` (int32 [experts + 1]) to the next."""
        gate_up, down = (self._weight(one, rows.dtype) for one in (self.gate_up, self.down))
        gate, up = self.ops.grouped(rows, gate_up, offsets).chunk(2, dim=-1)
        return self.ops.grouped(self.ops.swiglu(gate, up), down, offsets)

    def _weight(self, weight: Tensor, kind: torch.dtype) -> Tensor:
        mine = local(weight).to(kind)
        return mine if self.share == 1.0 else _scaled_gradient(mine, self.share)


class Mixture(nn.Module):
    """Every token through ``top_k`` of the experts, dropless: none is turned away.

    There is no loss that balances them: how even the load is, is the router's own doing.
    """

    def __init__(self, shape: ModelShape, ops: Ops) -> None:
        super().__init__()
        self.top_k, self.ops = shape.top_k, ops
        self.count = shape.experts
        self.router = Linear(shape.dim, shape.experts, TORCH)
        self.experts = Experts(shape, ops)
        self.exchange: Exchange | None = None
        """How rows reach experts of other ranks; None: all are here."""

    def forward(self, x: Tensor) -> Tensor:
        """[batch, seq, dim] → the same."""
        flat = x.flatten(0, 1)
        weights, chosen = self.ops.route(self.router(flat), self.top_k)
        order, place, offsets = sort_by_expert(chosen, self.count)
        rows = self.ops.dispatch(flat, order, place)
        if self.exchange is None:
            rows = self.experts(rows, offsets)
        else:
            rows = self.exchange(self.experts, rows, offsets.diff())
        return self.ops.combine(rows, place, weights).view_as(x)


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual."""

    def __init__(self, shape: ModelShape, ops: Ops) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(shape.dim, ops), RMSNorm(shape.dim, ops)
        self.attention = Attention(shape, ops)
        self.ffn = Mixture(shape, ops) if shape.experts else SwiGLU(shape, ops)
        self.again: Callable[..., Tensor] | None = None
        """Runs the block so that its backward pass computes (a part of) it again; None: not."""

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """[batch, seq, dim] → the same."""
        return self._layers(x, rope) if self.again is None else self.again(self._layers, x, rope)

    def _layers(self, x: Tensor, rope: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), rope)
        deep: Tensor = x + self.ffn(self.norm2(x))
        return deep


class Head(nn.Linear):
    """The last layer with its loss: mean cross-entropy in nats, fp32."""

    def __init__(self, shape: ModelShape, ops: Ops) -> None:
        super().__init__(shape.dim, shape.vocab, bias=False)
        self.ops = ops
        self.split: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
        """The loss where every rank has some classes; None: all have all."""

    def reset_parameters(self) -> None:
        """`Decoder.initialise` fills all weights."""

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """Of x [batch, seq, dim] and int64 [batch, seq]."""
        loss = self.ops.loss if self.split is None else self.split
        return loss(x, self.weight.to(x.dtype), labels)


class Embedding(nn.Embedding):
    """Rows of a table by token."""

    def reset_parameters(self) -> None:
        """`Decoder.initialise` fills all weights."""


class Decoder(nn.Module):
    """The model, or ``layers`` of it: the first part has the embedding, the last the head.

    Args:
        shape: Its extents.
        ops: How it computes.
        dtype: The format that it computes in.
        layers: Which of them are here; None: all.
        seed: Of the weights, which are filled at once unless the device is ``meta``.
    """

    rope: Tensor

    def __init__(
        self,
        shape: ModelShape,
        ops: Ops = TORCH,
        dtype: torch.dtype = torch.float32,
        layers: range | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self.layers = range(shape.layers) if layers is None else layers
        first, last = self.layers.start == 0, self.layers.stop == shape.layers
        self.embedding = Embedding(shape.vocab, shape.dim) if first else None
        self.blocks = nn.ModuleList(Block(shape, ops) for _ in self.layers)
        self.norm = RMSNorm(shape.dim, ops) if last else None
        self.head = Head(shape, ops) if last else None
        self.register_buffer("rope", rope_table(shape), persistent=False)
        if not self.rope.is_meta:
            self.initialise(seed)

    def initialise(self, seed: int) -> None:
        """Fill all weights, the same ones however they are spread; after `to_empty` as well."""
        self.rope = rope_table(self.shape).to(self.rope.device)
        for name, weight in self.named():
            if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
                nn.init.ones_(weight)
                continue
            # Residual branches start small, so that depth does not change the scale (GPT-2).
            branch = name.endswith(("attention.out.weight", "ffn.down.weight", "experts.down"))
            std = STD / math.sqrt(2 * self.shape.layers) if branch else STD
            fill(weight, zlib.crc32(f"{seed}/{name}".encode()), std)

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights by their names in the whole model."""
        for name, weight in self.named_parameters():
            head, _, rest = name.partition(".")
            if head == "blocks":
                number, _, rest = rest.partition(".")
                name = f"blocks.{self.layers[int(number)]}.{rest}"
            yield name, weight

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """What this part makes of what comes in.

        Args:
            x: The first part takes tokens, int64 [batch, seq]; the others what the part before
                gives.
            labels: int64 [batch, seq], for the last part; without, ``x`` has one token more, and
                each is predicted from those before.

        Returns:
            The mean loss in nats, fp32 (of shape [1], as pipelines want it, where ``labels`` are
            given); of parts but the last [batch, seq, dim].
        """
        alone = labels is None and self.head is not None
        if alone:
            x, labels = x[:, :-1], x[:, 1:]
        if self.embedding is not None:
            x = self.embedding(x).to(self.dtype)
        for block in self.blocks:
            x = block(x, self.rope)
        if self.norm is None or self.head is None:
            return x
        loss: Tensor = self.head(self.norm(x), labels=labels)
        return loss if alone else torch.stack([loss])


def local(weight: Tensor, *gradient: Partial) -> Tensor:
    """This rank's part of a weight; ``gradient`` says what its gradient is, if not such a part."""
    if not isinstance(weight, DTensor):
        return weight
    part: Tensor = weight.to_local(grad_placements=gradient or None)
    return part


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, *grads: Tensor):  # type: ignore[no-untyped-def]
        return grads[0] * ctx.factor, None


def _scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is multiplied."""
    return _ScaledGradient.apply(x, factor)  # type: ignore[no-untyped-call,no-any-return]


def rope_table(shape: ModelShape) -> Tensor:
    """fp32 [2, seq, head_dim / 2]: cosines and sines of position · base^(-2i / head_dim)."""
    half = shape.head_dim // 2
    rates = ROPE_BASE ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(shape.seq, dtype=torch.float32)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()])
