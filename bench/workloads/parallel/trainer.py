"""A decoder, its optimizer and a step of training, spread over ranks."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Variable
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
)
from torch.distributed.tensor import Shard
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn.parallel import DistributedDataParallel

from ...kernels.layout import Spread
from ...kernels.model_costs import ModelShape
from ..model import Block, Decoder, Experts
from ..ops import TORCH, Ops
from ..optimizer import AdamW, rate
from ..phases import nothing
from . import experts, tensor
from .again import recompute
from .context import SharedAttention
from .meshes import Meshes
from .support import check_pipeline, must_sum

_SCHEDULES: dict[str, Any] = {
    "gpipe": ScheduleGPipe,
    "1f1b": Schedule1F1B,
    "interleaved": ScheduleInterleaved1F1B,
}


class _Stage(PipelineStage):
    """A stage that says when it works; all else of a step it waits for the others."""

    to: Callable[[str], None] = staticmethod(nothing)

    def forward_one_chunk(self, *args: Any, **settings: Any) -> Any:
        """One microbatch forward."""
        self.to("forward")
        try:
            return super().forward_one_chunk(*args, **settings)
        finally:
            self.to("bubble")

    def backward_one_chunk(self, *args: Any, **settings: Any) -> Any:
        """One microbatch backward."""
        self.to("backward")
        try:
            return super().backward_one_chunk(*args, **settings)
        finally:
            self.to("bubble")


class Trainer:
    """This rank's part of a model, with weights that are the same however they are spread.

    Made by all ranks of the process's default group at the same time, and closed by all. Raises
    `NotImplementedError` on all of them where the layout asks for what this stack has not.

    Args:
        shape: The model.
        spread: Its layout over the ranks.
        rank: This one.
        device: Where its part lies.
        batch: Sequences that a data-parallel rank sees in a step.
        ops: How it computes.
        dtype: The format that it computes in; weights, moments and sums of gradients are fp32.
        again: What the backward pass computes again: ``none``, ``selective`` or ``full``.
        seed: Of the weights.
    """

    def __init__(
        self,
        shape: ModelShape,
        spread: Spread,
        rank: int,
        device: torch.device,
        *,
        batch: int,
        ops: Ops = TORCH,
        dtype: torch.dtype = torch.float32,
        again: str = "none",
        seed: int = 0,
    ) -> None:
        layout = spread.layout
        self.layout, self.device = layout, device
        self._shape, self._dtype, self._again, self._seed = shape, dtype, again, seed
        self._meshes = Meshes(spread, device.type)
        try:
            self._sum = must_sum(self._meshes, device)
            if self._meshes.pipeline is not None:
                check_pipeline(self._meshes.pipeline, device)
        except NotImplementedError:
            self._meshes.close()
            raise
        self._places: Tensor | None = None
        if self._meshes.context is not None:
            shared = SharedAttention(self._meshes.context)
            self._places = shared.places(shape.seq)
            ops = replace(ops, attention=shared)
        self._ops = ops
        self._stage = rank * layout.pp // spread.ranks
        mine = range(self._stage, layout.stages, layout.pp)
        count = shape.layers // layout.stages
        self.parts = [self._part(range(n * count, (n + 1) * count)) for n in mine]
        """The parts of the model that are here, one for each stage."""
        self.net: nn.Module = self.parts[0]
        """What is called: the first part, and around it what averages gradients, if that is it."""
        if layout.plain and spread.ranks > 1:
            self.net = data_parallel(self.parts[0], device)
        self.optimizer = AdamW(
            [weight for part in self.parts for weight in part.parameters()],
            ops.adamw,
            lr=rate(shape.dim),
        )
        self._schedule: Any = self._pipeline(list(mine), batch) if layout.pp > 1 else None

    def _part(self, layers: range) -> Decoder:
        meshes = self._meshes
        with torch.device("meta"):
            part = Decoder(self._shape, self._ops, self._dtype, layers)
        if meshes.tensor is not None:
            tensor.split(part, meshes.tensor)
        apart = experts.spread(part, meshes.experts) if meshes.experts is not None else []
        for block in part.blocks:
            assert isinstance(block, Block)
            block.again = recompute(self._again)
            if self._ops.compiled:
                block.compile()
        if meshes.weights is not None:
            self._share(part, apart)
        part.to_empty(device=self.device)
        part.initialise(self._seed)
        if self._places is not None:
            part.rope = part.rope[:, self._places.to(self.device)].contiguous()
        return part

    def _share(self, part: Decoder, apart: list[Experts]) -> None:
        """Let ranks share the weights of each block, and of what is around the blocks."""
        low = None if self._dtype == torch.float32 else self._dtype
        policy = MixedPrecisionPolicy(
            param_dtype=low,
            reduce_dtype=torch.float32 if low is not None else None,
            cast_forward_inputs=False,  # the model casts, and not the angles
        )
        # Between microbatches that are under way side by side, weights stay.
        settings: dict[str, Any] = {
            "mp_policy": policy,
            "reshard_after_forward": self.layout.pp == 1,
        }
        for one in apart:
            mesh = self._meshes.expert_weights
            assert mesh is not None
            some = self._shape.experts // self.layout.ep
            where = Shard(0 if some % mesh.size(mesh.ndim - 1) == 0 else 1)
            fully_shard(one, mesh=mesh, shard_placement_fn=partial(_placed, where), **settings)
        for block in part.blocks:
            fully_shard(block, mesh=self._meshes.weights, **settings)
        fully_shard(part, mesh=self._meshes.weights, **settings)
        if self._sum:
            for module in (*apart, *part.blocks, part):
                module.set_force_sum_reduction_for_comms(True)

    def _pipeline(self, numbers: list[int], batch: int) -> Any:
        layout, shape = self.layout, self._shape
        rows, seq = batch // layout.microbatches, shape.seq // layout.cp
        tokens = torch.empty(rows, seq, dtype=torch.int64, device="meta")
        hidden = torch.empty(
            rows, seq // layout.tp, shape.dim, dtype=self._dtype, device="meta", requires_grad=True
        )
        loss = torch.empty(1, device="meta", requires_grad=True)
        self._stages = [
            _Stage(
                part,
                number,
                layout.stages,
                self.device,
                input_args=hidden if part.embedding is None else tokens,
                output_args=hidden if part.head is None else loss,
                group=self._meshes.pipeline,
            )
            for number, part in zip(numbers, self.parts, strict=True)
        ]
        return _SCHEDULES[layout.schedule](
            self._stages if layout.schedule == "interleaved" else self._stages[0],
            layout.microbatches,
            loss_fn=lambda loss, labels: loss.mean(),
        )

    def gradients(self, tokens: Tensor, to: Callable[[str], None] = nothing) -> Tensor | None:
        """Forward and backward pass of a batch, in microbatches; gradients are averaged.

        Args:
            tokens: int64 [batch, seq + 1], this data-parallel rank's.
            to: Called where a phase begins, with its name: ``forward``, ``backward``; ``wait`` for
                the others' gradients, behind all that is one's own, where ranks exchange nothing
                else; ``bubble`` where a stage of a pipeline waits for another.

        Returns:
            The mean loss of this rank's tokens, fp32; None on stages of a pipeline but the last.
        """
        inputs, labels = tokens[:, :-1], tokens[:, 1:]
        if self._places is not None:
            inputs, labels = (one[:, self._places.to(one.device)] for one in (inputs, labels))
        with loss_parallel() if self.layout.tp > 1 else contextlib.nullcontext():
            if self._schedule is not None:
                return self._through_stages(inputs, labels, to)
            return self._one_after_the_other(inputs, labels, to)

    def _one_after_the_other(
        self, inputs: Tensor, labels: Tensor, to: Callable[[str], None]
    ) -> Tensor:
        count = self.layout.microbatches
        parts = [(inputs, labels)]
        if count > 1:
            parts = list(zip(inputs.chunk(count), labels.chunk(count), strict=True))
        losses = []
        for number, (some, wanted) in enumerate(parts, start=1):
            last = number == count
            to("forward")
            with self._meeting(last):
                loss = self.net(some, wanted).squeeze(0)
                if count > 1:
                    loss = loss / count
                if last and isinstance(self.net, DistributedDataParallel):
                    loss.register_hook(partial(_when_done, partial(to, "wait")))
                to("backward")
                loss.backward()
            losses.append(loss.detach())
        return losses[0] if count == 1 else torch.stack(losses).sum()

    def _meeting(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Ranks exchange gradients behind the last microbatch only."""
        if isinstance(self.net, DistributedDataParallel):
            return contextlib.nullcontext() if last else self.net.no_sync()
        if isinstance(self.net, FSDPModule):
            self.net.set_requires_gradient_sync(last)
        return contextlib.nullcontext()

    def _through_stages(
        self, inputs: Tensor, labels: Tensor, to: Callable[[str], None]
    ) -> Tensor | None:
        first, last = self._stage == 0, self._stage == self.layout.pp - 1
        losses: list[Tensor] = []
        to("bubble")
        for stage in self._stages:
            stage.to = to
        self._schedule.step(
            *([inputs.contiguous()] if first else []),
            target=labels.contiguous() if last else None,
            losses=losses if last else None,
            **({"labels": labels.contiguous()} if last else {}),
        )
        return torch.stack(losses).detach().mean() if last else None

    def close(self) -> None:
        """Free the weights and the groups. All ranks of the group call it."""
        meshes = self._meshes
        self.__dict__.clear()
        meshes.close()


def _when_done(call: Callable[[], None], gradient: Tensor) -> None:
    """Call when this rank's own backward pass is done.

    Autograd calls back when it has done all work, in the order in which that was asked for: before
    DDP, which asks with the last gradients and then waits for those of the others.
    """
    Variable._execution_engine.queue_callback(call)


def _placed(where: Shard, weight: nn.Parameter) -> Shard:
    return where


def data_parallel(part: Decoder, device: torch.device) -> nn.Module:
    """The same weights on all ranks of the default group, gradients averaged behind the pass."""
    # The one buffer is a constant table: nothing to send with every step. Torch 2.13 renamed the
    # option.
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers"
    quiet: dict[str, Any] = {name if name in known else "broadcast_buffers": False}
    ids = None if device.type == "cpu" else [device]
    return DistributedDataParallel(part, device_ids=ids, process_group=dist.group.WORLD, **quiet)
