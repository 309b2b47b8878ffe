"""Kernels against fp64 under Triton's interpreter, each in a process of its own.

The interpreter is chosen when Triton is imported; this session may need the compiler.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.kernels.costs import SPECS

pytest.importorskip("triton", reason="Triton is not installed")


def passes(script, *arguments):
    path = Path(__file__).with_name(script)
    done = subprocess.run([sys.executable, str(path), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


@pytest.mark.parametrize("op", SPECS)
def test_interpreted_kernels_agree_with_fp64(op):
    passes("interpreted.py", op)


def test_gradients_agree_with_fp64_and_finite_differences():
    passes("differentiated.py")


def test_empty_and_single_elements():
    passes("degenerate.py")


def test_offsets_pass_31_bits():
    passes("far.py")
