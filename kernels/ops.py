"""Operations by name, bound to an implementation, a device and random data, ready to be timed.

``bind_gemm`` and ``bind_stream`` give a `Call`: calling it does the work once, on the next of
several sets of operands, so that no call finds its inputs in the cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from . import costs, reference
from .gemm import DTYPES as GEMM_DTYPES
from .gemm import gemm_torch, gemm_triton
from .stream import DTYPES as STREAM_DTYPES
from .stream import SCALAR, stream_torch, stream_triton

GEMM: dict[str, Callable[..., torch.Tensor]] = {"torch": gemm_torch, "triton": gemm_triton}
STREAM: dict[str, Callable[..., torch.Tensor]] = {"torch": stream_torch, "triton": stream_triton}


class NoTargetError(Exception):
    """The implementation cannot run on this device; the text says why."""


@dataclass
class Call:
    """A bound operation.

    ``flops`` and ``bytes`` are of one call; ``error()`` runs it once on poisoned output and
    returns the relative error against fp64, which must not exceed ``tolerance``.
    """

    flops: int
    bytes: int
    tolerance: float
    run: Callable[[Any], Any]
    sets: list[Any]
    judge: Callable[[Any], float]
    _next: Iterator[Any] = field(init=False)

    def __post_init__(self) -> None:
        self._next = itertools.cycle(self.sets)

    def __call__(self) -> None:
        """Do the work once."""
        self.run(next(self._next))

    def error(self) -> float:
        """Relative error of one call against fp64 (worst of the first and last operand set)."""
        chosen = self.sets[:1] + self.sets[1:][-1:]
        return max(self.judge(operands) for operands in chosen)


def bind_gemm(
    impl: str,
    device: torch.device,
    shape: tuple[int, int, int],
    dtype: str,
    *,
    arch: str | None,
    cache: int,
    memory: int,
    seed: int,
) -> Call:
    """C[M, N] = A[M, K] · B[K, N] on normal random data.

    Args:
        impl: ``torch`` or ``triton``.
        device: Where.
        shape: (M, N, K).
        dtype: ``fp32`` (IEEE), ``tf32``, ``fp16``, ``bf16``.
        arch: Triton's architecture; None where the device has no Triton target.
        cache: Bytes of the last-level cache that operand sets must exceed together.
        memory: Bytes that all sets may take.
        seed: Of the data.

    Raises:
        NoTargetError: no Triton target, or a mode that the device does not have.
        ValueError: an unknown implementation or dtype, or too little memory.
    """
    run = _implementation(GEMM, impl, arch)
    m, n, k = shape
    one = costs.gemm_bytes(m, n, k, dtype)
    count = _sets(one, cache, memory)
    generator = torch.Generator().manual_seed(seed)
    kind = GEMM_DTYPES[dtype]

    def operands() -> tuple[torch.Tensor, ...]:
        a = torch.randn(m, k, generator=generator).to(device, kind)
        b = torch.randn(k, n, generator=generator).to(device, kind)
        return a, b, torch.empty(m, n, device=device, dtype=kind)

    _set_precision(device, dtype)

    def judge(chosen: tuple[torch.Tensor, ...]) -> float:
        a, b, out = chosen
        out.fill_(float("nan"))
        run(a, b, out, dtype=dtype, arch=arch)
        return reference.gemm_error(a, b, out, generator)

    return Call(
        flops=costs.gemm_flops(m, n, k),
        bytes=one,
        tolerance=reference.TOLERANCE[dtype],
        run=lambda chosen: run(*chosen, dtype=dtype, arch=arch),
        sets=[operands() for _ in range(count)],
        judge=judge,
    )


def bind_stream(
    op: str,
    impl: str,
    device: torch.device,
    elements: int,
    dtype: str,
    *,
    arch: str | None,
    seed: int,
) -> Call:
    """A STREAM operation over three arrays of ``elements`` random elements each.

    Raises as `bind_gemm`. One set of arrays: what is measured is memory, so they must be larger
    than the cache by themselves.
    """
    run = _implementation(STREAM, impl, arch)
    kind = STREAM_DTYPES[dtype]
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(elements, generator=generator).to(device, kind) for _ in range(2))
    out = torch.empty(elements, device=device, dtype=kind)

    def judge(_: Any) -> float:
        out.fill_(float("nan"))
        run(op, x, y, out, dtype=dtype, arch=arch)
        return reference.stream_error(op, SCALAR, x, y, out)

    return Call(
        flops=0,
        bytes=costs.stream_bytes(op, elements, dtype),
        tolerance=reference.TOLERANCE[dtype],
        run=lambda _: run(op, x, y, out, dtype=dtype, arch=arch),
        sets=[None],
        judge=judge,
    )


def _implementation(
    known: dict[str, Callable[..., torch.Tensor]], impl: str, arch: str | None
) -> Callable[..., torch.Tensor]:
    if impl not in known:
        raise ValueError(f"impl: got {impl!r}, takes one of {', '.join(known)}")
    if impl == "triton":
        if arch is None:
            raise NoTargetError("no Triton target on this device")
        try:
            import triton  # noqa: F401  (only to say plainly that it is not there)
        except ImportError as error:
            raise NoTargetError(f"Triton cannot be imported here: {error}") from None
    return known[impl]


def _sets(one: int, cache: int, memory: int) -> int:
    """Enough operand sets that a call finds nothing of the last round in the cache."""
    if memory and one > memory:
        raise ValueError(f"one set of operands takes {one} bytes, {memory} are there")
    wanted = max(1, -(-2 * cache // one)) if cache else 1
    return max(1, min(wanted + 1, memory // one if memory else wanted + 1, 64))


def _set_precision(device: torch.device, dtype: str) -> None:
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
