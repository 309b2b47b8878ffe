"""How mature a chip's compiler is: the speed of our Triton kernels over that of the best library.

A chip whose libraries are fast and whose compiler is not runs what its maker wrote, and nothing
that anybody else writes. A pure function of what a run's cases achieved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ..records import Case
from ..stats import geometric_mean
from .estimates import Estimate, largest, over

_LIBRARIES = ("torch", "vendor")


class Maturity(msgspec.Struct, kw_only=True):
    """Speed of the Triton kernels over that of the best library, on equal cases.

    ``ops`` holds the geometric mean over the cases of each operation, ``cases`` how many they are,
    ``ratio`` the geometric mean over operations: many shapes of one do not outweigh the others.
    ``low`` to ``high`` is its 95 % interval: in each case both medians err, each in its worse way,
    the best library as of `estimates.largest`, and all cases err together. The error of a ratio is
    at most the sum of both errors, that of a mean at most the mean of errors (on the logarithmic
    scale), so that it covers also where all cases share what disturbs them. None where one of the
    medians has no interval; ``values`` is how many the least known of them rests on.
    """

    ratio: float
    ops: dict[str, float]
    cases: int
    low: float | None = None
    high: float | None = None
    values: int = 0


def maturity(rates: Iterable[tuple[str, Case, Estimate]]) -> Maturity | None:
    """Triton over the best of the libraries, wherever both measured the same case.

    Args:
        rates: Operation, case and calls a second, of one kind of chip.
    """
    alike: dict[str, dict[str, tuple[str, Estimate]]] = {}
    for op, case, rate in rates:
        axes = {key: value for key, value in case.axes.items() if key != "impl"}
        key = f"{case.stage} {case.benchmark} {sorted(axes.items())}"
        alike.setdefault(key, {})[case.axes.get("impl", "")] = op, rate
    ratios: dict[str, list[Estimate]] = {}
    for group in alike.values():
        libraries = [group[impl][1] for impl in _LIBRARIES if impl in group]
        if libraries and "triton" in group:
            (op, ours), best = group["triton"], largest(libraries)
            if best.value > 0:
                ratios.setdefault(op, []).append(over(ours, best))
    if not ratios:
        return None
    every = [one for found in ratios.values() for one in found]
    low, high = (_mean(ratios, end) for end in ("low", "high"))
    ops = {op: geometric_mean([one.value for one in found]) for op, found in ratios.items()}
    return Maturity(
        ratio=geometric_mean(list(ops.values())),
        ops=ops,
        cases=len(every),
        low=low,
        high=high,
        values=0 if low is None else min(one.values for one in every),
    )


def _mean(ratios: Mapping[str, list[Estimate]], end: str) -> float | None:
    """The mean over operations of one end of their ratios; None where one has none."""
    means = []
    for found in ratios.values():
        ends = [getattr(one, end) for one in found]
        if any(one is None for one in ends):
            return None
        means.append(geometric_mean(ends))
    return geometric_mean(means)
