"""All that is asked of a model on a cluster at once: layout, step, memory, training, doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ...configs import Chip, Cluster
from ...errors import UsageError, unknown
from .assumed import assumed
from .bottleneck import Gain, bottleneck
from .calibration import ABOUT, Calibration
from .fitting import NOISE, SPREAD, Fitted
from .layer import Layers
from .machine import Machine, machine_of
from .memory import USABLE, Memory, harness, memory
from .plan import Plan
from .rates import Rates
from .search import Found, search, usual_batch
from .software import STACKS, Software
from .step import Step, step
from .training import Training, training
from .validate import WIDTH
from .workload import Decoder

DIGITS = 9
"""Of a degree of a layout, at most."""
MEASURED_DOUBT = 0.03
"""Relative standard deviation of a constant that a run of this very chip gives."""


@dataclass(frozen=True)
class Wanted:
    """What is asked. ``batch``: sequences of a step, ``tokens`` of the training; None: usual ones.

    ``layout``: as `layout_of` reads it; empty: the best is looked for.
    """

    dtype: str = "bf16"
    batch: int | None = None
    tokens: float | None = None
    layout: str = ""
    bottleneck: bool = False


@dataclass(frozen=True)
class Projection:
    """What a model would do on a cluster. Seconds, bytes, tokens.

    ``doubt``: relative standard deviation of the step, from that of every constant and of what the
    model leaves out. ``fits``: whether memory does; ``usable`` is what of it can be used.
    ``harness``: memory of this project's own trainer, where it has the layout. ``sources``: what
    efficiencies rest on; ``found`` what a search saw; ``unmeasured`` shapes of products with
    weights that a run could measure; ``assumed``: what nobody measured or declared, in words.
    """

    model: str
    parameters: int
    active: int
    cluster: str
    chip: str
    chips: int
    dtype: str
    plan: Plan
    microbatches: int
    step: Step
    seconds: float
    doubt: float
    memory: Memory
    usable: float
    fits: bool
    harness: Memory | None
    training: Training
    sources: dict[str, str]
    found: Found | None
    gains: tuple[Gain, ...]
    unmeasured: tuple[str, ...]
    assumed: dict[str, str] = field(default_factory=dict)


def project(
    name: str,
    model: Decoder,
    cluster: Cluster,
    chip: Chip,
    calibration: Calibration,
    wanted: Wanted,
    *,
    fitted: Fitted | None = None,
    where: str = "",
) -> Projection:
    """What a model would do on a cluster.

    Args:
        name, model: What is trained.
        cluster, chip: Where; ``where`` is the cluster's file, which errors name.
        calibration: Efficiencies, and where they come from.
        wanted: What is asked.
        fitted: Deviations of the constants that published runs gave.

    Raises:
        UsageError: a figure is unknown, a layout does not divide, or none fits.
    """
    if wanted.dtype not in WIDTH:
        raise unknown("dtype of a training", wanted.dtype, WIDTH)
    machine = _machine(cluster, chip, calibration, wanted.dtype, where)
    rates = Rates(
        machine,
        calibration.efficiency,
        wanted.dtype,
        WIDTH.get(wanted.dtype, 2),
        calibration.measured,
    )
    software = STACKS[max(STACKS)]
    batch = wanted.batch or usual_batch(model, machine.chips)
    found = None
    if wanted.layout:
        plan = layout_of(wanted.layout, batch, machine.chips)
        try:
            plan.check(model)
        except ValueError as error:
            raise UsageError(f"this layout does not go with {name}: {error}") from None
    else:
        found = search(model, batch, rates, software)
        plan = found.best.plan
    used = replace(rates, used=set(), typical=set(), _known={})
    took = step(model, plan, used, software)
    held = memory(model, plan, software, wide=rates.width)
    usable = machine.memory * USABLE
    gains = bottleneck(model, plan, rates, software) if wanted.bottleneck else ()
    return Projection(
        model=name,
        parameters=model.parameters(),
        active=model.parameters(active=True),
        cluster=cluster.name,
        chip=chip.name,
        chips=plan.chips,
        dtype=wanted.dtype,
        plan=plan,
        microbatches=plan.microbatches,
        step=took,
        seconds=took.seconds,
        doubt=_doubt(model, plan, rates, software, calibration, fitted, cluster, chip),
        memory=held,
        usable=usable,
        fits=held.total <= usable,
        harness=_harness(model, plan, wanted.dtype),
        training=training(model, plan, took, machine, cluster.operation, wanted.tokens),
        sources=_sources(calibration, used),
        found=found,
        gains=tuple(gains),
        unmeasured=_unmeasured(Layers(model, plan, used, software)),
        assumed=assumed(
            calibration,
            fitted,
            chip,
            wanted.dtype,
            cluster,
            plan,
            batch=wanted.batch is None,
            tokens=wanted.tokens is None,
        ),
    )


def layout_of(text: str, batch: int, chips: int) -> Plan:
    """``tp=8,pp=16,virtual=4,micro=1,recompute=full``: what is left over is data-parallel.

    Raises:
        UsageError: a word that is none of a layout, or degrees that do not divide the chips.
    """
    choices = {
        "recompute": ("none", "selective", "full"),
        "sharding": ("none", "optimizer", "full"),
    }
    degrees = ("tp", "pp", "cp", "ep", "virtual", "micro")
    given: dict[str, object] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        key, _, value = part.partition("=")
        if key in choices:
            if value not in choices[key]:
                raise unknown(key, value, choices[key])
            given[key] = value
        elif key not in degrees:
            raise unknown("part of a layout", key, (*degrees, *choices))
        elif not value.isdecimal() or len(value) > DIGITS or int(value) < 1:
            raise UsageError(
                f"layout: {key} must be a whole number above 0, of at most {DIGITS} digits, not "
                f"{value[:40]!r}"
            )
        else:
            given[key] = int(value)
    plan = replace(Plan(batch), **given)  # type: ignore[arg-type]
    block = plan.tp * plan.pp * plan.cp
    if chips % block:
        raise UsageError(f"layout: tp · pp · cp = {block} does not divide {chips} devices")
    return replace(plan, dp=chips // block)


def _machine(
    cluster: Cluster, chip: Chip, calibration: Calibration, dtype: str, where: str
) -> Machine:
    made = machine_of(
        chip,
        cluster,
        dtype,
        link=calibration.efficiency.link,
        network=calibration.efficiency.network,
        where=where,
    )
    near, far = calibration.latency
    levels = tuple(
        replace(level, latency=latency) if (latency := far if index else near) else level
        for index, level in enumerate(made.levels)
    )
    return replace(made, levels=levels)


def _doubt(
    model: Decoder,
    plan: Plan,
    rates: Rates,
    software: Software,
    calibration: Calibration,
    fitted: Fitted | None,
    cluster: Cluster,
    chip: Chip,
) -> float:
    """Relative standard deviation of a step: each constant moved by its own, squares added."""
    now = step(model, plan, replace(rates, _known={}), software).seconds
    known = {c.name: c for c in fitted.constants if c.chip in ("", chip.name)} if fitted else {}
    total = NOISE**2
    for name, spread in SPREAD.items():
        if calibration.sources.get(ABOUT[name], "").startswith("measured"):
            moved = MEASURED_DOUBT
        elif name in known:
            moved = known[name].deviation / known[name].value
        else:
            moved = spread
        value = getattr(calibration.efficiency, name) * math.exp(moved)
        changed = replace(calibration.efficiency, **{name: value})
        other = replace(calibration, efficiency=changed)
        machine = _machine(cluster, chip, other, rates.dtype, "")
        shifted = replace(rates, machine=machine, efficiency=changed, _known={})
        total += (step(model, plan, shifted, software).seconds / now - 1) ** 2
    return math.sqrt(total)


def _harness(model: Decoder, plan: Plan, dtype: str) -> Memory | None:
    walked = plan.microbatches * model.shape.layers * plan.pp
    if walked > 200_000:  # its account walks through every one of them
        return None
    try:
        return harness(model, plan, dtype)
    except (KeyError, ValueError):
        return None


def _unmeasured(layers: Layers) -> tuple[str, ...]:
    """Forward products of a layer and the head that no run has at their own shapes."""
    rates = layers.rates
    known = {
        shape for op, shape, _, dtype in rates.measured if op == "gemm" and dtype == rates.dtype
    }
    shapes = dict.fromkeys(layers.products())
    return tuple("x".join(map(str, shape)) for shape in shapes if shape not in known)


def _sources(calibration: Calibration, used: Rates) -> dict[str, str]:
    """What efficiencies rest on; of operations that were measured at their own shapes, which."""
    said = dict(calibration.sources)
    if used.used:
        said["at their own shapes"] = "measured: " + ", ".join(sorted(used.used))
    if used.used and "matrix products" in used.typical:
        said["other matrix products"] = "the model of tiles"
    return said
