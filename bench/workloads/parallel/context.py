"""Context parallelism: ranks share a sequence, and gather its keys and values for attention.

Grattafiori et al. (Llama 3, 2024, §3.3.2) gather them too, rather than passing them round: grouped
keys and values are small beside what is computed. A rank has the parts r and 2·cp - 1 - r of 2·cp,
so that all have equally many pairs of a query and a key under the causal mask. PyTorch's own
`context_parallel` needs fused kernels that not every device has; this needs two collectives.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812  (PyTorch's own abbreviation)
from torch import Tensor

from ..ops import repeated
from .support import reduce_scatter

# PyTorch 2.13 renamed it.
_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class SharedAttention:
    """Causal attention of this rank's queries with all keys of the sequence."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._size, self._rank = dist.get_world_size(group), dist.get_rank(group)

    def places(self, seq: int) -> Tensor:
        """int64 [seq / cp]: the places in the sequence that this rank has, rising."""
        parts = torch.arange(seq).view(2 * self._size, -1)
        return torch.cat([parts[number] for number in self._parts])

    @property
    def _parts(self) -> tuple[int, int]:
        return self._rank, 2 * self._size - 1 - self._rank

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As `Ops.attention`, of q [batch, heads, seq / cp, head_dim] and k, v likewise."""
        k, v = (self._whole(one) for one in (k, v))
        length = q.shape[2] // 2
        made = []
        for number, part in zip(self._parts, q.chunk(2, dim=2), strict=True):
            begin, end = number * length, (number + 1) * length
            keys, values = repeated(k[:, :, :end], v[:, :, :end], q.shape[1])
            seen = torch.ones(length, end, dtype=torch.bool, device=q.device).tril(begin)
            made.append(F.scaled_dot_product_attention(part, keys, values, attn_mask=seen))
        return torch.cat(made, dim=2)

    def _whole(self, part: Tensor) -> Tensor:
        """[batch, heads, seq / cp, head_dim] of every rank, in the order of the sequence."""
        every = _Gathered.apply(part, self._group, self._size)  # type: ignore[no-untyped-call]
        early, late = every.chunk(2, dim=3)
        parts = (*early.unbind(0), *late.flip(0).unbind(0))
        return torch.cat(parts, dim=2)


class _Gathered(torch.autograd.Function):
    """Every rank's tensor, [ranks, ...]; the gradient of one's own is summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any, size: int) -> Tensor:
        ctx.group = group
        every = part.new_empty(size, *part.shape)
        _gather(every.flatten(0, 1), part.contiguous(), group=group)
        return every

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        every = grads[0].contiguous()
        mine = every.new_empty(every.shape[1:])
        reduce_scatter(mine, every.flatten(0, 1), group=ctx.group)
        return mine, None, None
