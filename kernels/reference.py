"""How far a result may be from fp64, and how far it is."""

from __future__ import annotations

import math

import torch

TOLERANCE = {
    "fp64": 1e-12,
    "fp32": 1e-5,
    "tf32": 1e-3,
    "fp16": 2e-3,
    "bf16": 1e-2,
    "fp8_e4m3": 5e-2,
    "fp8_e5m2": 5e-2,
    "int8": 0.0,
}
"""Largest relative error (Frobenius norm) against fp64 that a correct implementation makes."""

NAN_7F = (torch.float8_e4m3fn, torch.float8_e5m2)
"""8-bit formats in which 0x7F is a NaN; in the others 0x80 is the only one."""

_PART = 1 << 20
"""Elements compared at once: their fp64 copies stay in a cache."""


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The same values in fp64; integers stay as they are."""
    return tensor.double() if tensor.dtype.is_floating_point else tensor


def has_nan(tensor: torch.Tensor) -> bool:
    """Whether any element is NaN (8-bit floats are widened first: torch has no test for them)."""
    if not tensor.dtype.is_floating_point:
        return False
    if tensor.dtype.itemsize == 1:
        return bool(torch.isnan(tensor.float()).any())
    return bool(torch.isnan(tensor).any())


_RUN = 1024
"""Neighbouring elements that are judged by themselves too."""

_UNEVEN = 4.0
"""How many times worse than the whole its worst run may be; rounding makes them nearly equal."""


def relative_error(out: torch.Tensor, wanted: torch.Tensor) -> float:
    """‖out - wanted‖ / ‖wanted‖ in fp64; infinite where ``out`` has a NaN or infinity.

    Where all that is wanted is zero, the norm of ``out`` itself. One wrong row among 32768 moves
    the norm of the whole by half a percent only: a quarter of the error of the worst 1024
    neighbours, against their own norm or the average run's if that is larger, is given instead
    where it is more.
    """
    if out.shape != wanted.shape:
        return math.inf
    if out.numel() == 0:
        return 0.0
    wrong, right = [], []
    flat, target = out.reshape(-1), wanted.reshape(-1)
    for start in range(0, flat.numel(), _PART):
        part = target[start : start + _PART].double()
        wrong.append(_runs(flat[start : start + _PART].double() - part))
        right.append(_runs(part))
    off, size = torch.cat(wrong), torch.cat(right)
    total, lost = float(size.sum()), float(off.sum())
    if not (math.isfinite(total) and math.isfinite(lost)):
        return math.inf
    if total == 0.0:
        return math.sqrt(lost)
    average = total * min(1.0, _RUN / flat.numel())
    worst = float((off / size.clamp_min(average)).max())
    return max(math.sqrt(lost / total), math.sqrt(worst) / _UNEVEN)


def _runs(values: torch.Tensor) -> torch.Tensor:
    """Sums of squares of `_RUN` values in a row each."""
    missing = -values.numel() % _RUN
    if missing:
        values = torch.nn.functional.pad(values, (0, missing))
    return values.view(-1, _RUN).square().sum(1)


def effective_bits(error: float) -> float:
    """Bits of a result that carry signal: -log₂ of its relative error; 53 where it is exact.

    The signal-to-noise ratio ‖C₆₄‖ / ‖C - C₆₄‖ in powers of two (a converter's effective number
    of bits without its full-scale constant; IEEE 1241). fp32 keeps 20 to 24, bf16 about 8.
    """
    return 53.0 if error <= 2.0**-53 else max(0.0, -math.log2(error))
