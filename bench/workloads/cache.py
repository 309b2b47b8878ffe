"""Keys and values of tokens that a model has seen, so that it computes those of new ones only."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.model_costs import ModelShape
from .ops import Attend, Ops


class Cache:
    """Keys and values of all layers of a model, of sequences that are equally long.

    Every sequence has its memory in one piece, or in pages that lie anywhere (Kwon et al.,
    PagedAttention, 2023); here they are shuffled, as after hours of serving. The layout is
    [pages, page, kv_heads, head_dim]; in one piece a sequence is a page.

    Args:
        shape: The model.
        ops: How it attends: to a prompt as in training, to what is here by ``decode`` or ``paged``.
        batch: Sequences.
        capacity: Tokens of each, at most.
        page: Tokens of a page; the last of a sequence may have room to spare. 0: in one piece.
        dtype: Of keys and values.
        device: Where they lie.
        seed: Of the pages' order.
    """

    length: int = 0
    """Tokens of every sequence that are here, in all layers."""
    _layer: int = 0
    """Whose turn it is."""

    def __init__(
        self,
        shape: ModelShape,
        ops: Ops,
        batch: int,
        capacity: int,
        *,
        page: int,
        dtype: torch.dtype,
        device: torch.device,
        seed: int = 0,
    ) -> None:
        self.ops, self.capacity, self.paged = ops, capacity, page > 0
        page = page or capacity
        each = -(-capacity // page)
        order = torch.arange(batch * each, dtype=torch.int32)
        if self.paged:
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))]
        self.table = order.view(batch, each).to(device)
        """int32 [batch, pages of a sequence]: where they are."""
        places = torch.arange(capacity, device=device)
        self._rows = self.table.long()[:, places // page] * page + places % page
        room = (2, batch * each, page, shape.kv_heads, shape.head_dim)
        self._pairs = [
            torch.empty(room, dtype=dtype, device=device).unbind() for _ in range(shape.layers)
        ]
        self.attend: Attend = self._attend
        """Attention of a layer: keeps keys and values of new tokens, and attends to all.

        Layers come in their order. Of a prompt into an empty cache, or of one token more: anything
        else raises ValueError, as do more tokens than there is room for.
        """
        if ops.compiled:
            # Traced, it would be compiled again for every layer and length.
            self.attend = torch.compiler.disable(self._attend)  # type: ignore[no-untyped-call]

    def clear(self) -> None:
        """Forget all tokens."""
        self.length = self._layer = 0

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        new, end = q.shape[2], self.length + q.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens: the cache has room for {self.capacity}")
        if new > 1 and self.length:
            raise ValueError(
                f"{new} tokens at once: the cache must be empty, and has {self.length}"
            )
        rows = self._rows[:, self.length : end].flatten()
        keys, values = self._pairs[self._layer]
        for pool, made in ((keys, k), (values, v)):
            pool.flatten(0, 1).index_copy_(0, rows, made.transpose(1, 2).flatten(0, 1))
        self._layer = (self._layer + 1) % len(self._pairs)
        if self._layer == 0:
            self.length = end
        if new > 1:
            return self.ops.attention(q, k, v)
        if self.paged:
            return self.ops.paged(q, keys, values, self.table, end)
        return self.ops.decode(q, *(one[:, :end].transpose(1, 2) for one in (keys, values)))
