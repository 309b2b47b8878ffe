"""`hengsuan gate` with real sides: processes that stay warm and measure in turn."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.forked

SUITE = """
name: spin
rule: {budget: 30ms, warmup: 10ms, precision: 0.000001}
stages:
  - name: device
    benchmarks: [spin: {}]
"""
GATE = """
name: spin
suite: {suite}
alpha: 10%
blocks: [6]
metrics: [{{match: "spin*", margin: {margin}}}]
"""


@pytest.fixture
def gate(tmp_path):
    """Run a command of `gate` on a suite of one loop: exit code, report, standard error."""
    (tmp_path / "spin.yaml").write_text(SUITE)

    def run(command, *words, margin="30%"):
        file = tmp_path / "gate.yaml"
        file.write_text(GATE.format(suite=tmp_path / "spin.yaml", margin=margin))
        done = subprocess.run(
            [sys.executable, "-m", "bench", "gate", command, "--gate", file, *map(str, words)],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        said = json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout
        return done.returncode, said, done.stderr

    return run


LOCAL = ("--executor", "local", "--json", "-q")


def test_a_side_with_more_work_regresses_and_one_with_less_improves(gate, tmp_path):
    words = ("--candidate", "var:SPIN_WORK=4", "--out", tmp_path / "out", *LOCAL)
    code, said, error = gate("pair", *words)
    assert code == 1, error
    (one,) = said["report"]["judged"]
    assert (one["state"], one["name"]) == ("REGRESSED", "spin time")
    assert said["report"]["provenance"] == "stand-in"
    assert one["change"] >= one["low"] > 0.3
    case = ElementTree.parse(tmp_path / "out" / "gate.xml").find(".//testcase")
    assert case.find("failure") is not None
    assert "REGRESSED" in (tmp_path / "out" / "gate.md").read_text()
    words = ("--baseline", "var:SPIN_WORK=4", "--out", tmp_path / "out", *LOCAL)
    code, said, error = gate("pair", *words)
    assert (code, said["report"]["judged"][0]["state"]) == (0, "IMPROVED"), error


def test_what_does_not_start_or_ends_is_said_and_nothing_hangs(gate, tmp_path):
    for side, code, said in (
        ("run:false", 4, "the candidate exited with code 1"),
        ("run:echo hello", 4, "the candidate exited with code 0"),
        ("run:/none/there", 4, "the candidate does not start"),
        ("env:/none", 2, "there is no /none/bin/python"),
        ("git:none", 2, "not a git repository"),
        ("var:X", 2, "write var:NAME=VALUE"),
        ("other", 2, "no such kind of side"),
    ):
        found, _, error = gate("pair", "--candidate", side, "--out", tmp_path / "out", *LOCAL)
        assert (found, said in error) == (code, True), (side, error)
    assert gate("pair", "--out", tmp_path / "out", *LOCAL)[0] == 2


TIMED = """
import os


def test_sum(benchmark):
    benchmark.pedantic(sum, (range(int(20_000 * float(os.environ.get("WORK", 1)))),), rounds=20)
"""


def test_tests_of_pytest_benchmark_are_a_side(gate, tmp_path):
    (tmp_path / "test_timed.py").write_text(TIMED)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    file = tmp_path / "pytest.yaml"
    file.write_text("name: pytest\nalpha: 30%\nblocks: [4]\nmetrics: [{match: '*', margin: 30%}]\n")
    words = ("--pytest", "test_timed.py", "--gate", file, "--out", tmp_path / "out", "--json", "-q")
    code, said, error = gate("pair", "--candidate", "var:WORK=6", *words)
    (one,) = said["report"]["judged"]
    assert (code, one["state"]) == (1, "REGRESSED"), error
    assert one["name"] == "test_timed.py::test_sum"
    assert one["baseline"] < one["candidate"]
    code, _, error = gate("pair", "--candidate", "run:echo", *words)
    assert code == 2
    assert "is no environment" in error
    (tmp_path / "test_timed.py").write_text("def broken(")
    code, _, error = gate("pair", "--candidate", "var:WORK=6", *words)
    assert code == 4
    assert "left no results" in error or "pytest exited with code 2" in error


def test_a_selftest_says_what_can_be_held(gate, tmp_path):
    words = ("--blocks", "4", "--out", tmp_path / "out", *LOCAL)
    code, said, error = gate("selftest", *words, margin="90%")
    assert code in (0, 3), error
    (one,) = said["metrics"]
    assert one["name"] == "spin time"
    assert one["noise"] >= 0
    # What it has found holds for a day.
    (file,) = (tmp_path / "hengsuan" / "selftests").iterdir()
    (at, noise) = json.loads(file.read_text())["spin time"]
    assert noise == pytest.approx(one["noise"])
    file.write_text(json.dumps({"spin time": [at, 0.5]}))
    words = ("--candidate", "var:SPIN_WORK=4", "--out", tmp_path / "out", *LOCAL)
    code, _, error = gate("pair", *words)
    assert code == 2
    assert "are below the noise here: spin time: 30.0% is asked for" in error
    file.write_text(json.dumps({"spin time": [at - 90_000, 0.5]}))
    code, said, error = gate("pair", *words)
    assert code == 1, error
    assert "no selftest of the last 24 hours" in said["report"]["notes"][0]


@pytest.mark.alone
def test_runs_of_their_own_are_compared_with_what_sessions_add(gate, tmp_path):
    runs = []
    for number in range(2):
        words = ("run", "spin.yaml", "--executor", "local", "--json", "-q")
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words, "--out", f"runs-{number}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        runs.append(Path(tmp_path, json.loads(done.stdout)["folder"]))
    code, _, error = gate("check", runs[1], "--baseline", runs[0], margin="2%")
    assert code == 2
    assert "cannot be held by 1 baseline(s): spin time: 2.0% is asked for" in error
    code, said, error = gate("check", runs[1], "--baseline", runs[0], "--json", margin="100%")
    assert code == 0, (said, error)
    (one,) = said["report"]["judged"]
    assert one["state"] == "PASS"
    assert "2% of noise between sessions is assumed" in said["report"]["notes"][0]
    assert (runs[1] / "gate.json").exists()
