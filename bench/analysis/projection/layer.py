"""Seconds of a layer, and of the ends of a model, for one microbatch on one rank.

Every operation is counted as it is split over ranks: products by their own sizes, all others by
the bytes that they move, communication by the levels of the network that it crosses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .machine import Operation
from .plan import Plan
from .rates import Rates
from .software import Software
from .workload import Decoder


@dataclass(frozen=True)
class Times:
    """Seconds forward and backward (what is computed again included): of computing, and of
    communication that nothing hides."""

    forward: float = 0.0
    backward: float = 0.0
    exposed_forward: float = 0.0
    exposed_backward: float = 0.0

    @property
    def total(self) -> float:
        """All four."""
        return self.forward + self.backward + self.exposed_forward + self.exposed_backward

    @property
    def exposed(self) -> float:
        """Of communication."""
        return self.exposed_forward + self.exposed_backward

    def __add__(self, other: Times) -> Times:
        return Times(
            self.forward + other.forward,
            self.backward + other.backward,
            self.exposed_forward + other.exposed_forward,
            self.exposed_backward + other.exposed_backward,
        )

    def __mul__(self, count: float) -> Times:
        return Times(
            self.forward * count,
            self.backward * count,
            self.exposed_forward * count,
            self.exposed_backward * count,
        )


class Layers:
    """Of one model in one layout: `layer`, `embedding`, `head`."""

    def __init__(self, model: Decoder, plan: Plan, rates: Rates, software: Software) -> None:
        self.model, self.plan, self.rates, self.software = model, plan, rates, software
        self.shape = model.shape
        self.wide = rates.width
        self.tokens = plan.micro * self.shape.seq / plan.cp
        """Of a microbatch on a rank inside matrix products."""
        self.some = self.tokens / (plan.tp if plan.sequence else 1)
        """The same between them."""

    def layer(self) -> Times:
        """One layer."""
        attention, scores = self._attention()
        forward = attention.forward + scores.forward
        mixed = self._experts() if self.shape.experts else self._fed()
        between = self._between()
        tensor = self._tensor(forward + mixed.forward, attention.backward + mixed.backward)
        made = attention + scores + mixed + between + tensor
        again = Times()
        if self.plan.recompute == "full":
            again = Times(0, made.forward, 0, made.exposed_forward)
        elif self.plan.recompute == "selective":
            again = Times(0, self._cheap() if self.software.flash else scores.forward)
        return made + again

    def _cheap(self) -> float:
        """Norms and activations once more."""
        elements = 2 * 2 * self.some * self.shape.dim
        if self.shape.experts:
            inner = self.some * self.shape.top_k * self.shape.ffn
        else:
            inner = self.tokens * self.shape.ffn / self.plan.tp
        return self.rates.streams(self.wide * (elements + self.model.matrices * inner))

    def _weighed(self, m: float, n: float, k: float, *, count: float = 1) -> Times:
        """A product with weights: forward, gradients of what goes in, and of the weights."""
        gemm, software = self.rates.gemm, self.software
        weights = n * k * count
        forward = gemm(m, n, k, count=count)
        inputs = gemm(m, k, n, count=count)
        several = self.plan.microbatches > 1
        sums = 2 * software.gradient_width * weights * several if software.fused_gradients else 0.0
        gradient = gemm(k, n, m, count=count, beside=sums)
        if not software.fused_gradients and several:
            moved = self.wide + 2 * software.gradient_width
            gradient += self.rates.streams(moved * weights)
        return Times(forward, inputs + gradient)

    def _attention(self) -> tuple[Times, Times]:
        """The products with weights, and what is between queries and result."""
        shape, tp, n, wide = self.shape, self.plan.tp, self.tokens, self.wide
        queries = shape.heads * shape.head_dim / tp
        kv = max(shape.kv_heads / tp, 1) * shape.head_dim
        products = self._weighed(n, queries + 2 * kv, shape.dim)
        products += self._weighed(n, shape.dim, queries)
        full = 4 * n * shape.seq * queries
        if self.software.flash:
            turned = 2 * wide * n * (queries + kv)
            inner = Times(self.rates.streams(turned), self.rates.streams(turned))
            of = self._heads() if self.plan.cp == 1 else ()
            inner += Times(
                self.rates.attention(full / 2, shape=of),
                self.rates.attention(2.5 * full / 2, backward=True, shape=of),
            )
            return products, inner
        return products, self._written(full, n * shape.seq * shape.heads / tp)

    def _heads(self) -> tuple[int, ...]:
        """Shape of attention on a rank, as `bench.kernels.costs` names it."""
        shape, tp = self.shape, self.plan.tp
        kv = max(shape.kv_heads // tp, 1)
        return self.plan.micro, shape.heads // tp, kv, shape.seq, shape.head_dim

    def _written(self, flops: float, scores: float) -> Times:
        """Attention that writes its scores: softmax, mask and dropout pass over them, and products
        read them (Korthikanti et al., 2022, §4.1)."""
        wide, dropped = self.wide, self.software.dropout
        rates, peak = self.rates, self.rates.machine.flops * self.rates.efficiency.gemm
        rate = rates.machine.bandwidth * rates.efficiency.memory
        product = max(flops / 2 / peak, wide * scores / rate)
        passes = 2 * wide + (2 * wide + 1 if dropped else 0)
        back = 3 * wide + (2 * wide + 1 if dropped else 0)
        return Times(
            2 * product + rates.streams(passes * scores), 4 * product + rates.streams(back * scores)
        )

    def _fed(self) -> Times:
        """Feed-forward."""
        shape, n = self.shape, self.tokens
        inner = shape.ffn / self.plan.tp
        first = inner * (self.model.matrices - 1)
        return (
            self._weighed(n, first, shape.dim)
            + self._weighed(n, shape.dim, inner)
            + self._activation(n * inner)
        )

    def _activation(self, elements: float) -> Times:
        arrays = (3, 5) if self.model.gated else (2, 3)
        forward, backward = (self.rates.streams(a * self.wide * elements) for a in arrays)
        return Times(forward, backward)

    def _experts(self) -> Times:
        """A mixture: route, exchange, products of every expert here, exchange back, weighted sum.

        Experts are whole; tokens are taken to choose evenly.
        """
        shape, plan, wide = self.shape, self.plan, self.wide
        rows = self.some * shape.top_k
        here = shape.experts / plan.ep
        each = rows * plan.ep / shape.experts
        made = self._weighed(each, shape.ffn * (self.model.matrices - 1), shape.dim, count=here)
        made += self._weighed(each, shape.dim, shape.ffn, count=here)
        made += self._activation(rows * shape.ffn)
        made += self._weighed(self.some, shape.experts, shape.dim)
        moved = wide * shape.dim * (self.some + rows)
        made += Times(2 * self.rates.streams(moved), 2 * self.rates.streams(moved))
        sent = wide * shape.dim * rows
        seconds = 2 * self.rates.machine.seconds("all_to_all", sent, plan.ep)
        return made + Times(0, 0, seconds, seconds)

    def _between(self) -> Times:
        """Two norms and two sums with the residual, of which some dropped out before 2023."""
        elements, wide = self.some * self.shape.dim, self.wide
        drop = 1 if self.software.dropout else 0
        forward = 2 * (2 * wide + 3 * wide + drop)
        backward = 2 * (3 * wide + 3 * wide + (2 * wide + drop if drop else 0))
        streams = self.rates.streams
        return Times(streams(forward * elements), streams(backward * elements))

    def _tensor(self, forward: float, backward: float) -> Times:
        """What ranks that share matrices, and those that share sequences, exchange."""
        plan, shape, machine = self.plan, self.shape, self.rates.machine
        found = Times()
        hidden = self.rates.efficiency.overlap
        if plan.tp > 1:
            size = self.wide * self.tokens * shape.dim
            if plan.sequence:
                each = machine.seconds("all_gather", size, plan.tp)
                each += machine.seconds("reduce_scatter", size, plan.tp)
            else:
                each = machine.seconds("all_reduce", size, plan.tp)
            # Of a mixture, experts are whole: only attention is shared.
            seconds = each * (1 if shape.experts else 2)
            parts = self.software.tensor_overlap
            found = Times(
                0,
                0,
                _exposed(seconds, forward * parts[0], hidden),
                _exposed(seconds, backward / 2 * parts[1], hidden),
            )
        if plan.cp > 1:
            kv = 2 * self.wide * self.tokens * max(shape.kv_heads / plan.tp, 1) * shape.head_dim
            seconds = machine.seconds("all_gather", kv * plan.cp, plan.cp, plan.tp)
            scores = 2 * self.tokens * shape.seq * shape.heads * shape.head_dim / plan.tp
            beside = self.rates.attention(scores)
            found += Times(
                0,
                0,
                _exposed(seconds, beside, hidden),
                _exposed(2 * seconds, 2 * beside, hidden),
            )
        return found

    def embedding(self) -> Times:
        """The lookup: rows read and written; gradients added to rows."""
        moved = self.some * self.shape.dim * self.wide
        drop = 2 * moved if self.software.dropout else 0.0
        streams = self.rates.streams
        found = Times(streams(2 * moved + drop), streams(4 * moved + drop))
        if self.plan.tp > 1:
            size = self.wide * self.tokens * self.shape.dim
            op: Operation = "reduce_scatter" if self.plan.sequence else "all_reduce"
            found += Times(0, 0, self.rates.machine.seconds(op, size, self.plan.tp), 0)
        return found

    def head(self) -> Times:
        """Last norm, logits, loss."""
        shape, n = self.shape, self.tokens
        vocab = shape.vocab / self.plan.tp
        found = self._weighed(n, vocab, shape.dim)
        loss = self.rates.streams(self.software.loss_bytes * n * vocab)
        found += Times(loss / 2, loss / 2)
        if self.plan.tp > 1:
            size = self.wide * n * shape.dim
            seconds = self.rates.machine.seconds("all_gather", size, self.plan.tp)
            found += Times(0, 0, seconds if self.plan.sequence else 0.0, seconds)
        return found

    def products(self) -> Iterator[tuple[int, int, int]]:
        """Sizes M, N, K of a layer's and the head's forward products: what to measure."""
        shape, tp, n = self.shape, self.plan.tp, round(self.tokens)
        queries = shape.heads * shape.head_dim // tp
        kv = max(shape.kv_heads // tp, 1) * shape.head_dim
        yield n, queries + 2 * kv, shape.dim
        yield n, shape.dim, queries
        if not shape.experts:
            yield n, shape.ffn // tp * (self.model.matrices - 1), shape.dim
            yield n, shape.dim, shape.ffn // tp
        yield n, shape.vocab // tp, shape.dim


def _exposed(seconds: float, beside: float, hidden: float) -> float:
    """What is left of communication that runs beside computing of ``beside`` seconds."""
    return seconds - hidden * min(seconds, beside)
