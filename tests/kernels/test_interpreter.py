"""Kernels against fp64 under Triton's interpreter, each in a process of its own.

The interpreter is chosen when Triton is imported; this session may need the compiler.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.mark.parametrize("op", ["gemm", "stream"])
def test_interpreted_kernel_agrees_with_fp64(op):
    script = Path(__file__).with_name("interpreted.py")
    done = subprocess.run([sys.executable, str(script), op], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout
