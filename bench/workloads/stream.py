"""Sustained memory bandwidth: the STREAM operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ..kernels import costs
from ..kernels.costs import Sizes
from ..records import Measure
from ..timing import Timing
from ..units import format_size
from .base import Bytes, Context, Facts, Metric, Unmeasurable, benchmark
from .operations import Impl, Operation


@benchmark(scope="device")
class Stream(Operation):
    """Bandwidth of the STREAM operations over arrays of ``size`` bytes (McCalpin, 1995).

    Besides copy, scale, add and triad there are dot and read, which write nothing. Arrays must
    exceed four last-level caches together, or it would be the cache that is measured: smaller
    ones are refused. They may take an eighth of the memory each.
    """

    measures = (
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="sustained memory bandwidth",
            formula="arrays that the operation reads and writes × size / seconds",
            source="McCalpin, Memory Bandwidth and Machine Balance, 1995",
        ),
    )
    fitting = {"size": ("1GiB", "64MiB")}

    op: Literal["copy", "scale", "add", "triad", "dot", "read"] = "triad"
    """Of STREAM; ``dot`` and ``read`` write nothing."""
    size: Bytes = Bytes(1 << 30)
    """Bytes of each array."""
    dtype: Literal["fp64", "fp32", "fp16", "bf16"] = "fp32"
    """Number format."""
    impl: Impl = "torch"
    """Who computes, as of `compute`."""

    def what(self) -> tuple[str, Sizes, str, str]:
        """Operation, shape, dtype and variant."""
        elements = max(1, int(self.size) // costs.ITEMSIZE[self.dtype])
        return "stream", (elements,), self.dtype, self.op

    def which(self) -> str:
        """The implementation."""
        return self.impl

    def setup(self, context: Context) -> None:
        """Allocate random arrays."""
        if context.memory and int(self.size) > context.memory // 8:
            limit = format_size(context.memory // 8)
            raise Unmeasurable(f"arrays of {self.size} exceed an eighth of memory ({limit})")
        touched = int(self.size) * costs.STREAM_ARRAYS[self.op]
        if touched < 4 * context.cache:
            raise Unmeasurable(
                f"{format_size(touched)} fit into the cache of {format_size(context.cache)}: "
                "memory would not be measured; take larger arrays"
            )
        super().setup(context)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bytes that STREAM counts over time."""
        return self.derived(timing.seconds, self.context.facts, {})

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Bytes that STREAM counts over time."""
        yield Metric("bandwidth", samples=self.cost().bytes / seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The datasheet's memory bandwidth."""
        _, bandwidth = self.ceilings(facts)
        return {"bandwidth": bandwidth} if bandwidth else {}
