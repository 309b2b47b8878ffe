"""What a line about a collective operation says, in the terms of our own `collectives`.

nccl-tests and we define alike: S the bytes of the whole array, algbw = S / t, busbw = algbw × k
(doc/PERFORMANCE.md there, `bench.kernels.messages` here). Their time is the mean over calls, by
default over ranks too, ours the median of rank 0's. In place all_reduce, broadcast and reduce are
what `torch.distributed` does, so that this is our usual form of them; of the others the one out
of place is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.messages import bus_factor
from ..workloads.collectives import ONE_BUFFER, TWO_BUFFERS
from .found import INVALID, OK, SKIPPED, Floats, Ints

ALONE = "a group of one has nothing to exchange"
UNCHECKED = "the tool did not check what was received"
_TOLERANCE, _DIGIT = 0.02, 1.1e7
"""How far a printed bus bandwidth may be from that of the printed time: a share, and B/s, for
figures are printed with two decimals of GB/s."""


def axes(op: str, size: int, dtype: str, form: str) -> tuple[tuple[str, Any], ...]:
    """The axes of our benchmark.

    Args:
        op: As ours are called.
        size: Bytes of the whole array.
        dtype: As ours are called.
        form: ``in_place`` or ``out_of_place``.
    """
    usual = "in_place" if op in ONE_BUFFER else "out_of_place"
    buffers = "" if form == usual or op == "barrier" else form
    return ("op", op), ("size", size), ("dtype", dtype), ("buffers", buffers)


def figures(op: str, ranks: Ints, size: Ints, seconds: Floats) -> dict[str, Floats]:
    """time in s, algbw and busbw in B/s by definition, float64[m] each.

    Args:
        op: The operation.
        ranks: int64[m], how many took part.
        size: int64[m], bytes of the whole array.
        seconds: float64[m].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        algbw = np.where(seconds > 0, size / seconds, np.nan)
    used, which = np.unique(ranks, return_inverse=True)
    factors = np.array([bus_factor(op, number) for number in used.tolist()])
    return {"time": seconds, "algbw": algbw, "busbw": algbw * factors[which]}


def contradicts(busbw: Floats, printed: Floats) -> npt.NDArray[np.bool_]:
    """bool[m]: where a printed bus bandwidth cannot be that of the printed time."""
    far = np.abs(busbw - printed) > np.maximum(_TOLERANCE * np.abs(printed), _DIGIT)
    return np.asarray(far | ~np.isfinite(busbw) | ~np.isfinite(printed))


def judged(
    op: str, form: str, ranks: Ints, wrong: Floats, unchecked: bool
) -> tuple[Ints, dict[int, str]]:
    """(status, reasons) of lines by how many elements were wrong.

    Args:
        op: The operation.
        form: ``in_place`` or ``out_of_place``.
        ranks: int64[m], how many took part.
        wrong: float64[m]; NaN where the tool did not check.
        unchecked: Values count all the same.
    """
    status = np.full(wrong.shape, OK, dtype=np.int64)
    blind = np.isnan(wrong)
    reasons: dict[int, str] = {}

    def all_of(those: npt.NDArray[np.bool_], code: int, why: str) -> None:
        status[those] = code
        reasons.update(dict.fromkeys(np.flatnonzero(those).tolist(), why))

    if op in TWO_BUFFERS and form == "in_place":
        all_of(blind, SKIPPED, f"{op} has no form in place")
    elif blind.any():
        all_of(blind, OK if unchecked else INVALID, UNCHECKED)
    for index in np.flatnonzero(wrong > 0).tolist():
        status[index] = INVALID
        reasons[index] = f"{wrong[index]:g} wrong elements"
    if ranks.min(initial=2) < 2:
        all_of(ranks < 2, SKIPPED, ALONE)
    return status, reasons
