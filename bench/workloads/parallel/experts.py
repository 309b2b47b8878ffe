"""Expert parallelism: ranks share a layer's experts, and tokens travel (Lepikhin et al., 2021).

Rows go to the ranks that have their experts in one exchange of unequal parts, and back in another.
How many go where, the host has to know: it waits for the router once a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard, distribute_tensor

from ..model import Decoder, Experts, Mixture


def spread(part: Decoder, mesh: DeviceMesh) -> list[Experts]:
    """Give every rank of a mesh its share of each layer's experts, before they have memory."""
    found = [module for module in part.modules() if isinstance(module, Mixture)]
    for mixture in found:
        experts = mixture.experts
        for name, weight in list(experts.named_parameters()):
            setattr(experts, name, nn.Parameter(distribute_tensor(weight, mesh, [Shard(0)])))
        # Losses are means over a rank's own tokens; experts see those of all ranks of the mesh.
        experts.share = 1.0 / mesh.size()
        mixture.exchange = _Travel(mesh.get_group())
    return [mixture.experts for mixture in found]


class _Travel:
    """Rows to their experts and back, among the ranks of a group."""

    def __init__(self, group: Any) -> None:
        self._group, self._size = group, dist.get_world_size(group)

    def __call__(self, experts: Experts, rows: Tensor, counts: Tensor) -> Tensor:
        """Rows [rows, dim], of which ``counts[e]`` in a row are for expert e: what those make."""
        out = counts.to(torch.int64)
        into = torch.empty_like(out)
        dist.all_to_all_single(into, out, group=self._group)
        theirs = into.view(self._size, -1)  # by sender and expert here
        sent, got = torch.stack([out.view(self._size, -1).sum(1), theirs.sum(1)]).tolist()
        arrived = _exchanged(rows, got, sent, self._group)
        # By sender and then by expert, they are to be by expert.
        here = torch.arange(theirs.shape[1], device=rows.device).repeat(self._size)
        order = here.repeat_interleave(into, output_size=sum(got)).argsort(stable=True)
        offsets = nn.functional.pad(theirs.sum(0).cumsum(0), (1, 0)).to(torch.int32)
        made = experts(arrived.index_select(0, order), offsets)
        return _exchanged(made.index_select(0, order.argsort()), sent, got, self._group)


class _AllToAll(torch.autograd.Function):
    """An exchange of unequal parts; its gradient is the exchange the other way."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, got: Sequence[int], sent: Sequence[int], group: Any
    ) -> Tensor:
        ctx.back = sent, got, group
        out = rows.new_empty(sum(got), *rows.shape[1:])
        dist.all_to_all_single(out, rows.contiguous(), list(got), list(sent), group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        sent, got, group = ctx.back
        return _exchanged(grads[0], sent, got, group), None, None, None


def _exchanged(rows: Tensor, got: Sequence[int], sent: Sequence[int], group: Any) -> Tensor:
    """Rows from the others: ``got[r]`` from rank r, for ``sent[r]`` of one's own."""
    return _AllToAll.apply(rows, got, sent, group)  # type: ignore[no-untyped-call,no-any-return]
