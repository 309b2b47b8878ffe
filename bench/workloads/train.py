"""A training step: forward, backward and AdamW of a Llama-style model, data-parallel."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import msgspec
import numpy as np

from ..configs import load_model, names
from ..errors import UsageError
from ..kernels.model_costs import ModelShape, flops_per_token, palm_flops_per_token
from ..records import Measure
from ..timing import Rule, Timing
from .base import Benchmark, Check, Context, Facts, Metric, Unmeasurable, benchmark
from .lacking import lacks

LEARNING_RATE = 1e-3
CLASSES = 16
"""Tokens that the synthetic text is made of: few, so that a model learns it within some steps."""
BATCHES = 8
"""Different batches that the steps cycle through."""


@benchmark(scope="group")
class Train(Benchmark):
    """Real steps on a synthetic text that can be learnt; the loss must fall.

    The text is a noisy cycle over a few tokens. Every rank has its own, gradients are averaged by
    DDP. ``dtype`` bf16 computes matrix products under autocast; weights and optimizer stay fp32.
    ``mfu`` counts causal-exact FLOPs of the model, ``mfu_palm`` 6N + 12LHQT a token, both over
    the datasheet's peak in ``dtype`` times ranks; without a peak they are absent.
    """

    measures = (
        Measure("tokens_per_second", "token/s", "higher"),
        Measure("step_p50", "s", "lower"),
        Measure("step_p99", "s", "lower"),
        Measure("mfu", "ratio", "higher"),
        Measure("mfu_palm", "ratio", "higher"),
        Measure("peak_memory", "B", "lower"),
    )
    per_sample = True
    fitting = {"model": ("small", "tiny")}

    model: str = "tiny"
    batch: int = 4
    dtype: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        if self.batch < 1:
            raise UsageError(f"train: batch must be at least 1, not {self.batch}")
        if load_model(self.model).experts is not None:
            dense = [name for name in names("models") if load_model(name).experts is None]
            raise UsageError(
                f"train: {self.model} is a mixture of experts, which train cannot build yet",
                hint=f"take a dense model: {', '.join(dense)}",
            )

    def rule(self, rule: Rule) -> Rule:
        """At least twelve steps: fewer cannot show that the loss falls."""
        return msgspec.structs.replace(rule, min_samples=max(rule.min_samples, 12))

    def clock(self) -> Literal["device", "host"]:
        """Wall clock: a step ends when its last kernel has."""
        return "host"

    def setup(self, context: Context) -> None:
        """Build model, optimizer, data from seeds. Raises `Unmeasurable` across kinds of chip."""
        import torch

        from .model import Decoder

        if context.through_host:
            raise Unmeasurable("gradients of several kinds of chip have no library to meet in")
        self.context = context
        self.shape = ModelShape.of(load_model(self.model))
        backend, device = context.backend, context.device
        backend.memory_peak(device, reset=True)
        torch.manual_seed(context.seed)
        with device:  # billions of weights are drawn there, not on the host
            net: Any = Decoder(self.shape)
        if context.size > 1:
            from torch.nn.parallel import DistributedDataParallel

            ids = None if device.type == "cpu" else [device]
            # The one buffer is a constant table: nothing to send with every step. Torch 2.13
            # renamed the option.
            known = inspect.signature(DistributedDataParallel).parameters
            name = "forward_sync_buffers"
            quiet: dict[str, Any] = {name if name in known else "broadcast_buffers": False}
            net = DistributedDataParallel(net, device_ids=ids, process_group=context.group, **quiet)
        self.net = net
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
        self.data = [
            _text(self.shape, self.batch, context.seed + 1000 * context.rank + number).to(device)
            for number in range(BATCHES)
        ]
        self.losses: list[Any] = []
        self.turn = 0
        self.cast = (
            torch.autocast(device.type, torch.bfloat16) if self.dtype == "bf16" else nullcontext()
        )
        try:
            with torch.no_grad(), self.cast:
                self.start = float(self.net(self.data[0]))
        except RuntimeError as error:
            if not lacks(error):
                raise
            raise Unmeasurable(f"this stack cannot run the model: {error}") from None

    def step(self) -> None:
        """Forward, backward, AdamW."""
        tokens = self.data[self.turn % BATCHES]
        self.turn += 1
        with self.cast:
            loss = self.net(tokens)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss.detach())

    def check(self) -> Check:
        """Before: the loss is that of guessing. After: it fell, and ranks hold equal weights."""
        guess = math.log(self.shape.vocab)
        if not self.losses:
            good = abs(self.start - guess) < 0.15 * guess
            return Check(good, f"first loss {self.start:.4f}, guessing is {guess:.4f}")
        # Every rank takes part, whatever came of its own loss: the others would wait for it.
        gather = self.context.gather
        sums = [values[0] for values in gather([self._checksum()])] if gather else []
        last = [float(loss) for loss in self.losses[-4:]]
        mean = sum(last) / len(last)
        if not math.isfinite(mean) or mean >= self.start:
            return Check(False, f"loss went from {self.start:.4f} to {mean:.4f}")
        strangers = [rank for rank, own in enumerate(sums) if own != sums[0]]
        if strangers:
            listed = ", ".join(map(str, strangers[:8]))
            return Check(
                False,
                f"ranks hold different weights: {len(strangers)} differ from rank 0 "
                f"({listed}{', ...' if len(strangers) > 8 else ''})",
            )
        return Check(True, f"loss fell from {self.start:.4f} to {mean:.4f}")

    def _checksum(self) -> float:
        """Sum of the weights' bits taken as integers: exact in any order, so equal or not."""
        import torch

        bits = (p.detach().view(torch.int32) for p in self.net.parameters())
        return float(sum(int(one.sum(dtype=torch.int64)) for one in bits) % 2**52)

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Rates of the whole group, from the wall time of rank 0's steps."""
        yield from self.derived(timing.seconds, self.context.facts, {})
        used = self.context.backend.memory_peak(self.context.device)
        if used is not None:
            yield Metric("peak_memory", value=float(used))

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Tokens and times of a step; against the datasheet's peak, if there is one."""
        shape, ranks = ModelShape.of(load_model(self.model)), facts.ranks
        rate = self.batch * shape.seq * ranks / seconds
        yield Metric("tokens_per_second", samples=rate)
        yield Metric("step_p50", samples=seconds)
        yield Metric("step_p99", value=float(np.quantile(seconds, 0.99)))
        peak = facts.chip.peak(self.dtype) if facts.chip is not None else None
        if peak:
            yield Metric("mfu", samples=rate * flops_per_token(shape) / (peak * ranks))
            yield Metric("mfu_palm", samples=rate * palm_flops_per_token(shape) / (peak * ranks))

    def expected(self, facts: Facts) -> dict[str, float]:
        """Bounds at the datasheet's peak: tokens/s = ranks × peak / FLOPs of a token."""
        peak = facts.chip.peak(self.dtype) if facts.chip else None
        if not peak:
            return {}
        shape = ModelShape.of(load_model(self.model))
        rate = facts.ranks * peak / flops_per_token(shape)
        step = self.batch * shape.seq * facts.ranks / rate
        ratio = palm_flops_per_token(shape) / flops_per_token(shape)
        return {
            "tokens_per_second": rate,
            "step_p50": step,
            "step_p99": step,
            "mfu": 1.0,
            "mfu_palm": ratio,
        }


def _text(shape: ModelShape, batch: int, seed: int) -> Any:
    """int64 [batch, seq + 1]: a cycle over `CLASSES` tokens from a random start, 10 % noise."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    classes = min(CLASSES, shape.vocab)
    start = torch.randint(0, classes, (batch, 1), generator=generator)
    cycle = (start + torch.arange(shape.seq + 1)) % classes
    noise = torch.randint(0, classes, cycle.shape, generator=generator)
    return torch.where(torch.rand(cycle.shape, generator=generator) < 0.1, noise, cycle)
