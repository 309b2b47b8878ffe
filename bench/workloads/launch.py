"""What it costs to start work: seconds per operation too small to matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

from ..records import Measure
from ..timing import Timing
from .base import Benchmark, Check, Context, Facts, Metric, Unmeasurable, benchmark


@benchmark(scope="device")
class Launch(Benchmark):
    """Time per launch, seen by the host (until the call returns) or by the device.

    ``empty`` negates a single element in place: one kernel with nothing to do. ``add`` sums
    two vectors of 1024 elements into a third. The host's view is the dispatch cost that a
    training loop pays; the device's view is the spacing of kernels on its stream, which is the
    host's pace where the host is the slower of the two.
    """

    measures = (
        Measure(
            "time",
            "s",
            "lower",
            about="until the call returns (host), or from one kernel to the next (device)",
        ),
    )
    asynchronous = True

    op: Literal["empty", "add"] = "empty"
    """``empty`` negates one element in place; ``add`` sums two vectors of 1024."""
    view: Literal["host", "device"] = "host"
    """Whose clock: the host's until the call returns, or the device's."""

    def setup(self, context: Context) -> None:
        """Allocate the operands."""
        import torch

        if self.view == "device" and context.backend.event() is None:
            raise Unmeasurable("the device has no timing events: see the host's view")
        length = 1 if self.op == "empty" else 1024
        self.left = torch.randn(length, device=context.device)
        self.right = torch.randn(length, device=context.device)
        self.out = torch.empty_like(self.left)
        left, right, out = self.left, self.right, self.out
        if self.op == "empty":
            self.call = left.neg_  # a number as operand would be boxed on every call
        else:
            self.call = partial(torch.add, left, right, out=out)

    def clock(self) -> Literal["device", "host"]:
        """The axis says whose view it is."""
        return self.view

    def step(self) -> None:
        """One launch."""
        self.call()

    def check(self) -> Check:
        """One launch computes what it must."""
        import torch

        before = self.left.clone()
        self.out.fill_(float("nan"))
        self.call()
        if self.op == "empty":
            good = torch.equal(self.left, -before)
            self.left.copy_(before)
        else:
            good = torch.equal(self.out, self.left + self.right)
        return Check(bool(good), "the launch computes its result" if good else "a wrong result")

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Seconds per launch."""
        return self.derived(timing.seconds, Facts(chip=None), {})

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Seconds per launch."""
        yield Metric("time", samples=seconds)
