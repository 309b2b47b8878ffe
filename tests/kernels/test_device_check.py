"""The device check from end to end, on a plugin's device that is the CPU under the interpreter.

The plugin's own softmax is wrong forward and crashes backward. Where it is told to, so does the
kernel under test.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

CHECK = Path(__file__).parents[1] / "device" / "check.py"
PLUGIN = '''
    """CPU tensors under Triton's interpreter."""

    import os
    import signal

    from bench.backends.base import TorchBackend
    from bench.records import Device


    def faulty(case, inputs, outputs):
        import torch

        if case.variant == "backward":
            os.kill(os.getpid(), signal.SIGSEGV)
        return lambda: {name: torch.zeros_like(one) for name, one in outputs.items()}


    class Acme(TorchBackend):
        """One device."""

        name = "acme"
        device_type = "cpu"
        stand_in = True
        priority = 10

        def devices(self):
            return [Device(index=0, backend=self.name, name="Acme One", memory=1 << 32)]

        def open(self, index):
            import torch

            from bench.kernels import ops

            if "ACME_FAULT" in os.environ:
                ops.get("softmax").implementations["triton"] = faulty
            return torch.device("cpu")

        def synchronize(self, device):
            pass

        def event(self):
            return None

        def arch(self, device):
            return "generic"

        def implementations(self):
            return {"softmax": faulty}
'''


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """Call with arguments and variables: exit code, output, and the report of the device."""
    root = tmp_path_factory.mktemp("device")
    info = root / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hengsuan.backends]\nacme = acme_plugin:Acme\n")
    (root / "acme_plugin.py").write_text(textwrap.dedent(PLUGIN))

    def run(out, *arguments, **variables):
        folder = root / out
        # bf16 is never judged under the interpreter, which computes it silently wrong.
        fixed = ["--small", "--dtype", "fp32", "--seconds", "0.01", "--jobs", "1"]
        done = subprocess.run(
            [sys.executable, CHECK, *fixed, *arguments, "--out", folder],
            env={**os.environ, "PYTHONPATH": str(root), "TRITON_INTERPRET": "1", **variables},
            capture_output=True,
            text=True,
        )
        path = folder / "acme-one" / "kernels.json"
        report = json.loads(path.read_text()) if path.exists() else None
        return done.returncode, done.stdout + done.stderr, report, path

    return run


@pytest.fixture(scope="module")
def measured(check):
    return check("right", "--only", "softmax", "--rivals", "torch,vendor,liger")


def by_name(report):
    return {f"{one['kind']} {one['op']} {one['variant']}": one for one in report["records"]}


def test_right_kernels_are_verified_and_timed(measured):
    code, output, report, _ = measured
    assert code == 0, output
    found = by_name(report)
    assert set(found) == {
        f"{kind} softmax {way}" for kind in ("verify", "time") for way in ("forward", "backward")
    }
    assert all(one["status"] == "right" and one["errors"] for one in found.values())
    timed = found["time softmax forward"]
    for name in ("triton", "torch", "copy_"):
        cell = timed["cells"][name]
        assert 0 < cell["low"] <= cell["seconds"] <= cell["high"], name
        assert cell["samples"] >= 3
    assert report["environment"]["device"] == "Acme One"
    assert report["environment"]["versions"]["torch"] != "not installed"
    assert not report["missing"]


def test_bounds_are_printed_last_and_written(measured):
    _, output, report, path = measured
    text = path.with_name("kernels.md").read_text()
    timed = [one for one in report["records"] if one["kind"] == "time"]
    ratios = [
        one["bytes"] / one["cells"]["triton"]["seconds"]
        / (one["cells"]["copy_"]["bytes"] / one["cells"]["copy_"]["seconds"])
        for one in timed
    ]  # fmt: skip
    (row,) = [line for line in text.splitlines() if line.startswith("| softmax over a copy")]
    assert f"{min(ratios):.3f}" in row
    assert "MISSED" in row  # an interpreter copies no memory at the speed of memory
    assert row in output
    (row,) = [line for line in text.splitlines() if line.startswith("| gemm over torch, geometric")]
    assert "not measured" in row


def test_rivals_that_are_wrong_crash_or_lack_do_not_count(measured):
    _, _, report, path = measured
    found = by_name(report)
    wrong = found["time softmax forward"]["cells"]["vendor"]
    assert wrong["status"] == "wrong"
    assert wrong["seconds"] is None
    crashed = found["time softmax backward"]["cells"]["vendor"]
    assert crashed["status"] == "failed"
    assert "SIGSEGV" in crashed["reason"]
    absent = found["time softmax forward"]["cells"]["liger"]
    assert (absent["status"], absent["seconds"]) in {("absent", None), ("failed", None)}
    assert absent["reason"]
    assert "vendor failed" in path.with_name("kernels.md").read_text()


def test_resume_does_what_is_left(check, measured):
    _, _, before, path = measured
    kept = before["records"][:-1]
    path.write_text(json.dumps({**before, "records": kept}))
    code, output, report, _ = check("right", "--only", "softmax", "--rivals", "torch", "--resume")
    assert code == 0, output
    assert "1 tasks to do, 3 done" in output
    assert len(report["records"]) == 4
    assert report["records"][: len(kept)] == kept
    assert len(report["runs"]) == 2


def test_resume_refuses_another_environment(check, measured):
    path = measured[3]
    report = json.loads(path.read_text())
    report["environment"]["kernels"] = "others"
    path.write_text(json.dumps(report))
    code, output, _, _ = check("right", "--only", "softmax", "--resume")
    assert code == 2
    assert "was measured with kernels 'others'" in output
    assert "Traceback" not in output


def test_wrong_and_crashing_kernels_cost_their_own_tasks(check):
    code, output, report, _ = check("faulty", "--only", "softmax,rope", "--no-time", ACME_FAULT="1")
    assert code == 1, output
    found = by_name(report)
    assert found["verify softmax forward"]["status"] == "wrong"
    assert found["verify softmax backward"]["status"] == "failed"
    assert "SIGSEGV" in found["verify softmax backward"]["reason"]
    assert {found[f"verify rope {way}"]["status"] for way in ("forward", "backward")} == {"right"}
    assert "SIGSEGV" in output


def test_nothing_to_check_without_a_target(check):
    code, output, report, _ = check("none", "--backend", "cpu")
    assert code == 3
    assert "no Triton target" in output
    assert report is None
