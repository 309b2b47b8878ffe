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

sys.path.insert(0, str(Path(__file__).parents[1]))
import environments

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
        if info.name.endswith("__main__") or ".data" in info.name or ".jit." in info.name:
            continue
        module = importlib.import_module(info.name)
        yield info.name, module
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != info.name:
                continue
            if inspect.isfunction(thing) or inspect.isclass(thing):
                yield f"{info.name}.{name}", thing
            if inspect.isclass(thing):
                # A field is told of by its class, whatever its default is.
                told = getattr(thing, "__dataclass_fields__", {})
                for attribute, method in vars(thing).items():
                    if attribute.startswith("_") or attribute in told:
                        continue
                    if inspect.isfunction(method):
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
    ["project", "--validate"],
    ["project", "dense-1t", "--cluster", "plan-16384"],
    ["show", "schema"],
    ["results", "list"],
    ["certificate", "trust"],
    ["submission", "--help"],
    ["backend", "list"],
    ["backend", "check", "cpu", "--list"],
    ["run", "quick", "--dry-run", "--backend", "cpu"],
    ["run", "quick", "--dry-run", "--cluster", "small"],
    ["score", "--help"],
    ["expect", "--help"],
    ["compare", "--help"],
]


WORDS_ONLY = [["show", "suites"], ["show", "chips"], ["backend", "list"]]
"""What computes nothing: NumPy would be half of what it costs."""


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
    if words in WORDS_ONLY:
        assert "numpy" not in light


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    try:
        return environments.wheel(tmp_path_factory.mktemp("wheel"))
    except subprocess.CalledProcessError as error:
        if "setuptools" in error.stderr and "No module" in error.stderr:
            pytest.skip("setuptools is not installed beside the project")
        raise AssertionError(error.stderr) from None


def test_the_wheel_carries_all_code_and_data_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    wanted = {"bench/py.typed"}
    for folder, inside, pattern in (
        ("bench", "bench", "*.py"),
        ("kernels", "bench/kernels", "*.py"),
        ("kernels/tuned", "bench/kernels/tuned", "*.yaml"),
        ("configs", "bench/data", "*.yaml"),
        ("configs/commands", "bench/data/commands", "*.*"),
        ("configs/dashboards", "bench/data/dashboards", "*.json"),
        ("bench/deploy/templates", "bench/deploy/templates", "*.*"),
        ("bench/conformance/templates", "bench/conformance/templates", "*.*"),
        ("bench/report/html/templates", "bench/report/html/templates", "*.*"),
    ):
        for path in (ROOT / folder).rglob(pattern):
            if path.suffix == ".pyc":  # what a program of ours leaves that was imported
                continue
            wanted.add(f"{inside}/{path.relative_to(ROOT / folder)}")
    assert "bench/kernels/jit/gemm.py" in wanted
    assert "bench/data/suites/quick.yaml" in wanted
    assert names == wanted
    assert any("LICENSE" in name for name in zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """``hengsuan`` of an environment that has the wheel."""
    return environments.environment(tmp_path_factory.mktemp("environment"), wheel) / "hengsuan"


def in_empty_folder(installed, folder, *words):
    """Run the installed command where nothing of the checkout is."""
    keep = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(installed), *words], cwd=folder, env=keep, capture_output=True, text=True
    )


def test_the_installed_wheel_is_what_runs(installed, tmp_path):
    where = subprocess.run(
        [installed.with_name("python"), "-c", "import bench; print(bench.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(installed.parents[1]))
    shown = in_empty_folder(installed, tmp_path, "show", "suites")
    assert shown.returncode == 0, shown.stderr
    assert "quick" in shown.stdout
    planned = in_empty_folder(installed, tmp_path, "run", "quick", "--dry-run", "--backend", "cpu")
    assert planned.returncode == 0, planned.stderr
    assert "stage device" in planned.stdout


def test_the_installed_wheel_measures_from_an_empty_folder(installed, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    suite = tmp_path / "mini.yaml"
    suite.write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    benchmarks:\n      - gemm: {shape: 64x64x64, dtype: fp32}\n"
    )
    how = ("--executor", "local", "--backend", "cpu", "--json", "-q")
    done = in_empty_folder(installed, tmp_path, "run", str(suite), *how)
    found = json.loads(done.stdout)
    assert found["state"] == "complete", done.stderr
    assert set(found["rows"]) <= {"ok", "contended"}
    # On a busy machine all may be contended, and such a run does not pass.
    assert done.returncode == (0 if "ok" in found["rows"] else 3)
    assert (tmp_path / "results" / found["run"] / "run.json").exists()


@pytest.mark.slow
def test_the_installed_wheel_runs_the_quick_suite(installed, tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("ray", reason="Ray is not installed")
    done = in_empty_folder(installed, tmp_path, "run", "quick", "--backend", "cpu", "--json", "-q")
    found = json.loads(done.stdout)
    assert found["state"] == "complete", done.stderr
    kinds = {one["kind"] for one in found["scorecard"]["findings"]}
    assert done.returncode == (3 if "undecided" in kinds else 0)


def test_configured_editions_of_python_and_licence():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.10"' in text
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.skipif(not HENGSUAN.exists(), reason="the console script is not installed")
def test_the_console_script_is_there():
    done = subprocess.run([HENGSUAN, "--version"], capture_output=True, text=True, check=True)
    assert "hengsuan" in done.stdout
