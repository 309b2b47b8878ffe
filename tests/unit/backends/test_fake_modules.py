"""Backends over modules that register as vendors' do: found, opened and driven in their process."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

MODULE = """
    import types

    import torch

    NAMES = {names!r}
    torch.utils.rename_privateuse1_backend("{device}")
    made = types.ModuleType("torch.{device}")
    made.current = None
    made.device_count = lambda: len(NAMES)
    made.get_device_properties = lambda index: types.SimpleNamespace(
        name=NAMES[index], total_memory=1 << 36, uuid=f"serial-{{index}}", pci_domain_id=0,
        pci_bus_id=0x3B + index, pci_device_id=0, L2_cache_size=1 << 25)
    made.set_device = lambda index: setattr(made, "current", index)
    made.synchronize = lambda device: None
    made.max_memory_allocated = lambda device: 4096
    made.reset_peak_memory_stats = lambda device: None
    made.set_per_process_memory_fraction = lambda share, device: setattr(made, "share", share)
    torch._register_device_module("{device}", made)
"""
DRIVE = """
    import json, sys
    from bench.backends.registry import get
    backend = get(sys.argv[1], isolated=True)
    backend.load()
    device = backend.open(1)
    backend.synchronize(device)
    import torch
    made = getattr(torch, backend.device_type)
    print(json.dumps({
        "device": str(device), "current": made.current, "cache": backend.cache(device),
        "peak": backend.memory_peak(device, reset=True), "event": backend.event(),
        "limit": backend.limit_memory(device, 1 << 35), "share": made.share,
        "much": backend.limit_memory(device, 1 << 37), "place": backend.place(device),
    }))
"""
VENDORS = {
    "ascend": ("torch_npu", "npu", ["Ascend910B2", "Ascend910_9382"], [1, 2]),
    "cambricon": ("torch_mlu", "mlu", ["MLU370-X8", "MLU590"], [2, 1]),
    "musa": ("torch_musa", "musa", ["MTT S4000", "MTT S4000"], [1, 1]),
    "enflame": ("torch_gcu", "gcu", ["S60", "S60"], [1, 1]),
    "biren": ("torch_br", "supa", ["Biren106M", "Biren106M"], [1, 1]),
    "sunrise": ("torch_ptpu", "ptpu", ["PTPU", "PTPU"], [1, 1]),
}


@pytest.fixture
def stack(tmp_path):
    """A fake of a vendor's module on the path; gives the environment."""

    def made(module, device, names):
        (tmp_path / f"{module}.py").write_text(
            textwrap.dedent(MODULE.format(device=device, names=names))
        )
        return {**os.environ, "PYTHONPATH": str(tmp_path), "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}

    return made


def python(environment, script, *words):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", VENDORS)
def test_a_stack_that_registers_itself_is_found_and_driven(stack, name):
    module, device, names, dies = VENDORS[name]
    environment = stack(module, device, names)
    script = """
        import json, msgspec, sys
        from bench.backends.probe import probe
        print(json.dumps(msgspec.to_builtins(probe(sys.argv[1]))))
    """
    found = python(environment, script, name)
    assert found["problem"] == ""
    assert [one["name"] for one in found["devices"]] == names
    assert [one["dies"] for one in found["devices"]] == dies
    assert found["devices"][1]["serial"] == "serial-1"
    assert found["devices"][1]["facts"]["pci"] == "0000:3c:00.0"
    driven = python(environment, DRIVE, name)
    assert driven == {
        "device": f"{device}:1",
        "current": 1,
        "cache": 1 << 25,
        "peak": 4096,
        "event": None,
        "limit": "",
        "share": 0.5,
        "much": f"the device has {1 << 36} B of memory, less than {1 << 37} B",
        "place": "0000:3c:00.0",
    }


def test_a_stack_that_does_not_load_is_a_sentence(stack, tmp_path):
    environment = stack("torch_npu", "npu", [])
    (tmp_path / "torch_npu.py").write_text("raise ImportError('libascend_hal.so: not found')\n")
    script = """
        import json
        from bench.backends.probe import probe
        print(json.dumps(probe("ascend").problem))
    """
    problem = python(environment, script)
    assert "import torch_npu failed: ImportError: libascend_hal.so: not found" in problem


IMITATORS = ("iluvatar", "metax", "hygon", "kunlunxin", "thead")


def test_who_answers_to_cuda_is_asked_before_it():
    from bench.backends.registry import BUILT_IN, examined, get

    order = sorted(BUILT_IN, key=lambda name: examined(name).priority)
    assert order == list(BUILT_IN)
    assert all(order.index(name) < order.index("cuda") for name in (*IMITATORS, "rocm"))
    assert len({examined(name).priority for name in BUILT_IN}) == len(BUILT_IN)
    for name in (*IMITATORS, "rocm"):
        assert get(name).device_type == "cuda"
        assert not get(name).tested
