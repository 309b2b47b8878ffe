"""The device check from end to end, on a plugin's device that is the CPU under the interpreter.

The plugin's own softmax is wrong forward and crashes backward. Where it is told to, so does the
kernel under test.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import forked
import pytest

pytest.importorskip("triton", reason="Triton is not installed")

ALONE = ("--jobs", "1")
"""For what several processes side by side would add nothing to but their starts."""
CHECK = Path(__file__).parents[1] / "device" / "check.py"
PLUGIN = '''
    """CPU tensors under Triton's interpreter."""

    import os
    import signal

    from bench.backends.base import TorchBackend
    from bench.records import Device


    def faulty(case, inputs, outputs):
        import torch

        if os.environ.get("ACME_FAULT") == "memory":
            raise RuntimeError("Acme One is out of memory: tried to allocate 1 GiB")
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
            return [Device(index=0, backend=self.name, name="Acme One", memory=1 << 34)]

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

    def run(out, *arguments, meanwhile=None, **variables):
        folder, paths = root / out, [str(root)]
        # Processes that are looked at from here are children of the check; all others are forked.
        if meanwhile is None:
            paths.insert(0, forked.FOLDER)
            variables[forked.ASKED] = "yes"
            variables[forked.MORE] = "torch._inductor.compile_fx"  # as dear as PyTorch itself
        # bf16 is never judged under the interpreter, which computes it silently wrong.
        fixed = ["--small", "--dtype", "fp32", "--seconds", "0.01", "--jobs", "2"]
        process = subprocess.Popen(
            [sys.executable, CHECK, *fixed, *arguments, "--out", folder],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "TRITON_INTERPRET": "1",
                forked.OWNER: str(forked.owner()),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = meanwhile(process) if meanwhile else ""
        said += process.communicate()[0]
        path = folder / "acme-one" / "kernels.json"
        report = json.loads(path.read_text()) if path.is_file() else None
        return process.returncode, said, report, path

    run.root = root
    return run


@pytest.fixture(scope="module")
def measured(check, once):
    """What came of softmax; each worker of pytest's has the report to itself."""

    def fill(folder):
        words = ("--only", "softmax", "--rivals", "torch,vendor,liger", "--jobs", "2")
        code, output, *_ = check(folder, *words)
        (folder / "told.json").write_text(json.dumps([code, output]))

    made = once("a-device-that-was-checked", fill)
    shutil.copytree(made, check.root / "right")
    path = check.root / "right" / "acme-one" / "kernels.json"
    return (*json.loads((made / "told.json").read_text()), json.loads(path.read_text()), path)


def by_name(report):
    return {f"{one['kind']} {one['op']} {one['variant']}": one for one in report["records"]}


def test_right_kernels_are_verified_and_timed(measured):
    code, output, report, _ = measured
    assert code == 0, output
    assert "compiled for 2 tasks" in output
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
    assert report["runs"][0]["versions"]["torch"] != "not installed"
    assert all(one["code"] and one["configs"] and one["at"] for one in found.values())
    # What the forward pass asked for is none of the backward pass's own.
    ways = {one["variant"]: " ".join(one["configs"]) for one in found.values()}
    assert ways["forward"].startswith("softmax fp32")
    assert ways["backward"].startswith("softmax_backward fp32")
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


def test_a_figure_without_a_bound_is_told(check):
    code, output, report, path = check(
        "decoded", "--only", "decode_attention", "--rivals", "torch", *ALONE
    )
    assert code == 0, output
    assert {(one["status"], one["variant"]) for one in report["records"]} == {
        ("right", "even"), ("right", "ragged"),
    }  # fmt: skip
    rows = path.with_name("kernels.md").read_text().splitlines()
    told = [line.split("|")[1:5] for line in rows if line.startswith("| decode_attention over")]
    assert [(bound.strip(), state.strip()) for _, _, bound, state in told] == [("–", "told")] * 2
    timed = [one["cells"] for one in report["records"] if one["kind"] == "time"]
    speeds = [{name: 1 / cell[name]["seconds"] for name in ("triton", "torch")} for cell in timed]
    worst = min(one["triton"] / one["torch"] for one in speeds)
    assert told[1][1].split()[0] == f"{worst:.3f}"


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


def test_resume_does_what_is_left_and_what_has_changed(check, measured):
    _, _, before, path = measured
    kept, other, _ = before["records"][:2], before["records"][2], before["records"][3]
    path.write_text(json.dumps({**before, "records": [*kept, {**other, "code": "before"}]}))
    code, output, report, _ = check(
        "right", "--only", "softmax", "--rivals", "torch", "--resume", *ALONE
    )
    assert code == 0, output
    assert "2 tasks to do, 4 asked for" in output
    assert "1 records are of kernels that have changed since" in output
    assert report["records"][:2] == kept
    assert [one["run"] for one in report["records"]] == [0, 0, 1, 1]
    assert (report["former"], report["missing"]) == ([], [])
    text = path.with_name("kernels.md").read_text()
    assert "- run 1, " in text
    assert "of which 2 records stand below" in text


def test_an_entry_that_changed_sets_its_records_aside(check, measured):
    _, _, before, path = measured
    entry = next(iter(before["records"][0]["configs"]))
    records = [
        {**one, "configs": {name: "rows=1" if name == entry else said
                            for name, said in one["configs"].items()}}
        for one in before["records"]
    ]  # fmt: skip
    path.write_text(json.dumps({**before, "records": records}))
    done = subprocess.run(
        [sys.executable, CHECK, "--review", path.parent], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    now = json.loads(path.read_text())
    assert now["former"]
    assert all(entry in one["configs"] for one in now["former"])
    assert not any(entry in one["configs"] for one in now["records"])
    assert set(now["missing"]) == {
        f"{one['kind']} {one['op']} {one['variant']} {one['dtype']} "
        + "x".join(map(str, one["shape"]))
        for one in now["former"]
    }
    text = path.with_name("kernels.md").read_text()
    assert "## Measured with kernels that have changed since" in text
    path.write_text(json.dumps(before))


def test_a_figure_of_earlier_kernels_is_told_and_has_no_verdict(measured):
    _, _, before, path = measured
    records = [{**one, "code": "before"} for one in before["records"]]
    path.write_text(json.dumps({**before, "records": records}))
    subprocess.run([sys.executable, CHECK, "--review", path.parent], check=True)
    told = path.with_name("kernels.md").read_text().splitlines()
    row = next(line for line in told if line.startswith("| softmax over a copy, worst"))
    assert row.endswith("| to be measured again |")
    assert ", with earlier kernels" in row
    path.write_text(json.dumps(before))


def test_resume_refuses_another_environment_or_goes_beside(check, measured):
    _, _, before, path = measured
    environment = {**before["environment"], "triton": "3.0.0"}
    path.write_text(json.dumps({**before, "environment": environment}))
    words = ("right", "--only", "softmax", "--no-time", "--resume", *ALONE)
    code, output, _, _ = check(*words)
    assert code == 2
    assert "was measured with triton '3.0.0'" in output
    assert "Traceback" not in output
    code, output, report, _ = check(*words, "--apart")
    assert code == 0, output
    assert report["environment"] == environment  # stays as it is
    (beside,) = path.parent.parent.glob("acme-one-triton-*/kernels.json")
    assert len(json.loads(beside.read_text())["records"]) == 2
    path.write_text(json.dumps(before))


def test_a_folder_that_cannot_be_had_is_said_before_anything_is_measured(check, measured):
    sys.path.insert(0, str(CHECK.parent))
    from book import claimed

    _, _, before, path = measured
    words = ("--only", "softmax", "--no-time", "--resume")
    with claimed(path.parent):
        code, output, report, _ = check("right", *words)
    assert (code, report) == (2, before)
    assert f"another call measures into {path.parent}" in output
    path.parents[2].joinpath("full").mkdir()
    path.parents[2].joinpath("full", "acme-one").write_text("")
    code, output, *_ = check("full", *words[:-1])
    assert code == 4
    assert "acme-one: cannot be written" in output
    assert "Traceback" not in output
    assert "tasks to do" not in output


def _workers(process):
    """The processes that it started to work."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == process.pid and b"worker.py" in words:
            found.append(int(path.parent.name))
    return found


def _until(process, text):
    """Its output up to the line that has the text."""
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    return said


def test_a_worker_killed_in_the_middle_costs_no_other_task(check):
    def kill(process):
        said = _until(process, "[1/")
        for pid in _workers(process):
            os.kill(pid, signal.SIGKILL)
        return said

    words = ("killed", "--only", "softmax,rope", "--no-time")
    code, output, report, _ = check(*words, meanwhile=kill)
    states = {name: one["status"] for name, one in by_name(report).items()}
    assert len(states) == 4, output
    assert set(states.values()) <= {"right", "failed"}
    assert code == (1 if "failed" in states.values() else 0)
    for one in report["records"]:
        assert one["status"] == "right" or "SIGKILL" in one["reason"]
    code, output, report, _ = check(*words, "--resume")
    assert code == 0, output
    assert {one["status"] for one in report["records"]} == {"right"}


def test_an_interrupt_keeps_what_was_done_and_ends_the_workers(check):
    left = []

    def interrupt(process):
        said = _until(process, "[1/")
        left.extend(_workers(process))
        process.send_signal(signal.SIGINT)
        return said

    code, output, report, path = check(
        "interrupted", "--only", "softmax,rope,swiglu", "--no-time", meanwhile=interrupt
    )
    assert code == 130, output
    assert "Traceback" not in output
    assert left
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]
    names = {f"{one['kind']} {one['op']} {one['variant']}" for one in report["records"]}
    assert names
    assert len(names) + len(report["missing"]) == 6
    assert "## Not measured" in path.with_name("kernels.md").read_text()


def test_wrong_and_crashing_kernels_cost_their_own_tasks(check):
    code, output, report, _ = check("faulty", "--only", "softmax,rope", "--no-time", ACME_FAULT="1")
    assert code == 1, output
    found = by_name(report)
    assert found["verify softmax forward"]["status"] == "wrong"
    assert found["verify softmax backward"]["status"] == "failed"
    assert "SIGSEGV" in found["verify softmax backward"]["reason"]
    assert {found[f"verify rope {way}"]["status"] for way in ("forward", "backward")} == {"right"}
    assert "SIGSEGV" in output


def test_what_is_too_large_for_the_device_is_skipped_with_the_reason(check):
    words = ("large", "--only", "softmax", "--no-time", *ALONE)
    code, output, report, path = check(*words, ACME_FAULT="memory")
    assert code == 0, output
    found = by_name(report)
    assert {one["status"] for one in found.values()} == {"skipped"}
    assert all("out of memory: tried to allocate" in one["reason"] for one in found.values())
    assert "Bounds were stated for one NVIDIA H200" in path.with_name("kernels.md").read_text()
    # It says nothing of the kernels, and does not change: it is not tried again.
    assert "0 tasks to do, 2 asked for" in check(*words, "--resume", ACME_FAULT="memory")[1]


def test_a_check_that_is_killed_leaves_no_worker(check):
    left = []

    def kill(process):
        said = _until(process, "[1/")
        left.extend(_workers(process))
        process.kill()
        return said

    code, output, *_ = check("gone", "--only", "softmax,rope", "--no-time", meanwhile=kill)
    assert code == -signal.SIGKILL, output
    assert left
    end = time.monotonic() + 30
    while alive := [pid for pid in left if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, f"{alive} go on"
        time.sleep(0.05)


def test_what_is_undecided_is_timed_until_it_is_decided_or_long_enough():
    sys.path.insert(0, str(CHECK.parent))
    import torch
    from interleaving import interleaved
    from machine import Machine
    from rivals import Prepared

    from bench.backends.registry import get

    prepared = {name: Prepared(dict) for name in ("triton", "torch")}
    asked = []

    def rounds(seconds, wanted):
        def undecided(found):
            asked.append(len(found["triton"]))
            return asked[-1] < wanted

        machine = Machine(get("cpu"), torch.device("cpu"), 0, seconds=seconds)
        machine._sweep = torch.ones(8)  # there is no cache that matters
        found = interleaved(prepared, lambda: None, machine, undecided)
        assert len(found["triton"]) == len(found["torch"])
        return len(found["triton"])

    # So often as calls can be at most without a question, and beyond where there is one.
    assert rounds(1e6, 0) <= 200
    assert rounds(1e6, 300) == 300
    assert len(set(asked)) > 2
    # Where all the time there is has been spent, the question stays open.
    assert rounds(0.0, 300) < 300


def test_nothing_to_check_without_a_target(check):
    code, output, report, _ = check("none", "--backend", "cpu")
    assert code == 3
    assert "no Triton target" in output
    assert report is None
