"""Bytes of a training step on the fullest rank.

What lives from step to step follows Rajbhandari et al. (ZeRO, 2020, §3): weights in the format in
which the model computes, their gradients, and 12 bytes of optimizer a weight (fp32 weight and two
moments). Activations are what each operation keeps for its backward pass (Korthikanti et al.,
2022, §4), of as many microbatches as are under way. For the layouts that this project's own trainer
has, `harness` asks the account of that trainer instead (`bench.kernels.model_memory`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...kernels.layout import Layout
from ...kernels.model_memory import estimate
from .plan import Plan, stages
from .software import Software
from .step import weights
from .workload import Decoder

OPTIMIZER = 12
"""Bytes of a weight's fp32 copy and two moments."""
USABLE = 0.94
"""Of a chip's memory: the rest is the runtime's, the libraries', and what does not fit together."""


@dataclass(frozen=True)
class Memory:
    """Bytes: ``state`` (weights, gradients, optimizer), activations, logits and buffers."""

    state: float
    activations: float
    logits: float = 0.0
    buffers: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return self.state + self.activations + self.logits + self.buffers


def memory(model: Decoder, plan: Plan, software: Software, *, wide: int = 2) -> Memory:
    """Of the fullest rank: the first of a pipeline, which has most microbatches under way, or the
    last, which has the logits.

    Args:
        model, plan, software: What is trained, spread and by what.
        wide: Bytes of an element of weights and activations as they are computed with.
    """
    shape = model.shape
    first, _, last = stages(shape.layers, plan)
    shared, experts = weights(model, plan)
    spread = max(1, plan.shards * plan.tp // plan.ep)
    state = shared * _each(plan, software, wide, plan.shards)
    state += experts * _each(plan, software, wide, spread)
    tokens = plan.micro * shape.seq / plan.cp
    one = kept_of_layer(model, plan, software, wide)
    # One layer at a time is there as a whole.
    whole = kept_of_layer(model, plan, software, wide, "none") if plan.recompute == "full" else 0.0
    logits = (wide + 4) * tokens * shape.vocab / plan.tp
    kept, ending = one * first * underway(plan) + whole, one * last * underway(plan, last=True)
    if plan.pp > 1 and ending + whole + logits > kept:
        kept = ending + whole
    elif plan.pp > 1:
        logits = 0.0
    buffers = 0.0
    if plan.sharding == "full":
        layer = model.dense / plan.tp + shape.experts * model.expert / plan.ep
        buffers = 2 * wide * layer
    return Memory(state, kept, logits, buffers)


def _each(plan: Plan, software: Software, wide: int, ranks: int) -> float:
    """Bytes of state for one weight."""
    # The width that is kept; what is sent may be narrower.
    gradient = max(software.gradient_width, wide)
    if plan.sharding == "full":
        return (wide + gradient + OPTIMIZER) / ranks
    return wide + gradient + OPTIMIZER / (ranks if plan.sharding == "optimizer" else 1)


def underway(plan: Plan, *, last: bool = False) -> float:
    """Microbatches whose activations the first rank of a pipeline keeps, of all its layers.

    pp of one forward and one backward in turn; of v virtual stages pp + (pp - 1)/v (Korthikanti et
    al., 2022, §4.2.3). The ``last`` keeps one, and those that wait for its other stages.
    """
    if plan.pp == 1:
        return 1.0
    if last:
        return min(plan.microbatches, 1 + plan.pp * (plan.virtual - 1) / plan.virtual)
    more = (plan.pp - 1) / plan.virtual if plan.virtual > 1 else 0.0
    return min(plan.microbatches, plan.pp + more)


def kept_of_layer(
    model: Decoder, plan: Plan, software: Software, wide: int = 2, recompute: str = ""
) -> float:
    """Bytes of one layer that a microbatch's forward pass keeps.

    ``recompute`` is the plan's unless it says otherwise.
    """
    shape, again = model.shape, recompute or plan.recompute
    tokens = plan.micro * shape.seq / plan.cp
    some = tokens / (plan.tp if plan.sequence else 1)
    if again == "full":
        return wide * shape.dim * some
    queries = shape.heads * shape.head_dim / plan.tp
    kv = max(shape.kv_heads / plan.tp, 1) * shape.head_dim
    cheap = again == "selective" and software.flash  # norms and activations are computed again
    # Two norms: what goes in and comes out; two masks of what was dropped.
    around = shape.dim * some * ((2 if cheap else 4) * wide + 2 * software.dropout)
    mixed = wide * tokens * (2 * queries + 2 * kv)
    if software.flash:
        mixed += 4 * tokens * shape.heads / plan.tp
    elif again == "none":
        # Softmax, its mask, and what is left of it.
        mixed += (2 * wide + 1) * tokens * shape.seq * shape.heads / plan.tp
    inner = (model.matrices - cheap) * shape.ffn
    if shape.experts:
        fed = wide * some * shape.top_k * (inner + 2 * shape.dim)
    else:
        fed = wide * tokens * inner / plan.tp
    return around + mixed + fed


def harness(model: Decoder, plan: Plan, dtype: str) -> Memory:
    """Of this project's own trainer, which has the same layouts with up to two virtual stages.

    Raises:
        ValueError: a layout that it has not.
    """
    if plan.virtual > 2 or plan.sharding == "optimizer" or not model.gated:
        raise ValueError("this layout is not one of the project's own trainer")
    layout = Layout(
        dp="fsdp" if plan.sharding == "full" else "ddp",
        tp=plan.tp,
        cp=plan.cp,
        pp=plan.pp,
        schedule="interleaved" if plan.virtual == 2 else "1f1b",
        microbatches=plan.microbatches,
        ep=plan.ep,
    )
    batch = plan.batch // plan.dp
    layout.check(model.shape, batch)  # plans may be uneven, or split a mixture's attention
    found = estimate(
        model.shape,
        layout.over(plan.chips),
        batch=batch,
        dtype=dtype,
        again=plan.recompute,
    )
    return Memory(
        found.weights + found.moments + found.gradients,
        found.activations,
        found.logits,
        found.buffers,
    )
