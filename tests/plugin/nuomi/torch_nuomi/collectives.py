"""``nuccl``, Nuomi's collective library: gloo on the devices' memory."""

from __future__ import annotations

import torch
import torch.distributed as dist

CALLS = (
    *("allreduce", "allreduce_coalesced", "broadcast", "reduce", "allgather", "gather", "scatter"),
    *("reduce_scatter", "alltoall", "send", "recv", "recv_anysource", "barrier"),
    # Torch 2.13 renamed these three, and calls a group by the new names; earlier ones by the old.
    *("_allgather_base", "_reduce_scatter_base", "alltoall_base"),
)
RENAMED = {
    "all_gather_single": "_allgather_base",
    "reduce_scatter_single": "_reduce_scatter_base",
    "all_to_all_single": "alltoall_base",
}


def host(value):
    """Tensors, however nested, as the host sees them when their stream is done."""
    if isinstance(value, torch.Tensor):
        return torch.ops.nuomi.host(value)
    return [host(one) for one in value] if isinstance(value, (list, tuple)) else value


class Nuccl(dist.ProcessGroup):
    """A process group whose data lies on devices."""

    def __init__(self, store, rank, size, timeout):
        super().__init__(rank, size)
        self.gloo = dist.ProcessGroupGloo(store, rank, size, timeout)

    def getBackendName(self):
        return "nuccl"


def _through_gloo(name):
    def call(self, *values, **more):
        names = (name, RENAMED.get(name))
        through = next(getattr(self.gloo, one) for one in names if one and hasattr(self.gloo, one))
        return through(*map(host, values), **more)

    return call


for _name in (*CALLS, *RENAMED):
    setattr(Nuccl, _name, _through_gloo(_name))

dist.Backend.register_backend("nuccl", Nuccl, devices=["nuomi"])
