"""AdamW over the parts of weights that a rank holds, by one of the operations of `ops`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

RATE, WIDTH = 1e-3, 1228.8
"""Learning rate of models up to so wide."""


def rate(width: int) -> float:
    """The learning rate of a model so wide: from `WIDTH` on in proportion to 1 / width.

    Adam moves every weight by about the rate, so that a sum over the width moves in proportion to
    it (Yang et al., Tensor Programs V, 2022, table 8). The constant is that of the rates that
    Llama 3 was trained with: 3e-4, 1.5e-4 and 8e-5 at widths of 4,096, 8,192 and 16,384
    (Grattafiori et al., 2024, table 3). Those are reached in steps; here they are the first.
    """
    return RATE * min(1.0, WIDTH / width)


class AdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, 2019), with the defaults of `torch.optim.AdamW`.

    Of a `DTensor` it sees this rank's part as a plain vector: weights spread over different meshes
    go through together, and a kernel that knows no meshes will do.

    Args:
        weights: fp32.
        step: `Ops.adamw`.
        lr: Learning rate.
        betas: Decay of the moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        step: Callable[..., None],
        *,
        lr: float = RATE,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            weights, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )
        self._step, self._count = step, 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        self._count += 1
        for group in self.param_groups:
            parts: tuple[list[Tensor], ...] = ([], [], [], [])
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mine, gradient = _parts(weight, weight.grad)
                if not mine.numel():
                    continue
                state = self.state[weight]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = (
                        torch.zeros_like(mine) for _ in range(2)
                    )
                for one, many in zip(
                    (mine, gradient, state["exp_avg"], state["exp_avg_sq"]), parts, strict=True
                ):
                    many.append(one)
            if parts[0]:
                beta1, beta2 = group["betas"]
                settings = {key: group[key] for key in ("lr", "eps", "weight_decay")}
                self._step(*parts, step=self._count, beta1=beta1, beta2=beta2, **settings)


def _parts(weight: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """This rank's parts of a weight and its gradient, as vectors."""
    if isinstance(weight, DTensor) and isinstance(gradient, DTensor):
        if gradient.placements != weight.placements:  # of a sum, each rank has a summand
            gradient = gradient.redistribute(placements=weight.placements)
        weight, gradient = weight.to_local(), gradient.to_local()
    return weight.view(-1), gradient.reshape(-1)
