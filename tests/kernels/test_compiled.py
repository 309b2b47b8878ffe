"""What would be launched compiles for every chip, without having one."""

import json

import pytest

from bench.kernels.codegen import unspilled
from bench.kernels.costs import SPECS
from bench.kernels.tuning import lacks, targets

pytest.importorskip("triton", reason="Triton is not installed")

MOST = 400 // len(targets())
"""Compilations an architecture: 400 in all."""


@pytest.mark.timeout(900)  # a minute of a core that others may use as well
@pytest.mark.script("compiled.py")
@pytest.mark.parametrize("arch", targets())
def test_kernels_compile_and_fit(arch, scripts):
    done = scripts("compiled.py", arch)
    assert done.returncode == 0, done.stderr[-3000:]
    *found, last = [json.loads(line) for line in done.stdout.splitlines()]
    able = {name for name, spec in SPECS.items() if not lacks(arch, spec.needs)}
    assert {one["op"] for one in found} == able
    assert last["compilations"] <= MOST
    for one in found:
        assert one["shared"] <= targets()[arch].shared, one
        if unspilled(arch, one["op"], one["variant"]):
            assert one["spills"] == 0, one
    if arch == "sm_90":
        products = ("gemm", "gate_up", "grouped_gemm")
        fast = [one for one in found if one["op"] in products and one["dtype"] == "bf16"]
        fast += [
            one
            for one in found
            if one["op"] == "attention" and one["variant"] in ("causal", "full")
        ]
        assert all(one["matrix"] == "wgmma" and one["tma"] for one in fast), fast
