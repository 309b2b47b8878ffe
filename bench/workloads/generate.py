"""Text from a model: how soon the first token comes, and how fast those behind it."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ..errors import UsageError
from ..kernels import generation_costs as costs
from ..kernels.costs import Cost
from ..kernels.model_costs import ModelShape
from ..records import Measure
from ..timing import Timing
from .base import Check, Context, Facts, Metric, Unmeasurable, benchmark
from .generation_room import must_fit
from .lacking import lacks
from .modelled import NO_PEAK, OnModel

PROMPTS = 4
"""Different batches of prompts that the requests cycle through."""
CHECKED = 4
"""Sequences of a batch that are computed again without a cache, at most."""
MOST = 1 << 17
"""Tokens that a request writes, at most: as many as models do, and few enough to reckon with
each of them."""
FARTHEST = 10.0
"""How far rounding may set a token behind the likeliest, in relative errors of all logits: of many
thousand logits the worst two are each off by some five standard deviations of their errors."""


@benchmark(scope="device")
class Generate(OnModel):
    """Requests of ``batch`` random prompts of ``context`` tokens, ``output`` tokens for each.

    The prompts go through the model at once (prefill), which gives the first token; every token
    behind it takes a step of the newest tokens alone (decode), which reads all weights and the
    keys and values of all tokens before. The likeliest token is taken (greedy). ``page``: the cache
    is in pages of so many tokens that lie anywhere; 0: in one piece a sequence. The weights are
    random, in ``dtype``, so what comes is no text, and no text ends early.

    A token is there when the host has it, for a server must see whether a text has ended: all times
    are the host's. ``ttft``: from the request to its first token, for all prompts together, so
    prefill is ``batch`` · ``context`` tokens in that time. ``token_p50`` and ``token_p99``: of the
    times from one token to the next, over all requests. ``mfu``: causal-exact FLOPs of the prefill
    over ``ttft`` and the datasheet's peak. ``mbu``: the least bytes that decoding must move
    (weights, cache) over its time and the datasheet's bandwidth (model bandwidth utilisation:
    Agarwal et al., LLM Inference Performance Engineering, 2023).

    PyTorch has no attention that follows a table of pages: with ``torch`` and ``compile`` they are
    collected into one piece in every layer of every step, and the figures say what that costs.
    ``triton`` reads them where they lie (`decode_attention`). A vendor's own are ``decode`` and
    ``paged`` of `bench.workloads.ops.Ops`.
    """

    measures = (
        Measure(
            "decode_tokens_per_second",
            "token/s",
            "higher",
            about="tokens behind the first one in a second, over all sequences of a batch",
            formula="batch · (output - 1) / seconds from the first token to the last",
        ),
        Measure(
            "prefill_tokens_per_second",
            "token/s",
            "higher",
            about="tokens of prompts in a second",
            formula="batch · context / ttft",
        ),
        Measure(
            "tokens_per_second",
            "token/s",
            "higher",
            about="tokens that are written in a second of a whole request",
            formula="batch · output / seconds of the request",
        ),
        Measure(
            "ttft",
            "s",
            "lower",
            about="time to the first token, for all prompts of the batch together",
        ),
        Measure("token_p50", "s", "lower", about="median time from one token to the next"),
        Measure(
            "token_p99",
            "s",
            "lower",
            about="99th percentile of the times from one token to the next",
        ),
        Measure(
            "mfu",
            "ratio",
            "higher",
            about="model FLOPs utilisation of the prefill, causal-exact",
            formula="FLOPs of the prefill / (ttft × peak)",
            source="Chowdhery et al., PaLM, 2022, appendix B, with the causal mask",
            absent=NO_PEAK,
        ),
        Measure(
            "mbu",
            "ratio",
            "higher",
            about="model bandwidth utilisation of decoding",
            formula="least bytes of weights and cache / (seconds × the datasheet's bandwidth)",
            source="Agarwal et al., LLM Inference Performance Engineering, 2023",
            absent="the chip's memory bandwidth is unknown",
        ),
        Measure(
            "peak_memory",
            "B",
            "lower",
            about="most memory that was allocated on the device",
            absent="the allocator keeps no peak",
        ),
    )
    per_sample = True
    fitting = {**OnModel.fitting, "context": (2048, 64)}
    worded = {**OnModel.worded, "page": {0: ""}}

    batch: int = 1
    """Requests at a time."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Of weights and cache."""
    context: int = 64
    """Tokens of a prompt."""
    output: int = 32
    """Tokens that are written for each."""
    page: int = 0
    """Tokens of a page of the cache; 0: one piece a sequence."""

    def __post_init__(self) -> None:
        """Raise `UsageError` for what cannot be, before anything is started."""
        super().__post_init__()
        for axis, least, why in (
            ("context", 1, ""),
            ("output", 2, ": the first token is the prefill's"),
            ("page", 0, ""),
        ):
            if getattr(self, axis) < least:
                given = getattr(self, axis)
                raise UsageError(f"generate: {axis} must be at least {least}, not {given}{why}")
        if self.output > MOST:
            raise UsageError(f"generate: output must be at most {MOST}, not {self.output}")

    @property
    def capacity(self) -> int:
        """Tokens of a sequence that the cache has room for: the last one is never put there."""
        tokens = self.context + self.output - 1
        return math.ceil(tokens / self.page) * self.page if self.page else tokens

    @property
    def prefill(self) -> Cost:
        """Of the prompts of a request."""
        return costs.prefill(self.shape, self.batch, self.context, self.dtype)

    @property
    def decode(self) -> list[Cost]:
        """Of each token of a request but the first."""
        shape, first = self.shape, self.context + 1
        return [
            costs.decode(shape, self.batch, tokens, self.dtype)
            for tokens in range(first, first + self.output - 1)
        ]

    def clock(self) -> Literal["device", "host"]:
        """Wall clock: a request ends when the host has its last token."""
        return "host"

    def setup(self, context: Context) -> None:
        """Build the model and the cache; one request.

        Raises `Unmeasurable` for what does not fit and for operations that this device has not.
        """
        import torch

        from .cache import Cache
        from .model import Decoder

        shape = self.shape
        must_fit(self, context.memory)
        ops = self.operations(context)
        self.place, device = context, context.device
        context.backend.memory_peak(device, reset=True)
        kind = torch.float32 if self.dtype == "fp32" else torch.bfloat16
        with torch.device("meta"):
            self.net = Decoder(self._long_enough(shape), ops, kind).requires_grad_(False)
        # In the format that it computes in, before it has memory.
        self.net.to(kind).to_empty(device=device)
        self.net.initialise(context.seed)
        if ops.compiled:
            for block in self.net.blocks:
                block.compile()
        self.cache = Cache(
            shape,
            ops,
            self.batch,
            self.capacity,
            page=self.page,
            dtype=kind,
            device=device,
            seed=context.seed,
        )
        generator = torch.Generator().manual_seed(context.seed)
        size = (PROMPTS, self.batch, self.context)
        self.prompts = torch.randint(shape.vocab, size, generator=generator).to(device)
        self.turn = 0
        self.marks: list[list[float]] = []
        try:
            self.step()  # compiles; what the stack cannot do shows here
        except RuntimeError as error:
            if not lacks(error):
                raise
            raise Unmeasurable(f"this stack cannot run the model: {error}") from None

    def _long_enough(self, shape: ModelShape) -> ModelShape:
        """The model with as many angles as there are tokens, whatever it was made for."""
        return replace(shape, seq=self.context + self.output)

    def step(self) -> None:
        """One request."""
        import torch

        self.prompt = self.prompts[self.turn % PROMPTS]
        self.turn += 1
        self.cache.clear()
        self.made: list[Any] = []
        marks, tokens = [perf_counter()], self.prompt
        with torch.no_grad():
            for _ in range(self.output):
                self.logits = self.net.logits(tokens, self.cache)[:, -1]
                tokens = self.logits.argmax(-1, keepdim=True)
                self.made.append(tokens.tolist())
                marks.append(perf_counter())
        self.marks.append(marks)

    def teardown(self) -> None:
        """Free weights and cache: what is compiled refers to itself."""
        super().teardown()
        gc.collect()

    def check(self) -> Check:
        """The last request, computed again without a cache, gives its tokens and last logits.

        All tokens of a sequence go through the model at once, as in training. The logits' relative
        error may be an operation's (`bench.kernels.reference.TOLERANCE`) times the root of the
        number of layers, whose roundings add up as independent errors do. Where rounding decides
        between two tokens, the other one may come.
        """
        import torch

        from ..kernels.reference import TOLERANCE, relative_error

        rows = sorted({round(row) for row in np.linspace(0, self.batch - 1, CHECKED)})
        made = torch.tensor(self.made, device=self.place.device)[:, rows, 0].t()
        whole = torch.cat([self.prompt[rows], made[:, :-1]], dim=1)
        with torch.no_grad():
            wanted = self.net.logits(whole, last=self.output).float()
        if not bool(torch.isfinite(wanted).all()):
            return Check(False, "logits are not finite")
        taken = wanted.gather(-1, made.unsqueeze(-1)).squeeze(-1)
        behind = float(((wanted.amax(-1) - taken) / wanted.std(-1)).max())
        error = relative_error(self.logits[rows], wanted[:, -1])
        tolerance = self.place.backend.tolerances.get(self.dtype, TOLERANCE[self.dtype])
        limit = tolerance * math.sqrt(self.shape.layers)
        return Check(
            behind <= FARTHEST * limit and error <= limit,
            f"against the model without a cache: relative error of logits {error:.2g}, tolerance "
            f"{limit:.2g}; tokens up to {behind:.2g} standard deviations behind the likeliest, "
            f"tolerance {FARTHEST * limit:.2g}",
        )

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Rates and times of the requests that were kept."""
        marks = np.array(timing.kept(self.marks))
        first, each = marks[:, 1] - marks[:, 0], np.diff(marks[:, 1:], axis=1)
        rest = each.sum(axis=1)
        yield Metric("decode_tokens_per_second", samples=self.batch * (self.output - 1) / rest)
        yield Metric("prefill_tokens_per_second", samples=self.batch * self.context / first)
        yield from self.derived(timing.seconds, self.place.facts, {})
        yield Metric("ttft", samples=first)
        yield Metric("token_p50", samples=each.ravel())
        yield Metric("token_p99", value=float(np.quantile(each, 0.99)))
        peak, bandwidth = self._ceilings(self.place.facts)
        if peak:
            yield Metric("mfu", samples=self.prefill.flops / (peak * first))
        if bandwidth:
            moved = sum(one.bytes for one in self.decode)
            yield Metric("mbu", samples=moved / (bandwidth * rest))
        used = self.place.backend.memory_peak(self.place.device)
        if used is not None:
            yield Metric("peak_memory", value=float(used))

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """All tokens of a request over all its time."""
        yield Metric("tokens_per_second", samples=self.batch * self.output / seconds)

    def _ceilings(self, facts: Facts) -> tuple[float | None, float | None]:
        """The datasheet's FLOP/s in this dtype and B/s of memory; None where it is silent."""
        if facts.chip is None:
            return None, None
        bandwidth = facts.chip.memory_bandwidth
        return facts.chip.peak(self.dtype), bandwidth.value if bandwidth else None

    def expected(self, facts: Facts) -> dict[str, float]:
        """Bounds of the datasheet's roofline (Williams et al., 2009), of every step by itself.

        Of a chip whose peak is unknown memory alone bounds decoding, and of one whose bandwidth is
        unknown arithmetic alone the prefill: as fast no device is, while the other roof may be
        lower still.
        """
        peak, bandwidth = self._ceilings(facts)
        first, *each = (_least(one, peak, bandwidth) for one in (self.prefill, *self.decode))
        rest = sum(each)
        found: dict[str, float] = {}
        if bandwidth:
            found |= {
                "decode_tokens_per_second": self.batch * (self.output - 1) / rest,
                "token_p50": float(np.median(each)),
                "token_p99": float(np.quantile(each, 0.99)),
                "mbu": sum(one.bytes for one in self.decode) / (bandwidth * rest),
            }
        if peak:
            found |= {
                "prefill_tokens_per_second": self.batch * self.context / first,
                "ttft": first,
                "mfu": self.prefill.flops / (peak * first),
            }
        if peak and bandwidth:
            found["tokens_per_second"] = self.batch * self.output / (first + rest)
        return found


def _least(cost: Cost, peak: float | None, bandwidth: float | None) -> float:
    """Seconds that roofs (FLOP/s, B/s) leave at least; one that is unknown bounds nothing."""
    return max(cost.flops / peak if peak else 0.0, cost.bytes / bandwidth if bandwidth else 0.0)
