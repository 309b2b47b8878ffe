"""Reference results in fp64 and how far a result may be from them."""

from __future__ import annotations

import torch

TOLERANCE = {"fp64": 1e-12, "fp32": 1e-5, "tf32": 1e-3, "fp16": 2e-3, "bf16": 1e-2}
"""Largest relative error (Frobenius norm) against fp64 that a correct implementation makes."""

ROWS = 64
"""Rows of a large product that are checked; random ones, so that none can be skipped safely."""


def relative_error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """‖out - reference‖ / ‖reference‖ in fp64; infinite where ``out`` has a NaN or infinity."""
    difference = out.double() - reference
    error = float(
        torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(reference).clamp_min(1e-300)
    )
    return error if error == error else float("inf")


def gemm_error(
    a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, generator: torch.Generator
) -> float:
    """Relative error of A · B on random rows; infinite if any element was left unwritten (NaN)."""
    if bool(torch.isnan(out).any()):
        return float("inf")
    rows = torch.randperm(a.shape[0], generator=generator)[:ROWS].to(a.device)
    return relative_error(out[rows], a[rows].double() @ b.double())


def stream_error(
    op: str, scalar: float, x: torch.Tensor, y: torch.Tensor, out: torch.Tensor
) -> float:
    """Largest relative error of a block of the array over the whole array, against fp64."""
    worst = 0.0
    for start in range(0, out.numel(), 1 << 24):  # in parts: fp64 copies would not fit
        part = slice(start, start + (1 << 24))
        left, right = x[part].double(), y[part].double()
        if op in ("copy", "scale"):
            wanted = left if op == "copy" else scalar * left
        else:
            wanted = left + (right if op == "add" else scalar * right)
        worst = max(worst, relative_error(out[part], wanted))
    return worst
