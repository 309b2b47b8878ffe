"""A device that is neither the host nor a vendor's we know: found, measured, judged, limited."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from complete import exit_of

from bench.errors import Exit
from bench.results import RunReader

QUICK = Path(__file__).parents[2] / "configs" / "suites" / "quick.yaml"
RULE = "rule: {budget: 50ms, warmup: 10ms, min_samples: 3, limit: 60s}\n"


def unknown(case, row):
    """Whether nobody can say it: the devices count no energy, and a busy machine trains no twelve
    steps in the time.
    """
    return case.metric == "energy_per_token" or (case.metric, row.status) == ("loss_12", "skipped")


@pytest.fixture
def suite(tmp_path):
    """Writes a suite of stages, each a list of benchmarks as YAML; gives its file."""

    def write(**stages):
        text = f"name: small\n{RULE}stages:\n"
        for name, benchmarks in stages.items():
            text += f"  - name: {name}\n    benchmarks:\n"
            text += "".join(f"      - {one}\n" for one in benchmarks)
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return path

    return write


def complete(folder):
    """The exit code of the only run in a folder if all went well."""
    (one,) = Path(folder).iterdir()
    return exit_of(RunReader(one))


def rows(folder):
    """Of the only run in a folder: the header, and (case, row) of every row."""
    (one,) = Path(folder).iterdir()
    reader = RunReader(one)
    return reader.header, [(reader.header.cases[row.case], row) for row in reader.rows()]


def test_the_device_does_what_it_promises(nuomi):
    script = Path(__file__).with_name("asynchronous.py")
    done = subprocess.run([sys.executable, script], env=nuomi, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["early"] == [False, True]
    assert found["values"]
    for empty, busy in found["event_time"]:
        assert 0 <= empty < busy
    assert found["streams"] == [True, True, True]
    assert found["memory"] == [1 << 20, 0, 1 << 20]
    assert found["limit"][0].startswith("Nuomi out of memory")
    assert found["limit"][1] == 10
    assert found["random"] == [True, True, True]
    assert found["pinned"] == [True, True]
    dtype, first, last = found["training"]
    assert dtype == "torch.bfloat16"
    assert last < first / 2
    assert "not implemented" in found["late_error"]
    assert found["peers"]
    assert "no support for Float8_e4m3fn" in found["no_fp8"]


def test_it_is_found_with_its_name_memory_and_datasheet(hengsuan):
    done = hengsuan("doctor", "--json", NUOMI_MEMORY=str(1 << 30))
    assert done.returncode == 0, done.stderr
    (found,) = (one for one in json.loads(done.stdout)["backends"] if one["backend"] == "nuomi")
    assert found["problem"] == ""
    assert [one["index"] for one in found["devices"]] == [0, 1]
    assert {one["name"] for one in found["devices"]} == {"Nuomi One"}


def test_a_part_of_the_devices_is_known_by_its_place_on_the_node(hengsuan, suite, tmp_path):
    """PyTorch counts the visible devices from zero; a rank must open the one that was meant."""
    given = suite(one=["launch: {}"])
    words = ("run", given, "--executor", "local", "--backend", "nuomi", "--out", tmp_path / "runs")
    done = hengsuan(*words, NUOMI_VISIBLE_DEVICES="1")
    assert done.returncode == complete(tmp_path / "runs"), done.stderr
    header, found = rows(tmp_path / "runs")
    ((device,),) = (node.devices for node in header.nodes)
    assert (device.index, device.serial) == (1, "NUOMI-1")
    assert {row.status for _, row in found} <= {"ok", "contended"}


@pytest.mark.timeout(400)
def test_quick_measures_it(hengsuan, tmp_path):
    """All of it, in less time: what it measures is asked for, not how exactly."""
    quick = tmp_path / "quick.yaml"
    quick.write_text(re.sub(r"budget: [34]00ms", "budget: 50ms", QUICK.read_text()))
    words = ("run", quick, "--executor", "local", "--backend", "nuomi", "--json", "-q")
    done = hengsuan(*words, "--out", tmp_path / "runs")
    assert done.returncode == complete(tmp_path / "runs"), done.stderr
    header, found = rows(tmp_path / "runs")
    assert header.provenance == "stand-in"
    assert [node.collectives for node in header.nodes] == ["nuccl"]
    measured = {"ok", "contended"}
    skipped = {
        (case.benchmark, case.axes.get("impl"), row.reason)
        for case, row in found
        if row.status not in measured and not unknown(case, row)
    }
    # Nothing is left out but Triton's kernels: the device has events, pinned memory, autocast.
    assert {(benchmark, impl) for benchmark, impl, _ in skipped} <= {
        ("gemm", "triton"),
        ("stream", "triton"),
    }, skipped
    timers = {
        header.conditions[row.conditions].timer
        for case, row in found
        if case.benchmark == "gemm" and row.status in measured
    }
    assert timers == {"device"}
    # The datasheet that its package brings: training is scored by its peak.
    assert all(
        row.status in measured for case, row in found if case.metric in ("mfu", "tokens_per_second")
    )


def test_bf16_trains_under_autocast(hengsuan, suite, tmp_path):
    given = suite(one=["train: {model: tiny, dtype: bf16, over: node, rule: {budget: 1s}}"])
    words = ("run", given, "--executor", "local", "--backend", "nuomi", "--out", tmp_path / "runs")
    done = hengsuan(*words)
    assert done.returncode == complete(tmp_path / "runs"), done.stderr
    _, found = rows(tmp_path / "runs")
    statuses = {row.status for case, row in found if not unknown(case, row)}
    assert statuses
    assert statuses <= {"ok", "contended"}, found


def test_out_of_memory_is_a_row_and_the_run_goes_on(hengsuan, suite, tmp_path):
    given = suite(
        large=["gemm: {shape: 2048x2048x2048, dtype: fp32}"],
        small=["gemm: {shape: 256x256x256, dtype: fp32}"],
    )
    words = ("run", given, "--executor", "local", "--backend", "nuomi", "--out", tmp_path / "runs")
    done = hengsuan(*words, NUOMI_LIMIT=str(32 << 20))
    assert done.returncode == Exit.INFRASTRUCTURE, done.stderr
    _, found = rows(tmp_path / "runs")
    large = [row for case, row in found if case.stage == "large"]
    assert {row.status for row in large} == {"failed"}
    assert all("out of memory: Nuomi out of memory. Tried to allocate" in r.reason for r in large)
    small = [row for case, row in found if case.stage == "small"]
    assert {row.status for row in small} <= {"ok", "contended"}


PROFILE = """
name: small
categories:
  compute:
    - {benchmark: gemm, metric: flops, LIMIT}
"""


@pytest.mark.parametrize(
    ("limit", "never"), [("reference: none", "reject"), ("least: 0.9", "accept")]
)
def test_certify_judges_it(hengsuan, suite, tmp_path, limit, never):
    """By itself it is sound; threads of a host are far below the peak that its datasheet claims.

    Which of the other verdicts it gets depends on whether the cores are quiet.
    """
    given = suite(
        device=["gemm: {shape: 256x256x256, dtype: [fp32, bf16]}", "launch: {}"],
        corruption=["corruption: {op: [gemm, copy], shape: small, rule: {budget: 500ms}}"],
        node=["collectives: {op: all_reduce, size: 64KiB, over: node}"],
    )
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE.replace("LIMIT", limit))
    words = ("certify", given, "--profile", profile, "--executor", "local", "--backend", "nuomi")
    done = hengsuan(*words, "--json", "-q", "--out", tmp_path / "runs")
    (node,) = json.loads(done.stdout)["nodes"]
    assert node["verdict"] != never, node
    exits = {"accept": Exit.OK, "inconclusive": Exit.INCONCLUSIVE, "reject": Exit.FINDING}
    assert done.returncode == exits[node["verdict"]], done.stderr
    _, found = rows(tmp_path / "runs")
    assert {row.status for _, row in found} <= {"ok", "contended"}, found
    # Stages are gates: who is rejected for its first figures is not tried further.
    reached = {case.benchmark for case, _ in found}
    assert reached >= {"gemm", "launch"}
    assert ("corruption" in reached) == (node["verdict"] != "reject")
