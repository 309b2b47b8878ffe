"""What a layout asks of PyTorch and of the collective library, tried before a model is built.

PyTorch asks for the mean of gradients where weights are shared. A library that has none may say so,
or take the sum and say nothing: that of host memory does in PyTorch 2.7 and 2.8, and what is
trained then is another model. PyTorch 2.7 waits for the last of a pipeline's messages alone, which
is enough where the library joins them; where it does not, a step never ends.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import schedules

from ..lacking import lacks
from .meshes import Meshes


def reduce_scatter(part: torch.Tensor, *given: Any, **settings: Any) -> Any:
    """PyTorch's, which 2.13 renamed: the old name warns on every call."""
    call = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    return call(part, *given, **settings)


def must_sum(meshes: Meshes, device: torch.device) -> bool:
    """Whether gradients of shared weights must be summed and divided, since no mean is taken.

    All ranks of the meshes ask at the same time.

    Args:
        meshes: Those of a layout.
        device: Where this rank's gradients lie.

    Raises:
        NotImplementedError: they must, and this PyTorch cannot.
    """
    shared = [mesh for mesh in (meshes.weights, meshes.expert_weights) if mesh is not None]
    averaged = [_averages(mesh, device) for mesh in shared]  # of each, for all ranks take part
    if all(averaged):
        return False
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise NotImplementedError(
            "gradients of shared weights are averaged, which the collective library does not do "
            "here; it can be let sum from PyTorch 2.8 on"
        )
    return True


def check_pipeline(group: dist.ProcessGroup, device: torch.device) -> None:
    """Raise `NotImplementedError` where messages between stages would be lost."""
    if hasattr(schedules, "_wait_batch_p2p"):
        return
    if not group._get_backend(device).supports_coalescing:
        raise NotImplementedError(
            "the collective library does not join a pipeline's messages, and this PyTorch waits "
            "for the last of them alone; from 2.8 on it waits for all"
        )


def _averages(mesh: DeviceMesh, device: torch.device) -> bool:
    """Whether a mean is one, over the last dimension, of shards, and over one of copies before."""
    *copies, shards = mesh.get_all_groups()
    try:
        found = [_all_reduced(group, device) for group in copies]
        found.append(_scattered(shards, device))
    except RuntimeError as error:
        if not lacks(error):  # a lost peer is a fault
            raise
        return False
    return all(found)


def _all_reduced(group: dist.ProcessGroup, device: torch.device) -> bool:
    mine = torch.full((1,), float(dist.get_rank(group)), device=device)
    dist.all_reduce(mine, dist.ReduceOp.AVG, group=group)
    return _is_mean(mine, group)


def _scattered(group: dist.ProcessGroup, device: torch.device) -> bool:
    mine = torch.full((dist.get_world_size(group),), float(dist.get_rank(group)), device=device)
    part = torch.empty(1, device=device)
    reduce_scatter(part, mine, dist.ReduceOp.AVG, group=group)
    return _is_mean(part, group)


def _is_mean(found: torch.Tensor, group: dist.ProcessGroup) -> bool:
    """Whether it is that of the numbers of the group's ranks."""
    return float(found) == (dist.get_world_size(group) - 1) / 2
