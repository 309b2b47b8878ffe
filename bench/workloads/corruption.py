"""Silent data corruption: a device that computes other bits than before, or than its equals."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from ..errors import UsageError
from ..kernels import costs, shapes
from ..kernels.costs import Sizes
from ..records import DIGEST, Measure
from ..timing import Rule, Timing
from ..units import format_size, format_value, parse_size
from .base import Benchmark, Check, Context, Facts, Metric, Unmeasurable, benchmark
from .configured import use_tables
from .lacking import lacks
from .operations import WEAK, Impl

if TYPE_CHECKING:
    from .repeatable import Repeatable

SEED = 20240229
"""Of all inputs: the same in every run, so that digests of different runs can be compared."""
SLICE = 0.02
"""Seconds of repetitions between two looks at the clock."""
TRIES = 3
"""First repetitions, of which two must agree to be what all others are compared with."""
COPIES = {"typical": 256 << 20, "small": 4 << 20}
"""Bytes of a copy by its shape in words."""
WRONG = (
    Measure(
        "wrong_elements",
        "count",
        "lower",
        about="elements that differ in any bit from what they must be",
        formula="summed over all repetitions",
    ),
    Measure(
        "wrong_repetitions", "count", "lower", about="repetitions with at least one wrong element"
    ),
    Measure(
        "repetitions", "count", "higher", about="how often the work was repeated, warm-up included"
    ),
)
"""What is counted of every kind of corruption."""


class Repeated(Benchmark):
    """Base: repeats the same work for the whole budget, whatever is known before.

    A row is ``invalid`` where anything was wrong, so that nobody takes it for a good one, and it
    keeps its value: ``wrong_elements`` says how much, its reason where and when. How fast it went
    is nobody's matter here, so neither a throttled device nor other work on its cores excuses it.
    """

    timed: ClassVar[bool] = False

    def rule(self, rule: Rule) -> Rule:
        """The whole budget, however sure the median of the time is."""
        return msgspec.structs.replace(
            rule, precision=-1.0, sustained=0.0, min_samples=1, max_samples=1_000_000
        )

    def clock(self) -> Literal["device", "host"]:
        """The wall clock: the budget is in its seconds."""
        return "host"

    def expected(self, facts: Facts) -> dict[str, float]:
        """Nothing wrong."""
        return {"wrong_elements": 0.0, "wrong_repetitions": 0.0}


@benchmark(scope="device")
class Corruption(Repeated):
    """The same work from the same random inputs, over and over, compared bit by bit.

    ``op``: ``gemm``, ``softmax`` (reductions of rows), ``local_reduce`` (sums of buffers),
    ``train`` (forward, backward and AdamW of a small decoder, from the same weights each time) or
    ``copy`` (random bytes to the device and back). ``shape``: ``typical``, ``small``, extents of
    the operation or bytes of the copy; in a suite, ``fitting`` is the former on an accelerator and
    ``small`` on a weak device.

    Every repetition's full output is compared on the device with that of the first two that agree.
    ``digest`` is the first 48 bits of SHA-256 of it: devices of one chip with the same software
    must have the same (`bench.analysis.corruption`), which finds those that are always wrong.
    """

    measures = (
        *WRONG,
        Measure(
            "digest",
            DIGEST,
            "higher",
            about="what all bits of the result come to: equal on equal chips with equal software",
            formula="first 48 bits of SHA-256 of the output",
            source="FIPS 180-4",
        ),
    )

    fitting = {"shape": ("typical", "small")}

    op: Literal["gemm", "softmax", "local_reduce", "train", "copy"] = "gemm"
    """``softmax`` reduces rows, ``local_reduce`` sums buffers, ``train`` is a step of a small
    decoder, ``copy`` is there and back."""
    shape: str = "typical"
    """``typical``, ``small``, extents of the operation or bytes of the copy."""
    dtype: str = ""
    """Number format; empty: the operation's first."""
    impl: Impl = "torch"
    """Who computes, as of `compute`."""

    def __post_init__(self) -> None:
        """Fill in the operation's default dtype. Raise `UsageError` for bad axes."""
        if self.op in costs.SPECS:
            self.dtype = self.dtype or costs.SPECS[self.op].dtypes[0]
            try:
                costs.cost(self.op, self._sizes(), self._variant(), self.dtype)
            except ValueError as error:
                raise UsageError(f"corruption: {error}") from None
            return
        if self.impl != "torch":
            raise UsageError(f"corruption: {self.op} has no implementation but torch")
        if self.op == "train":
            self.dtype = self.dtype or "bf16"
            if self.dtype not in ("fp32", "bf16") or self.shape not in ("typical", "small"):
                raise UsageError(
                    f"corruption: a training step is typical or small, in fp32 or bf16, not "
                    f"{self.shape} in {self.dtype}"
                )
            return
        if self.dtype:
            raise UsageError("corruption: a copy is of bytes, it has no dtype")
        self._bytes()

    def setup(self, context: Context) -> None:
        """Allocate, repeat the first few times and settle what must come out.

        Raises:
            Unmeasurable: memory is short, or the device or its stack lacks the operation.
        """
        from . import bits, repeatable

        self.context = context
        self._fits(context)
        self.own = contextlib.ExitStack()
        self.own.enter_context(repeatable.deterministic())
        try:
            self.work = self._bound(context)
            tries = [bits.kept(self.work()) for _ in range(TRIES)]
        except RuntimeError as error:
            if not lacks(error):
                raise
            raise Unmeasurable(f"this stack has no {self._said()}: {error}") from None
        wanted = self.work.wanted or bits.settled(tries)
        self.digest = bits.digest(wanted)
        self.tally = bits.Tally(wanted)
        self.judged: Check | None = None
        for one in tries:
            self.tally.add(one)

    def _bound(self, context: Context) -> Repeatable:
        from ..kernels import ops, tuning
        from . import repeatable

        if self.op == "copy":
            return repeatable.copying(context, self._bytes(), SEED)
        if self.op == "train":
            model = repeatable.TYPICAL if self.shape == "typical" else repeatable.SMALL
            return repeatable.training(context, model, self.dtype, SEED)
        if self.impl == "triton":
            use_tables()
            self.taken = tuning.source(context.arch) if context.arch else ""
        try:
            return repeatable.operation(
                context, self.op, self._sizes(), self.dtype, self._variant(), self.impl, SEED
            )
        except ops.NoTargetError as error:
            raise Unmeasurable(str(error)) from None

    def _fits(self, context: Context) -> None:
        if self.op == "train":
            return
        if self.op == "copy":
            need = 2 * TRIES * self._bytes()
        else:
            cost = costs.cost(self.op, self._sizes(), self._variant(), self.dtype)
            need = TRIES * cost.bytes
            if context.weak and cost.flops > WEAK.flops:
                work = format_value(cost.flops, "FLOP")
                raise Unmeasurable(f"{work} a call are for an accelerator; shape: small is for it")
        if context.memory and need > context.memory // 2:
            raise Unmeasurable(f"needs {need} bytes, half of memory is {context.memory // 2}")

    def step(self) -> None:
        """Repetitions for a slice of the budget."""
        stop = time.perf_counter() + SLICE
        while True:
            self.tally.add(self.work())
            if time.perf_counter() >= stop:
                return

    def check(self) -> Check:
        """The harness's own: the result is near fp64's, and a flipped bit would be counted."""
        if not self.tally.sees():
            return Check(False, "the comparison does not see a flipped bit")
        if self.judged is None:
            # Once: later it is what all repetitions were compared with, whatever became of it.
            judge = self.work.judge
            self.judged = judge(self.tally.wanted) if judge is not None else Check(True)
        return self.judged

    def fault(self) -> str:
        """What was wrong, with the operation, repetition, place and bits."""
        from . import bits

        said = [self.tally.text]
        if bits.digest(self.tally.wanted) != self.digest:
            said.append("what the repetitions are compared with changed where it lay in memory")
        found = "; ".join(filter(None, said))
        return f"silent data corruption in {self._said()}: {found}" if found else ""

    def metrics(self, timing: Timing) -> Iterator[Metric]:
        """Counts of all repetitions, those of warm-up included, and the digest."""
        yield Metric("wrong_elements", value=float(self.tally.wrong_elements))
        yield Metric("wrong_repetitions", value=float(self.tally.wrong_repetitions))
        yield Metric("repetitions", value=float(self.tally.repetitions))
        yield Metric("digest", value=float(self.digest))

    def tables(self) -> str:
        """The files that the kernels' configurations came from; empty without kernels of ours."""
        return str(self.__dict__.get("taken", ""))

    def teardown(self) -> None:
        """Free the operands; algorithms may be chosen for speed again."""
        own = self.__dict__.get("own")
        if own is not None:
            own.close()
        super().teardown()

    def _sizes(self) -> Sizes:
        return shapes.sizes(self.op, self.shape, _no_models)

    def _variant(self) -> str:
        """Products in fp8 are of the layout that every chip with fp8 has."""
        fp8 = self.op == "gemm" and self.dtype.startswith("fp8")
        return "nt" if fp8 else costs.SPECS[self.op].variants[0]

    def _bytes(self) -> int:
        if self.shape in COPIES:
            return COPIES[self.shape]
        try:
            return parse_size(self.shape)
        except ValueError as error:
            raise UsageError(f"corruption: shape of a copy: {error}") from None

    def _said(self) -> str:
        if self.op == "copy":
            return f"copies of {format_size(self._bytes())} to the device and back"
        if self.op == "train":
            return f"training steps in {self.dtype}"
        return f"{self.op} {'x'.join(map(str, self._sizes()))} in {self.dtype} by {self.impl}"


def _no_models(name: str) -> Any:
    raise ValueError(f"{name}: write extents, typical or small")
