"""How exact matrix products are: effective bits over distributions of the operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from ..errors import UsageError
from ..kernels.costs import Sizes
from ..kernels.formats import product_bits
from ..records import Measure
from ..timing import Rule, Timing
from .base import Check, Context, Facts, Metric, Shape, benchmark
from .operations import Distribution, Impl, Operation


@benchmark(scope="device")
class Precision(Operation):
    """Effective number of bits of C = A · B: -log₂(‖C - C₆₄‖ / ‖C₆₄‖) on random rows.

    The operands are already in ``dtype``, so what is lost is lost by the chip. ``normal``:
    standard normal; ``uniform``: [0, 1), sums grow; ``wide``: magnitudes over twelve octaves;
    ``outliers``: one column in 64 is 100 times larger, as in the activations of language models.
    Any finite result is valid here, whatever tolerance a backend declares: the figure says how
    good it is.

    ``accuracy`` is the effective bits over those that ``dtype`` allows
    (`bench.kernels.formats.product_bits`). Chips that compute in low precision or analogue are
    scored by accuracy and speed together: ``effective_flops`` is ``flops`` times the accuracy, at
    most 1. Results a second times bits a result is the rate at which a channel informs (Hartley,
    Transmission of Information, 1928), here in units of the format's bits: a chip that keeps half
    of them is credited with half of its operations, and none is credited for bits beyond.
    """

    measures = (
        Measure(
            "effective_bits",
            "bit",
            "higher",
            about="bits of the result that are right",
            formula="-log₂(‖C - C₆₄‖ / ‖C₆₄‖) on random rows; of int8 at most its own",
        ),
        Measure(
            "accuracy",
            "ratio",
            "higher",
            about="effective bits over those that the format allows",
            formula="effective_bits / `bench.kernels.formats.product_bits`",
        ),
        Measure(
            "error",
            "",
            "lower",
            about="relative error of the result on random rows",
            formula="‖C - C₆₄‖ / ‖C₆₄‖ (Frobenius), C₆₄ computed in fp64",
        ),
        Measure(
            "flops",
            "FLOP/s",
            "higher",
            about="arithmetic of the same products",
            formula="2·M·N·K / seconds of a product",
        ),
        Measure(
            "effective_flops",
            "FLOP/s",
            "higher",
            about="arithmetic, credited by the bits that it keeps",
            formula="flops × min(1, accuracy)",
            source="after Hartley, Transmission of Information, 1928",
        ),
    )
    worded = {"distribution": {"normal": ""}}
    fitting = {"shape": ("4096x4096x4096", "512x512x512")}

    shape: Shape = Shape((2048, 2048, 2048))
    """M×N×K."""
    dtype: Literal["fp32", "tf32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "int8"] = "bf16"
    """Number format of the operands."""
    distribution: Distribution = "normal"
    """Of the operands' values."""
    impl: Impl = "torch"
    """Who computes, as of `compute`."""

    def __post_init__(self) -> None:
        """Raise `UsageError` unless the shape is M×N×K."""
        if len(self.shape) != 3:
            raise UsageError(f"precision: shape {self.shape} is not M×N×K")

    def what(self) -> tuple[str, Sizes, str, str]:
        """Operation, shape, dtype and variant."""
        layout = "nt" if self.dtype.startswith("fp8") else "nn"
        return "gemm", tuple(self.shape), self.dtype, layout

    def which(self) -> str:
        """The implementation."""
        return self.impl

    def data(self) -> Distribution:
        """Of the operands' values."""
        return self.distribution

    def setup(self, context: Context) -> None:
        """As of every operation; a weak device is not asked for hours of work."""
        self.refuse_hours(context)
        super().setup(context)

    def rule(self, rule: Rule) -> Rule:
        """Speed is a by-product here: a quarter of the time is enough."""
        return msgspec.structs.replace(rule, budget=rule.budget / 4)

    def check(self) -> Check:
        """The result is finite; how exact it is, is the measurement."""
        self.error = self.call.error()
        return Check(self.error < 1.0, f"relative error {self.error:.3g}: noise, or not finite")

    def note(self) -> str:
        """None: no tolerance is applied."""
        return ""

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bits and error of the last check, FLOP/s of the samples."""
        from ..kernels.reference import effective_bits

        bits = effective_bits(self.error)
        if self.dtype == "int8":  # an exact integer tells no more than its size in units
            bits = min(bits, self._own_bits())
        yield Metric("effective_bits", value=bits)
        yield Metric("error", value=self.error)
        yield from self.derived(timing.seconds, self.context.facts, {"effective_bits": bits})

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """FLOP/s of the samples; with the effective bits, what they are worth."""
        flops = self.cost().flops / seconds
        yield Metric("flops", samples=flops)
        if "effective_bits" in beside:
            accuracy = beside["effective_bits"] / self._own_bits()
            yield Metric("accuracy", value=accuracy)
            yield Metric("effective_flops", samples=flops * min(1.0, accuracy))

    def _own_bits(self) -> float:
        """Those that the format allows."""
        return product_bits(self.dtype, self.shape[2], self.distribution)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The roofline of the datasheet, in which every bit of the format is kept."""
        reached = self.roofline(facts)
        return {"flops": reached, "effective_flops": reached} if reached else {}
