"""A training step: forward, backward and AdamW of a Llama-style model, spread over a group."""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..errors import UsageError
from ..kernels.layout import Layout
from ..kernels.model_memory import counted, estimate
from ..timing import Rule, Timing
from .base import Check, Context, Metric, Unmeasurable, benchmark
from .energy import joule
from .feed import feed
from .fitting import shortage
from .lacking import lacks
from .lateness import straggler
from .marks import every_rank, mark
from .phases import Phases
from .scratch import is_url
from .steps import CURVE, PHASES, Steps

if TYPE_CHECKING:
    import torch

FALL = 1e-3
"""Share of its loss that a batch must lose: less than any step brings, more than rounding moves."""


@benchmark(scope="group")
class Train(Steps):
    """Real steps on a text that can be learnt; the loss must fall.

    The text is a noisy cycle over a few tokens, another for each data-parallel rank, which sees
    ``batch`` sequences of it in a step; or with ``token_set`` a packed set at that path on every
    node (``hengsuan tokens new``), read ahead by threads.

    ``dtype`` is that of matrix products; weights, moments and sums of gradients are fp32; fp8
    leaves head and router in bf16. ``ops`` says how the model computes (`bench.workloads.ops`),
    ``recompute`` what the backward pass computes again (`bench.workloads.parallel.again`), all else
    how it is spread over the group (`bench.kernels.layout.Layout`). ``model`` may be a slice:
    ``llama-70b@4`` has four layers.

    ``mfu`` counts causal-exact FLOPs of the model, ``mfu_palm`` 6N + 12LHQT a token, ``hfu`` those
    of ``mfu`` and what the backward pass computes again; all over the datasheet's peak in ``dtype``
    times ranks; without a peak they are absent. ``jitter`` is p95 over p50 of the steps. ``loss_1``
    and so on are the loss curve at fixed steps, so that runs of any length compare.
    ``energy_per_token`` is what all devices took from before the first step to after the last,
    absent where one has no counter.

    A step is split in phases, each the mean over the ranks: ``data``, until its tokens are on the
    device; ``forward``; ``backward``; ``optimizer``; ``bubble``, in a pipeline what a stage waits
    for others; and ``wait``.

    All ranks' steps take equally long, for each waits for the slowest. What tells them apart is
    where; so every rank splits its own step in two.

    - ``wait``: for what other ranks give. Where they exchange gradients only (``dp: ddp`` and
      nothing else) from when its own are ready (the last of its backward pass is done) until those
      of all have arrived; in other layouts wherever the passes stand still for a collective
      (`bench.workloads.parallel.waits`). What runs beside the computing is not in it: it is the
      exposed part, the time on the network and the wait for who comes later.
    - ``compute``: the rest of the step, which needs nobody else: its other phases, without a
      pipeline's bubble.

    What a rank needs behind its last exchange, such as a slow optimizer, the others wait for in
    their next step; where measuring pauses between blocks of steps (`Rule.block`; long steps are a
    block each), they wait there, and that is in the step too.

    A straggler computes long and waits least; the others wait for it. As the reduction ends
    everywhere at about the same time, who waits d longer was ready d earlier: waits compare
    arrivals without a common clock. Where one rank's lateness costs the others a tenth of a step,
    the row says whose, in the mean over the steps; else, where a few steps take far longer than the
    others, who was late in those: of such a rank ``compute``, a median, shows nothing.

    Limits: ``compute`` holds what exchanges beside it cost the device, and on the host's own cores
    their threads' work; the host's delay in giving work to the device counts as computing; waits
    inside of compiled code are computing too; a slow network makes all wait and names nobody, which
    is what pairs are measured for. Marks are events in the device's stream, else times of the host
    where it computes itself; a device without events is not stopped within a step to ask, and has
    no phases.
    """

    per_sample = True
    ends_apart = True
    alone = True
    worded = {
        **Steps.worded,
        "token_set": {"": ""},
    }

    token_set: str = ""
    """A packed set at this path on every node (``hengsuan tokens new``), read ahead; empty:
    synthetic text."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        super().__post_init__()
        if is_url(self.token_set):
            raise UsageError(f"train: token_set must be a file, not {self.token_set}")

    def check_ranks(self, ranks: int, memory: int | None = None) -> None:
        """Raise `UsageError` for a group that the layout does not divide, and for devices whose
        memory a step does not fit into; says then what would fit."""
        spread = self.spread_over(ranks)
        if memory is None:
            return
        why = shortage(
            self.shape,
            self.layout,
            ranks,
            batch=self.sequences(spread),
            dtype=self.dtype,
            again=self.recompute,
            memory=memory,
            ops=self.ops,
            shared=self.batch_of == "group",
            served=self._check_proposed,
        )
        if why:
            raise UsageError(f"train: {self.model} does not fit: {why}")

    def _check_proposed(self, layout: Layout) -> None:
        """Raise ValueError for a layout that nobody is told to take."""
        if layout.cp > max(1, self.cp) and self.ops == "triton":
            raise ValueError("the Triton kernels share no sequence")
        self.check_served(layout)

    def rule(self, rule: Rule) -> Rule:
        """At least those of `CURVE`, and many in a block.

        Between blocks ranks meet outside of what is timed: who waits there for a rank that is slow
        in its optimizer does not wait in the step, as it would in training.
        """
        return msgspec.structs.replace(
            rule,
            min_samples=max(rule.min_samples, *CURVE),
            block=max(rule.block, rule.budget / 8),
        )

    def clock(self) -> Literal["device", "host"]:
        """Wall clock: a step ends when its last kernel has."""
        return "host"

    def setup(self, context: Context) -> None:
        """Build model, optimizer, data from seeds.

        Raises `Unmeasurable` across kinds of chip, for a group that the layout does not divide, and
        for operations that this device has not.
        """
        import torch

        from .parallel.trainer import Trainer
        from .parallel.waits import Waits

        if context.through_host:
            raise Unmeasurable("gradients of several kinds of chip have no library to meet in")
        try:
            spread = self.spread_over(context.size)
        except UsageError as error:
            raise Unmeasurable(error.message) from None
        ops = self.operations(context)
        self.context, self.over = context, spread
        backend, device = context.backend, context.device
        dtype = torch.float32 if self.dtype == "fp32" else torch.bfloat16
        _workspaces(device, dtype)
        self.held = backend.memory_peak(device, reset=True)
        """Bytes that are no model's: the peak before anything has been allocated."""
        try:
            self.trainer = Trainer(
                self.shape,
                spread,
                context.rank,
                device,
                batch=self.sequences(spread),
                ops=ops,
                dtype=dtype,
                again=self.recompute,
                seed=context.seed,
            )
        except NotImplementedError as error:
            raise Unmeasurable(str(error)) from None
        self.net, self.optimizer = self.trainer.net, self.trainer.optimizer
        # Of a device without events, only a synchronisation could tell, which changes the step.
        seen = device.type == "cpu" or backend.event() is not None
        self.phases = Phases(partial(mark, context) if seen else None)
        if seen and not self.layout.plain:
            self.waits = Waits(device, self.phases.waiting)
        self.feed = feed(
            context,
            self.token_set,
            self.shape.vocab,
            self.shape.seq,
            self.sequences(spread),
            spread.sequences(context.rank),
            spread.data,
        )
        self.first = self.feed.next()
        self.energy = float("nan")
        self.turn = 0
        self.losses: list[Any] = []
        """Of the first steps, still on the device: asking for them would stop it."""
        try:
            self.start = self._loss()
        except RuntimeError as error:
            if not lacks(error):
                raise
            raise Unmeasurable(f"this stack cannot run the model: {error}") from None

    def _loss(self) -> float | None:
        """The first batch's, without an update; None where this rank's stage has none.

        Ranks of a plain group need nobody for it.
        """
        import torch

        if self.layout.plain:
            with torch.no_grad():
                return float(self.trainer.parts[0](self.first))
        loss = self.trainer.gradients(self.first)
        self.optimizer.zero_grad(set_to_none=True)
        return None if loss is None else float(loss)

    def step(self) -> None:
        """Forward, backward, AdamW."""
        to = self.phases
        self.turn += 1
        to.step()
        to("data")
        tokens = self.feed.next()
        loss = self.trainer.gradients(tokens, to)
        if self.turn <= max(CURVE):
            self.losses.append(loss)
        to("optimizer")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        to("")

    def meet(self) -> None:
        """Behind its last exchange a rank may be slow by itself, as in its optimizer."""
        with self.phases.prolonged("bubble" if self.pp > 1 else "wait"):
            self._gathered([0.0])

    def check(self) -> Check:
        """Before: the loss is that of guessing. After: it fell, and copies of weights are equal.

        It is the first batch's, before any step and after all: of other batches a model that learns
        nothing may have less.
        """
        guess = math.log(self.shape.vocab)
        if not self.turn:
            self.energy = joule(self.context)
            begin = self._by_rank(self.start).values()
            start = sum(first for (first,) in begin) / len(begin)
            good = abs(start - guess) < 0.15 * guess
            return Check(good, f"first loss {start:.4f}, guessing is {guess:.4f}")
        self.energy = joule(self.context) - self.energy
        # Every rank takes part, whatever came of its own loss: the others would wait for it.
        gather = self.context.gather
        sums = [values[0] for values in gather([self._checksum()])] if gather else []
        every = self._by_rank(self.start, self._loss(), self._astray())
        for rank, (first, end, _) in every.items():
            if not math.isfinite(end) or end > (1 - FALL) * first:
                return Check(False, f"loss went from {first:.4f} to {end:.4f}{_where(rank, every)}")
        firsts: dict[int, float] = {}
        for rank, own in enumerate(sums):
            firsts.setdefault(self.over.holding(rank), own)
        strangers = [
            rank for rank, own in enumerate(sums) if own != firsts[self.over.holding(rank)]
        ]
        if strangers:
            listed = ", ".join(map(str, strangers[:8]))
            return Check(
                False,
                f"ranks hold different weights: {len(strangers)} differ from the first that has "
                f"the same ({listed}{', ...' if len(strangers) > 8 else ''})",
            )
        columns = zip(*every.values(), strict=True)
        first, end, _ = (sum(column) / len(every) for column in columns)
        return Check(True, f"loss fell from {first:.4f} to {end:.4f}")

    def _astray(self) -> float:
        """The first of the steps whose losses are kept that has none to speak of; 0: all have."""
        kept = enumerate(self.losses, start=1)
        return next((n for n, one in kept if one is not None and not math.isfinite(one)), 0)

    def _by_rank(self, *losses: float | None) -> dict[int, list[float]]:
        """These losses by rank, of those that have any: in a pipeline those of the last stage."""
        row = [float(None not in losses), *(one or 0.0 for one in losses)]
        every = enumerate(self._gathered(row))
        return {rank: found for rank, (has, *found) in every if has}

    def _gathered(self, row: list[float]) -> list[list[float]]:
        """The rows of all ranks, which all ask for them."""
        return [row] if self.context.gather is None else self.context.gather(row)

    def _checksum(self) -> float:
        """Sum of the weights' bits taken as integers: exact in any order, so equal or not."""
        import torch

        from .model import local

        weights = (one.detach() for part in self.trainer.parts for one in part.parameters())
        bits = (local(one).view(torch.int32) for one in weights)
        return float(sum(int(one.sum(dtype=torch.int64)) for one in bits) % 2**52)

    def teardown(self) -> None:
        """Free weights and groups: hooks refer to modules that refer to them."""
        trainer, feed = self.__dict__.get("trainer"), self.__dict__.get("feed")
        waits = self.__dict__.get("waits")
        super().teardown()
        if waits is not None:
            waits.close()
        if feed is not None:
            feed.close()
        if trainer is not None:
            trainer.close()
            gc.collect()

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Rates of the whole group, from the wall time of rank 0's steps."""
        yield from self.derived(timing.seconds, self.context.facts, {})
        every = self._by_rank(*(None if one is None else float(one) for one in self.losses))
        curve = [sum(losses) / len(every) for losses in zip(*every.values(), strict=True)]
        for step in CURVE:
            if step <= len(curve):
                yield Metric(f"loss_{step}", value=curve[step - 1])
        used = self.context.backend.memory_peak(self.context.device)
        if used is not None:
            yield Metric("peak_memory", value=float(used - (self.held or 0)))
            if (said := self._estimate()) is not None:
                yield Metric("memory_estimate", value=said)
        if self.phases:
            yield from self._parts(timing)
        spent = sum(values[0] for values in self._gathered([self.energy]))
        if math.isfinite(spent):
            tokens = self.turn * self.over.data * self.sequences(self.over) * self.shape.seq
            yield Metric("energy_per_token", value=spent / tokens)

    def _estimate(self) -> float | None:
        """Bytes that a step takes on this rank; None where nobody knows what operations keep."""
        if not counted(self.ops):
            return None
        import torch

        # Where the library has a norm in one kernel, it keeps the input alone.
        fused = hasattr(torch.ops.aten, "_fused_rms_norm") and self.context.device.type != "cpu"
        found = estimate(
            self.shape,
            self.over,
            batch=self.sequences(self.over),
            dtype=self.dtype,
            again=self.recompute,
            rank=self.context.rank,
            staged=self.context.library == "gloo",
            fused=fused,
            ops=self.ops,
        )
        return float(found.total)

    def _parts(self, timing: Timing) -> Iterator[Metric]:
        """What this rank computes and waits, and each phase's mean over the ranks.

        Every rank of the group asks for it.
        """
        found = self.phases.seconds(timing, (*PHASES, "wait"))
        for name in PHASES:
            if name != "bubble" or self.pp > 1:
                every = every_rank(self.context, found[name])[1]
                yield Metric(name, samples=every.mean(axis=0))
        wait = found.pop("wait")
        found.pop("bubble")
        yield Metric("compute", samples=sum(found.values()))
        if self.context.size == 1:  # who is alone waits for nobody
            return
        yield Metric("wait", samples=wait)
        picked, every = every_rank(self.context, wait)
        # The group's row is that of rank 0, which needs to say it once. Stages of a pipeline wait
        # for those behind them, however fast they are.
        if self.context.rank == 0 and self.pp == 1:
            self.straggler = straggler(every, timing.seconds[picked])

    def note(self) -> str:
        """Who comes late, where one rank does."""
        return str(self.__dict__.get("straggler", ""))


def _where(rank: int, every: dict[int, list[float]]) -> str:
    """Where a loss went wrong first, of losses (before, after, first step without) by rank."""
    astray = [(step, one) for one, (*_, step) in every.items() if step]
    if astray:
        step, one = min(astray)
        return f": the first that is no number is of step {step:.0f}, rank {one}"
    return f" on rank {rank}" if len(every) > 1 else ""


def _workspaces(device: torch.device, dtype: torch.dtype) -> None:
    """Let libraries take what they keep for good: for a product, and for its gradients, which
    another thread computes. What there is not shows in the first step."""
    import torch

    with contextlib.suppress(RuntimeError):
        one = torch.ones(64, 64, device=device, dtype=dtype, requires_grad=True)
        torch.autograd.grad(torch.nn.functional.linear(one, one).sum(), one)
