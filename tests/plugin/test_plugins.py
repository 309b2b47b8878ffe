"""Backends of other distributions: one that works, and every way in which one can be broken."""

import json
import os
import subprocess
import sys
import textwrap

import forked
import pytest

from bench.results import RunReader

WORKING = '''
    """A chip whose devices are CPU tensors under another name."""

    import torch

    from bench.backends.base import TorchBackend
    from bench.records import Device


    class Acme(TorchBackend):
        """Acme accelerators, two of them."""

        name = "acme"
        device_type = "cpu"
        stand_in = True
        priority = 10

        def present(self):
            return ""

        def devices(self):
            return [
                Device(index=i, backend=self.name, name="Acme One", lane="acme:0", memory=1 << 32,
                       serial=f"A{i}")
                for i in range(2)
            ]

        def environment(self, indices, index):
            return {"ACME_VISIBLE_DEVICES": ",".join(map(str, indices))}

        def open(self, index):
            return torch.device("cpu")

        def synchronize(self, device):
            pass

        def event(self):
            return None
'''

BROKEN = {
    "raises": ("raise OSError('libacme.so: cannot open')", "libacme.so: cannot open"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "old": (
        "from bench.backends.base import Backend\n"
        "class Acme(Backend):\n    name = 'acme'\n    api_version = 0",
        "speaks version 0 of the backend contract",
    ),
    "blurred": (
        "from bench.backends.base import Backend\n"
        "class Acme(Backend):\n    name = 'acme'\n    tolerances = {'bf16': 1.5}",
        "tolerances: got 1.5 for bf16, takes a number from 0 up to 1",
    ),
    "garbled": (
        "from bench.backends.base import Backend\n"
        "class Acme(Backend):\n    name = 'acme'\n    kernel_patterns = {'driver': 'ACME: ('}",
        "kernel_patterns: driver: 'ACME: (' is no regular expression",
    ),
    "stranger": ("class Acme:\n    name = 'acme'\n    api_version = 1", "is no subclass of"),
    "misnamed": (
        "from bench.backends.base import Backend\nclass Acme(Backend):\n    name = 'other'",
        "calls itself 'other'",
    ),
    "empty": ("", "has no attribute 'Acme'"),
}

BASE = """
    import os, signal, sys, time
    from bench.backends.base import TorchBackend

    class Acme(TorchBackend):
        name = "acme"
        device_type = "acme"
        priority = 10

        def present(self):
            return ""

        def devices(self):
            {body}
"""
FAILING = {
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed with SIGSEGV"),
    "raise": ("raise RuntimeError('driver version too old')", "driver version too old"),
    "none": ("return []", "has no device"),
    "rubbish": ("print('hello'); os._exit(0)", "ended without an answer"),
    "noise": ("print('loading firmware'); return []", "has no device"),
    "hang": ("time.sleep(60)", "did not answer within 2 s"),
}


@pytest.fixture
def install(tmp_path):
    """Install a plugin's source as a distribution; gives the environment that sees it."""

    def made(source):
        site = tmp_path / "site"
        info = site / "acme-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[hengsuan.backends]\nacme = acme_plugin:Acme\n")
        (site / "acme_plugin.py").write_text(textwrap.dedent(source))
        return {**os.environ, "PYTHONPATH": str(site)}

    return made


def python(environment, script):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


LIST = """
    import json
    from bench.backends.registry import listing
    print(json.dumps({one.name: one.problem for one in listing()}))
"""


def measured(suite, folder, environment, *more):
    """A run of ``suite`` here, with more options: its header, and its rows counted by status."""
    words = ["run", str(suite), "--executor", "local", "--json", "-q", "--out", folder / "runs"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, *more],
        env=environment,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    kinds = {one["kind"] for one in found["scorecard"]["findings"]}
    # On a busy machine a benchmark may have contended values only.
    assert done.returncode == (3 if "undecided" in kinds else 0), done.stderr
    return RunReader(folder / "runs" / found["run"]).header, found["rows"]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plugin_that_cannot_be_loaded_is_listed_and_breaks_nothing(install, kind):
    source, problem = BROKEN[kind]
    environment = install(source)
    found = python(environment, LIST)
    assert problem in found["acme"]
    assert found["cpu"] == ""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "quick", "--dry-run", "--backend", "acme"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


PROBE = """
    import json
    from bench.backends.probe import probe
    found = probe("acme", limit=2.0 if {hang} else 60.0)
    print(json.dumps([len(found.devices), found.problem]))
"""


@pytest.mark.parametrize("kind", FAILING)
def test_a_stack_that_fails_while_it_is_asked_is_a_sentence(install, kind):
    body, problem = FAILING[kind]
    environment = install(BASE.replace("{body}", body))
    devices, said = python(environment, PROBE.format(hang=kind == "hang"))
    assert devices == 0
    assert problem in said


def test_doctor_says_what_is_wrong_with_a_plugin(install):
    environment = install(BROKEN["raises"][0])
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = {one["backend"]: one for one in json.loads(done.stdout)["backends"]}
    assert "libacme.so" in report["acme"]["problem"]
    assert report["cpu"]["devices"]


BUSY = (
    WORKING
    + """
        def busy(self, index):
            return "trainer (4711)" if index == 1 else ""
"""
)


def test_devices_that_others_use_are_refused_unless_shared(install, tmp_path):
    environment = install(BUSY)
    environment["PYTHONPATH"] = os.pathsep.join([forked.FOLDER, environment["PYTHONPATH"]])
    environment[forked.ASKED] = "yes"  # on both devices, again and again: each would import PyTorch
    suite = tmp_path / "mini.yaml"
    suite.write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    benchmarks:\n      - launch: {}\n"
    )
    shared = {}
    for more in ([], ["--share"]):
        header, _ = measured(suite, tmp_path, environment, *more)
        shared[len(header.nodes[0].devices)] = {one.shared for one in header.conditions}
    assert shared == {1: {False}, 2: {True}}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    report = {one["backend"]: one for one in json.loads(done.stdout)["backends"]}
    assert report["acme"]["devices"][1]["in_use_by"] == "trainer (4711)"


def test_a_plugin_of_forty_lines_is_found_and_measured(install, tmp_path):
    assert len(textwrap.dedent(WORKING).strip().splitlines()) <= 40
    environment = install(WORKING)
    suite = tmp_path / "mini.yaml"
    suite.write_text(
        "name: mini\nrule: {budget: 50ms, warmup: 10ms, min_samples: 3}\nstages:\n"
        "  - name: device\n    benchmarks:\n      - gemm: {shape: 64x64x64, dtype: fp32}\n"
        "  - name: fabric\n    benchmarks:\n      - collectives: {size: 4KiB, over: node}\n"
    )
    header, rows = measured(suite, tmp_path, environment)
    assert header.nodes[0].backend == "acme"
    assert [device.serial for device in header.nodes[0].devices] == ["A0", "A1"]
    assert header.provenance == "stand-in"
    assert set(rows) <= {"ok", "contended"}
