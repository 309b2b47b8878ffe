"""What an operation is: inputs, outputs, mathematics and implementations, ready to be bound.

Every module of an operation ends in an `Op`. An implementation takes (case, inputs, outputs),
prepares whatever must not be timed, and returns a callable without arguments that does the work
once and returns the results by name. Results may be the given outputs (the Triton kernels write
there) or tensors of its own (what torch returns).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from . import costs, reference
from .dtypes import torch_dtype

Tensors = dict[str, torch.Tensor]
Work = Callable[[], Tensors]


class NoTargetError(Exception):
    """The implementation cannot run on this device; the text says why."""


@dataclass(frozen=True)
class Case:
    """An operation at one shape, variant and dtype. ``arch`` is Triton's target or None."""

    op: str
    shape: tuple[int, ...]
    dtype: str
    variant: str = ""
    arch: str | None = None

    def __post_init__(self) -> None:
        """Fill in the default variant; raise ValueError for what there is not."""
        if not self.variant and self.op in costs.SPECS:
            object.__setattr__(self, "variant", costs.SPECS[self.op].variants[0])
        costs.cost(self.op, self.shape, self.variant, self.dtype)

    @property
    def cost(self) -> costs.Cost:
        """FLOPs and bytes of one call."""
        return costs.cost(self.op, self.shape, self.variant, self.dtype)

    @property
    def kind(self) -> torch.dtype:
        """The torch dtype of the operation's elements."""
        return torch_dtype(self.dtype, self.arch)


DISTRIBUTIONS = ("normal", "uniform", "wide", "outliers")


class Fill:
    """Random tensors on a device, from one seed. Never zeros: they draw less power."""

    def __init__(self, device: torch.device, seed: int, distribution: str = "normal") -> None:
        if distribution not in DISTRIBUTIONS:
            known = ", ".join(DISTRIBUTIONS)
            raise ValueError(f"distribution: got {distribution!r}, takes one of {known}")
        self.device, self.distribution = device, distribution
        try:
            self.generator = torch.Generator(device if device.type != "meta" else "cpu")
        except RuntimeError:  # a device type without a generator of its own
            self.generator = torch.Generator()
        self.generator.manual_seed(seed)

    def normal(self, *shape: int, kind: torch.dtype, scale: float = 1.0) -> torch.Tensor:
        """Normal values of this standard deviation, rounded from fp32 (int8: rounded, ±127)."""
        made = self._drawn(torch.randn, shape, kind=torch.float32)
        if kind is torch.int8:
            return made.mul_(32).round_().clamp_(-127, 127).to(kind)
        return (made.mul_(scale) if scale != 1.0 else made).to(kind)

    def operand(self, *shape: int, kind: torch.dtype) -> torch.Tensor:
        """Values of the chosen distribution, for the operands of matrix products.

        ``normal``: standard normal; ``uniform``: [0, 1); ``wide``: normal times a power of two
        over twelve octaves, each equally likely; ``outliers``: one column in 64 is 100 times
        larger (Dettmers et al., LLM.int8(), 2022, found such columns in activations). The last two
        are scaled to a mean square of 1, so that the narrow formats hold them and their products.
        """
        if self.distribution == "normal" or kind is torch.int8:
            return self.normal(*shape, kind=kind)
        if self.distribution == "uniform":
            return self.uniform(*shape, kind=kind)
        made = self._drawn(torch.randn, shape, kind=torch.float32)
        if self.distribution == "wide":
            made *= torch.exp2(self.integers(13, *shape).float() - 6.0)
            square = sum(4.0**octave for octave in range(-6, 7)) / 13
        else:
            made[..., ::64] *= 100.0
            square = (63 + 100.0**2) / 64
        return made.mul_(square**-0.5).to(kind)

    def uniform(self, *shape: int, kind: torch.dtype) -> torch.Tensor:
        """Uniform values of [0, 1)."""
        return self._drawn(torch.rand, shape, kind=torch.float32).to(kind)

    def integers(self, high: int, *shape: int, kind: torch.dtype = torch.int64) -> torch.Tensor:
        """Uniform integers below ``high``."""
        return self._drawn(torch.randint, (0, high, shape), kind=torch.int64).to(kind)

    def empty(self, *shape: int, kind: torch.dtype) -> torch.Tensor:
        """Memory that is still to be written."""
        return torch.empty(shape, dtype=kind, device=self.device)

    def pick(self, count: int, most: int = 64) -> torch.Tensor:
        """At most ``most`` different indices below ``count``, for checks of a random part.

        int64, rising: one of each of ``most`` equal bands, so that a band of wrong rows that is no
        narrower than those is always met.
        """
        parts = min(count, most)
        edges = torch.arange(parts + 1, device=self.generator.device) * count // max(1, parts)
        turn = torch.rand(
            parts, generator=self.generator, device=self.generator.device, dtype=torch.float64
        )
        return (edges[:-1] + (turn * edges.diff()).long()).to(self.device)

    def permutation(self, count: int, kind: torch.dtype = torch.int64) -> torch.Tensor:
        """The integers below ``count`` in random order."""
        where = self.generator.device
        order = torch.randperm(count, generator=self.generator, device=where)
        return order.to(self.device, kind)

    def _drawn(self, maker: Any, shape: Sequence[Any], kind: torch.dtype) -> torch.Tensor:
        if self.device.type == "meta":
            return maker(*shape, dtype=kind, device="meta")  # type: ignore[no-any-return]
        where = self.generator.device
        made = maker(*shape, generator=self.generator, dtype=kind, device=where)
        return made.to(self.device)  # type: ignore[no-any-return]


Inputs = Callable[[Case, Fill], Tensors]
Outputs = Callable[[Case, Tensors], Tensors]
Judge = Callable[[Case, Tensors, Tensors, Fill], dict[str, float]]
Implementation = Callable[[Case, Tensors, Tensors], Work]


@dataclass(frozen=True)
class Op:
    """One operation.

    ``inputs`` makes random operands. ``outputs`` makes the tensors that results are written
    into; one that shares memory with an input is updated in place. ``expected`` computes every
    result in fp64 from (a copy of) the inputs, or ``judge`` compares a random part of the
    results where all of it would take too long. ``formula`` is the mathematics in plain,
    differentiable torch, from which the ``compile`` implementation is made.
    """

    name: str
    inputs: Inputs
    outputs: Outputs
    implementations: Mapping[str, Implementation]
    expected: Callable[[Case, Tensors], Tensors] | None = None
    judge: Judge | None = None

    def errors(self, case: Case, before: Tensors, results: Tensors, fill: Fill) -> dict[str, float]:
        """Relative error of every result against fp64; infinite where one has a NaN."""
        missing = {name for name, one in results.items() if reference.has_nan(one)}
        if missing:
            return {name: float("inf") if name in missing else 0.0 for name in results}
        if self.judge is not None:
            return self.judge(case, before, results, fill)
        assert self.expected is not None
        wanted = self.expected(case, {k: reference.widened(v) for k, v in before.items()})
        return {name: reference.relative_error(results[name], wanted[name]) for name in wanted}


@dataclass
class Call:
    """An operation bound to an implementation and data: calling it does the work once.

    It goes round several sets of operands, so that no call finds its inputs in the cache.
    ``flops`` and ``bytes`` are of one call; `error` must not exceed ``tolerance``.
    """

    case: Case
    tolerance: float
    works: list[Work]
    judge: Callable[[int], dict[str, float]]
    flops: int = field(init=False)
    bytes: int = field(init=False)
    _next: Iterator[Work] = field(init=False)

    def __post_init__(self) -> None:
        self.flops, self.bytes = self.case.cost.flops, self.case.cost.bytes
        self._next = itertools.cycle(self.works)

    def __call__(self) -> None:
        """Do the work once."""
        next(self._next)()

    def errors(self) -> dict[str, float]:
        """Relative error of each result on poisoned outputs: worst of first and last set."""
        found: dict[str, float] = {}
        for index in {0, len(self.works) - 1}:
            for name, error in self.judge(index).items():
                found[name] = max(error, found.get(name, 0.0))
        return found

    def error(self) -> float:
        """The largest of `errors`."""
        return max(self.errors().values())


def bind(
    op: Op,
    implementation: Implementation,
    case: Case,
    fill: Fill,
    *,
    cache: int = 0,
    memory: int = 0,
    tolerance: float | None = None,
) -> Call:
    """Random operands on a device and the implementation's work on each set of them.

    Args:
        op: The operation.
        implementation: One of its implementations, or a vendor's own.
        case: Shape, variant and dtype.
        fill: Device and data.
        cache: Bytes of the last-level cache that operand sets must exceed together.
        memory: Bytes that all sets may take (0: no limit).
        tolerance: Largest error that is right; by default that of the case's dtype.

    Raises:
        NoTargetError: a mode that the device does not have.
        ValueError: too little memory.
    """
    set_precision(fill.device, case.dtype)
    sets: list[tuple[Tensors, Tensors, Work]] = []
    for _ in range(_sets(case.cost.bytes, cache, memory)):
        inputs = op.inputs(case, fill)
        outputs = op.outputs(case, inputs)
        sets.append((inputs, outputs, implementation(case, inputs, outputs)))

    def judge(index: int) -> dict[str, float]:
        inputs, outputs, work = sets[index]
        before = {name: one.clone() for name, one in inputs.items()}
        poison(inputs, outputs)
        return op.errors(case, before, work(), fill)

    return Call(
        case=case,
        tolerance=reference.TOLERANCE[case.dtype] if tolerance is None else tolerance,
        works=[work for _, _, work in sets],
        judge=judge,
    )


def poison(inputs: Tensors, outputs: Tensors) -> None:
    """Fill outputs that are not inputs too with NaN (integers: the lowest value)."""
    kept = {one.untyped_storage().data_ptr() for one in inputs.values()}
    for one in outputs.values():
        if one.untyped_storage().data_ptr() in kept:
            continue
        if one.dtype.itemsize == 1 and one.dtype.is_floating_point:
            one.view(torch.uint8).fill_(0x7F if one.dtype in reference.NAN_7F else 0x80)
        elif one.dtype.is_floating_point:
            one.fill_(float("nan"))
        else:
            one.fill_(torch.iinfo(one.dtype).min)


def gradients(
    function: Callable[..., torch.Tensor | tuple[torch.Tensor, ...]],
    inputs: Tensors,
    wanted: Sequence[str],
    seeds: Sequence[str],
    names: Sequence[str],
) -> Work:
    """The backward pass of ``function``, whose forward pass runs once, here.

    Args:
        function: Differentiable; takes the inputs that are not seeds, by name.
        inputs: Operands and the gradients of the results.
        wanted: Inputs to differentiate by.
        seeds: Inputs that are gradients of the function's results, in their order.
        names: What to call the gradients of ``wanted``.
    """
    leaves = {
        name: one.detach().requires_grad_(name in wanted)
        for name, one in inputs.items()
        if name not in seeds
    }
    results = function(**leaves)
    results = results if isinstance(results, tuple) else (results,)
    by, given = [leaves[name] for name in wanted], [inputs[name] for name in seeds]

    def work() -> Tensors:
        found = torch.autograd.grad(results, by, given, retain_graph=True)
        return dict(zip(names, found, strict=True))

    return work


def plain(
    function: Callable[..., torch.Tensor | tuple[torch.Tensor, ...]],
    results: Sequence[str],
    wanted: Sequence[str] = (),
    *,
    compiled: bool = False,
) -> Implementation:
    """An implementation, forward and backward, from a differentiable function.

    Variants that end in ``backward`` give the gradients ``d<name>`` of the inputs ``wanted``;
    the inputs ``d<result>`` are then the gradients of the results.

    Args:
        function: Takes the inputs by name, returns the results in order.
        results: Names of the results.
        wanted: Inputs to differentiate by.
        compiled: Through ``torch.compile`` for this shape.
    """

    def implementation(case: Case, inputs: Tensors, outputs: Tensors) -> Work:
        run: Any = torch.compile(function, dynamic=False) if compiled else function
        if case.variant.endswith("backward"):
            seeds = [f"d{name}" for name in results if f"d{name}" in inputs]
            return gradients(run, inputs, wanted, seeds, [f"d{name}" for name in wanted])

        def work() -> Tensors:
            found = run(**inputs)
            return dict(zip(results, found if isinstance(found, tuple) else (found,), strict=False))

        return work

    return implementation


def set_precision(device: torch.device, dtype: str) -> None:
    """Set the mode of fp32 products, and read it back: libraries differ in their default.

    Raises `NoTargetError` where the device has no tf32.
    """
    if dtype not in ("fp32", "tf32"):
        return
    if dtype == "tf32" and device.type == "cpu":
        raise NoTargetError("this device has no tf32 mode")
    wanted = "high" if dtype == "tf32" else "highest"
    torch.set_float32_matmul_precision(wanted)
    if torch.get_float32_matmul_precision() != wanted:
        raise NoTargetError(f"the {dtype} mode of matrix products cannot be set here")


def _sets(one: int, cache: int, memory: int) -> int:
    """Enough operand sets that a call finds nothing of the last round in the cache."""
    if memory and one > memory:
        raise ValueError(f"one set of operands takes {one} bytes, {memory} are there")
    wanted = max(1, -(-2 * cache // one)) if cache else 1
    return max(1, min(wanted + 1, memory // one if memory else wanted + 1, 64))
