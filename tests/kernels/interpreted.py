"""Run in a process of its own by test_interpreter.py: kernels under Triton's interpreter.

fp16, fp32 and fp64 only: the interpreter computes bf16 silently wrong. Shapes are small and the
generic table's tiles are used: its cost is per program.
"""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

import sys

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.kernels import reference
from bench.kernels.gemm import gemm_triton
from bench.kernels.stream import OPS, SCALAR, stream_triton

KINDS = {"fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}


def padded(rows, columns, kind, extra=0):
    """A random matrix whose rows are ``columns + extra`` elements apart."""
    return torch.randn(rows, columns + extra).to(kind)[:, :columns]


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.integers(1, 100),
    st.integers(0, 3),
    st.sampled_from(["fp16", "fp32", "tf32"]),
)
def gemm(m, n, k, extra, dtype):
    kind = KINDS.get(dtype, torch.float32)
    a, b = padded(m, k, kind, extra), padded(k, n, kind, extra)
    out = torch.full((m, n + extra), float("nan"), dtype=kind)[:, :n]
    gemm_triton(a, b, out, dtype=dtype, arch="generic")
    error = reference.gemm_error(a, b, out, torch.Generator())
    assert error <= reference.TOLERANCE[dtype], (m, n, k, extra, dtype, error)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 20_000), st.sampled_from(OPS), st.sampled_from(list(KINDS)))
def stream(count, op, dtype):
    x, y = (torch.randn(count).to(KINDS[dtype]) for _ in range(2))
    # One element more on either side: the mask must keep the kernel from writing there.
    whole = torch.full((count + 2,), float("nan"), dtype=KINDS[dtype])
    out = whole[1:-1]
    stream_triton(op, x, y, out, dtype=dtype, arch="generic")
    limit = 1e-7 if dtype == "fp64" else reference.TOLERANCE[dtype]
    assert reference.stream_error(op, SCALAR, x, y, out) <= limit, (count, op, dtype)
    assert torch.isnan(whole[0]) and torch.isnan(whole[-1])


if __name__ == "__main__":
    {"gemm": gemm, "stream": stream}[sys.argv[1]]()
    sys.stdout.write("all examples passed\n")
