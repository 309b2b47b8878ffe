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
from ..units import format_value
from .base import Benchmark, Bytes, Check, Context, Facts, Metric, Unmeasurable, benchmark
from .collectives import Collectives
from .lacking import lacks
from .marks import every_rank, mark, span

LEARNING_RATE = 1e-3
CLASSES = 16
"""Tokens that the synthetic text is made of: few, so that a model learns it within some steps."""
BATCHES = 8
"""Different batches that the steps cycle through."""
LATE = 0.1
"""Share of a step from which it is said that one rank comes so much later than the others."""


@benchmark(scope="group")
class Train(Benchmark):
    """Real steps on a synthetic text that can be learnt; the loss must fall.

    The text is a noisy cycle over a few tokens. Every rank has its own, gradients are averaged by
    DDP. ``dtype`` bf16 computes matrix products under autocast; weights and optimizer stay fp32.
    ``mfu`` counts causal-exact FLOPs of the model, ``mfu_palm`` 6N + 12LHQT a token, both over
    the datasheet's peak in ``dtype`` times ranks; without a peak they are absent.

    All ranks' steps take equally long, for each waits for the slowest. What tells them apart is
    where: every rank splits its own step in two.

    - ``wait``: from when its own gradients are ready (the last of its backward pass is done) until
      those of all have arrived. Reductions that ended beside the backward pass are not in it: it is
      the exposed part, the last buckets' time on the network and the wait for who comes later.
    - ``compute``: the rest of the step, which needs nobody else: forward, backward, AdamW.

    A straggler computes long and waits least; the others wait for it. As the reduction ends
    everywhere at about the same time, who waits d longer was ready d earlier: waits compare
    arrivals without a common clock. Where one rank's lateness costs the others a tenth of a step,
    the row says whose, in the mean over the steps: a rank that is late now and then shows there,
    for ``compute`` is a median.

    Limits: ``compute`` holds what reductions beside it cost the device, and on the host's own cores
    their threads' work; the host's delay in giving work to the device counts as computing; a slow
    network makes all wait and names nobody, which is what pairs are measured for. Marks are events
    in the device's stream, else times of the host where it computes itself; a device without events
    is not stopped within a step to ask, and has neither value.
    """

    measures = (
        Measure("tokens_per_second", "token/s", "higher"),
        Measure("step_p50", "s", "lower"),
        Measure("step_p99", "s", "lower"),
        Measure("mfu", "ratio", "higher"),
        Measure("mfu_palm", "ratio", "higher"),
        Measure("peak_memory", "B", "lower"),
        Measure("compute", "s", "lower", each=True),
        Measure("wait", "s", "lower", each=True, slack="compute"),
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
        """At least twelve steps, for fewer cannot show that the loss falls, and many in a block.

        Between blocks ranks meet outside of what is timed: who waits there for a rank that is slow
        in its optimizer does not wait in the step, as it would in training.
        """
        return msgspec.structs.replace(
            rule,
            min_samples=max(rule.min_samples, 12),
            block=max(rule.block, rule.budget / 8),
        )

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
        self.marks: list[list[Any]] = []
        # Of a device without events, only a synchronisation could tell, which changes the step.
        self.seen = device.type == "cpu" or backend.event() is not None
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
        self.marks.append([])
        self._mark()
        with self.cast:
            loss = self.net(tokens)
        loss.register_hook(self._backward_began)
        loss.backward()
        self._mark()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._mark()
        self.losses.append(loss.detach())

    def _mark(self) -> None:
        """Marks of a step: its begin, own gradients ready, those of all arrived, its end."""
        if self.seen:
            self.marks[-1].append(mark(self.context))

    def _backward_began(self, gradient: Any) -> None:
        """Have a mark set when this rank's own backward pass is done.

        Autograd calls back when it has done all work, in the order in which that was asked for:
        before DDP, which asks with the last gradients and then waits for those of the others.
        """
        from torch.autograd import Variable

        Variable._execution_engine.queue_callback(self._mark)

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
        if self.seen:
            yield from self._parts(timing)

    def _parts(self, timing: Timing) -> Iterator[Metric]:
        """What this rank computes and waits. Every rank of the group asks for it."""
        marks = timing.kept(self.marks)
        wait = np.array([span(ready, arrived) for _, ready, arrived, _ in marks])
        whole = np.array([span(begin, end) for begin, _, _, end in marks])
        if self.context.size == 1:  # who is alone waits for nobody
            yield Metric("compute", samples=whole)
            return
        yield Metric("compute", samples=whole - wait)
        yield Metric("wait", samples=wait)
        late = lateness(every_rank(self.context, wait)[1])
        last, step = int(late.argmax()), float(timing.seconds.mean())
        # The group's row is that of rank 0, which needs to say it once.
        if self.context.rank == 0 and late[last] >= LATE * step:
            self.straggler = (
                f"rank {last} holds up the others: its gradients come "
                f"{format_value(float(late[last]), 's')} after theirs in a step of "
                f"{format_value(step, 's')}"
            )

    def note(self) -> str:
        """Who comes late, where one rank does."""
        return str(self.__dict__.get("straggler", ""))

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
        """Bounds at the datasheet's peak: tokens/s = ranks × peak / FLOPs of a token.

        Nobody waits less than the reduction of the embedding's gradient takes.
        """
        peak = facts.chip.peak(self.dtype) if facts.chip else None
        if not peak:
            return {}
        shape = ModelShape.of(load_model(self.model))
        rate = facts.ranks * peak / flops_per_token(shape)
        step = self.batch * shape.seq * facts.ranks / rate
        ratio = palm_flops_per_token(shape) / flops_per_token(shape)
        found = {
            "tokens_per_second": rate,
            "step_p50": step,
            "step_p99": step,
            "mfu": 1.0,
            "mfu_palm": ratio,
            "compute": step,
        }
        # The embedding's gradient is the last to be ready: its reduction hides behind nothing.
        embedding = Bytes(4 * shape.vocab * shape.dim)
        last = Collectives(op="all_reduce", size=embedding, dtype="fp32").expected(facts)
        if facts.ranks > 1 and "time" in last:
            found["wait"] = last["time"]
        return found


def lateness(waits: Any) -> Any:
    """Seconds by which each rank is ready after the others, in the mean over steps: float64[ranks].

    Args:
        waits: float64[ranks, steps], at least two ranks: seconds from when a rank was ready until
            all were; who waits longer was ready earlier. Negative: before the others.
    """
    others = (waits.sum(axis=0) - waits) / (len(waits) - 1)
    return (others - waits).mean(axis=1)


def _text(shape: ModelShape, batch: int, seed: int) -> Any:
    """int64 [batch, seq + 1]: a cycle over `CLASSES` tokens from a random start, 10 % noise."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    classes = min(CLASSES, shape.vocab)
    start = torch.randint(0, classes, (batch, 1), generator=generator)
    cycle = (start + torch.arange(shape.seq + 1)) % classes
    noise = torch.randint(0, classes, cycle.shape, generator=generator)
    return torch.where(torch.rand(cycle.shape, generator=generator) < 0.1, noise, cycle)
