"""Whether a device has room for text from a model, and what of it would have."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from ..kernels import generation_costs as costs
from ..kernels.model_costs import ModelShape
from ..units import format_value
from .base import Unmeasurable

if TYPE_CHECKING:
    from .generate import Generate


def must_fit(asked: Generate, memory: int) -> None:
    """Raise `Unmeasurable`, with what would fit, where memory (bytes; 0: unknown) is too small."""
    parts = _taken(asked, asked.shape)
    need = sum(parts.values())
    if not memory or need <= memory:
        return
    listed = ", ".join(f"{name} {format_value(size, 'B')}" for name, size in parts.items())
    raise Unmeasurable(
        f"needs at least {format_value(need, 'B')} ({listed}), "
        f"memory is {format_value(memory, 'B')}: {_fitting(asked, memory)}"
    )


def _fitting(asked: Generate, memory: int) -> str:
    """What of it fits into this memory (bytes)."""
    shape = asked.shape
    if _need(msgspec.structs.replace(asked, page=0), shape) <= memory:
        return "a smaller page fits"  # a page is there whole, however few tokens are in it
    short = msgspec.structs.replace(asked, batch=1, context=1)
    if _need(short, shape) <= memory:
        return "a smaller batch or context fits"
    whole = re.sub(r"@\d+$", "", asked.model)
    for one in (asked, short):
        for layers in range(shape.layers - 1, 0, -1):
            if _need(one, replace(shape, layers=layers)) > memory:
                continue
            part = f"{whole}@{layers}"
            if one is asked:
                return f"a slice of the model fits, such as {part}"
            return f"a slice of the model with a smaller batch or context fits, such as {part}"
    return "not even a layer of it fits"


def _need(asked: Generate, shape: ModelShape) -> int:
    return sum(_taken(asked, shape).values())


def _taken(asked: Generate, shape: ModelShape) -> dict[str, int]:
    """Bytes that a request takes at least, of this model or a slice of it."""
    batch, dtype = asked.batch, asked.dtype
    return {
        "weights": costs.weight_bytes(shape, dtype),
        "keys and values": costs.cache_bytes(shape, batch, asked.capacity, dtype),
        "a layer at work": costs.workspace_bytes(shape, batch, asked.context, dtype),
    }
