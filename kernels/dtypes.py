"""The number formats' names, as torch spells them on an architecture."""

from __future__ import annotations

import torch

from .tuning import table

TORCH = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
    "int8": torch.int8,
    "int32": torch.int32,
}

_FNUZ = {"fp8_e4m3": torch.float8_e4m3fnuz, "fp8_e5m2": torch.float8_e5m2fnuz}
"""8-bit floats without infinities and negative zero, which some matrix units have instead (an
architecture's table says ``fnuz``)."""


def torch_dtype(name: str, arch: str | None = None) -> torch.dtype:
    """The torch dtype of a format. Raises ValueError naming the formats there are."""
    if name not in TORCH:
        raise ValueError(f"dtype: got {name!r}, takes one of {', '.join(TORCH)}")
    if arch is not None and name in _FNUZ and table(arch).get("fnuz"):
        return _FNUZ[name]
    return TORCH[name]


def largest(kind: torch.dtype) -> float:
    """The largest finite value of a floating-point format."""
    return float(torch.finfo(kind).max)
