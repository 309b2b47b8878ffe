"""What an operation's kernels take, counted and not timed: no accelerator is needed for it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Unmeasurable, UsageError, unknown
from ..kernels import costs
from ..records import Measure
from ..timing import Rule, Timing
from .base import Benchmark, Check, Context, Metric, Shape, benchmark
from .configured import use_tables
from .operations import check_shape
from .runner import all_or_none

if TYPE_CHECKING:
    from ..kernels.codegen import Built, Kernel

_COUNTED = {
    "launches": "kernels that one call launches",
    "kernels": "different kernels that are compiled for one call",
    "flops": "floating-point operations of one call, by the cost model",
    "bytes": "least bytes that one call moves, by the cost model",
    "registers": "registers of a thread, of the kernel that takes most",
    "spills": "registers kept in memory, of all kernels, in what the compiler counts them in",
    "shared": "shared memory of a program, of the kernel that takes most",
}
_UNITS = {"flops": "FLOP", "bytes": "B", "shared": "B"}


@benchmark(scope="node")
class Counts(Benchmark):
    """What the Triton implementation of an operation takes on an architecture, cross-compiled.

    The same code gives the same figures, so that the gate compares them exactly.
    """

    measures = tuple(
        Measure(name, _UNITS.get(name, "count"), "lower", exact=True, about=about)
        for name, about in _COUNTED.items()
    )
    timed = False
    of_device = False

    op: str = "gemm"
    """The operation."""
    variant: str = ""
    """Empty: the operation's first."""
    dtype: str = ""
    """Empty: the operation's first."""
    shape: Shape | None = None
    """Extents; empty: those that are worth measuring on an accelerator."""
    arch: str = ""
    """A target of the compiler, as ``sm_90``; empty: that of the device."""

    def __post_init__(self) -> None:
        """Fill in what is empty; raise `UsageError` for what there is not."""
        if self.op not in costs.SPECS:
            raise unknown("op of counts", self.op, costs.SPECS)
        spec = costs.SPECS[self.op]
        self.variant = self.variant or spec.variants[0]
        self.dtype = self.dtype or spec.dtypes[0]
        self.shape = self.shape or Shape(spec.shape)
        try:
            self.cost = costs.cost(self.op, tuple(self.shape), self.variant, self.dtype)
            check_shape(self.op, tuple(self.shape))
        except ValueError as error:
            raise UsageError(f"counts: {error}") from None

    def setup(self, context: Context) -> None:
        """Compile what is launched, on the node's first rank.

        Raises:
            Unmeasurable: no architecture, none that Triton compiles for here, one that lacks the
                format, or no kernel for the shape; on every rank of the node.
        """
        self.context = context
        self.cost = costs.cost(self.op, tuple(self.shape or ()), self.variant, self.dtype)
        problem = ""
        began = time.monotonic()
        try:
            if context.rank == 0:
                self._count(self.arch or context.arch or "")
        except Unmeasurable as error:
            problem = error.message
        all_or_none(context, problem)
        self.seconds = time.monotonic() - began

    def _count(self, arch: str) -> None:
        try:
            import triton  # noqa: F401

            from ..kernels import codegen, ops, tuning
            from ..kernels.arguments import NoKernelError
        except ImportError as error:
            raise Unmeasurable(f"nothing is compiled without Triton: {error}") from None
        use_tables()
        targets = tuning.targets()
        if not arch:
            raise Unmeasurable("this device is no target of the compiler: name one as arch")
        if arch not in targets:
            raise Unmeasurable(f"the compiler has no target {arch}; it has {', '.join(targets)}")
        if os.environ.get("TRITON_INTERPRET"):
            raise Unmeasurable("TRITON_INTERPRET is set: nothing is compiled")
        for kind in (self.dtype, costs.SPECS[self.op].needs):
            if tuning.lacks(arch, kind):
                raise Unmeasurable(f"{arch} has no {kind}")
        case = ops.Case(self.op, tuple(self.shape or ()), self.dtype, self.variant, arch)
        self.limit = targets[arch].shared
        try:
            self.launched: list[Kernel] = codegen.kernels_of(ops.get(self.op), case)
        except NoKernelError as error:
            raise Unmeasurable(f"the kernel refused it: {error}") from None
        self.built = [_built(one, arch) for one in dict.fromkeys(self.launched)]

    def observe(self, rule: Rule, throttled: object) -> Timing | None:
        """One sample: the compiler's time. Nothing that is reported follows from it."""
        return Timing(seconds=np.array([self.seconds]), calls=1, stopped="ended", timer="host")

    def cores(self) -> tuple[int, ...]:
        """Whatever else runs there, the counts are the same."""
        return ()

    def patience(self) -> float:
        """Compilers need a while."""
        return 300.0

    def check(self) -> Check:
        """Every kernel fits the chip."""
        if self.context.rank:
            return Check(True)
        most = max((one.shared for one in self.built), default=0)
        said = f"a program takes {most} bytes of shared memory, there are {self.limit}"
        return Check(most <= self.limit, said)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """The counts; what the compiler's tools do not say is left out."""
        if self.context.rank:
            return
        yield Metric("launches", value=float(len(self.launched)))
        yield Metric("kernels", value=float(len(self.built)))
        yield Metric("flops", value=float(self.cost.flops))
        yield Metric("bytes", value=float(self.cost.bytes))
        yield Metric("shared", value=float(max((one.shared for one in self.built), default=0)))
        registers = [one.registers for one in self.built if one.registers is not None]
        spills = [one.spills for one in self.built if one.spills is not None]
        if registers:
            yield Metric("registers", value=float(max(registers)))
        if spills:
            yield Metric("spills", value=float(sum(spills)))


@functools.cache
def _built(kernel: Kernel, arch: str) -> Built:
    """Compiled once in a process: a side of a gate counts in every block."""
    from ..kernels import codegen

    return codegen.build(kernel, arch)
