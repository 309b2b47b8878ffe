"""Every tuned configuration compiles for its chip, without having one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

SHARED = {"sm_80": 166_912, "sm_90": 232_448, "gfx942": 65_536}
"""Bytes of shared memory that one program may have."""


@pytest.mark.parametrize("arch", SHARED)
def test_tuned_configurations_compile_and_fit(arch, tmp_path):
    script = Path(__file__).with_name("compiled.py")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, str(script), arch], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["op"] for one in found} == {"gemm", "stream"}
    for one in found:
        assert one["shared"] <= SHARED[arch], one
        if arch == "sm_90":
            assert one["spills"] == 0, one
        if arch == "sm_90" and one["op"] == "gemm" and one["dtype"] == "bf16":
            assert one["wgmma"], one
