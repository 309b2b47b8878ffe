"""Tensor parallelism with split sequences (Shoeybi et al., 2019; Korthikanti et al., 2022).

Of every pair of matrices the first is split by its outputs, the second by its inputs; between
pairs, where norms and residuals are, each rank has a part of the sequence. Embedding and head are
split by tokens of the vocabulary, and the loss is computed where its classes are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F  # noqa: N812  (PyTorch's own abbreviation)
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import (
    DTensor,
    Replicate,
    Shard,
    distribute_module,
    distribute_tensor,
)
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)

from ..model import Decoder, Head


def split(part: Decoder, mesh: DeviceMesh) -> None:
    """Split the matrices of a part of a model over the ranks of a mesh, before it has memory."""
    whole, sequence = Replicate(), Shard(1)
    plan: dict[str, ParallelStyle] = {
        "embedding": RowwiseParallel(input_layouts=whole, output_layouts=sequence),
        "norm": _OnSequence(),
        "head": _ByClass(),
        "blocks.*.norm1": _OnSequence(),
        "blocks.*.norm2": _OnSequence(),
        "blocks.*.attention": PrepareModuleInput(
            input_layouts=(sequence, None), desired_input_layouts=(whole, None)
        ),
        "blocks.*.ffn": PrepareModuleInput(
            input_layouts=(sequence,), desired_input_layouts=(whole,)
        ),
    }
    for name in ("attention.q", "attention.k", "attention.v", "ffn.gate", "ffn.up"):
        plan[f"blocks.*.{name}"] = ColwiseParallel()
    for name in ("attention.out", "ffn.down"):
        plan[f"blocks.*.{name}"] = RowwiseParallel(output_layouts=sequence)
    here = {name.partition(".")[0] for name, _ in part.named_modules()}
    parallelize_module(
        part, mesh, {name: style for name, style in plan.items() if name.partition(".")[0] in here}
    )


class _OnSequence(ParallelStyle):
    """Weights that every rank has, for its part of the sequence."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        return distribute_module(module, device_mesh)


class _ByClass(ParallelStyle):
    """The head, of which every rank has some classes."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        assert isinstance(module, Head)
        spread = distribute_tensor(module.weight, device_mesh, [Shard(0)])
        module.weight = nn.Parameter(spread)
        module.split = _loss_over(device_mesh)
        return module


def _loss_over(mesh: DeviceMesh) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The mean cross-entropy of what is split by classes, inside PyTorch's `loss_parallel`."""

    def loss(x: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        parts = DTensor.from_local(x, mesh, [Shard(1)], run_check=False)
        logits = F.linear(parts.redistribute(placements=[Replicate()]), weight)
        mean = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        assert isinstance(mean, DTensor)
        whole: Tensor = mean.to_local()
        return whole

    return loss
