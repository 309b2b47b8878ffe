"""Memory of a training step on each rank. Imports no torch.

What lives from step to step follows Rajbhandari et al. (ZeRO, 2020, §3): weights and two moments,
fp32, divided by the ranks that share them. What a step adds is walked through in the order in
which `bench.workloads.parallel.trainer` computes, operation by operation: a result that the
backward pass needs (`bench.kernels.model_part`) stays until that pass is through with it, gradients
gather, and buffers come and go. The estimate is the highest point of that walk.

It holds for the operations of ``torch`` and ``triton`` (`bench.workloads.ops`) and counts tensors
alone: what an allocator rounds up, keeps or cannot fit together is beside it. What a compiler keeps
it decides itself, and what a vendor's operations do nobody here knows: of those there is no count
(`counted`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .layout import Spread, order
from .model_costs import ModelShape
from .model_part import Part

_COUNTED = ("torch", "triton")
_CHUNK = 2048
"""Rows that go through the last layer at a time, where Triton's kernels compute the loss, unless
its width asks for more (`bench.kernels.linear_cross_entropy`); tables name as many or fewer."""
_BUCKET = 250 << 20
"""Bytes that are sent together when weights are made the same on all ranks."""
_FILL = 4 << 20
"""Elements of a new weight that are made at a time, from several whole numbers each."""


@dataclass(frozen=True)
class Memory:
    """Bytes on a rank where a step takes most.

    ``weights``, ``moments`` (of the optimizer), ``gradients``, ``activations`` (kept for the
    backward pass), ``logits`` (with their gradients) and ``buffers`` (what is exchanged, and what
    an operation needs while it runs).
    """

    weights: int
    moments: int
    gradients: int
    activations: int
    logits: int
    buffers: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(vars(self).values())


class Walk:
    """What is live, by kind, and what was at the highest point."""

    def __init__(self) -> None:
        self.live: Counter[str] = Counter()
        self.highest: Mapping[str, float] = {}
        self._most = 0.0

    def add(self, kind: str, amount: float) -> None:
        """So many bytes more; fewer where negative."""
        self.live[kind] += amount  # type: ignore[assignment]
        if (total := sum(self.live.values())) > self._most:
            self._most, self.highest = total, dict(self.live)

    def passing(self, kind: str, amount: float) -> None:
        """So many bytes for a moment."""
        self.add(kind, amount)
        self.add(kind, -amount)


def counted(ops: str) -> bool:
    """Whether there is an estimate for these operations, by their name in `bench.workloads.ops`."""
    return ops in _COUNTED


def estimate(
    shape: ModelShape,
    spread: Spread,
    *,
    batch: int,
    dtype: str = "fp32",
    again: str = "none",
    rank: int | None = None,
    staged: bool = False,
    fused: bool = False,
    ops: str = "torch",
) -> Memory:
    """What a step of `bench.workloads.parallel.trainer.Trainer` takes.

    Args:
        shape: The model.
        spread: Its layout over the ranks.
        batch: Sequences that a data-parallel rank sees in a step.
        dtype: ``fp32``, ``bf16`` or ``fp8``: that it computes in.
        again: What the backward pass computes again: ``none``, ``selective`` or ``full``.
        rank: Which one; None: the one that takes most. Of a mixture's experts, all are taken to get
            equally many tokens.
        staged: Whether the collective library copies what it gathers and what it scatters sums of,
            as gloo does.
        fused: Whether a norm is one kernel, which keeps its input alone; those of ``triton`` are.
        ops: ``torch`` or ``triton``: what computes.
    """
    layout = spread.layout
    stages = range(layout.pp) if rank is None else [rank * layout.pp // spread.ranks]
    return max(
        (
            _Rank(shape, spread, stage, batch, dtype, again, staged, fused, ops).walk()
            for stage in stages
        ),
        key=lambda found: found.total,
    )


def kept(
    shape: ModelShape, spread: Spread, *, batch: int, dtype: str = "fp32", ops: str = "torch"
) -> int:
    """Bytes that the forward pass of a microbatch keeps for the backward pass, weights aside.

    Of a rank that has all layers; arguments as of `estimate`. Weights in another format than their
    own are among them.
    """
    one = _Rank(shape, spread, 0, batch, dtype, "none", ops=ops)
    one.loss_forward()
    return round(one.layers * one.inner + sum(one.now.live.values()))


class _Rank(Part):
    """The walk of one rank: see `estimate`."""

    def __init__(self, *part: Any, **how: Any) -> None:
        super().__init__(*part, **how)
        self.now = Walk()
        self.sending = 0.0

    def walk(self) -> Memory:
        """From new weights to a step on weights that have moments."""
        first, last = self.stage == 0, self.stage == self.layout.pp - 1
        shape, now = self.shape, self.now
        parts = self.layout.stages // self.layout.pp
        around = shape.dim * self.vocab * (first + last) + shape.dim * last
        experts = parts * self.layers * self.experts / (self.shards / self.layout.ep)
        held = (parts * self.layers * self.block + around) / self.shards + experts
        now.add("weights", 4 * held)
        largest = max(
            shape.dim * max(self.vocab, self.ffn, self.queries) / self.shards,
            self.experts * 2 / 3 / (self.shards / self.layout.ep),
        )
        now.passing("buffers", 4 * 8 * min(_FILL, largest))
        if self.copied:
            now.add("buffers", 4 * held)
            now.passing("buffers", min(_BUCKET, 4 * held))
        now.add("moments", 8 * held)
        self.around = around
        self.steps(parts, first, last)
        if first and self.layout.tp > 1:
            now.passing("buffers", 4 * shape.dim * self.vocab)
        return Memory(
            **{kind: round(now.highest.get(kind, 0.0)) for kind in Memory.__annotations__}
        )

    def steps(self, parts: int, first: bool, last: bool) -> None:
        """Microbatches forward and backward, in the order of the schedule."""
        now, layout = self.now, self.layout
        if layout.pp == 1:  # of one stage all microbatches but the first and the last are alike
            layout = replace(layout, microbatches=min(layout.microbatches, 3))
        count = layout.microbatches
        hidden = self.wide * self.shape.dim * self.some
        if self.layout.pp > 1:  # a stage has a place for all that it will get
            now.add("buffers", count * parts * hidden * (2 - (first + last) / parts))
        gather = self.layout.pp == 1
        begun = set()
        for forward, part, number in order(layout, self.stage):
            top = last and part == parts - 1
            bottom = first and part == 0
            if forward:
                if self.shared and (gather or part not in begun):
                    self.gathered(self.around)
                for _ in range(self.layers):
                    if self.shared and (gather or part not in begun):
                        self.gathered(self.block + self.experts)
                        if gather:
                            now.add("buffers", -self.wide * (self.block + self.experts))
                    now.add("activations", self.kept)
                if top:
                    self.loss_forward()
                else:
                    now.add("activations", hidden)
                begun.add(part)
                continue
            final = number == count - 1
            if top:
                self.loss_backward(number)
            else:
                now.add("activations", -hidden)
                now.add("buffers", hidden)  # the gradient that came in
            for layer in range(self.layers):
                if self.shared and gather:
                    if layer == 0:
                        now.add("buffers", self.wide * (self.block + self.experts))
                    ahead = layer < self.layers - 1
                    if ahead:  # those of the next are on their way
                        now.add("buffers", self.wide * (self.block + self.experts))
                        now.passing(
                            "buffers", self.wide * (self.block + self.experts) * self.staged
                        )
                self.block_backward(number)
                if self.shared:
                    if gather:
                        now.add("buffers", -self.wide * (self.block + self.experts))
                    if self.layout.ep > 1:  # experts are a part of their own
                        self.reduced(self.experts, self.shards / self.layout.ep, final)
                    mine = self.block + (self.experts if self.layout.ep == 1 else 0)
                    self.reduced(mine, self.shards, final)
            if bottom:
                now.passing("buffers", 4 * self.shape.dim * self.some * self.low)
                # Under tensor parallelism every rank gets the gradient of the whole table.
                self.gradient(self.shape.dim * self.shape.vocab, number, whole=4)
            now.add("buffers", -hidden)
            if self.shared:
                if gather:
                    now.add("buffers", -self.wide * self.around)
                self.reduced(self.around, self.shards, final)
                self.released()

    def gathered(self, count: float) -> None:
        """Weights of all ranks: what arrives is copied out."""
        self.now.add("buffers", self.wide * count)
        self.now.passing("buffers", 2 * self.wide * count)  # with those of the part before
        self.now.passing("buffers", (1 + self.staged) * self.wide * count)

    def reduced(self, count: float, shards: float, final: bool) -> None:
        """Gradients of a part are summed, and each rank keeps its share."""
        if not final:
            return
        there = 4 if self.layout.microbatches > 1 else self.wide
        self.released()
        self.now.add("buffers", 4 * count)
        self.sending = 4 * count
        self.now.add("gradients", 4 * count / shards - there * count)
        self.now.passing("buffers", 4 * count * self.staged)

    def released(self) -> None:
        """What is sent stays until the next part is through with its gradients."""
        self.now.add("buffers", -self.sending)
        self.sending = 0.0

    def gradient(self, count: float, number: int, whole: int = 0) -> None:
        """Of so many weights: it comes in the format of the product, and is added up in fp32."""
        wide = whole or self.wide
        if self.shared and self.layout.microbatches == 1:
            self.now.add("gradients", wide * count)
            return
        self.now.add("buffers", wide * count)
        if number == 0:
            if wide < 4:
                self.now.add("gradients", 4 * count)
                self.now.add("buffers", -wide * count)
            else:  # it is kept as it came
                self.now.add("buffers", -wide * count)
                self.now.add("gradients", 4 * count)
            return
        self.now.passing("buffers", 4 * count * self.low)
        self.now.add("buffers", -wide * count)

    def loss_forward(self) -> None:
        """Logits, their logarithms of probabilities, which stay."""
        now, dim, logits = self.now, self.shape.dim, self.vocab * self.tokens
        now.add("activations", self.norm)
        if self.own and self.layout.tp == 1:
            self.gradients_forward()
            return
        if self.low and not self.shared:
            now.add("activations", self.wide * dim * self.vocab)
        now.add("logits", self.wide * logits)
        if self.low:
            now.add("logits", 4 * logits)
        now.add("logits", 4 * logits)
        now.add("logits", -(self.wide + 4 * self.low) * logits)

    def gradients_forward(self) -> None:
        """The loss by Triton's kernels, which gives the gradients at once, from logits of some rows
        at a time: of what goes in, and of the head, which are what stays."""
        now, dim = self.now, self.shape.dim
        head = self.wide * dim * self.vocab
        rows = min(self.tokens, max(_CHUNK, self.tokens * dim / self.vocab))
        rounded = head if self.low and not self.shared else 0.0
        now.add("logits", self.wide * dim * self.tokens + head)
        summed = 4 * dim * self.vocab if self.low and rows < self.tokens else 0.0
        now.passing("logits", rounded + summed + self.wide * rows * self.vocab)
        now.add("activations", -self.wide * dim * self.tokens)  # its input is needed no more

    def loss_backward(self, number: int) -> None:
        """From the mean to the gradient of the head's input."""
        now, dim, logits = self.now, self.shape.dim, self.vocab * self.tokens
        if self.own and self.layout.tp == 1:
            now.add("logits", -self.wide * dim * (self.tokens + self.vocab))
            now.add("buffers", self.wide * dim * self.some)
            self.gradient(dim * self.vocab, number)
            now.passing("buffers", self.wide * dim * self.some)
            now.add("activations", self.wide * dim * self.tokens - self.norm)
            return
        # Over classes that are split it is computed in one step more.
        more = 8 if self.layout.tp == 1 else 12
        now.passing("logits", more * logits)
        if self.low:
            now.add("logits", self.wide * logits)
            now.add("logits", -4 * logits)
        now.add("buffers", self.wide * dim * self.some)  # the gradient that goes down
        now.passing("buffers", self.wide * dim * self.tokens)
        self.gradient(dim * self.vocab, number)
        now.add("logits", -(self.wide if self.low else 4) * logits)
        if self.low and not self.shared:
            now.add("activations", -self.wide * dim * self.vocab)
        now.passing("buffers", 12 * dim * self.some)
        now.add("activations", -self.norm)

    def block_backward(self, number: int) -> None:
        """Feed-forward first, then attention; each lets go of what it kept."""
        now, dim, n = self.now, self.shape.dim, self.tokens
        if self.again != "none":
            # Queries and keys are turned in fp32, beside what comes before in the block.
            before = self.norm + self.wide * n * (self.queries + 2 * self.kv)
            begun = before if self.again == "full" else self.norm
            turned = self.wide if self.own else 8 + 4 * self.low
            now.passing("activations", begun + turned * self.queries * n)
            # What was kept is in the block that is computed again, or it is let go of.
            now.add("activations", self.inner - self.kept)
        rows = n * self.shape.top_k if self.shape.experts else n
        ffn = self.shape.ffn if self.shape.experts else self.ffn
        inner = self.wide * rows * ffn
        whole = self.wide * dim * n
        down, up = (
            (self.experts / 3, 2 * self.experts / 3)
            if self.shape.experts
            else (
                dim * self.ffn,
                2 * dim * self.ffn,
            )
        )
        if self.shape.experts and not self.own:  # rows are weighted in fp32
            now.passing("buffers", (8 + self.wide) * dim * rows)
        now.passing("buffers", inner)
        now.add("buffers", inner)
        self.gradient(down, number)
        now.add("activations", -inner)
        now.add("buffers", 2 * inner)
        now.add("buffers", -inner)
        now.add("activations", -(2 if self.own else 3) * inner)
        now.add("buffers", self.wide * dim * rows)
        self.gradient(up, number)
        now.add("buffers", -2 * inner)
        now.add("activations", -(self.fed - (3 if self.own else 4) * inner) - self.norm)
        now.passing("buffers", 12 * dim * self.some)
        now.add("buffers", -self.wide * dim * rows)
        now.add("buffers", whole)
        self.gradient(dim * self.queries, number)
        each = self.queries + 2 * (self.kv if self.own else self.queries)
        now.add("buffers", self.wide * each * n)
        now.passing("buffers", self.wide * self.queries * n)  # the gradient that came in
        now.add("activations", -self.mixed)
        now.passing("buffers", (2 * self.wide if self.own else 8) * self.queries * n)
        self.gradient(dim * (self.queries + 2 * self.kv), number)
        now.add("buffers", -self.wide * each * n)
        now.passing("buffers", 12 * dim * self.some)
        now.add("buffers", -whole)
        rest = self.block - self.attention - (0 if self.shape.experts else 3 * dim * self.ffn)
        self.gradient(rest, number)
        now.add("activations", -self.norm - self.rounded)
