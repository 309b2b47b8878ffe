"""Activation recompute: what the backward pass computes a second time instead of keeping it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

_KEPT = (
    "mm",
    "addmm",
    "_scaled_mm",
    "_grouped_mm",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
"""Operators whose results selective recompute keeps: products and attention, which cost most."""


def recompute(kind: str) -> Callable[..., Tensor] | None:
    """How a block runs: ``none`` keeps all, ``full`` its input (Chen et al., 2016), ``selective``
    besides it what matrix products and attention give, so that the rest, which is cheap and much,
    is computed again (as Korthikanti et al., 2022, choose by cost)."""
    if kind == "none":
        return None
    settings: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if kind == "selective":
        known = (getattr(torch.ops.aten, name, None) for name in _KEPT)
        kept = [packet.default for packet in known if packet is not None]
        settings["context_fn"] = functools.partial(create_selective_checkpoint_contexts, kept)
    return functools.partial(checkpoint, **settings)
