"""Matrix products: the chip's arithmetic in each number format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ..errors import UsageError
from ..kernels.costs import Sizes
from ..records import Measure
from ..timing import Timing
from .base import Facts, Metric, Shape, benchmark
from .operations import Impl, Operation


@benchmark(scope="device")
class Gemm(Operation):
    """C[M, N] = A[M, K] · B[K, N] on normal random data, back to back, operands rotated.

    ``error`` is ‖C - C₆₄‖ / ‖C₆₄‖ against fp64 on random rows; it must keep to the tolerance of
    the format before and after timing. `compute` has cold single calls and more variants.
    """

    measures = (
        Measure(
            "flops",
            "FLOP/s",
            "higher",
            about="arithmetic of matrix products",
            formula="2·M·N·K / seconds of a product",
        ),
        Measure(
            "error",
            "",
            "lower",
            about="relative error of the result on random rows",
            formula="‖C - C₆₄‖ / ‖C₆₄‖ (Frobenius), C₆₄ computed in fp64",
        ),
    )
    worded = {"layout": {"nn": ""}}
    fitting = {"shape": ("8192x8192x8192", "512x512x512")}

    shape: Shape = Shape((4096, 4096, 4096))
    """M×N×K."""
    dtype: Literal["fp32", "tf32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "int8"] = "bf16"
    """Number format of the operands."""
    layout: Literal["nn", "nt", "tn"] = "nn"
    """Which operands are transposed: ``n`` as it is, ``t`` transposed."""
    impl: Impl = "torch"
    """Who computes, as of `compute`."""

    def __post_init__(self) -> None:
        """Raise `UsageError` unless the shape is M×N×K."""
        if len(self.shape) != 3:
            raise UsageError(f"gemm: shape {self.shape} is not M×N×K")

    def what(self) -> tuple[str, Sizes, str, str]:
        """Operation, shape, dtype and variant."""
        return "gemm", tuple(self.shape), self.dtype, self.layout

    def which(self) -> str:
        """The implementation."""
        return self.impl

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """2·M·N·K over time, and the error of the check."""
        yield from self.derived(timing.seconds, self.context.facts, {})
        yield Metric("error", value=self.error)

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """2·M·N·K over time."""
        yield Metric("flops", samples=self.cost().flops / seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The roofline of the datasheet."""
        reached = self.roofline(facts)
        return {"flops": reached} if reached else {}
