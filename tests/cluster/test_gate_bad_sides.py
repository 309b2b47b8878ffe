"""`hengsuan gate pair` with sides that are bad in every way: a state or a sentence, never a crash.

The sides are real processes (`made_side.py`); the verb runs in this one, so that what it waits for
can be made short where it is to wait in vain.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from processes import staying

import bench.cli
from bench.campaigns import pair, revisions, sides
from bench.cli.json_output import PRINTED

HERE = Path(__file__).parent
GATE = """
name: spin
suite: spin
alpha: 10%
blocks: [6]
metrics: [{match: "spin*", margin: 30%}]
"""


@pytest.fixture
def gate(tmp_path, monkeypatch, capsys):
    """Run `gate pair`: exit code, its report (None where there is none), what it said."""
    (tmp_path / "gate.yaml").write_text(GATE)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))
    monkeypatch.setattr(sides, "RUBBISH", 1000)
    monkeypatch.setattr(pair, "PATIENCE", 0.0)

    def run(baseline, candidate, *words):
        asked = ["--baseline", baseline, "--candidate", candidate, *words]
        place = ["--gate", str(tmp_path / "gate.yaml"), "--out", str(tmp_path / "out")]
        command = ["hengsuan", "gate", "pair", *asked, *place, "--json", "-q"]
        monkeypatch.setattr(sys, "argv", command)
        PRINTED.clear()  # a command has a process of its own
        code = bench.cli._run()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        report = json.loads(said.out).get("report") if said.out.startswith("{") else None
        return code, report, said.err

    return run


def made(way):
    return f"run:{sys.executable} {HERE / 'made_side.py'} {way}"


@pytest.mark.parametrize(
    ("way", "code", "states", "reason"),
    [
        ("fine", 0, ["PASS"], ""),
        ("chatty", 0, ["PASS"], ""),
        ("slow", 1, ["REGRESSED"], ""),
        ("zero", 4, ["INVALID"], "one side is zero and the other is not"),
        ("nan", 4, ["INVALID"], "its value is no number"),
        ("invalid", 4, ["INVALID"], "the candidate has no value of it: invalid: a reason"),
        ("flaky", 4, ["INVALID"], "of the candidate one was invalid: a reason (device 0 of a)"),
        ("skipped", 3, ["MISSING"], "the candidate has no value of it: skipped: a reason"),
        ("changed", 3, ["CHANGED"], "the code that defines the measurement differs"),
        ("more", 3, ["NO_BASELINE", "PASS"], "the baseline does not measure it"),
    ],
)
def test_what_a_side_measured_has_a_state(gate, way, code, states, reason):
    found, report, error = gate(made("fine"), made(way))
    assert found == code, error
    assert [one["state"] for one in report["judged"]] == states
    assert reason in report["judged"][0]["reason"]


def test_a_metric_that_the_candidate_lost_is_missing(gate):
    code, report, _ = gate(made("more"), made("fine"))
    assert code == 3
    assert [one["state"] for one in report["judged"]] == ["MISSING", "PASS"]


def test_sides_without_any_number_are_invalid(gate):
    code, report, _ = gate(made("nan"), made("nan"))
    assert (code, report["judged"][0]["state"]) == (4, "INVALID")


# Longer than a sound side needs to start, to answer and to end on a busy machine.
IMPATIENT = {
    "hang": (pair, "LEAST", 10.0),
    "mute": (sides, "START", 20.0),
    "deaf": (sides, "END", 10.0),
}


@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("crash", 4, ("the candidate exited with code 1", "out of memory on device 0")),
        ("killed", 4, ("the candidate crashed with SIGKILL",)),
        ("hang", 4, ("the candidate has not answered for 10 s",)),
        ("deaf", 4, ("the candidate has closed its output and goes on",)),
        ("mute", 4, ("the candidate has not answered for 20 s",)),
        ("rubbish", 4, ("the candidate says nothing that is understood, but 'loading",)),
        ("endless", 4, ("the candidate says nothing that is understood",)),
        ("protocol", 4, ("the candidate speaks protocol 2 and not 1",)),
        ("unseen", 4, ("measures into /none, which is not seen here", "under the same path")),
        ("damaged", 4, ("run.json is damaged",)),
        ("schema", 2, ("results of schema 99; this hengsuan reads schema 1",)),
        ("simulated", 4, ("the baseline's values are stand-in, the candidate's simulated",)),
        ("other", 4, ("the baseline measures cpu A on a, the candidate cpu B on a",)),
    ],
)
def test_a_side_that_is_lost_is_a_sentence(gate, monkeypatch, way, code, said):
    if way in IMPATIENT:
        monkeypatch.setattr(*IMPATIENT[way])
    begin = time.monotonic()
    found, _, error = gate(made("fine"), made(way))
    assert found == code, error
    for text in said:
        assert text in error
    assert time.monotonic() - begin < 100  # of the minutes that a side may be silent


def test_one_block_decides_nothing(gate):
    code, report, _ = gate(made("fine"), made("slow"), "--budget", "1us")
    (one,) = report["judged"]
    assert (code, one["state"], one["blocks"]) == (3, "INCONCLUSIVE", 1)
    assert "1 block(s) decide nothing" in one["reason"]
    assert "the budget of 0 s ended after 1 blocks" in report["notes"]


@pytest.mark.parametrize(
    ("side", "said"),
    [
        ("run:", "no such kind of side"),
        ("run:'", "No closing quotation"),
        ("run: ", "there is no command"),
        ("image:", "no such kind of side"),
        ("none:1", "no such kind of side"),
    ],
)
def test_a_side_that_is_no_side_is_a_usage_error(gate, side, said):
    code, _, error = gate(made("fine"), side)
    assert (code, said in error) == (2, True), error


def test_a_side_that_refuses_what_it_is_asked_says_so_itself(gate):
    code, _, error = gate(made("fine"), "axis:nothing=1", "--suite", "gate")
    assert code == 2
    assert "the candidate exited with code 2" in error
    assert "nothing" in error


def test_a_margin_of_nothing_is_refused_in_its_line(gate, tmp_path):
    (tmp_path / "gate.yaml").write_text(GATE.replace("30%", "0%"))
    code, _, error = gate(made("fine"), made("fine"))
    assert code == 2
    assert "gate.yaml:6" in error
    assert "must be above 0" in error
    assert "write exact: true" in error


def test_a_revision_that_does_not_install_is_said_with_what_pip_says(gate, tmp_path, monkeypatch):
    (tmp_path / "work" / "pyproject.toml").write_text("[project\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], check=True)
    code, _, error = gate("git:HEAD", made("fine"))
    assert code == 4, error
    assert "revision HEAD cannot be installed" in error
    monkeypatch.setattr(revisions, "LIMIT", 0.01)
    code, _, error = gate("git:HEAD", made("fine"))
    assert code == 4
    assert "not done after 0 s" in error


def engine(tmp_path, monkeypatch, text):
    """A container engine of our own, and no other, on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


def test_a_container_is_started_with_the_folders_of_both_ends(gate, tmp_path, monkeypatch):
    said = tmp_path / "said"
    run = f"{sys.executable} {HERE / 'made_side.py'} slow"
    # What follows the image is the command in it; here it runs beside it.
    text = f'echo "$@" > {said}\nwhile [ "$1" != hengsuan ]; do shift; done\nshift\nexec {run} "$@"'
    engine(tmp_path, monkeypatch, text)
    monkeypatch.setenv("HENGSUAN_CONTAINER", "--device /dev/accel0")
    words = ("--candidate", "var:FAST=1", "--candidate", "image:registry/stack:2")
    code, report, error = gate(made("fine"), *words[1:])
    assert code == 1, error
    assert report["judged"][0]["state"] == "REGRESSED"
    assert report["candidate"] == "var:FAST=1 image:registry/stack:2"
    out = tmp_path / "out" / "candidate"
    assert said.read_text().startswith(
        f"run --interactive --rm --device /dev/accel0 --volume {Path.cwd()}:{Path.cwd()}:ro "
        f"--volume {out}:{out} --workdir {Path.cwd()} --env FAST=1 registry/stack:2 hengsuan gate "
    )


def test_a_container_that_does_not_start_is_said_in_the_words_of_its_engine(
    gate, tmp_path, monkeypatch
):
    engine(tmp_path, monkeypatch, "echo 'Cannot connect to the daemon' >&2\nexit 125")
    code, _, error = gate(made("fine"), "image:registry/stack:2")
    assert code == 4
    assert "the candidate exited with code 125" in error
    assert "Cannot connect to the daemon" in error
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    code, _, error = gate(made("fine"), "image:registry/stack:2")
    assert code == 2
    assert "there is no docker and no podman on the PATH" in error


def test_no_thread_and_no_process_is_left(gate, monkeypatch):
    before = threading.active_count()  # such as those of the worker that runs tests
    gate(made("fine"), made("endless"))
    monkeypatch.setattr(*IMPATIENT["hang"])
    gate(made("hang"), made("fine"))
    assert not staying(lambda one: "made_side.py" in one.words)
    until = time.monotonic() + 60
    while time.monotonic() < until and threading.active_count() > before:
        time.sleep(0.1)
    assert threading.active_count() <= before


WRONG = """
import os
import subprocess
import sys
import time


def test_right(benchmark):
    benchmark.pedantic(sum, (range(20_000),), rounds=20)


def test_checked(benchmark):
    found = benchmark.pedantic(sum, (range(20_000),), rounds=20)
    assert found == int(os.environ.get("WANTED", 199_990_000))


def test_hung(benchmark):
    if os.environ.get("HANG"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "left-over"])
        time.sleep(600)
    benchmark.pedantic(sum, (range(20_000),), rounds=20)
"""


def test_a_test_that_fails_is_timed_and_does_not_pass(gate, tmp_path):
    work = tmp_path / "work"
    (work / "test_wrong.py").write_text(WRONG)
    (work / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "gate.yaml").write_text(GATE.replace("[6]", "[2]").replace("spin*", "*"))
    # What an earlier gate left in the same folder is not of this one.
    old = tmp_path / "out" / "candidate" / "block-001a.json"
    old.parent.mkdir(parents=True)
    old.write_text('{"benchmarks": [{"fullname": "old", "stats": {"median": 1.0}}]}')
    words = ("--budget", "1us", "--pytest")
    code, report, error = gate(".", "var:WANTED=1", *words, "test_wrong.py")
    states = {one["name"].partition("::")[2]: one for one in report["judged"]}
    assert (code, set(states)) == (4, {"test_right", "test_checked", "test_hung"}), error
    assert states["test_checked"]["state"] == "INVALID"
    assert "the test did not pass in block-001a" in states["test_checked"]["reason"]
    assert states["test_right"]["state"] != "INVALID"
    code, report, error = gate(".", "var:WANTED=1", *words, "test_wrong.py::test_checked")
    assert (code, [one["state"] for one in report["judged"]]) == (4, ["INVALID"]), error


def test_a_test_that_hangs_leaves_no_process(gate, tmp_path, monkeypatch):
    (tmp_path / "work" / "test_wrong.py").write_text(WRONG)
    (tmp_path / "work" / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "gate.yaml").write_text(GATE.replace("spin*", "*"))
    monkeypatch.setattr(pair, "LEAST", 4.0)
    words = ("--pytest", "test_wrong.py::test_hung")
    code, _, error = gate("var:HANG=1", "var:HANG=1", *words)
    assert (code, "the candidate was not done after 4 s" in error) == (4, True), error
    assert not staying(lambda one: "left-over" in one.words)


TIMED = """
import made_package


def test_it(benchmark):
    benchmark.pedantic(made_package.work, rounds=20)
"""


def test_tests_of_another_revision_time_that_revision(gate, tmp_path):
    """Python looks in the working directory first: the baseline must not find the candidate's."""
    work = tmp_path / "work"
    (work / "test_it.py").write_text(TIMED)
    (work / "pytest.ini").write_text("[pytest]\n")
    (work / "pyproject.toml").write_text(
        '[project]\nname = "made"\nversion = "1"\n[tool.setuptools]\npackages = ["made_package"]\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    package = work / "made_package"
    package.mkdir()
    source = "def work():\n    sum(range({}))\n"
    (package / "__init__.py").write_text(source.format(20_000))
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *who, *words], check=True)
    (package / "__init__.py").write_text(source.format(200_000))
    (tmp_path / "gate.yaml").write_text(GATE.replace("[6]", "[2]").replace("spin*", "*"))
    code, report, error = gate("git:HEAD", ".", "--pytest", "test_it.py")
    assert code in (1, 3), error
    (one,) = report["judged"]
    assert one["change"] > 3


def test_a_verdict_is_said_where_its_folder_cannot_be_written(gate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "gate.xml").mkdir()  # in the way of a file
    code, report, error = gate(made("fine"), made("slow"))
    assert (code, report["judged"][0]["state"]) == (4, "REGRESSED")
    assert "gate.xml: cannot be written: Is a directory" in error


def test_an_argument_that_is_no_text_costs_no_verdict(gate):
    code, report, error = gate(made("fine"), made("fine") + " \udcff")
    assert code == 0, error
    assert report["candidate"].endswith("\\udcff")


def test_what_a_side_says_last_is_obeyed_by_nobody(gate):
    code, _, error = gate(made("fine"), made("shouting"))
    assert code == 4
    assert "\x1b" not in error
    assert "\\x1b[31mred" in error
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in error.splitlines())
