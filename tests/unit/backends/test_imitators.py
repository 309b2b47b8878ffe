"""Chips that answer to `cuda`: found as what they are, where NVIDIA's driver answers as well."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

TORCH = """
    from types import SimpleNamespace

    NAMES = {names!r}
    version = SimpleNamespace(cuda={cuda!r}, hip={hip!r})

    def device_count():
        {count}

    cuda = SimpleNamespace(
        device_count=device_count,
        get_device_properties=lambda index: SimpleNamespace(
            name=NAMES[index], total_memory=1 << 36, uuid=f"serial-{{index}}", major=8, minor=0,
            multi_processor_count=100))
"""
HERE = """
    import ctypes.util
    from types import SimpleNamespace

    from bench.backends import rocm

    # Every driver that could answer is here: what is chosen, is chosen by the order.
    ctypes.util.find_library = lambda name: name
    rocm.Path = lambda name: SimpleNamespace(exists=lambda: True)
"""
DISCOVER = """
    import json, msgspec
    from bench.backends.probe import discover
    print(json.dumps([msgspec.to_builtins(one) for one in discover()]))
"""
DESCRIBE = """
    import json
    from bench.cluster.describe import describe, passed_over
    node = describe(None, False, "")
    print(json.dumps([node.backend, node.facts["broken"], passed_over([node])]))
"""
CHIPS = {
    "iluvatar": ("ixsmi", "12.2", None, ["Iluvatar BI-V150", "Iluvatar BI-V150"]),
    "metax": ("mx-smi", "12.1", None, ["MetaX C500", "MetaX C500"]),
    "hygon": ("hy-smi", None, "5.7", ["BW200", "BW200"]),
    "kunlunxin": ("torch_xmlir.py", "11.7", None, ["P800", "P800"]),
    "thead": ("ppu-smi", "12.3", None, ["PPU-ZW810E", "PPU-ZW810E"]),
    "rocm": ("rocm-smi", None, "6.4", ["AMD Instinct MI300X", "AMD Instinct MI300X"]),
    "cuda": ("", "12.8", None, ["NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3"]),
}


@pytest.fixture
def node(tmp_path):
    """Runs a script on a node with these tools and modules, and a torch that says so."""

    def asked(script, *tools, names=(), cuda=None, hip=None, count="return len(NAMES)"):
        (tmp_path / "torch").mkdir()
        text = TORCH.format(names=list(names), cuda=cuda, hip=hip, count=count)
        (tmp_path / "torch" / "__init__.py").write_text(textwrap.dedent(text))
        for tool in filter(None, tools):
            (tmp_path / tool).write_text("" if tool.endswith(".py") else "#!/bin/sh\nexit 1\n")
            (tmp_path / tool).chmod(0o755)
        paths = {
            "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
            "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]),
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HERE) + textwrap.dedent(script)],
            env={**os.environ, **paths},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return asked


@pytest.mark.parametrize("name", CHIPS)
def test_each_is_found_as_what_it_is(node, name):
    tool, cuda, hip, names = CHIPS[name]
    *before, last = node(DISCOVER, tool, names=names, cuda=cuda, hip=hip)
    assert last["name"] == name
    assert [one["name"] for one in last["devices"]] == names
    assert {one["backend"] for one in last["devices"]} == {name}
    assert not any(one["devices"] for one in before)
    # Nobody is asked any more whose chips they are not.
    assert (name == "cuda") == ("cuda" in {one["name"] for one in (*before, last)})


def test_where_all_their_tools_are_the_declared_order_decides(node):
    tools = [tool for tool, *_ in CHIPS.values()]
    *_, last = node(DISCOVER, *tools, names=["BI-V150"], cuda="12.2")
    assert last["name"] == "iluvatar"


def test_a_build_for_others_chips_says_which_it_lacks(node):
    found = {one["name"]: one for one in node(DISCOVER, "rocm-smi", "hy-smi")}
    assert "not built for ROCm" in found["rocm"]["problem"]
    assert "not built for ROCm" in found["hygon"]["problem"]
    assert "not built for CUDA" in found["cuda"]["problem"]
    assert found["cpu"]["devices"]


def test_a_stack_that_is_there_and_broken_is_told_with_what_is_measured_instead(node):
    broken = "raise RuntimeError('driver and runtime do not fit')"
    backend, problems, notes = node(DESCRIBE, "mx-smi", cuda="12.1", count=broken)
    assert backend == "cpu"
    assert "driver and runtime do not fit" in problems["metax"]
    assert "cuda" in problems
    (note,) = (note for note in notes if "metax failed: " in note)
    assert note.endswith("; cpu is measured in its place")
