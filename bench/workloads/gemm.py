"""Matrix products: the chip's arithmetic in each number format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..errors import UsageError
from ..kernels import costs
from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Check, Context, Facts, Metric, Shape, Unmeasurable, benchmark


@benchmark(scope="device")
class Gemm(Benchmark):
    """C[M, N] = A[M, K] · B[K, N] on normal random data, operands rotated past the cache.

    ``error`` is ‖C - C₆₄‖ / ‖C₆₄‖ against fp64 on random rows; it must keep to the tolerance of
    the format before and after timing.
    """

    measures = (Measure("flops", "FLOP/s", "higher"), Measure("error", "", "lower"))

    shape: Shape = Shape((4096, 4096, 4096))
    dtype: Literal["fp32", "tf32", "fp16", "bf16"] = "bf16"
    impl: Literal["torch", "triton"] = "torch"

    def __post_init__(self) -> None:
        """Raise `UsageError` unless the shape is M×N×K."""
        if len(self.shape) != 3:
            raise UsageError(f"gemm: shape {self.shape} is not M×N×K")

    def setup(self, context: Context) -> None:
        """Allocate operands; refuse what does not fit or has no target."""
        from ..kernels import ops

        m, n, k = self.shape
        need = costs.gemm_bytes(m, n, k, self.dtype)
        if context.memory and need > context.memory // 2:
            raise Unmeasurable(f"needs {need} bytes, half of memory is {context.memory // 2}")
        try:
            self.call = ops.bind_gemm(
                self.impl,
                context.device,
                (m, n, k),
                self.dtype,
                arch=context.arch,
                cache=context.cache,
                memory=context.memory // 2,
                seed=context.seed,
            )
        except ops.NoTargetError as error:
            raise Unmeasurable(str(error)) from None

    def step(self) -> None:
        """One product."""
        self.call()

    def check(self) -> Check:
        """One product on poisoned output against fp64."""
        self.error = self.call.error()
        limit = self.call.tolerance
        return Check(self.error <= limit, f"relative error {self.error:.3g}, tolerance {limit:g}")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """2·M·N·K over time, and the error of the check."""
        yield Metric("flops", samples=self.call.flops / timing.seconds)
        yield Metric("error", value=self.error)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The roofline: the datasheet's peak, or what memory lets through (Williams, 2009)."""
        peak = facts.chip.peak(self.dtype) if facts.chip else None
        if peak is None or facts.chip is None:
            return {}
        bandwidth = facts.chip.memory_bandwidth
        m, n, k = self.shape
        intensity = costs.gemm_flops(m, n, k) / costs.gemm_bytes(m, n, k, self.dtype)
        return {"flops": min(peak, bandwidth.value * intensity) if bandwidth else peak}
