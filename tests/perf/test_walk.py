"""A vendor's walk, as docs/vendor.md has it: from an empty folder to a submission that holds.

The chip is that of `tests/plugin/nuomi`, whose PyTorch extension is there before; its package for
this project is written, filled in, checked, measured, packed and verified in an environment of its
own. Every step must end with 0: on cores that others use, `run` and `verify` rightly do not.
"""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "plugin"))
import environments
from nuomi_site import built

MINUTES, LINES = 15, 50
LOCAL = ("--backend", "nuomi", "--executor", "local", "-q")
"""The devices are threads of this host, which has few cores: those of Ray would be beside them."""
CODE = {
    '"""TODO: whose devices these are, and through which PyTorch extension."""': (
        '"""Nuomi accelerators through torch_nuomi."""'
    ),
    "  # TODO: whose import makes the device type known; None: built in": "",
    '"gloo"  # TODO: your torch.distributed backend': '"nuccl"',
    "None  # TODO: the variable that limits what a process sees": '"NUOMI_VISIBLE_DEVICES"',
    "None  # TODO: Ray's name for one device, if it has one": (
        '"NUOMI"\n    stand_in = True\n    triton = "there is no Triton for these chips"'
    ),
    'lacking = {}  # TODO: what it cannot do and why: {"fp64": "...", "gemm fp8_e4m3": "..."}': (
        """lacking = {
        "tf32": "fp32 products are exact in all modes",
        "fp8": "the chip has no fp8",
        "quantize": "it makes fp8",
        "layernorm backward bf16": "the bias's gradient is added up in bf16",
        "layernorm backward fp16": "the bias's gradient is added up in fp16",
    }"""
    ),
    "    # TODO: what torch.nuomi cannot say. Each of these may go.\n\n": "",
    "        return Telemetry()": """\
        if self.module not in sys.modules:
            return Telemetry()
        import torch

        free, total = torch.accelerator.get_memory_info()
        return Telemetry(memory_used=total - free)""",
    "from bench.backends.base": "import sys\n\nfrom bench.backends.base",
}
CHIP = """\
name: nuomi
vendor: Nuomi
match: [nuomi one]
flops:
  fp32: {value: 1.0e12, source: "tests/plugin/nuomi", date: "2026-11-26", status: vendor}
  bf16: {value: 2.0e12, source: "tests/plugin/nuomi", date: "2026-11-26", status: vendor}
memory_bandwidth: {value: 5.0e11, source: "tests/plugin/nuomi", date: "2026-11-26", status: vendor}
"""
PROJECT = {
    '["hengsuan[run]"]  # TODO: your PyTorch extension, with the versions that fit': (
        '["hengsuan[run]"]'
    ),
}
SYSTEM = """\
name: two devices
submitter: Nuomi
edition: "2026.1"
chip: {product: Nuomi One, vendor: Nuomi, origin: threads of a host}
framework: {product: PyTorch, vendor: PyTorch Foundation, origin: open source}
switch: {product: none, vendor: none, origin: none}
"""


def filled_in(package: Path) -> int:
    """Fill in what `backend new` has marked; how many lines were written or changed."""
    before = {path: path.read_text() for path in package.rglob("*") if path.is_file()}
    code = package / "hengsuan_nuomi"
    for path, changes in ((code / "__init__.py", CODE), (package / "pyproject.toml", PROJECT)):
        text = before[path]
        for todo, done in changes.items():
            assert todo in text, todo
            text = text.replace(todo, done)
        path.write_text(text)
    (code / "configs" / "chips" / "nuomi.yaml").write_text(CHIP)
    written = 0
    for path, old in before.items():
        new = path.read_text()
        assert path.suffix == ".md" or "TODO" not in new, path
        lines = difflib.ndiff(old.splitlines(), new.splitlines())
        written += sum(line.startswith("+ ") for line in lines)
    return written


class Vendor:
    """Somebody with a folder and an environment; every step is timed and must end with 0."""

    def __init__(self, folder: Path, commands: Path) -> None:
        self.folder, self.commands = folder, commands
        self.spans: dict[str, float] = {}

    def does(self, step: str, *words: object) -> str:
        keep = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command, *rest = map(str, words)
        start = perf_counter()
        done = subprocess.run(
            [self.commands / command, *rest],
            cwd=self.folder,
            env={**keep, "HENGSUAN_CONFIG_PATH": "", "XDG_CONFIG_HOME": str(self.folder)},
            capture_output=True,
            text=True,
        )
        self.spans[step] = self.spans.get(step, 0.0) + perf_counter() - start
        assert done.returncode == 0, f"{step}: {done.stdout[-6000:]}\n{done.stderr[-2000:]}"
        return done.stdout


def test_walk(tmp_path, figure, request):
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler to build the device with (Debian: g++)")
    device = built(request.config.cache.mkdir("nuomi"))
    commands = environments.environment(tmp_path / "env", environments.wheel(tmp_path))
    there = environments.site(tmp_path / "env")
    shutil.copytree(device / "torch_nuomi", there / "torch_nuomi")
    folder = tmp_path / "empty"
    folder.mkdir()
    vendor = Vendor(folder, commands)
    vendor.does("backend new", "hengsuan", "backend", "new", "nuomi")
    vendor.does("pip install", "python", "-m", "pip", "install", "-q", "-e", "hengsuan-nuomi")
    lines = filled_in(folder / "hengsuan-nuomi")
    vendor.does("backend check", "hengsuan", "backend", "check", "nuomi", "-q")
    vendor.does("run", "hengsuan", "run", "edition-2026.1", *LOCAL)
    (run,) = (folder / "results").iterdir()
    (folder / "system.yaml").write_text(SYSTEM)
    pack = ("--system", "system.yaml", "--key", "nuomi.key", "--out", "nuomi.tar")
    trust = ("--name", "nuomi", "--for", "submission")
    vendor.does("submission pack", "hengsuan", "certificate", "keygen", "nuomi.key")
    vendor.does("submission pack", "hengsuan", "submission", "pack", run, *pack)
    words = ("certificate", "trust", "nuomi.key.pub", *trust)
    vendor.does("submission verify", "hengsuan", *words)
    said = vendor.does("submission verify", "hengsuan", "submission", "verify", "nuomi.tar")
    assert "holds by every rule, stand-in, edition 2026.1, says nuomi" in said
    for step, seconds in vendor.spans.items():
        figure(f"a vendor's walk: {step}", seconds, "s")
    figure("a vendor's walk: all commands", sum(vendor.spans.values()) / 60, "min", high=MINUTES)
    figure("a vendor's walk: lines filled in", lines, "lines", high=LINES - 1)
