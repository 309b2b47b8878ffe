"""Sustained memory bandwidth: the four STREAM operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..kernels import costs
from ..records import Measure
from ..timing import Timing
from ..units import format_size
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Unmeasurable, benchmark


@benchmark(scope="device")
class Stream(Benchmark):
    """Bandwidth of copy, scale, add or triad over arrays of ``size`` bytes (McCalpin, 1995).

    Arrays must exceed four last-level caches together, or it would be the cache that is
    measured: smaller ones are refused. They may take an eighth of the memory each.
    """

    measures = (Measure("bandwidth", "B/s", "higher"),)

    op: Literal["copy", "scale", "add", "triad"] = "triad"
    size: Bytes = Bytes(1 << 30)
    dtype: Literal["fp64", "fp32", "fp16", "bf16"] = "fp32"
    impl: Literal["torch", "triton"] = "torch"

    def setup(self, context: Context) -> None:
        """Allocate three random arrays."""
        from ..kernels import ops

        if context.memory and int(self.size) > context.memory // 8:
            limit = format_size(context.memory // 8)
            raise Unmeasurable(f"arrays of {self.size} exceed an eighth of memory ({limit})")
        touched = int(self.size) * costs.STREAM_ARRAYS[self.op]
        if touched < 4 * context.cache:
            raise Unmeasurable(
                f"{format_size(touched)} fit into the cache of {format_size(context.cache)}: "
                "memory would not be measured; take larger arrays"
            )
        try:
            self.call = ops.bind_stream(
                self.op,
                self.impl,
                context.device,
                int(self.size) // costs.ITEMSIZE[self.dtype],
                self.dtype,
                arch=context.arch,
                seed=context.seed,
            )
        except ops.NoTargetError as error:
            raise Unmeasurable(str(error)) from None

    def step(self) -> None:
        """One pass."""
        self.call()

    def check(self) -> Check:
        """Every element of one pass against fp64."""
        error, limit = self.call.error(), self.call.tolerance
        return Check(error <= limit, f"relative error {error:.3g}, tolerance {limit:g}")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bytes that STREAM counts over time."""
        yield Metric("bandwidth", samples=self.call.bytes / timing.seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The datasheet's memory bandwidth."""
        figure = facts.chip.memory_bandwidth if facts.chip else None
        return {"bandwidth": figure.value} if figure else {}
