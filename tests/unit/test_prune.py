"""Old runs that go, and those that never do."""

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click
import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from stored_runs import Runs, changed, hengsuan

from bench.certificates.issue import MARK
from bench.errors import InfraError, UsageError
from bench.gates import GATE, GateReport, write_gate
from bench.store import prune
from bench.verdicts import VERDICT

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc).timestamp()


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


def plan(made, keep=0, older=None, **changes):
    return prune.plan(made.folder, keep=keep, older=older, moment=NOW, **changes)


def going(made, *words, **changes):
    return [run.id for run in plan(made, *words, **changes).going]


def left(made):
    return sorted(path.name for path in made.folder.iterdir())


def test_the_newest_of_each_suite_stay(made):
    made.runs(3)
    made.run(suite="standard")
    made.run(provenance="simulated")
    assert going(made, 1) == ["run-000", "run-001"]
    assert going(made, 3) == []


def test_both_conditions_hold(made):
    made.runs(10)  # 30 to 21 days old
    assert going(made, older=27.5) == ["run-000", "run-001", "run-002"]
    assert going(made, 8, 27.5) == ["run-000", "run-001"]
    assert going(made, 0, 100) == []


def test_what_has_not_ended_or_cannot_be_read_stays(made):
    running, damaged, other, ageless = made.runs(4)
    changed(running, state="running")
    (damaged / "run.json").write_text("{")
    changed(other, schema=99)
    changed(ageless, started="")
    made.run()
    found = plan(made)
    assert [run.id for run in found.going] == ["run-004"]
    why = found.staying
    assert "has not ended" in why["run-000"]
    assert "damaged" in why["run-001"]
    assert "schema 99" in why["run-002"]
    assert "nobody knows how old it is" in why["run-003"]


def left_since(path, days):
    """Nothing came into a run's folder for so many days before `NOW`."""
    for file in path.iterdir():
        os.utime(file, (NOW - days * 86400,) * 2)


def test_what_a_dead_driver_left_goes_as_others_do(made):
    """Once nothing came for as long as is asked, and for a day at least: it may be resumed."""
    path = made.run(state="running")  # begun 30 days ago
    for days, older, goes in ((0.5, None, False), (2, None, True), (5, 20, False), (25, 20, True)):
        left_since(path, days)
        found = plan(made, older=older)
        assert [run.id for run in found.going] == (["run-000"] if goes else []), days
        assert goes or "`hengsuan run --resume" in found.staying["run-000"]
    # Whoever writes it has its lock, however long nothing comes, and whatever its header says.
    writer = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path / "measurements.jsonl")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout.readline() == b"held\n"
        left_since(path, 29)
        assert plan(made).staying == {"run-000": "it is being measured"}
        writer.kill()
    assert going(made) == ["run-000"]
    prune.delete(plan(made).going[0])
    assert left(made) == []


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_nobody_is_told_to_go_on_with_a_training_under_failures(made):
    path = made.run(state="running")
    changed(path, command=["hengsuan", "goodput", "--path", "/mnt"])
    left_since(path, 0.5)
    assert plan(made).staying == {"run-000": "it has not ended"}


def test_without_locks_a_month_of_silence_is_needed(made, monkeypatch):
    path = made.run(state="running", started="2025-01-01T00:00:00+00:00")

    def no_locks(file, what):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left_since(path, 29)
    assert "has not ended" in plan(made, older=1).staying["run-000"]
    left_since(path, 31)
    assert going(made, older=1) == ["run-000"]


@contextlib.contextmanager
def nobody(folder):
    """As a user whom permissions hold for; the folder and what is in it are his."""
    if os.geteuid():
        yield
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_folders_that_cannot_be_read_are_said_and_what_was_judged_stays():
    """Certificates may lie there: a run without a verdict never had one."""
    with tempfile.TemporaryDirectory() as place:  # one's own cannot be reached by others
        made = Runs(Path(place) / "results")
        judged, _ = made.runs(2)
        (judged / "verdict.json").write_text("{}")
        closed = made.folder / "signed" / "2025"
        closed.mkdir(parents=True)
        Path(place).chmod(0o755)
        with nobody(Path(place)):
            closed.chmod(0)
            found = plan(made)
            done = hengsuan("results", "prune", "--keep", 0, "--yes", "--out", made.folder)
            closed.chmod(0o755)
        assert [run.id for run in found.going] == ["run-001"]
        assert found.staying["run-000"].endswith(f"{closed} cannot be read")
        assert done.exit_code == 0
        assert f"note: {closed} cannot be read (Permission denied)" in done.stderr
        assert left(made) == ["run-000", "signed"]
        assert going(made) == ["run-000"]  # now they are known


def test_what_is_being_resumed_stays(made):
    path = made.run()
    (run,) = plan(made).going
    with (path / "measurements.jsonl").open("ab") as rows:
        fcntl.flock(rows, fcntl.LOCK_EX)
        done = hengsuan("results", "prune", "--keep", 0, "--yes", "--out", made.folder)
        assert done.exit_code == 2
        assert "is being measured" in done.stderr
    assert left(made) == ["run-000"]
    prune.delete(run)
    assert left(made) == []


def signed(made, run):
    """A certificate of a run, signed as people sign."""
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    from judged_runs import judged

    from bench.verdicts import write_verdict

    finished = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    _, said = judged(("gpu-0", "accept"), run=run.name, finished=finished)
    write_verdict(run, msgspec.structs.replace(said, results=""))
    key = made.folder.parent / "key"
    if not key.exists():
        assert hengsuan("certificate", "keygen", key).exit_code == 0
    out = made.folder.parent / f"certificates-{run.name}"
    words = ("--key", key, "--out", out, "--results", made.folder)
    assert hengsuan("certificate", "sign", run.name, *words).exit_code == 0
    (file,) = out.iterdir()
    return file


def test_what_has_a_certificate_stays(made):
    first, _ = made.runs(2)
    file = signed(made, first)
    assert going(made) == ["run-001"]
    assert json.loads((first / MARK).read_text())[0].startswith("sha256:")
    # One of before, which left no mark, is found where it lies.
    (first / MARK).unlink()
    assert going(made) == ["run-000", "run-001"]
    assert going(made, certificates=[file.parent]) == ["run-001"]
    (made.folder / "old").mkdir()
    file.rename(made.folder / "old" / file.name)
    found = plan(made)
    assert [run.id for run in found.going] == ["run-001"]
    assert file.name in found.staying["run-000"]


@pytest.mark.parametrize("name", [MARK, VERDICT])
def test_storage_that_does_not_say_whether_there_is_a_certificate_loses_no_run(
    made, monkeypatch, name
):
    made.runs(2)
    stat = Path.stat

    def stale(path, **options):
        if path.name == name and path.parent.name == "run-000":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", stale)
    assert going(made) == ["run-001"]
    assert plan(made).staying["run-000"] == f"it cannot be read: {os.strerror(errno.ESTALE)}"


def test_a_certificate_that_cannot_be_read_stops_it(made):
    made.run()
    (made.folder / "x.certificate.json").write_text("{}")
    with pytest.raises(InfraError, match="its run is unknown"):
        plan(made)


def test_baselines_of_what_stays_stay(made):
    made.runs(4)
    command = ["hengsuan", "certify", "--baseline", "run-000"]
    changed(made.folder / "run-003", command=command)
    found = plan(made, 1)
    assert [run.id for run in found.going] == ["run-001", "run-002"]
    assert "baseline of run-003" in found.staying["run-000"]
    # Who names it goes as well.
    assert len(going(made)) == 4


def test_baselines_of_baselines_stay(made):
    made.runs(4)
    for number, spelled in ((3, ["--baseline=results/run-001"]), (1, ["--baseline", "run-000"])):
        path = made.folder / f"run-{number:03d}"
        changed(path, command=["hengsuan", "certify", *spelled])
    assert going(made, 1) == ["run-002"]


def test_baselines_of_verdicts_stay(made):
    made.runs(4)
    report = GateReport(
        gate="default",
        how="check",
        baseline="results/run-000, results/run-001",
        candidate="results/run-003",
        created="2026-01-05T00:00:00+00:00",
        alpha=0.05,
    )
    (made.folder / "gate").mkdir()
    write_gate(made.folder / "gate" / GATE, report)
    assert going(made) == ["run-002", "run-003"]


def test_the_verb_asks_first(made, monkeypatch):
    made.runs(3)
    words = ("results", "prune", "--keep", 1, "--out", made.folder)
    said = hengsuan(*words, "--dry-run")
    assert said.exit_code == 0
    assert [line.split()[0] for line in said.stdout.splitlines()] == ["run-000", "run-001"]
    assert len(left(made)) == 3
    process = [sys.executable, "-m", "bench", *map(str, words)]
    for answer, code, count in (("n\n", 130, 3), ("", 130, 3), ("y\n", 0, 1)):
        done = subprocess.run(process, input=answer, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert len(left(made)) == count


def test_the_verb_as_json(made):
    recent = datetime.now(timezone.utc) - timedelta(days=1)
    made.runs(2)
    made.run(started=recent.isoformat(), nodes=[node("gpu-9")])
    words = ("results", "prune", "--older", "48h", "--json", "--out", made.folder)
    assert "--json asks nothing" in str(hengsuan(*words).exception)
    found = json.loads(hengsuan(*words, "--dry-run", "--protect", "run-001").stdout)
    assert found["would_delete"] == ["run-000"]
    assert found["bytes"] > 100
    assert "asked for" in found["stay"]["run-001"]
    assert json.loads(hengsuan(*words, "--yes").stdout)["deleted"] == ["run-000", "run-001"]
    assert left(made) == ["run-002"]


def test_something_must_be_asked(made):
    made.run()
    done = hengsuan("results", "prune", "--yes", "--out", made.folder)
    assert done.exit_code == 2
    assert left(made) == ["run-000"]


def test_what_a_killed_one_left_is_swept(made):
    made.runs(2)
    (made.folder / "run-000").rename(made.folder / ".pruned-1-run-000")
    assert going(made) == ["run-001"]
    assert hengsuan("results", "prune", "--keep", 0, "--yes", "--out", made.folder).exit_code == 0
    assert left(made) == []


def test_a_link_is_not_followed(made, tmp_path):
    elsewhere = Runs(tmp_path / "elsewhere").run()
    made.folder.mkdir()
    (made.folder / "link").symlink_to(elsewhere)
    assert plan(made).staying == {"link": "it is a link"}


def test_no_number_of_days_deletes_nothing(made):
    made.run()
    for days in ("nan", "-1", "soon", "-inf"):
        done = hengsuan("results", "prune", f"--older={days}", "--yes", "--out", made.folder)
        assert isinstance(done.exception, click.BadParameter)
        assert "is no number of days" in str(done.exception)
    with pytest.raises(UsageError, match="no number of days"):
        plan(made, older=float("nan"))
    assert left(made) == ["run-000"]


def test_one_that_cannot_be_deleted_keeps_none_of_the_others(made):
    first, _ = made.runs(2)
    words = ("results", "prune", "--keep", 0, "--yes", "--json", "--out", made.folder)
    with (first / "measurements.jsonl").open("rb") as rows:
        fcntl.flock(rows, fcntl.LOCK_EX)
        found = json.loads(hengsuan(*words).stdout)
    assert found["deleted"] == ["run-001"]
    assert "is being measured" in found["problems"]["run-000"]
    assert found["exit"] == 2
    assert left(made) == ["run-000"]


def test_what_pulls_left_long_ago_is_swept(made):
    made.run()
    for name, days in ((".pulled-old", 2), (".pulled-now", 0)):
        path = made.folder / name
        path.mkdir()
        os.utime(path, (time.time() - days * 86400,) * 2)
    assert hengsuan("results", "prune", "--keep", 0, "--yes", "--out", made.folder).exit_code == 0
    assert left(made) == [".pulled-now"]
