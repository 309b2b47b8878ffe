"""A long stream between two ranks: how steady a link is, and when it stood still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import numpy as np

from ..errors import UsageError
from ..records import Measure
from ..timing import Rule, Timing
from ..units import format_duration, parse_duration
from .base import Context, Facts, Metric, benchmark
from .marks import mark, span
from .pairs import Pairs

WINDOWS = 50
"""Windows of a stream whose bandwidth is compared."""
STEP = 1e-3
"""Seconds that a step of a stream lasts at least: several messages, where one is shorter."""
TRIALS = 5
"""Messages by which steps and windows are sized."""


@benchmark(scope="pair")
class Stability(Pairs):
    """Messages between two ranks without a pause for ``duration``, their progress marked.

    A *step* is one message, or as many as take a millisecond; each ends in a mark in the device's
    stream (on the host's clock where there are no events), so that a stall shows in the step that
    it fell into. A reconfigured optical switch or a flapping link is a gap of milliseconds to
    seconds in a stream that is otherwise steady. ``bandwidth`` is over windows of equally many
    steps, some fiftieth of the stream each; ``stalls`` counts steps longer than ``stall`` times
    their median, ``longest_gap`` is the longest step; ``low_share`` is the share of time in
    windows below ``low`` times the median bandwidth. Messages go both ways at the same time
    (``direction`` as of `pairs`), so that either end and either direction can stall them.
    """

    measures = (
        Measure("bandwidth", "B/s", "higher"),
        Measure("stalls", "count", "lower"),
        Measure("longest_gap", "s", "lower"),
        Measure("low_share", "ratio", "lower"),
    )

    direction: Literal["unidirectional", "bidirectional"] = "bidirectional"
    duration: str = "10s"
    stall: float = 10.0
    low: float = 0.9

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        try:
            self.seconds()
        except ValueError as error:
            raise UsageError(f"stability: duration: {error}") from None
        if not self.seconds() > 0:
            raise UsageError(f"stability: duration must be positive, not {self.duration}")
        if not self.stall > 1:
            raise UsageError(f"stability: stall must be above 1 median step, not {self.stall:g}")
        if not 0 < self.low < 1:
            raise UsageError(f"stability: low must be between 0 and 1, not {self.low:g}")

    def seconds(self) -> float:
        """The axis ``duration`` in seconds."""
        return parse_duration(self.duration)

    def rule(self, rule: Rule) -> Rule:
        """One block of windows as long as the stream, whatever is known of the median before."""
        length = self.seconds()
        return msgspec.structs.replace(
            rule,
            # No half-width is negative: the stream never ends early.
            precision=-1.0,
            budget=length,
            block=length,
            sustained=0.0,
            warmup=min(rule.warmup, length / 10),
            min_samples=1,
            max_samples=10 * WINDOWS,
        )

    def setup(self, context: Context) -> None:
        """As of `pairs`; size steps and windows by a few messages.

        Raises:
            Unmeasurable: the buffers need more than half of the device's memory.
        """
        super().setup(context)
        self.messages = self.steps = 1
        self.streams: list[list[Any]] = []
        for _ in range(TRIALS):
            self.step()
        context.backend.synchronize(context.device)
        one = min(span(*marks) for marks in self.streams)
        self.messages = max(1, round(STEP / max(one, 1e-9)))
        self.steps = max(1, round(self.seconds() / WINDOWS / (one * self.messages)))
        if context.agree is not None:  # both ranks send equally many
            self.messages, self.steps = context.agree((self.messages, self.steps))
        self.streams.clear()

    def step(self) -> None:
        """One window: marks before it and after each of its steps."""
        marks = [mark(self.context)]
        for _ in range(self.steps):
            for _ in range(self.messages):
                super().step()
            marks.append(mark(self.context))
        self.streams.append(marks)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """From the steps of every window; what passes between two windows is the harness's."""
        windows = [
            np.array([span(*pair) for pair in zip(one, one[1:], strict=False)])
            for one in timing.kept(self.streams)
        ]
        lengths = np.array([one.sum() for one in windows])
        steps = np.concatenate(windows)
        rates = 2 * int(self.size) * self.messages * self.steps / lengths
        stalled = np.flatnonzero(steps > self.stall * np.median(steps))
        slow = rates < self.low * np.median(rates)
        self.said = ""
        if stalled.size:
            first = format_duration(float(steps[: stalled[0]].sum()))
            self.said = (
                f"{stalled.size} stall(s), the longest {format_duration(float(steps.max()))}, "
                f"the first after {first} of the stream"
            )
        yield Metric("bandwidth", samples=rates)
        yield Metric("stalls", value=float(stalled.size))
        yield Metric("longest_gap", value=float(steps.max()))
        yield Metric("low_share", value=float(lengths[slow].sum() / lengths.sum()))

    def note(self) -> str:
        """How often the stream stood still, and for how long."""
        return self.said

    def expected(self, facts: Facts) -> dict[str, float]:
        """The bandwidth of `pairs`, and no stall."""
        found = super().expected(facts)
        if "bandwidth" not in found:
            return {}
        return {"bandwidth": found["bandwidth"], "stalls": 0.0, "low_share": 0.0}
