"""What figures share: arrays in few bytes, axes, and how many of a thing are drawn."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def packed(array: npt.NDArray[Any]) -> str:
    """An array's bytes, little-endian, as base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def numbers(array: Sequence[float] | npt.NDArray[Any], dtype: str = "f4") -> dict[str, str]:
    """An array as plotly.js reads it: base64 in place of digits.

    Two dimensions are given with their shape.
    """
    made = np.ascontiguousarray(array, dtype=f"<{dtype}")
    found = {"dtype": dtype, "bdata": packed(made)}
    if made.ndim == 2:
        found["shape"] = f"{made.shape[0]}, {made.shape[1]}"
    return found


def log_axis(title: str, values: Sequence[float], **more: Any) -> dict[str, Any]:
    """A logarithmic axis that holds these positive values with a margin."""
    logs = [math.log10(one) for one in values if one > 0]
    found: dict[str, Any] = {"type": "log", "title": {"text": title}, "exponentformat": "SI"}
    if logs:
        low, high = min(logs), max(logs)
        margin = 0.05 * (high - low) + 0.08
        found["range"] = [low - margin, high + margin]
    return {**found, **more}


def hover(lines: str) -> str:
    """A hover text without plotly's second box."""
    return f"{lines}<extra></extra>"
