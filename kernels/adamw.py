"""One step of AdamW (Loshchilov and Hutter, 2019) on flat buffers.

m ← β₁·m + (1-β₁)·g; v ← β₂·v + (1-β₂)·g²;
w ← (1 - lr·λ)·w - lr·m̂ / (sqrt(v̂) + eps), m̂ = m / (1-β₁ᵗ), v̂ = v / (1-β₂ᵗ), as torch does it.
Weights and moments are fp32; the gradient comes, and a copy of the new weights goes, in the dtype
that the model computes in. 14 FLOPs an element; 24 bytes of fp32 plus one read and one write of
the other dtype, in one pass: the library needs one more to widen the gradient and one to copy.
"""

from __future__ import annotations

import functools
import math

import torch
from torch.optim.adamw import adamw as library_step

from .arguments import check_apart, check_number, check_tensor, check_written
from .dtypes import TORCH
from .launch import cdiv, launch
from .op import Case, Fill, Op, Tensors, Work
from .reference import relative_error
from .tuning import config, meta

NAMES = {TORCH[name]: name for name in ("bf16", "fp16", "fp32")}
RATE, BETA1, BETA2, EPS, DECAY, STEP = 3e-4, 0.9, 0.95, 1e-8, 0.1, 10
"""Of the timed step: usual values for language models (Touvron et al., Llama 2, 2023)."""


def adamw(
    weight: torch.Tensor,
    m: torch.Tensor,
    v: torch.Tensor,
    gradient: torch.Tensor,
    copy: torch.Tensor | None = None,
    *,
    step: int,
    lr: float = RATE,
    beta1: float = BETA1,
    beta2: float = BETA2,
    eps: float = EPS,
    weight_decay: float = DECAY,
    arch: str | None = None,
) -> None:
    """One step in place by the Triton kernel.

    Args:
        weight, m, v: fp32 vectors of one length; updated.
        gradient: As long, in bf16, fp16 or fp32.
        copy: As long, in bf16, fp16 or fp32: receives the new weights.
        step: Which this is, from 1.
        lr: Learning rate.
        beta1, beta2: Decay of the moments, at least 0 and below 1.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled: of the weights, not of the gradient.
        arch: Triton's architecture.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_tensor("weight", weight, torch.float32, (None,))
    count = weight.shape[0]
    check_tensor("m", m, torch.float32, (count,), weight.device)
    check_tensor("v", v, torch.float32, (count,), weight.device)
    check_tensor("gradient", gradient, tuple(NAMES), (count,), weight.device)
    if copy is not None:
        check_tensor("copy", copy, tuple(NAMES), (count,), weight.device)
    check_written(weight=weight, m=m, v=v)
    check_apart("copy", copy, weight=weight, gradient=gradient, same=True)
    check_apart("copy", copy, m=m, v=v)
    check_apart("weight", weight, gradient=gradient, same=True)
    check_apart("m", m, gradient=gradient, same=True)
    check_apart("v", v, gradient=gradient, same=True)
    check_number("step", step)
    check_number("beta1", beta1)
    check_number("beta2", beta2)
    check_number("weight_decay", weight_decay)
    if step < 1:
        raise ValueError(f"step: got {step}, takes 1 or more")
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"{name}: got {beta}, takes at least 0 and less than 1")
    chosen = config(arch, "adamw", NAMES[gradient.dtype], size=count)
    from .jit.adamw import step_kernel

    # Every constant is made here in double precision: 1 - 0.999 in fp32 is off by 5e-5 of itself.
    launch(
        step_kernel,
        (cdiv(count, chosen["block"]),),
        weight,
        m,
        v,
        gradient,
        weight if copy is None else copy,
        count,
        1.0 - float(lr) * weight_decay,
        float(beta1),
        1.0 - beta1,
        float(beta2),
        1.0 - beta2,
        float(lr) / (1.0 - beta1**step),
        1.0 / math.sqrt(1.0 - beta2**step),
        float(eps),
        COPY=copy is not None,
        BLOCK=chosen["block"],
        **meta(chosen),
    )


def formula(
    weight: torch.Tensor, m: torch.Tensor, v: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """New weights and moments of the timed step in plain torch."""
    wide = gradient.to(weight.dtype)
    m = BETA1 * m + (1 - BETA1) * wide
    v = BETA2 * v + (1 - BETA2) * wide.square()
    root = (v / (1 - BETA2**STEP)).sqrt() + EPS
    return (1 - RATE * DECAY) * weight - RATE / (1 - BETA1**STEP) * m / root, m, v


def _inputs(case: Case, fill: Fill) -> Tensors:
    (count,) = case.shape
    wide = torch.float32
    return {
        "weight": fill.normal(count, kind=wide),
        "m": fill.normal(count, kind=wide, scale=0.1),
        "v": fill.uniform(count, kind=wide).add_(0.01),
        "gradient": fill.normal(count, kind=case.kind),
    }


def _outputs(case: Case, inputs: Tensors) -> Tensors:
    made = {name: inputs[name] for name in ("weight", "m", "v")}
    return {**made, "copy": torch.empty_like(inputs["gradient"])}


def _triton(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    def work() -> Tensors:
        weight, m, v, copy = (outputs[name] for name in ("weight", "m", "v", "copy"))
        adamw(weight, m, v, inputs["gradient"], copy, step=STEP, arch=case.arch)
        return outputs

    return work


def _torch(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    """The library's fused step where the device has one, otherwise its step by lists."""
    weight, m, v = (outputs[name] for name in ("weight", "m", "v"))
    fused = has_fused(weight.device)

    def work() -> Tensors:
        library_step(
            [weight],
            [inputs["gradient"].float()],
            [m],
            [v],
            [],
            # The library counts the step itself, so that each call needs a new count.
            [torch.full((), STEP - 1.0, device=weight.device if fused else "cpu")],
            foreach=not fused,
            fused=fused,
            amsgrad=False,
            lr=RATE,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=DECAY,
            eps=EPS,
            maximize=False,
        )
        outputs["copy"].copy_(weight)
        return outputs

    return work


@functools.cache
def has_fused(device: torch.device) -> bool:
    """Whether the library has its fused step for this device."""
    weight, gradient, m, v, step = (torch.zeros((), device=device) for _ in range(5))
    try:
        torch._fused_adamw_(
            [weight],
            [gradient],
            [m],
            [v],
            [],
            [step.add_(1.0)],
            lr=RATE,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=DECAY,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )
    except (NotImplementedError, RuntimeError):
        return False
    return True


def _compiled(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
    def step(
        weight: torch.Tensor,
        m: torch.Tensor,
        v: torch.Tensor,
        gradient: torch.Tensor,
        copy: torch.Tensor,
    ) -> None:
        new, first, second = formula(weight, m, v, gradient)
        copy.copy_(new)
        weight.copy_(new)
        m.copy_(first)
        v.copy_(second)

    run = torch.compile(step, dynamic=False)

    def work() -> Tensors:
        run(**outputs, gradient=inputs["gradient"])
        return outputs

    return work


_PART = 1 << 24
"""Elements compared at once: the whole in fp64 would not fit."""
_ROUNDED = 2.0**-23
"""One unit of fp32's last place, relative: decay and step are each rounded to half of one."""


def _judge(case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
    """The worst part of each result.

    A step moves weights by a part in thousands: against their own size, no step at all would pass.
    Their error is therefore measured against the step, less what fp32 rounds off.
    """
    errors: dict[str, float] = {}
    for start in range(0, before["weight"].numel(), _PART):
        part = slice(start, start + _PART)
        old = {name: one[part].double() for name, one in before.items()}
        new, m, v = formula(**old)
        for name, wanted in (("weight", new), ("m", m), ("v", v), ("copy", new)):
            error = relative_error(results[name][part], wanted)
            if name == "weight":
                off = float((results[name][part].double() - new).norm() - new.norm() * _ROUNDED)
                error = max(error, off / float((new - old[name]).norm()))
            errors[name] = max(error, errors.get(name, 0.0))
    return errors


OP = Op(
    "adamw",
    _inputs,
    _outputs,
    {"torch": _torch, "triton": _triton, "compile": _compiled},
    judge=_judge,
)
