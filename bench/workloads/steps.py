"""What the seconds of training steps mean: rates, times, shares of the peak, and their bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from ..kernels.model_costs import (
    ModelShape,
    flops_per_token,
    palm_flops_per_token,
    recomputed_flops,
)
from ..records import Measure
from .base import Bytes, Facts, Metric
from .collectives import Collectives
from .modelled import NO_PEAK, Modelled

CURVE = (1, 4, 12)
"""Steps, from the seeded weights on, whose losses are told, as far as a run comes."""
TIMES = (
    Measure("step_p50", "s", "lower", about="median seconds of a step"),
    Measure("step_p95", "s", "lower", about="95th percentile of the steps"),
    Measure("step_p99", "s", "lower", about="99th percentile of the steps"),
    Measure(
        "jitter",
        "ratio",
        "lower",
        about="how uneven steps are: 1 where all are alike",
        formula="step_p95 / step_p50",
    ),
)
UTILISATION = (
    Measure(
        "mfu",
        "ratio",
        "higher",
        about="model FLOPs utilisation, causal-exact",
        formula="token/s × F / (peak × ranks); F = 3 · (2 · weights that a token meets "
        "+ 2 · T · heads · head_dim · layers)",
        source="counted as Megatron-LM's num_floating_point_operations",
        absent=NO_PEAK,
    ),
    Measure(
        "mfu_palm",
        "ratio",
        "higher",
        about="model FLOPs utilisation by the convention of PaLM, in which attention is not halved",
        formula="token/s × (6N + 12LHQT) / (peak × ranks)",
        source="Chowdhery et al., PaLM, 2022, appendix B",
        absent=NO_PEAK,
    ),
)
"""Shares of the datasheet's peak; ranks, T tokens a sequence, N, L, H, Q as in PaLM."""
PHASES = {
    "data": "seconds of a step until its tokens are on the device, mean over the ranks",
    "forward": "seconds of the forward pass, waits left out, mean over the ranks",
    "backward": "seconds of the backward pass, waits left out, mean over the ranks",
    "optimizer": "seconds of the optimizer, mean over the ranks",
    "bubble": "seconds in which a stage of a pipeline waits for others, mean over the ranks",
}
"""Of a step, besides ``wait``, which every rank has for itself."""


def times(seconds: Any) -> Iterator[Metric]:
    """Quantiles of steps, and their `jitter`: p95 over p50, 1 where all steps are alike."""
    p50, p95, p99 = (float(one) for one in np.quantile(seconds, (0.5, 0.95, 0.99)))
    yield Metric("step_p50", samples=seconds)
    yield Metric("step_p95", value=p95)
    yield Metric("step_p99", value=p99)
    yield Metric("jitter", value=p95 / p50)


def utilisation(
    rate: Any, shape: ModelShape, dtype: str, facts: Facts, hardware: float | None = None
) -> Iterator[Metric]:
    """Shares of the datasheet's peak; none without one.

    Args:
        rate: token/s of all ranks.
        shape: The model that computes them.
        dtype: Of matrix products.
        facts: Of the group.
        hardware: FLOPs of a token with those that are computed again; None where nobody knows.
    """
    peak = facts.chip.peak(dtype) if facts.chip is not None else None
    if not peak:
        return
    of_one = rate / (peak * facts.ranks)
    yield Metric("mfu", samples=of_one * flops_per_token(shape))
    yield Metric("mfu_palm", samples=of_one * palm_flops_per_token(shape))
    if hardware is not None:
        yield Metric("hfu", samples=of_one * hardware)


class Steps(Modelled):
    """Steps of a model that is spread over a group, and what is computed again in them."""

    measures = (
        Measure(
            "tokens_per_second",
            "token/s",
            "higher",
            about="tokens of the whole group in a second",
            formula="sequences of a rank × T × data-parallel ranks / seconds of a step",
        ),
        *TIMES,
        *(Measure(name, "s", "lower", about=about) for name, about in PHASES.items()),
        *UTILISATION,
        Measure(
            "hfu",
            "ratio",
            "higher",
            about="hardware FLOPs utilisation: as mfu, with what the backward pass computes again",
            formula="mfu × (F + FLOPs that are computed again) / F",
            source="Chowdhery et al., 2022; Korthikanti et al., 2022",
            absent=NO_PEAK,
        ),
        Measure(
            "energy_per_token",
            "J/token",
            "lower",
            about="energy that all devices took, by their own counters",
            formula="joule from before the first step to after the last / tokens",
            absent="a device of the group has no counter of energy",
        ),
        *(
            Measure(
                f"loss_{step}",
                "nat",
                "lower",
                about=f"loss of step {step} from the seeded weights, mean over the ranks: the same "
                "in every run with the same seed, devices and layout; of slow steps the first only",
                absent="fewer steps were taken",
            )
            for step in CURVE
        ),
        Measure(
            "peak_memory",
            "B",
            "lower",
            about="most memory that model and steps took on rank 0's device: without what was held "
            "before, such as the workspaces of libraries, or on a CPU the process itself",
            absent="the allocator keeps no peak",
        ),
        Measure(
            "memory_estimate",
            "B",
            "lower",
            about="what the same was estimated at before the run; of a compiler's or a vendor's "
            "operations nobody knows what they keep",
            formula="`bench.kernels.model_memory.estimate`",
            absent="nobody knows what these operations keep",
        ),
        Measure(
            "compute",
            "s",
            "lower",
            each=True,
            about="seconds of a step that need no other rank, of each rank",
            formula="data + forward + backward + optimizer",
        ),
        Measure(
            "wait",
            "s",
            "lower",
            each=True,
            slack="compute",
            about="seconds of a step for what other ranks give, of each rank",
            formula="exposed communication + waiting for who comes later",
            absent="who is alone waits for nobody",
        ),
    )
    worded = {
        **Modelled.worded,
        "recompute": {"none": "", "selective": "recompute-selective", "full": "recompute-full"},
    }

    recompute: Literal["none", "selective", "full"] = "none"
    """What the backward pass computes again: nothing, all but products and attention, or whole
    blocks."""

    def reported(self) -> tuple[Measure, ...]:
        """A bubble is of pipelines, and what is computed again is not always known."""
        absent = set()
        if self.pp == 1:
            absent.add("bubble")
        if self._hardware_flops() is None:
            absent.add("hfu")
        return tuple(one for one in self.measures if one.name not in absent)

    def _hardware_flops(self) -> float | None:
        """FLOPs of a token with those that are computed again; None where those are not known.

        Selective recompute keeps the products of PyTorch's own operations; others it may not know.
        Full recompute stops before a dense layer's last product, where that tells what it keeps
        before it computes, as PyTorch's does, or a compiler sees that nobody needs it;
        `bench.kernels.fp8_linear` tells it behind. Of a vendor's nobody knows.
        """
        flops = flops_per_token(self.shape)
        if self.recompute == "none":
            return flops
        if self.recompute == "selective":
            return flops if self.ops in ("torch", "compile") else None
        if self.ops == "vendor" and not self.shape.experts:
            return None
        last = self.dtype == "fp8" and self.ops != "compile"
        return flops + recomputed_flops(self.shape, last=last)

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Tokens and times of a step; against the datasheet's peak, if there is one."""
        shape, ranks = self.shape, facts.ranks
        spread = self.spread_over(ranks)
        rate = self.sequences(spread) * shape.seq * spread.data / seconds
        yield Metric("tokens_per_second", samples=rate)
        yield from times(seconds)
        yield from utilisation(rate, shape, self.dtype, facts, self._hardware_flops())

    def expected(self, facts: Facts) -> dict[str, float]:
        """Bounds at the datasheet's peak: tokens/s = ranks × peak / FLOPs of a token.

        A pipeline's ranks have nothing to do for its `Layout.bubble`. Nobody waits less than the
        reduction of the embedding's gradient takes.
        """
        peak = facts.chip.peak(self.dtype) if facts.chip else None
        if not peak:
            return {}
        shape, busy = self.shape, 1 / (1 + self.layout.bubble)
        rate = busy * facts.ranks * peak / flops_per_token(shape)
        spread = self.spread_over(facts.ranks)
        step = self.sequences(spread) * shape.seq * spread.data / rate
        ratio = palm_flops_per_token(shape) / flops_per_token(shape)
        found = {
            "tokens_per_second": rate,
            "step_p50": step,
            "step_p95": step,
            "step_p99": step,
            "forward": busy * step / 3,
            "backward": busy * step * 2 / 3,
            "bubble": (1 - busy) * step,
            "mfu": busy,
            "mfu_palm": busy * ratio,
            "hfu": busy,
        }
        found["compute"] = busy * step
        if not self.layout.plain:
            return found
        # The embedding's gradient is the last to be ready: its reduction hides behind nothing.
        embedding = Bytes(4 * shape.vocab * shape.dim)
        last = Collectives(op="all_reduce", size=embedding, dtype="fp32").expected(facts)
        if facts.ranks > 1 and "time" in last:
            found["wait"] = last["time"]
        return found
