"""What would be launched compiles for every chip, without having one."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.kernels.codegen import Built, unspilled
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


def test_what_is_on_record_is_compiled_again_in_part_and_must_come_out_the_same(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("COMPILED", str(tmp_path))
    import compiled
    import triton

    built = []

    def build(kernel, arch):
        built.append(kernel.digest)
        return Built(registers=32, spills=0, shared=0, matrix="", tma=False)

    monkeypatch.setattr(compiled.codegen, "build", build)
    same = asdict(build(SimpleNamespace(digest=""), "sm_90"))
    rest, again, strange = (f"{compiled.AGAIN * 7 + more:012x}" for more in (1, 0, compiled.AGAIN))
    built.clear()
    kept = compiled.Kept("sm_90")
    for digest, found in ((rest, {**same, "registers": 40}), (again, same)):
        kept._recorded[f"{triton.__version__} sm_90 {digest}"] = found
    assert kept.build(SimpleNamespace(digest=rest))["registers"] == 40
    assert kept.build(SimpleNamespace(digest=again)) == same
    assert kept.build(SimpleNamespace(digest=f"{1:012x}")) == same  # nobody has a record of it
    assert built == [again, f"{1:012x}"]
    kept._recorded[f"{triton.__version__} sm_90 {strange}"] = {**same, "spills": 8}
    with pytest.raises(SystemExit, match="on record are"):
        kept.build(SimpleNamespace(digest=strange))
