"""From a step to a training: tokens a day, days, energy, and what failures cost."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs import Operation
from ..checkpointing import daly, expected_goodput
from .machine import Machine
from .memory import OPTIMIZER
from .plan import Plan
from .step import Step
from .workload import Decoder

DAY = 86400.0
TOKENS_A_WEIGHT = 20
"""Of a budget that nobody gave: what trains a model of its size best (Hoffmann et al., Training
Compute-Optimal Large Language Models, 2022, §3)."""


@dataclass(frozen=True)
class Training:
    """A whole training. Times in seconds, energy in J; None where something is unknown.

    ``mfu`` is causal-exact model FLOPs over the peak, ``mfu_palm`` those of PaLM; both of a step,
    goodput aside. ``tokens_per_day`` and ``days`` are with it
    where failures are known. ``save``: of a checkpoint; ``interval``: the optimum between two
    (Daly, 2006); ``mtbf`` of the whole job. ``absent`` says why what is None is None.
    """

    tokens: float
    tokens_per_second: float
    tokens_per_day: float
    days: float
    mfu: float
    mfu_palm: float
    energy: float | None
    mtbf: float | None
    save: float | None
    interval: float | None
    goodput: float | None
    absent: tuple[str, ...]


def training(
    model: Decoder,
    plan: Plan,
    step: Step,
    machine: Machine,
    operation: Operation,
    tokens: float | None = None,
) -> Training:
    """What a budget of tokens takes; without one, `TOKENS_A_WEIGHT` for each active weight."""
    tokens = tokens or float(TOKENS_A_WEIGHT * model.parameters(active=True))
    rate = plan.batch * model.shape.seq / step.seconds
    peak = machine.flops * plan.chips
    absent = []
    nodes = -(-plan.chips // machine.levels[0].size)
    mtbf = save = interval = goodput = None
    if operation.node_mtbf is None:
        absent.append("goodput: the cluster does not say operation.node_mtbf")
    else:
        mtbf = operation.node_mtbf / nodes
    if operation.checkpoint_bandwidth is None:
        absent.append("goodput: the cluster does not say operation.checkpoint_bandwidth")
    else:
        save = OPTIMIZER * model.parameters() / (nodes * operation.checkpoint_bandwidth)
    if mtbf is not None and save is not None:
        # Circuits are set anew for the node that stands in.
        recovery = operation.recovery + max(level.reconfiguration for level in machine.levels)
        interval = max(daly(save, mtbf), step.seconds)
        goodput = expected_goodput(interval, save, recovery, mtbf)
    days = tokens / rate / (goodput or 1.0) / DAY if goodput != 0 else float("inf")
    energy = None
    if machine.watts is None:
        absent.append(f"energy: the datasheet of {machine.name} has no power")
    elif operation.pue is None:
        absent.append("energy: the cluster does not say operation.pue")
    else:
        energy = machine.watts * plan.chips * operation.pue * days * DAY
    return Training(
        tokens=tokens,
        tokens_per_second=rate,
        tokens_per_day=tokens / days,
        days=days,
        mfu=rate * model.flops_per_token() / peak,
        mfu_palm=rate * model.flops_per_token("palm") / peak,
        energy=energy,
        mtbf=mtbf,
        save=save,
        interval=interval,
        goodput=goodput,
        absent=tuple(absent),
    )
