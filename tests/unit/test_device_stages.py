"""Stages on a device: real processes that share a budget, are told to end, and are gone on with."""

import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device"))

import archive
import book
import stages

from bench.host import process_tree

DEVICE = Path(__file__).parents[1] / "device"
PROGRAM = """
    import signal, sys, time
    from pathlib import Path

    name, seconds, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    with (Path(sys.argv[4]) / "log").open("a") as log:
        print("begin", name, file=log, flush=True)
        if seconds < 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            time.sleep(abs(seconds))
        except KeyboardInterrupt:
            print("kept", name, file=log, flush=True)
            sys.exit(130)
        print("end", name, file=log, flush=True)
    sys.exit(code)
"""
SCRIPT = '''
    """Stages of small programs, driven as `make device` drives its own."""

    import sys
    from pathlib import Path

    sys.path.insert(0, DEVICE)

    from importlib import import_module

    from stages import Later, Place, Stage

    import driving

    driver = import_module("all")
    out, budget, *wanted = sys.argv[1:]

    def stage(name, seconds, code=0, share=1, least=0.5, **more):
        def commands(place, given):
            if seconds is None:
                return "there is nothing of it"
            if name == "after" and "first" not in place.ended:
                return Later("that comes first")
            words = (sys.executable, PROGRAM, name, str(seconds), str(code), str(place.out))
            return {name: words}
        return Stage(name, "a program", share, least, commands, **more)

    STAGES = {one.name: one for one in (
        stage("fast", 0.0), stage("found", 0.0, 1), stage("none", None), stage("lost", 0.0, 4),
        stage("long", 60.0), stage("deaf", -60.0), stage("dear", 0.0, least=1000.0),
        stage("always", 0.0, again=True), stage("first", 0.0), stage("after", 0.0),
    )}
    driving.PATIENCE, driving.BEAT = 1.0, 0.2
    place = Place(Path(out), "Acme One", "acme", "generic")
    state = driver.opened(Path(out) / "device.json", "Acme One", False)
    archive = Path(out).with_suffix(".tar.gz")
    chosen = [STAGES[one] for one in wanted]
    sys.exit(driving.Driver(chosen, place, state, float(budget), archive).all())
'''


@pytest.fixture
def drive(tmp_path):
    """Call with a budget and stages: exit code, output, what the programs wrote, what is kept."""
    script = tmp_path / "driven.py"
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    text = textwrap.dedent(SCRIPT).replace("DEVICE", repr(str(DEVICE)))
    script.write_text(text.replace("PROGRAM", repr(str(program))))

    def run(budget, *stages, meanwhile=lambda process: None):
        words = [sys.executable, str(script), str(tmp_path), str(budget), *stages]
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        meanwhile(process)
        said = process.communicate()[0]
        log = tmp_path / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        kept = json.loads((tmp_path / "device.json").read_text())["stages"]
        return process.returncode, said, lines, {name: one["state"] for name, one in kept.items()}

    return run


def test_what_is_done_is_not_done_again(drive):
    code, said, lines, kept = drive(60, "fast", "none", "always")
    assert code == 0, said
    assert kept == {"fast": "done", "none": "nothing to do", "always": "done"}
    assert "there is nothing of it" in said
    assert "the same command goes on" not in said
    code, _, lines, _ = drive(60, "fast", "none", "always")
    assert (code, lines) == (0, ["begin always", "end always"])


@pytest.mark.alone  # budgets of seconds
def test_a_stage_whose_time_is_over_keeps_what_it_has_and_the_next_comes(drive):
    code, said, lines, kept = drive(6, "long", "fast", "dear")
    assert code == 3, said
    assert lines == ["begin long", "kept long", "begin fast", "end fast"]
    assert kept == {"long": "cut short", "fast": "done", "dear": "not begun"}
    assert "its time was over" in said
    assert "no time was left" in said
    assert said.rstrip().endswith("the same command goes on from there")
    # Gone on with: what was cut short, and nothing that is done.
    assert drive(4, "long", "fast", "dear")[2] == ["begin long", "kept long"]


@pytest.mark.alone  # budgets of seconds
def test_a_stage_that_does_not_end_is_ended(drive):
    code, said, lines, kept = drive(6, "deaf", "found")
    assert code == 4, said
    assert lines == ["begin deaf", "begin found", "end found"]
    assert kept == {"deaf": "failed", "found": "done"}


def test_the_worst_exit_code_counts(drive):
    assert drive(60, "fast", "found")[0] == 1
    code, _, _, kept = drive(60, "fast", "found", "lost")
    assert (code, kept["lost"]) == (4, "failed")


def test_an_interrupt_ends_the_stage_and_keeps_all(drive, tmp_path):
    def interrupt(process):
        end = time.monotonic() + 60
        while "begin long" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)

    log = tmp_path / "log"
    code, said, lines, kept = drive(100, "fast", "long", "found", meanwhile=interrupt)
    assert code == 130, said
    assert "Traceback" not in said
    assert lines == ["begin fast", "end fast", "begin long", "kept long"]
    assert kept == {"fast": "done", "long": "cut short"}


def test_who_is_killed_leaves_nothing_running_and_is_gone_on_with(drive, tmp_path):
    log, begun = tmp_path / "log", []

    def kill(process):
        end = time.monotonic() + 60
        while "begin long" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < end
            time.sleep(0.05)
        begun.extend(pid for pid in process_tree(process.pid) if pid != process.pid)
        process.kill()

    code, _, lines, kept = drive(100, "fast", "long", "found", meanwhile=kill)
    assert code == -signal.SIGKILL
    assert lines == ["begin fast", "end fast", "begin long"]
    assert kept == {"fast": "done", "long": "cut short"}
    assert begun
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in begun):
        assert time.monotonic() < end, "it goes on measuring"
        time.sleep(0.05)
    # What comes back of it, to a machine that has nothing of it yet.
    elsewhere = tmp_path.parent / "elsewhere"
    kept = archive.contents(tmp_path.with_suffix(".tar.gz"))
    names, _ = archive.unpack(kept, elsewhere, elsewhere)
    assert "device.json" in names
    known = json.loads((elsewhere / "device.json").read_text())["stages"]
    assert known["long"] == {
        "state": "cut short", "code": 0, "seconds": 0.0, "why": "it was ended from outside",
    }  # fmt: skip
    assert drive(100, "fast", "long", meanwhile=kill)[2] == ["begin long"]


def test_an_archive_holds_what_is_new_and_nothing_else(tmp_path):
    known, out, tables = (tmp_path / name for name in ("known", "out", "tables"))
    for folder in (known, out):
        (folder / "reference" / "acme").mkdir(parents=True)
        (folder / "reference" / "acme" / "old.json").write_text("the same")
        (folder / "reference" / "acme" / "kernels.json").write_text(folder.name)
    (out / "a-run" / "deep").mkdir(parents=True)
    (out / "a-run" / "deep" / "rows").write_bytes(bytes(range(256)) * 1000)
    (out / "a-run" / "rows.part").write_text("half of it")
    (out / "tuned").mkdir()
    table = "swiglu:\n  - config: {block: 1024}\n"
    (out / "tuned" / "sm_90.yaml").write_text(table)
    # Of sources that know more: in its place nothing would find a table any more.
    (out / "tuned" / "sm_80.yaml").write_text(
        table.replace("- config", "- min_depth: 3\n    config")
    )
    for folder in (known, out):
        (folder / "device.json").write_text("the same")
    tables.mkdir()
    file = tmp_path / "all.tar.gz"
    archive.pack(out, file, known)
    names, refused = archive.unpack(archive.contents(file), known, tables)
    assert names == [
        "a-run/deep/rows", "device.json", "reference/acme/kernels.json",
        "tuned/sm_80.yaml", "tuned/sm_90.yaml",
    ]  # fmt: skip
    (why,) = refused
    assert "sm_80.yaml is no table of these kernels" in why
    assert "unknown key 'min_depth'" in why
    assert [path.name for path in tables.iterdir()] == ["sm_90.yaml"]
    assert (known / "a-run" / "deep" / "rows").read_bytes() == bytes(range(256)) * 1000
    assert (known / "reference" / "acme" / "kernels.json").read_text() == "out"
    assert (tables / "sm_90.yaml").read_text() == table


def test_what_is_no_archive_of_results_is_refused(tmp_path):
    file, out = tmp_path / "all.tar.gz", tmp_path / "out"
    for name, kind in (
        ("../above", tarfile.REGTYPE),
        ("/root", tarfile.REGTYPE),
        ("a", tarfile.SYMTYPE),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc"
        with tarfile.open(file, "w:gz") as made:
            made.addfile(member)
        with pytest.raises(ValueError, match="no archive of results"):
            archive.contents(file)
    with tarfile.open(file, "w:gz") as made:
        made.addfile(tarfile.TarInfo("tuned/generic.yaml"))
    with pytest.raises(ValueError, match=r"holds no device.json: it is no archive of results"):
        archive.contents(file)
    file.write_bytes(file.read_bytes()[:40])
    words = [sys.executable, DEVICE / "all.py", "--take", file, "--out", out]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_an_archive_that_is_damaged_is_refused(tmp_path):
    there, file = tmp_path / "there", tmp_path / "all.tar.gz"
    there.mkdir()
    for name in ("device.json", "rows"):
        (there / name).write_bytes(random.Random(1).randbytes(4000))
    archive.pack(there, file, tmp_path)
    whole = file.read_bytes()
    damaged = [whole[:end] for end in range(0, len(whole), 500)]
    damaged += [whole[:at] + b"\xff" * 8 + whole[at + 8 :] for at in range(10, len(whole), 500)]
    for one in damaged:
        file.write_bytes(one)
        with pytest.raises(ValueError, match="cannot be read"):
            archive.contents(file)


def test_results_that_cannot_be_written_are_said_to_be(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    device = tmp_path / "there" / "device.json"
    device.parent.mkdir()
    device.write_text("{}")
    taken = tmp_path / "all.tar.gz"
    archive.pack(device.parent, taken, tmp_path)
    for words in (["all.py", "--take", taken, "--out"], ["check.py", "--review"]):
        done = subprocess.run(
            [sys.executable, DEVICE / words[0], *words[1:], file], capture_output=True, text=True
        )
        assert done.returncode in (2, 4), done.stderr
        assert f"{file}" in done.stderr
        assert "cannot be" in done.stderr
        assert "Traceback" not in done.stderr


def test_two_calls_do_not_write_into_one_folder(tmp_path):
    shutil.copytree(DEVICE.parents[1] / "results" / "reference" / "h200-sxm", tmp_path / "one")
    words = [sys.executable, DEVICE / "check.py", "--review", tmp_path / "one"]
    with book.claimed(tmp_path / "one"):
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 2
        assert f"another call measures into {tmp_path / 'one'}" in done.stderr
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_report_of_another_device_that_is_damaged_stops_no_stage(tmp_path):
    for name, text in (("other", "{"), ("old", '{"environment": {"device": "Acme Two"}}')):
        (tmp_path / "reference" / name).mkdir(parents=True)
        (tmp_path / "reference" / name / "kernels.json").write_text(text)
    place = stages.Place(tmp_path, "Acme One", "acme", "generic")
    assert stages.report_of(place) is None
    shutil.copytree(DEVICE.parents[1] / "results/reference/h200-sxm", tmp_path / "reference/mine")
    place.device = "NVIDIA H200"
    assert stages.report_of(place).environment["device"] == place.device


def test_what_comes_back_is_reviewed_and_named(tmp_path):
    there, here, file = tmp_path / "there", tmp_path / "here", tmp_path / "all.tar.gz"
    shutil.copytree(
        DEVICE.parents[1] / "results" / "reference" / "h200-sxm", there / "reference/one"
    )
    path = there / "reference" / "one" / "kernels.json"
    report = json.loads(path.read_text())
    stale = {**report["records"][0], "code": "0" * 16}
    path.write_text(json.dumps({**report, "records": [stale], "former": []}))
    state = {"sources": "0", "device": "Acme One", "stages": {"kernels": {"state": "done"}}}
    (there / "device.json").write_text(json.dumps(state))
    archive.pack(there, file, tmp_path)
    words = [sys.executable, DEVICE / "all.py", "--take", file, "--out", here]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Acme One\n" in done.stdout
    assert "0 records hold, 1 are of kernels that have changed since" in done.stdout
    assert "look at and commit: reference/one/kernels.json" in done.stdout
    assert "sources that are not those here" in done.stdout
    kept = json.loads((here / "reference" / "one" / "kernels.json").read_text())
    assert (kept["records"], len(kept["former"])) == ([], 1)


def test_other_sources_begin_anew(drive, tmp_path):
    assert drive(60, "fast")[2]
    path = tmp_path / "device.json"
    path.write_text(path.read_text().replace('"sources": "', '"sources": "0'))
    assert drive(60, "fast")[2] == ["begin fast", "end fast"]


def test_without_an_accelerator_nothing_is_measured_in_its_place(tmp_path):
    words = [sys.executable, DEVICE / "all.py", "--backend", "cpu", "--out", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 3
    assert "no accelerator here" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_stage_is_said():
    words = [sys.executable, DEVICE / "all.py", "--only", "kernel"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--only: kernel: takes some of kernels, tune" in done.stderr


def test_what_waits_for_another_stage_is_not_done_until_that_is(drive):
    code, said, lines, kept = drive(60, "after", "first")
    assert (code, lines) == (3, ["begin first", "end first"]), said
    assert kept == {"after": "not begun", "first": "done"}
    assert "that comes first" in said
    assert drive(60, "after", "first")[::2] == (0, ["begin after", "end after"])
