"""Matrix product C = A · B.

C[m, n] = Σ_k A[m, k] · B[k, n], accumulated in fp32. 2·M·N·K FLOPs; A and B are read once and C
is written once. One program computes one tile of C; tiles are numbered so that ``group_m`` rows
of them share columns of B in the cache (grouped order: Triton tutorial 3; Tillet et al., 2019).
Only what Triton 3.0 has: pointers, masks, ``tl.dot``.
"""

from __future__ import annotations

from typing import Any

import torch

from .arguments import check_matrix
from .tuning import config

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}


def kernel() -> Any:
    """The Triton kernel; imports Triton."""
    from .gemm_kernel import gemm_kernel

    return gemm_kernel


def gemm_triton(
    a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, *, dtype: str, arch: str
) -> torch.Tensor:
    """C = A · B by the Triton kernel.

    Args:
        a: [M, K], b: [K, N], out: [M, N]; one dtype, inner stride 1, on one device.
        dtype: ``fp32`` (IEEE), ``tf32``, ``fp16`` or ``bf16``.
        arch: Triton's architecture, for the table of configurations.

    Raises:
        ValueError: names the argument, what it got and what it takes.
    """
    check_operands(a, b, out, dtype)
    (m, k), n = a.shape, b.shape[1]
    chosen = config(arch, "gemm", dtype, m * n)
    tiles = -(-m // chosen["block_m"]) * -(-n // chosen["block_n"])
    kernel()[(tiles,)](
        a,
        b,
        out,
        m,
        n,
        k,
        a.stride(0),
        b.stride(0),
        out.stride(0),
        BLOCK_M=chosen["block_m"],
        BLOCK_N=chosen["block_n"],
        BLOCK_K=chosen["block_k"],
        GROUP_M=chosen["group_m"],
        PRECISION="tf32" if dtype == "tf32" else "ieee",
        num_warps=chosen["num_warps"],
        num_stages=chosen["num_stages"],
    )
    return out


def gemm_torch(
    a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, *, dtype: str, arch: str | None = None
) -> torch.Tensor:
    """C = A · B by the library that torch calls. The tf32 mode is set by `precision`."""
    return torch.mm(a, b, out=out)


def check_operands(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, dtype: str) -> None:
    """Raise ValueError unless shapes, dtypes, strides and devices fit."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, takes one of {', '.join(DTYPES)}")
    for name, tensor in (("a", a), ("b", b), ("out", out)):
        check_matrix(name, tensor, DTYPES[dtype], a.device)
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"b: got {b.shape[0]} rows, takes {a.shape[1]} (columns of a)")
    if tuple(out.shape) != (a.shape[0], b.shape[1]):
        raise ValueError(f"out: got shape {tuple(out.shape)}, takes {(a.shape[0], b.shape[1])}")
