"""Operations by name, and their implementations, bound to a device and random data.

``bind`` gives a `FreshCall`: calling it does the work once, on the next of several sets of
operands, so that no call finds its inputs in the cache.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import torch

from . import fresh
from .costs import SPECS
from .fresh import FreshCall
from .op import Call, Case, Fill, Implementation, NoTargetError, Op
from .tuning import lacks

__all__ = [
    "IMPLEMENTATIONS",
    "Call",
    "Case",
    "FreshCall",
    "NoTargetError",
    "bind",
    "get",
    "implementation",
]

IMPLEMENTATIONS = ("torch", "triton", "compile", "vendor")
"""``torch``: the library that torch calls; ``triton``: the kernels of this package; ``compile``:
the plain formula through torch.compile; ``vendor``: what the device's backend brings."""


def get(name: str) -> Op:
    """An operation. Raises ValueError naming those there are."""
    if name not in SPECS:
        raise ValueError(f"op: got {name!r}, takes one of {', '.join(SPECS)}")
    op: Op = importlib.import_module(f".{name}", __package__).OP
    return op


def implementation(
    op: Op, impl: str, case: Case, vendor: Mapping[str, Implementation] | None = None
) -> Implementation:
    """One implementation of an operation.

    Args:
        op: The operation.
        impl: One of `IMPLEMENTATIONS`.
        case: What it is to compute; ``case.arch`` None means that there is no Triton target.
        vendor: What a vendor's backend brings, by name of the operation.

    Raises:
        NoTargetError: this device or architecture has no such implementation; says why.
        ValueError: an unknown implementation.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"impl: got {impl!r}, takes one of {', '.join(IMPLEMENTATIONS)}")
    if impl == "vendor":
        if not vendor or op.name not in vendor:
            raise NoTargetError(f"this device's backend brings no {op.name} of its own")
        return vendor[op.name]
    if impl == "triton":
        if case.arch is None:
            raise NoTargetError("no Triton target on this device")
        for dtype in (case.dtype, SPECS[op.name].needs):
            if lacks(case.arch, dtype):
                raise NoTargetError(f"{case.arch} has no {dtype}")
        try:
            import triton  # noqa: F401  (only to say plainly that it is not there)
        except ImportError as error:
            raise NoTargetError(f"Triton cannot be imported here: {error}") from None
    return op.implementations[impl]


def bind(
    impl: str,
    device: torch.device,
    case: Case,
    *,
    cache: int = 0,
    memory: int = 0,
    seed: int = 0,
    vendor: Mapping[str, Implementation] | None = None,
    distribution: str = "normal",
    tolerance: float | None = None,
    waits: fresh.Waits = fresh.unseen,
) -> FreshCall:
    """An operation's implementation on random operands on a device.

    Args:
        impl: One of `IMPLEMENTATIONS`.
        device: Where.
        case: Operation, shape, dtype, variant and Triton's architecture.
        cache: Bytes of the last-level cache that operand sets must exceed together.
        memory: Bytes that all sets may take (0: no limit).
        seed: Of the data.
        vendor: What a vendor's backend brings, by name of the operation.
        distribution: Of the values of matrix operands (`op.Fill.operand`).
        tolerance: Largest error that is right; by default that of the case's dtype.
        waits: Tells what the process waited for its cores, which is no part of a call.

    Raises:
        NoTargetError: no such implementation on this device, or a mode that it does not have.
        ValueError: an unknown implementation, or too little memory.
    """
    op = get(case.op)
    chosen = implementation(op, impl, case, vendor)
    fill = Fill(device, seed, distribution)
    return fresh.bind(
        op, chosen, case, fill, waits, cache=cache, memory=memory, tolerance=tolerance
    )
