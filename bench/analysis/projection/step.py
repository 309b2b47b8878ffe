"""Seconds of a training step: microbatches through stages, gradients, optimizer, waiting.

A pipeline goes at the pace of its slowest stage. With m microbatches, f + b the seconds of one
forward and backward, and v parts of a stage,

    pipeline = m · max(f + b) + (Σ over other stages of f + b) / v

(Narayanan et al., 2021, §2.2, for stages that differ). Gradients are reduced, and weights
gathered, beside the last backward and the first forward pass where software does so; the optimizer
passes over its state once. Everyone waits for the slowest: that grows with the logarithm of their
number, as the largest of many normal delays does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .layer import Layers, Times
from .plan import Plan, stages
from .rates import Rates
from .software import Software
from .workload import Decoder


@dataclass(frozen=True)
class Step:
    """Seconds of a step, and what they are spent on; the parts add up to ``seconds``.

    ``compute`` of the slowest stage's rank; ``tensor``: communication inside of layers that
    nothing hides; ``bubble``: waiting for other stages; ``stages``: sending between them;
    ``gradients``: reducing and gathering; ``optimizer``; ``circuits``: optical ones that change
    their pattern; ``host``: nothing to do; ``waiting``: for stragglers.
    """

    compute: float
    tensor: float
    bubble: float
    stages: float
    gradients: float
    optimizer: float
    circuits: float
    host: float
    waiting: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return float(sum(vars(self).values()))


Known = dict[tuple[object, ...], tuple[Times, Times, Times]]
"""Seconds of a layer, the embedding and the head that were worked out already."""


def step(
    model: Decoder, plan: Plan, rates: Rates, software: Software, known: Known | None = None
) -> Step:
    """What a step takes. The plan is one that `Plan.check` lets pass.

    ``known`` is for many plans of one model on one machine: what they have in common is worked out
    once.
    """
    layers = Layers(model, plan, rates, software)
    several = plan.microbatches > 1
    key = (plan.tp, plan.cp, plan.ep, plan.micro, plan.recompute, plan.sequence, several)
    if known is None or (found := known.get(key)) is None:
        found = layers.layer(), layers.embedding(), layers.head()
        if known is not None:
            known[key] = found
    one, embedding, head = found
    first, middle, last = stages(model.shape.layers, plan)
    m, v = plan.microbatches, plan.virtual
    if plan.pp == 1:
        kinds = [one * first + embedding + head]
        others = 0.0
    else:
        kinds = [one * first + embedding, one * last + head]
        others = kinds[0].total + kinds[1].total
        if plan.pp > 2:
            kinds.append(one * middle)
            others += (plan.pp - 2) * kinds[2].total
    slowest = max(kinds, key=lambda times: times.total)
    others -= slowest.total if plan.pp > 1 else 0.0
    message, exposed = _between(layers, slowest)
    bubble = others / v + 2 * (plan.pp - 1) * message if plan.pp > 1 else 0.0
    gradients = _gradients(layers, slowest)
    optimizer = _optimizer(layers)
    sent = m * exposed
    circuits, host = _circuits(layers), rates.efficiency.host
    together = m * slowest.total + bubble + sent + gradients + optimizer + circuits + host
    return Step(
        compute=m * (slowest.forward + slowest.backward),
        tensor=m * slowest.exposed,
        bubble=bubble,
        stages=sent,
        gradients=gradients,
        optimizer=optimizer,
        circuits=circuits,
        host=host,
        waiting=together * rates.efficiency.jitter * math.log2(plan.chips),
    )


def _between(layers: Layers, slowest: Times) -> tuple[float, float]:
    """Seconds of one message between stages, and of a microbatch's that nothing hides.

    Each part of a stage gets and gives one forward and one backward, both ways at a time. Ranks
    that share matrices send a part each, and gather it where they do not share the sequence.
    """
    plan, software, machine = layers.plan, layers.software, layers.rates.machine
    if plan.pp == 1:
        return 0.0, 0.0
    size = layers.wide * layers.tokens * layers.shape.dim
    message = machine.seconds("send_recv", size / plan.tp, 2, plan.chips // plan.pp)
    if not plan.sequence:
        message += machine.seconds("all_gather", size, plan.tp)
    both = 2 * plan.virtual * message
    if software.stage_overlap and plan.virtual > 1:
        beside = slowest.forward + slowest.backward
        return message, both - layers.rates.efficiency.overlap * min(both, beside)
    return message, both


def weights(model: Decoder, plan: Plan) -> tuple[float, float]:
    """Weights of the fullest rank: those that all dp · cp ranks share, and those of experts."""
    first, middle, last = stages(model.shape.layers, plan)
    table, tp = model.table, plan.tp
    dense = model.dense / tp
    if plan.pp == 1:
        shared = first * dense + table * (1 if model.tied else 2) / tp
    else:
        shared = max(first * dense + table / tp, middle * dense, last * dense + table / tp)
    experts = max(first, middle, last) * model.shape.experts * model.expert / plan.ep
    return shared, experts


def _gradients(layers: Layers, slowest: Times) -> float:
    """What reducing gradients and gathering weights adds to a step.

    Gradients are reduced beside the last backward pass, weights of an optimizer that is shared
    gathered beside the first forward pass. Where weights are shared too, each microbatch gathers
    them twice. What computes hides at most as much as it takes, whoever else hides behind it.
    """
    plan, software, rates = layers.plan, layers.software, layers.rates
    reduce = gather = 0.0
    shared, experts = weights(layers.model, plan)
    spread = max(1, plan.shards * plan.tp // plan.ep)
    groups = ((shared, plan.shards, plan.tp), (experts, spread, plan.ep))
    for count, ranks, stride in groups:
        grads, parts = software.gradient_width * count, layers.wide * count
        if plan.sharding == "none":
            reduce += rates.machine.seconds("all_reduce", grads, ranks, stride)
        else:
            reduce += rates.machine.seconds("reduce_scatter", grads, ranks, stride)
            gather += rates.machine.seconds("all_gather", parts, ranks, stride)
    m, hidden = plan.microbatches, rates.efficiency.overlap
    forward, backward = slowest.forward, slowest.backward
    if plan.sharding == "full":
        both = forward + backward
        beside = (m - 1) * min(2 * gather, both) + min(2 * gather + min(reduce, backward), both)
        return 2 * m * gather + reduce - hidden * beside
    if software.gradient_overlap:
        return reduce + gather - hidden * (min(reduce, backward) + min(gather, forward))
    return reduce + gather


def _optimizer(layers: Layers) -> float:
    plan = layers.plan
    shared, experts = weights(layers.model, plan)
    if plan.sharding != "none":
        shared /= plan.shards
        experts /= max(1, plan.shards * plan.tp // plan.ep)
    return layers.rates.streams(layers.software.optimizer_bytes * (shared + experts))


def _circuits(layers: Layers) -> float:
    """Circuits of a level take the pattern of one kind of group at a time: where several kinds
    cross it, they change to each in every step (Wang et al., TopoOpt, 2023, §2)."""
    plan, machine = layers.plan, layers.rates.machine
    groups = [
        (plan.tp, 1),
        (plan.cp, plan.tp),
        (plan.dp, plan.tp * plan.cp),
        (plan.pp, plan.chips // plan.pp),
        (plan.ep, 1),
    ]
    found = 0.0
    for index, level in enumerate(machine.levels):
        if level.reconfiguration and index:
            kinds = sum(machine.crossed(ranks, stride) >= index for ranks, stride in groups)
            found += kinds * level.reconfiguration if kinds > 1 else 0.0
    return found
