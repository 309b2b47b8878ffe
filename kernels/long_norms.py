"""Launches of the norms' kernels for rows that no program holds (``block`` in a configuration).

Without them a row of many columns would live in a thread's stack: from some width on, registers
of all threads together are fewer than its columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .launch import launch, processors
from .tuning import meta


def forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    y: torch.Tensor,
    scale: torch.Tensor,
    chosen: Mapping[str, int],
    eps: float,
    *,
    residual: torch.Tensor | None = None,
    total: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    mean: torch.Tensor | None = None,
) -> None:
    """Norms rows; with ``bias`` and ``mean`` it is the layer norm. Arguments are checked before.

    Args:
        x, y, residual, total: [rows, width], rows may lie apart.
        weight, bias: [width].
        scale, mean: fp32 [rows], received for the backward pass.
        chosen: A configuration with ``block``, the columns of one step.
        eps: Added to the mean square.
    """
    from .jit.long_norms import forward_kernel

    launch(
        forward_kernel,
        (x.shape[0],),
        x,
        x if residual is None else residual,
        weight,
        weight if bias is None else bias,
        x if total is None else total,
        y,
        scale if mean is None else mean,
        scale,
        x.stride(0),
        0 if residual is None else residual.stride(0),
        0 if total is None else total.stride(0),
        y.stride(0),
        eps,
        WIDTH=x.shape[1],
        BLOCK=chosen["block"],
        ADD=residual is not None,
        CENTRE=bias is not None,
        **meta(chosen),
    )


def backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor,
    dx: torch.Tensor,
    chosen: Mapping[str, int],
    *,
    extra: torch.Tensor | None = None,
    mean: torch.Tensor | None = None,
) -> torch.Tensor:
    """Writes dx; gives shares of the weight's gradient, fp32 [programs, width], and with ``mean``
    (layer norm) of the bias's beside it, fp32 [programs, 2 · width].

    Args:
        dy, x, dx, extra: [rows, width], rows may lie apart; ``extra`` is added to dx.
        weight: [width].
        scale, mean: As the forward pass left them.
        chosen: A configuration with ``block`` and ``waves``.
    """
    rows, width = x.shape
    programs = min(rows, processors(x.device) * chosen["waves"])
    shares = width if mean is None else 2 * width
    partial = torch.zeros((programs, shares), dtype=torch.float32, device=x.device)
    from .jit.long_norms import backward_kernel

    launch(
        backward_kernel,
        (programs,),
        dy,
        x,
        weight,
        scale if mean is None else mean,
        scale,
        dy if extra is None else extra,
        dx,
        partial,
        rows,
        dy.stride(0),
        x.stride(0),
        0 if extra is None else extra.stride(0),
        dx.stride(0),
        WIDTH=width,
        BLOCK=chosen["block"],
        ADD=extra is not None,
        CENTRE=mean is not None,
        **meta(chosen),
    )
    return partial
