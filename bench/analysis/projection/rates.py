"""Seconds of single operations on one chip: as measured where they were, else by a model.

The model of a matrix product is its tiles: a chip of U units works on U tiles at a time, so that
the last of ⌈tiles/U⌉ waves leaves some idle ("wave quantisation"), and each tile has a beginning
and an end beside its K products. Of several sizes of tile a library takes the one that is through
first. Large products reach a share of the peak that is a constant of the chip: clocks under load,
and what a kernel cannot hide. Products that move much and compute little take as long as their
bytes do (Williams, Waterman, Patterson, Roofline, 2009).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .machine import Machine

TILES = ((256, 128), (128, 256), (128, 128), (256, 64), (64, 256), (128, 64), (64, 64))
"""Rows and columns of results that a unit works on; small ones read more for what they compute."""
EDGE = 150
"""Products along K for which filling and emptying a tile's pipeline stands."""
LAUNCH = 5e-6
"""Seconds between two kernels on a chip whose host is ahead of it."""

Sizes = tuple[int, ...]
Measured = Mapping[tuple[str, Sizes, str, str], float]
"""Seconds of a call by (op, shape, variant, dtype), as `bench.kernels.costs` names them."""


@dataclass(frozen=True)
class Efficiency:
    """Shares of a datasheet's figures that are reached; typical ones where nothing says other.

    ``gemm``: of the peak, by a large product inside of its tiles. ``memory``: of the bandwidth, by
    operations that stream. ``attention``: of the peak, by fused attention forward and backward
    (Dao, FlashAttention-2, 2023; Shah et al., FlashAttention-3, 2024). ``overlap``: of what runs
    beside computing, the part that is hidden. ``jitter``: what a step takes longer each time the
    number of chips doubles, relative. ``link`` and ``network``: of bandwidths inside a node and
    beyond, by collectives. ``host``: seconds of a step in which the device has nothing to do.
    """

    gemm: float = 0.70
    memory: float = 0.70
    attention: tuple[float, float] = (0.50, 0.42)
    overlap: float = 0.8
    jitter: float = 0.002
    link: float = 0.78
    network: float = 0.80
    host: float = 0.01


@dataclass
class Rates:
    """A chip in one dtype. ``width`` are bytes of an element of activations and weights."""

    machine: Machine
    efficiency: Efficiency
    dtype: str = "bf16"
    width: int = 2
    measured: Measured = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    typical: set[str] = field(default_factory=set)
    _known: dict[Sizes, float] = field(default_factory=dict)

    def gemm(self, m: float, n: float, k: float, *, count: float = 1, beside: float = 0.0) -> float:
        """Of ``count`` products C[m, n] = A[m, k] · B[k, n] at a time.

        Args:
            m, n, k, count: Its sizes; all are rounded up.
            beside: Bytes that it moves in addition, such as sums that it adds to.
        """
        sizes = math.ceil(m), math.ceil(n), math.ceil(k), math.ceil(count)
        if (seconds := self._known.get(sizes)) is None:
            seconds = self._known[sizes] = self._product(*sizes)
        moved = self.width * (m * k + k * n + m * n) * count + beside
        return max(seconds, moved / self._streams)

    def streams(self, moved: float) -> float:
        """Of an operation that reads and writes so many bytes."""
        self.typical.add("memory-bound operations")
        return LAUNCH + moved / self._streams

    def attention(self, flops: float, *, backward: bool = False, shape: Sizes = ()) -> float:
        """Of fused attention with so many FLOPs, counted under the mask.

        ``shape``: batch, heads, heads of keys and values, tokens and width of a head, by which it
        may have been measured.
        """
        variant = "causal_backward" if backward else "causal"
        found = self.measured.get(("attention", shape, variant, self.dtype))
        if found is not None:
            found = max(found, flops / self.machine.scoring)
            self.used.add(f"attention {variant} {'x'.join(map(str, shape))} {self.dtype}")
            return found
        self.typical.add("attention")
        return LAUNCH + flops / (self.machine.scoring * self.efficiency.attention[backward])

    @property
    def _streams(self) -> float:
        return self.machine.bandwidth * self.efficiency.memory

    def _product(self, m: int, n: int, k: int, count: int) -> float:
        # A value above the peak is a finding of its run; here nothing goes faster.
        least = 2 * m * n * k * count / self.machine.flops
        if count > 1:
            grouped = ("grouped_gemm", (count, m * count, n, k), "even", self.dtype)
            if (found := self.measured.get(grouped)) is not None:
                found = max(found, least)
                self.used.add(f"grouped_gemm {count}x{m * count}x{n}x{k} {self.dtype}")
                return found
        for variant in ("nn", "nt", "tn"):
            found = self.measured.get(("gemm", (m, n, k), variant, self.dtype))
            if found is not None:
                self.used.add(f"gemm {m}x{n}x{k} {self.dtype}")
                return max(count * found, least)
        self.typical.add("matrix products")
        return self.modelled(m, n, k, count)

    def modelled(self, m: int, n: int, k: int, count: int = 1) -> float:
        """Of products as the model of tiles has them, whatever was measured."""
        peak = self.machine.flops * self.efficiency.gemm
        if not self.machine.units:
            return LAUNCH + 2 * m * n * (k + EDGE) * count / peak
        each = peak / self.machine.units
        best = math.inf
        for rows, columns in TILES:
            tiles = math.ceil(m / rows) * math.ceil(n / columns) * count
            # A tile's operands come from memory shared by all: narrow ones are bound by that.
            fit = rows * columns / (rows + columns) / (256 * 128 / (256 + 128))
            slower = max(1.0, 0.75 / fit)
            waves = math.ceil(tiles / self.machine.units)
            best = min(best, waves * 2 * rows * columns * (k + EDGE) * slower / each)
        return LAUNCH + best
