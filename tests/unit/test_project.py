"""The house rules: vendor names, floors, docstrings, light imports, a whole wheel."""

import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HENGSUAN = Path(sys.executable).with_name("hengsuan")

VENDORS = (
    "nvidia|nvml|pynvml|geforce|hopper|rocm|radeon|instinct|huawei|ascend|torch_npu|hccl|"
    "cambricon|torch_mlu|cncl|moore|mthreads|musa|hygon|dcu|metax|maca|iluvatar|corex|biren|"
    "enflame|gcu|kunlunxin|kunlun|sunrise|lightelligence|tsingmicro|gaudi|habana|intel|amd"
)
_WORD = re.compile(rf"(?<![a-zA-Z])(?:{VENDORS})(?![a-zA-Z])", re.IGNORECASE)


def neutral_files():
    """Python code outside the rooms where vendors may be named."""
    for path in sorted((ROOT / "bench").rglob("*.py")) + sorted((ROOT / "kernels").rglob("*.py")):
        inside = path.relative_to(ROOT)
        if inside.parts[:2] in (("bench", "backends"), ("bench", "kernels"), ("bench", "data")):
            continue
        if inside.parts[:2] in (("kernels", "tuned"), ("kernels", "arch")):
            continue
        yield path


def test_no_vendor_is_named_in_neutral_code():
    files = list(neutral_files())
    assert len(files) > 30
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _WORD.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_vendor_check_can_fail():
    assert _WORD.search("if vendor == 'NVIDIA':")
    assert _WORD.search("import torch_npu")
    assert not _WORD.search("a quick command and a sample")


def test_nothing_imports_a_top_level_kernels():
    pattern = re.compile(r"^\s*(?:import kernels|from kernels)\b", re.MULTILINE)
    for folder in ("bench", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not pattern.search(path.read_text(encoding="utf-8")), path


def public_names():
    """(dotted name, object) of every public class, function and method of the package."""
    package = importlib.import_module("bench")
    for info in pkgutil.walk_packages(package.__path__, "bench."):
        if info.name.endswith(("__main__", "_kernel")) or ".data" in info.name:
            continue
        module = importlib.import_module(info.name)
        yield info.name, module
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != info.name:
                continue
            if inspect.isfunction(thing) or inspect.isclass(thing):
                yield f"{info.name}.{name}", thing
            if inspect.isclass(thing):
                for attribute, method in vars(thing).items():
                    if inspect.isfunction(method) and not attribute.startswith("_"):
                        yield f"{info.name}.{name}.{attribute}", getattr(thing, attribute)


def test_every_public_name_has_a_docstring():
    names = dict(public_names())
    assert len(names) > 200
    missing = [name for name, thing in names.items() if not inspect.getdoc(thing)]
    assert not missing, missing


def test_modules_hold_one_idea():
    for path in neutral_files():
        length = len(path.read_text(encoding="utf-8").splitlines())
        assert length <= 450, f"{path.relative_to(ROOT)} has {length} lines: split it"


LIGHT = [
    ["--help"],
    ["run", "--help"],
    ["show", "suites"],
    ["show", "benchmarks"],
    ["show", "chips"],
    ["run", "quick", "--dry-run", "--backend", "cpu"],
    ["run", "quick", "--dry-run", "--cluster", "small"],
]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_what_needs_no_accelerator_stack_imports_none(words, tmp_path):
    script = (
        "import sys, json\n"
        f"sys.argv = ['hengsuan', *{words!r}]\n"
        "from bench.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n"
        "    heavy = [m for m in ('torch', 'ray', 'triton') if m in sys.modules]\n"
        "    light = [m for m in ('rich', 'msgspec', 'numpy') if m in sys.modules]\n"
        "    print('\\n' + json.dumps([done.code or 0, heavy, light]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    code, heavy, light = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    assert heavy == []
    if words == ["--help"]:
        assert light == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as a release would be but with the tools that are here."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            "-w",
            str(folder),
            str(ROOT),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode and "setuptools" in done.stderr and "No module" in done.stderr:
        pytest.skip("setuptools is not installed beside the project")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_carries_data_and_no_top_level_kernels(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"bench"}
    for wanted in (
        "bench/data/suites/quick.yaml",
        "bench/kernels/tuned/generic.yaml",
        "bench/kernels/gemm_kernel.py",
        "bench/py.typed",
    ):
        assert wanted in names
    assert any("LICENSE" in name for name in names)


def test_the_installed_wheel_runs_from_an_empty_folder(wheel, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    empty = tmp_path / "empty"
    empty.mkdir()
    # The wheel comes before the checkout that this environment has installed.
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import bench; print(bench.__file__)"],
        env=environment,
        cwd=empty,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site))
    suite = empty / "mini.yaml"
    suite.write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    benchmarks:\n      - gemm: {shape: 64x64x64, dtype: fp32}\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench",
            "run",
            str(suite),
            "--executor",
            "local",
            "--backend",
            "cpu",
            "--json",
            "-q",
        ],
        env=environment,
        cwd=empty,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["state"] == "complete"
    assert set(found["rows"]) <= {"ok", "contended"}
    assert (empty / "results" / found["run"] / "run.json").exists()


def test_configured_editions_of_python_and_licence():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10"' in text
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.skipif(not HENGSUAN.exists(), reason="the console script is not installed")
def test_the_console_script_is_there():
    done = subprocess.run([HENGSUAN, "--version"], capture_output=True, text=True, check=True)
    assert "hengsuan" in done.stdout
