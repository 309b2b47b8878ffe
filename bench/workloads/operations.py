"""Every operation of a model's steps on one device: `compute` and `memory`.

`Operation` binds an operation of ``bench.kernels`` and is also what `gemm` and `stream` stand on.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from .. import host
from ..configs import ModelConfig, load_model
from ..errors import UsageError, unknown
from ..kernels import costs, shapes
from ..kernels.costs import Sizes
from ..records import Measure
from ..timing import Rule, Timing
from ..units import format_value
from .base import Benchmark, Check, Context, Facts, Metric, Unmeasurable, benchmark
from .configured import Configuration, configuration, refusal, use_tables
from .lacking import lacks

SUSTAINED = 2.0
"""Seconds that a sustained measurement lasts at least (design: burst and sustained differ)."""
WEAK = costs.Cost(flops=1 << 30, bytes=1 << 27)
"""The largest call that `compute`, `memory` and `precision` ask of a weak device. A core without
bf16 in hardware gives some GFLOP/s, and a case takes a dozen calls and its check in fp64."""

SLOWER, READING = 4.0, 1e-3
"""How much longer a call may take whose inputs are fresh and whose result is read: times what is
timed, and seconds beside. Its caches are cold, and the host waits for it."""
TRIES, PATIENCE = 3, 1.0
"""Times, and seconds for which, a call is tried that takes longer than that."""

Mode = Literal["burst", "sustained"]
Distribution = Literal["normal", "uniform", "wide", "outliers"]
Impl = Literal["torch", "triton", "compile", "vendor"]


class Operation(Benchmark):
    """An operation of ``bench.kernels`` on normal random data, operands rotated past the cache."""

    def what(self) -> tuple[str, Sizes, str, str]:
        """Operation, shape, dtype and variant."""
        raise NotImplementedError

    def which(self) -> str:
        """The implementation."""
        raise NotImplementedError

    def data(self) -> Distribution:
        """Of the values of matrix operands."""
        return "normal"

    def configured(self) -> Configuration | None:
        """The configuration that takes the place of the table's, if one does."""
        return None

    def cost(self) -> costs.Cost:
        """FLOPs and bytes of one call. Raises `UsageError` for what there is not."""
        op, shape, dtype, variant = self.what()
        try:
            return costs.cost(op, shape, variant, dtype)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from None

    def setup(self, context: Context) -> None:
        """Allocate operands; refuse what does not fit, has no target or is not implemented."""
        from ..kernels import ops, tuning
        from ..kernels.arguments import NoKernelError

        self.context = context
        if self.which() == "triton":
            use_tables()
            self.taken = tuning.source(context.arch) if context.arch else ""
        chosen = self.configured()
        self.forced = contextlib.ExitStack()
        if chosen is not None:
            # Until the end, for every call: a context of its own in each would be timed.
            self.forced.enter_context(tuning.forcing(*chosen))
        need = self.cost().bytes
        if context.memory and need > context.memory // 2:
            raise Unmeasurable(f"needs {need} bytes, half of memory is {context.memory // 2}")
        op, shape, dtype, variant = self.what()
        try:
            with tuning.watching() as asked:
                self.call = ops.bind(
                    self.which(),
                    context.device,
                    ops.Case(op, shape, dtype, variant, context.arch),
                    cache=context.cache,
                    memory=context.memory // 2,
                    seed=context.seed,
                    vendor=context.backend.implementations(),
                    distribution=self.data(),
                    tolerance=context.backend.tolerances.get(dtype),
                    waits=host.waits,
                )
                self.call()  # compiles; what the stack cannot do shows here
            context.backend.synchronize(context.device)
            self.call.renew()  # what it has computed by now is of no use to it
        except ops.NoTargetError as error:
            raise Unmeasurable(str(error)) from None
        except NoKernelError as error:
            raise Unmeasurable(f"the kernel refused it: {error}") from None
        except Exception as error:
            # A table that does not compile is a defect of ours; a configuration that was asked
            # for is an answer.
            if chosen is not None and refusal(error):
                raise Unmeasurable(refusal(error)) from None
            if not isinstance(error, RuntimeError) or not lacks(error):
                raise
            raise Unmeasurable(f"this stack has no {op} in {dtype}: {error}") from None
        if chosen is not None and chosen[0] not in {one.op for one in asked}:
            raise Unmeasurable(f"{op} {variant} does not ask for {chosen[0]}")

    def refuse_hours(self, context: Context) -> None:
        """Raise `Unmeasurable` on a weak device that would need very long."""
        cost = self.cost()
        if context.weak and (cost.flops > WEAK.flops or cost.bytes > WEAK.bytes):
            work = f"{format_value(cost.flops, 'FLOP')} and {format_value(cost.bytes, 'B')} a call"
            raise Unmeasurable(f"{work} are for an accelerator; a weak device gets small shapes")

    def step(self) -> None:
        """The operation once, on the next set of operands."""
        self.call()

    def check(self) -> Check:
        """Every result of one call on poisoned output against fp64."""
        found = self.call.errors()
        worst = max(found, key=lambda name: found[name])
        self.error, limit = found[worst], self.call.tolerance
        detail = f"relative error of {worst} {self.error:.3g}, tolerance {limit:g}"
        if self.note():
            detail += f" ({self.note()})"
        return Check(self.error <= limit, detail)

    def proof(self, timing: Timing) -> Check:
        """A call on inputs that were drawn for it does not take far longer than the timed ones.

        The fastest of several counts, which are made for as long as they are slow: a host is
        interrupted now and then, and an idle device loses its clock. What it waited for a core
        that others had is left out.
        """
        timed, began, tries = float(np.median(timing.seconds)), time.perf_counter(), 0
        limit = SLOWER * timed + READING
        fastest = self.call.fresh()
        while fastest > limit and (tries < TRIES or time.perf_counter() - began < PATIENCE):
            self.call.renew()
            held = self.check()
            if not held.ok:
                return held
            fastest, tries = min(fastest, self.call.fresh()), tries + 1
        if fastest <= limit:
            return Check(True)
        return Check(
            False,
            f"a call on fresh inputs takes {format_value(fastest, 's')} by the host's clock until "
            f"its result is read, and {format_value(timed, 's')} was timed: results are kept, "
            "computed only when they are read, or timed by a clock that is wrong",
        )

    def note(self) -> str:
        """That the result was judged by a tolerance which the backend declares, if it was."""
        from ..kernels.reference import TOLERANCE

        used, usual = self.call.tolerance, TOLERANCE[self.what()[2]]
        if used == usual:
            return ""
        return (
            f"judged by the backend's own tolerance for {self.what()[2]}, {used:g}; "
            f"elsewhere it is {usual:g}"
        )

    def tables(self) -> str:
        """The files that the kernels' configurations came from; empty without kernels of ours."""
        return str(self.__dict__.get("taken", ""))

    def teardown(self) -> None:
        """Free the operands; the tables hold again."""
        forced = self.__dict__.get("forced")
        if forced is not None:
            forced.close()
        super().teardown()

    def ceilings(self, facts: Facts) -> tuple[float | None, float | None]:
        """The datasheet's FLOP/s in this dtype and B/s of memory; None where it is silent."""
        if facts.chip is None:
            return None, None
        dtype = self.what()[2]
        bandwidth = facts.chip.memory_bandwidth
        peak = facts.chip.peak(costs.PEAK.get(dtype, dtype))
        return peak, bandwidth.value if bandwidth else None

    def roofline(self, facts: Facts) -> float | None:
        """FLOP/s: the datasheet's peak, or what memory lets through (Williams et al., 2009)."""
        peak, bandwidth = self.ceilings(facts)
        if peak is None or bandwidth is None:
            return peak
        return min(peak, bandwidth * self.cost().intensity)


class Chosen(Operation):
    """The axes that `compute` and `memory` share."""

    fitting = {"shape": ("typical", "small")}

    op: str = "gemm"
    """The operation."""
    shape: str = "typical"
    """``typical``, ``small``, extents such as ``4096x4096x4096``, or a model's use such as
    ``llama-8b/tp2/qkv``; in a suite,
    ``llama-8b/tp2`` is all its uses."""
    variant: str = ""
    """Of the operation, as its layout or ``backward``; empty: its first."""
    dtype: str = ""
    """Number format; empty: the operation's first."""
    impl: Impl = "torch"
    """Who computes: PyTorch, the Triton kernels, ``torch.compile``, or what the backend brings."""
    mode: Mode = "burst"
    """``burst``: single calls on a cold cache; ``sustained``: back to back for two seconds."""
    config: str = ""
    """A kernel configuration instead of the table's, such as ``gemm block_m=128 block_n=128
    block_k=64 group_m=8 num_warps=8 num_stages=3``; with ``impl: triton`` only."""

    def __post_init__(self) -> None:
        """Fill in the operation's default variant and dtype. Raise `UsageError` for bad axes."""
        kinds = [name for name, spec in costs.SPECS.items() if spec.kind == self.name]
        if self.op not in kinds:
            raise unknown(f"operation of {self.name}", self.op, kinds)
        spec = costs.SPECS[self.op]
        self.variant = self.variant or spec.variants[0]
        self.dtype = self.dtype or spec.dtypes[0]
        self.cost()
        try:
            check_shape(self.op, self.what()[1])
        except ValueError as error:
            raise UsageError(f"{self.name}: shape: {self.op} of {self.shape}: {error}") from None
        if self.impl == "triton":
            use_tables()  # a broken one is said before anything is measured
        self.configured()

    @classmethod
    def spread(
        cls, axes: dict[str, Any], *, weak: bool, numa: Sequence[int] = ()
    ) -> list[dict[str, Any]]:
        """``llama-8b/tp2`` stands for each shape of the set."""
        (axes,) = super().spread(axes, weak=weak, numa=numa)
        text = axes.get("shape")
        if not isinstance(text, str) or text.count("/") != 1:
            return [axes]
        try:
            found = shapes.model_set(axes.get("op", cls().op), text, _model)
        except ValueError as error:
            raise UsageError(f"{cls.name}: {error}") from None
        return [{**axes, "shape": f"{text}/{name}"} for name in found]

    def setup(self, context: Context) -> None:
        """As of every operation; a weak device is not asked for hours of work."""
        self.refuse_hours(context)
        super().setup(context)

    def what(self) -> tuple[str, Sizes, str, str]:
        """Operation, shape, dtype and variant."""
        try:
            shape = shapes.sizes(self.op, self.shape, _model)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}") from None
        return self.op, shape, self.dtype, self.variant

    def which(self) -> str:
        """The implementation."""
        return self.impl

    def configured(self) -> Configuration | None:
        """What the axis ``config`` says."""
        return configuration(self.op, self.impl, self.config)

    def cold(self) -> bool:
        """Burst: single calls on a cold cache."""
        return self.mode == "burst"

    def rule(self, rule: Rule) -> Rule:
        """Sustained: back to back for at least two seconds, the second half counts."""
        if self.mode == "burst":
            return rule
        return msgspec.structs.replace(rule, sustained=max(rule.sustained, SUSTAINED))


_TIME_AND_ERROR = (
    Measure("time", "s", "lower", about="seconds of a call"),
    Measure(
        "error",
        "",
        "lower",
        about="relative error of the worst result of a call",
        formula="‖x - x₆₄‖ / ‖x₆₄‖, x₆₄ computed in fp64",
    ),
)


@benchmark(scope="device")
class Compute(Chosen):
    """FLOP/s of an operation that arithmetic limits: products, attention, fused losses."""

    measures = (
        Measure(
            "flops",
            "FLOP/s",
            "higher",
            about="arithmetic of the operation",
            formula="FLOPs of the cost model / time",
        ),
        *_TIME_AND_ERROR,
    )

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """FLOPs of the cost model over time, and the error of the check."""
        yield from self.derived(timing.seconds, self.context.facts, {})
        yield Metric("error", value=self.error)

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """FLOPs of the cost model over time."""
        yield Metric("flops", samples=self.cost().flops / seconds)
        yield Metric("time", samples=seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The roofline of the datasheet."""
        reached = self.roofline(facts)
        return {"flops": reached, "time": self.cost().flops / reached} if reached else {}


@benchmark(scope="device")
class Memory(Chosen):
    """B/s of an operation that memory limits: norms, activations, losses, the optimizer.

    Bytes are the least that the operation must move, so a pass too many shows as bandwidth lost.
    """

    measures = (
        Measure(
            "bandwidth",
            "B/s",
            "higher",
            about="bytes that the operation moves in a second",
            formula="least bytes of the cost model / time",
        ),
        *_TIME_AND_ERROR,
    )

    op: str = "rmsnorm"
    """The operation."""

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Bytes of the cost model over time, and the error of the check."""
        yield from self.derived(timing.seconds, self.context.facts, {})
        yield Metric("error", value=self.error)

    def derived(self, seconds: Any, facts: Facts, beside: Mapping[str, float]) -> Iterator[Metric]:
        """Bytes of the cost model over time."""
        yield Metric("bandwidth", samples=self.cost().bytes / seconds)
        yield Metric("time", samples=seconds)

    def expected(self, facts: Facts) -> dict[str, float]:
        """The datasheet's memory bandwidth."""
        _, bandwidth = self.ceilings(facts)
        return {"bandwidth": bandwidth, "time": self.cost().bytes / bandwidth} if bandwidth else {}


def check_shape(op: str, shape: Sizes) -> None:
    """Raise ValueError, with a sentence, for a shape that no implementation has."""
    extents = dict(zip(costs.SPECS[op].extents, shape, strict=True))
    heads, groups = extents.get("heads", 0), extents.get("kv_heads", 1)
    if heads % groups:
        raise ValueError(f"{groups} heads of keys and values do not divide {heads} heads")
    chosen, experts = extents.get("top_k", 0), extents.get("experts", 0)
    if chosen > experts:
        raise ValueError(f"a token takes {chosen} experts, and there are {experts}")
    if op == "rope" and (width := extents["head_dim"]) % 2:
        raise ValueError(f"a head is {width} wide: pairs are turned, so its width must be even")


def _model(name: str) -> ModelConfig:
    """A model, read once a process from the folders of now: a suite names it hundreds of times."""
    return _model_of(name, *map(os.environ.get, ("HENGSUAN_CONFIG_PATH", "XDG_CONFIG_HOME")))


@functools.cache
def _model_of(name: str, *places: str | None) -> ModelConfig:
    return load_model(name)
