"""What values an axis may have, as a suite writes them and as code reads them."""

from __future__ import annotations

import math
from typing import Any

from ..units import format_size, parse_duration, parse_size


class Bytes(int):
    """A size axis: ``64MiB`` in a suite, an int in code; sweeps as ``1KiB..64MiB x4``."""

    def __str__(self) -> str:
        return format_size(int(self))


class Seconds(float):
    """A duration axis: ``10s`` or ``500ms`` in a suite, a float in code."""

    def __str__(self) -> str:
        # What is read again: to the nanosecond, never with an exponent.
        return f"{float(self):.9f}".rstrip("0").rstrip(".") + "s"


class Shape(tuple[int, ...]):
    """A shape axis: ``1024x1024x512`` in a suite (M×N×K for a matrix product), a tuple in code."""

    def __str__(self) -> str:
        return "x".join(map(str, self))


def decode_axis(kind: type, value: Any) -> Any:
    """msgspec ``dec_hook`` for the axis types of this module. Raises ValueError with a sentence."""
    if kind is Bytes:
        return Bytes(parse_size(value))
    if kind is Seconds:
        seconds = Seconds(parse_duration(value))
        if not 0 < seconds < math.inf:
            raise ValueError(f"a duration must be positive, not {value!r}")
        return seconds
    if kind is Shape:
        parts = value.split("x") if isinstance(value, str) else value
        try:
            shape = Shape(int(part) for part in parts)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not a shape; write for example 1024x1024x512") from None
        if not shape or min(shape) < 1:
            raise ValueError(f"every extent of shape {value!r} must be positive")
        return shape
    raise NotImplementedError(kind)


def plain_axis(value: Any) -> Any:
    """An axis value as it is written into records: strings and numbers."""
    return str(value) if isinstance(value, (Bytes, Seconds, Shape)) else value
