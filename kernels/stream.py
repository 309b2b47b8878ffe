"""The four STREAM operations (McCalpin, 1995): sustained memory bandwidth.

copy: c = a; scale: b = s·c; add: c = a + b; triad: a = b + s·c, here all written as
``out = f(x, y)``. copy and scale move two arrays, add and triad three; at most two FLOPs an
element, so that memory is what is measured. s = 0.4 as in BabelStream.
"""

from __future__ import annotations

from typing import Any

import torch

from .arguments import check_vector
from .tuning import config

OPS = ("copy", "scale", "add", "triad")
SCALAR = 0.4
DTYPES = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def kernel() -> Any:
    """The Triton kernel; imports Triton."""
    from .stream_kernel import stream_kernel

    return stream_kernel


def stream_triton(
    op: str, x: torch.Tensor, y: torch.Tensor, out: torch.Tensor, *, dtype: str, arch: str
) -> torch.Tensor:
    """``out = f(x, y)`` by the Triton kernel; vectors of one length, dtype and device.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_vectors(op, x, y, out, dtype)
    count = out.numel()
    chosen = config(arch, "stream", dtype, count)
    kernel()[(-(-count // chosen["block"]),)](
        x,
        y,
        out,
        count,
        SCALAR,
        OP=OPS.index(op),
        BLOCK=chosen["block"],
        num_warps=chosen["num_warps"],
    )
    return out


def stream_torch(
    op: str,
    x: torch.Tensor,
    y: torch.Tensor,
    out: torch.Tensor,
    *,
    dtype: str,
    arch: str | None = None,
) -> torch.Tensor:
    """``out = f(x, y)`` by one torch operator."""
    if op == "copy":
        return out.copy_(x)
    if op == "scale":
        return torch.mul(x, SCALAR, out=out)
    if op == "add":
        return torch.add(x, y, out=out)
    return torch.add(x, y, alpha=SCALAR, out=out)


def check_vectors(op: str, x: torch.Tensor, y: torch.Tensor, out: torch.Tensor, dtype: str) -> None:
    """Raise ValueError unless operation, lengths, dtypes, strides and devices fit."""
    if op not in OPS:
        raise ValueError(f"op: got {op!r}, takes one of {', '.join(OPS)}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, takes one of {', '.join(DTYPES)}")
    for name, tensor in (("x", x), ("y", y), ("out", out)):
        check_vector(name, tensor, DTYPES[dtype], x.device, x.numel())
