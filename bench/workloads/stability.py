"""A long stream between two ranks: how steady a link is, and when it stood still."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import numpy as np

from ..errors import UsageError
from ..records import Measure
from ..timing import Rule, Timing
from ..units import format_duration
from .base import Context, Facts, Metric, Seconds, benchmark
from .marks import mark, span
from .pairs import Pairs

WINDOWS = 50
"""Windows of a stream whose bandwidth is compared."""
BLOCKS = 10
"""Times that the ranks agree to go on; while they do, nothing is sent."""
STEP = 1e-3
"""Seconds that a step of a stream lasts at least: several messages, where one is shorter."""
TRIAL = 0.02
"""Seconds of messages by which steps and windows are sized."""


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
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="payload over windows of equally many steps, a fiftieth of the stream each",
            formula="2 · size · messages of a window / its seconds",
        ),
        Measure(
            "stalls",
            "count",
            "lower",
            about="steps in which the stream stood still",
            formula="steps longer than stall × their median",
        ),
        Measure("longest_gap", "s", "lower", about="longest step"),
        Measure(
            "low_share",
            "ratio",
            "lower",
            about="share of the time in which the stream was slow",
            formula="time in windows below low × median bandwidth / all of it",
        ),
    )

    worded = {
        **Pairs.worded,
        "direction": {"bidirectional": ""},
        "stall": {10.0: ""},
        "low": {0.9: ""},
    }

    direction: Literal["unidirectional", "bidirectional"] = "bidirectional"
    """As of `pairs`; both ways, so that either end and either direction can stall them."""
    duration: Seconds = Seconds(10.0)
    """Of the stream."""
    stall: float = 10.0
    """Medians of a step from which one is a stall."""
    low: float = 0.9
    """Share of the median bandwidth below which a window is slow."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if not self.stall > 1:
            raise UsageError(f"stability: stall must be above 1 median step, not {self.stall:g}")
        if not 0 < self.low < 1:
            raise UsageError(f"stability: low must be between 0 and 1, not {self.low:g}")

    def rule(self, rule: Rule) -> Rule:
        """A stream of its whole length, whatever is known of the median before."""
        length = float(self.duration)
        return msgspec.structs.replace(
            rule,
            # No half-width is negative: the stream never ends early.
            precision=-1.0,
            budget=length,
            block=length / BLOCKS,
            sustained=0.0,
            warmup=min(rule.warmup, length / 10),
            min_samples=1,
            max_samples=10 * WINDOWS,
        )

    def setup(self, context: Context) -> None:
        """As of `pairs`; size steps and windows by a few messages.

        Raises:
            Unmeasurable: not two ranks, or buffers of more than half of the device's memory.
        """
        super().setup(context)
        self.streams: list[list[Any]] = []
        one = self._message()
        self.messages = max(1, round(STEP / one))
        self.steps = max(1, round(self.duration / WINDOWS / (one * self.messages)))
        self.streams.clear()

    def _message(self) -> float:
        """Seconds of a message, of as many as take `TRIAL` together; the same on both ranks."""
        agree = self.context.agree or (lambda mine: mine)
        self.messages = self.steps = 1
        while True:
            self.step()
            self.context.backend.synchronize(self.context.device)
            took = span(*self.streams[-1])
            count = self.messages
            # In nanoseconds: what ranks agree on are whole numbers.
            (whole,) = agree((max(1, round(took * 1e9)),))
            if whole >= TRIAL * 1e9:
                return whole * 1e-9 / count
            self.messages = 2 * count

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
            np.array([span(*pair) for pair in itertools.pairwise(one)])
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
        return "; ".join(filter(None, (super().note(), self.said)))

    def expected(self, facts: Facts) -> dict[str, float]:
        """The bandwidth of `pairs`, and no stall."""
        found = super().expected(facts)
        if "bandwidth" not in found:
            return {}
        return {"bandwidth": found["bandwidth"], "stalls": 0.0, "low_share": 0.0}
