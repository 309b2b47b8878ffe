"""Lists of runs: what is asked for, and the index that spares reading every run."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from stored_runs import Runs, changed, hengsuan

from bench.index import INDEX
from bench.records import DeviceGroup, Row
from bench.runs import Asked, chosen, list_runs, listed, names

MANY = 20
LIST = "results", "list", "--json", "--out"


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


def forged(folder, run, **fields):
    """Change what the index says of a run, which shows whether it is believed."""
    index = json.loads((folder / INDEX).read_text())
    index["runs"][run][-1].update(fields)
    (folder / INDEX).write_text(json.dumps(index))


def test_few_runs_have_no_index(made):
    made.runs(3)
    assert len(list_runs(made.folder)) == 3
    assert not (made.folder / INDEX).exists()


def test_the_index_is_believed_as_long_as_the_run_is_what_it_was(made):
    made.runs(MANY)
    before = list_runs(made.folder)
    assert list_runs(made.folder) == before
    forged(made.folder, "run-003", suite="forged")
    assert list_runs(made.folder)[3].suite == "forged"
    changed(made.folder / "run-003", state="failed")
    after = list_runs(made.folder)[3]
    assert (after.suite, after.state) == ("quick", "failed")


def test_runs_that_went_or_came_are_seen_at_once(made):
    made.runs(MANY)
    list_runs(made.folder)
    (made.folder / "run-000").rename(made.folder / ".hidden")
    made.run()
    ids = [run.id for run in list_runs(made.folder)]
    assert ids == [f"run-{number:03d}" for number in range(1, MANY + 1)]


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\x00", b'{"schema":1,"runs":{"run-000":[1]}}'])
def test_a_damaged_index_is_said_and_made_anew(made, text):
    made.runs(2)
    (made.folder / INDEX).write_bytes(text)
    runs, notes = listed(made.folder)
    assert len(runs) == 2
    assert len(notes) == 1
    assert "the index is damaged" in notes[0]
    assert listed(made.folder) == (runs, [])


def test_an_index_of_another_schema_is_made_anew(made):
    made.runs(MANY)
    (made.folder / INDEX).write_text('{"schema": 99, "runs": {}}')
    runs, notes = listed(made.folder)
    assert (len(runs), notes) == (MANY, [])
    assert json.loads((made.folder / INDEX).read_text())["schema"] == 1


def test_an_index_that_cannot_be_written_is_said_and_not_needed(made):
    made.runs(MANY)
    (made.folder / INDEX).mkdir()
    done = hengsuan("results", "list", "--out", made.folder)
    assert done.exit_code == 0
    assert done.stdout.count("run-0") == MANY
    assert "the index cannot be read" in done.stderr
    assert "the index cannot be written" in done.stderr


def test_a_run_that_cannot_be_read_is_asked_again(made):
    made.runs(MANY)
    path = made.folder / "run-004" / "run.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    for _ in range(2):
        assert "damaged" in next(run for run in list_runs(made.folder) if run.problem).problem
    assert "run-004" not in json.loads((made.folder / INDEX).read_text())["runs"]


def test_what_is_asked_for(made):
    made.run(suite="standard", state="failed")
    made.run(nodes=[], fleet=DeviceGroup(count=3, devices=2, chip="sim-a"), provenance="simulated")
    made.run(started="2026-01-05T02:00:00+09:00")
    damaged = made.run()
    (damaged / "run.json").write_text("{")
    runs = list_runs(made.folder)

    def ids(**asked):
        return [run.id for run in chosen(runs, Asked(**asked))]

    assert ids(suite="stand*") == ["run-000"]
    assert ids(suite="stand") == []
    assert ids(state="complete") == ["run-001", "run-002"]
    assert ids(provenance="simulated") == ["run-001"]
    assert ids(node="node-00002") == ["run-001"]
    assert ids(node="gpu-1") == ["run-000", "run-002"]
    assert ids(node="gpu") == []
    since = 1767546000.0  # 2026-01-04T17:00:00Z
    assert ids(since=since) == ["run-002"]
    assert ids(since=since + 1) == []
    assert len(ids()) == 4


def test_nodes_of_odd_names_are_found(made):
    from judged_runs import node

    odd = ["a[1-", "x,y", "gpu-7", "gpu-8"]
    made.run(nodes=[node(name) for name in odd])
    (run,) = list_runs(made.folder)
    assert {"a[1-", "gpu-7", "gpu-8"} <= names(run)


def test_the_list_says_what_is_asked(made):
    made.runs(3)
    made.run(suite="standard", nodes=[], fleet=DeviceGroup(count=2, devices=1, chip="sim-a"))
    done = hengsuan("results", "list", "--suite", "quick", "--out", made.folder)
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "run",
        "suite",
        "started",
        "state",
        "executor",
        "provenance",
        "nodes",
    ]
    assert [line.split()[0] for line in lines[2:]] == ["run-000", "run-001", "run-002"]
    assert "gpu-[0-1]" in lines[2]
    found = json.loads(hengsuan("results", "list", "--json", "--out", made.folder).stdout)
    assert [one["devices"] for one in found] == [4, 4, 4, 2]
    assert found[3]["chips"] == ["sim-a"]
    none = hengsuan("results", "list", "--node", "nope", "--out", made.folder)
    assert (none.exit_code, none.stdout) == (0, "")
    assert "none of 4 runs" in none.stderr


def test_since_takes_dates_and_spans(made):
    made.run(started="2026-01-01T00:00:00Z")
    recent = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600))
    made.run(started=recent)

    def ids(since):
        done = hengsuan("results", "list", "--json", "--since", since, "--out", made.folder)
        return [one["id"] for one in json.loads(done.stdout)]

    assert ids("2h") == ["run-001"]
    assert ids("30m") == []
    assert ids("2026-01-01") == ["run-000", "run-001"]
    assert ids("2026-01-01T00:00:01Z") == ["run-001"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--since", "yesterday"], "--since yesterday: no time"),
        (["--state", "don"], "unknown state 'don'"),
        (["--provenance", "real"], "unknown provenance 'real'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_nobody_can_ask_is_a_sentence(made, words, message):
    made.run()
    done = hengsuan("results", "list", *words, "--out", made.folder)
    assert done.exit_code == 2
    assert message in str(done.exception)


def test_escape_sequences_of_strangers_are_inert(made):
    made.run(suite="\x1b[31mred\n")
    done = hengsuan("results", "list", "--out", made.folder)
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_what_strangers_wrote_into_a_run_is_inert(made):
    path = made.run(events=[{"time": 0.0, "kind": "warning", "node": "a", "text": "\x1b[2J"}])
    row = Row(0, 1, 1, 1.0, None, None, None, 0, "failed", -1, "measured", "\x1b]0;x\x07")
    with (path / "measurements.jsonl").open("ab") as file:
        file.write(msgspec.json.Encoder().encode_lines([row]))
    for more in ((), ("--rows",)):
        done = hengsuan("results", "show", "run-000", *more, "--out", made.folder)
        assert done.exit_code == 0
        assert r"\x1b" in done.stdout
        assert "\x1b" not in done.stdout


def test_folders_whose_names_are_no_text_are_listed(made):
    made.runs(MANY)
    odd = made.folder / os.fsdecode(b"\xff")
    (made.folder / "run-000").rename(odd)
    done = hengsuan("results", "list", "--out", made.folder)
    assert done.exit_code == 0, done.exception
    assert "run-000" in done.stdout
    assert len(json.loads((made.folder / INDEX).read_text())["runs"]) == MANY - 1
    paths = [one["path"] for one in json.loads(hengsuan(*LIST, made.folder).stdout)]
    assert str(odd) in paths


def test_a_run_that_its_driver_left_is_said_to_have_died(made):
    living, dead, _ = made.run(state="running"), made.run(state="running"), made.run()
    words = ("results", "list", "--out", made.folder)
    with (living / "measurements.jsonl").open("ab") as rows:
        fcntl.flock(rows, fcntl.LOCK_EX)
        found = {one["id"]: one["state"] for one in json.loads(hengsuan(*words, "--json").stdout)}
        assert found == {"run-000": "running", "run-001": "died", "run-002": "complete"}
        for state, run in (("running", living), ("died", dead)):
            assert hengsuan(*words, "--state", state, "-q").stdout == f"{run.name}\n"
    shown = hengsuan("results", "show", dead, "--out", made.folder).stdout
    assert "run run-001: suite quick, died, local" in shown


def test_of_many_runs_the_newest_are_meant(made):
    made.runs(12)
    words = ("--out", made.folder)
    assert hengsuan("results", "list", "--last", 2, "-q", *words).stdout == "run-010\nrun-011\n"
    newest = f"{', '.join(f'run-{number:03d}' for number in range(2, 12))} and 2 older ones"
    for name, hint in (("latest", f"known: {newest}"), ("run-0", f"which of {newest}?")):
        assert hengsuan("results", "show", name, *words).exception.hint == hint
    hint = hengsuan("results", "show", "run-00O", *words).exception.hint
    assert hint.startswith("did you mean run-0")


def on_terminal(columns, *words):
    """The lines of a command on a real terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    known = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "bench", *map(str, words)]
    with subprocess.Popen(command, stdout=theirs, env=known):
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # Linux says so when the other side is closed
            while part := os.read(ours, 65536):
                said += part
    os.close(ours)
    return said.decode().splitlines()


@pytest.mark.parametrize(
    ("columns", "head"),
    [
        (120, "run suite started state executor provenance nodes"),
        (80, "run suite state provenance nodes"),
        (50, "run state provenance"),
    ],
)
def test_a_run_is_one_line_also_on_a_narrow_terminal(made, columns, head):
    made.run(id="20260101-000000-certify", suite="certify")
    made.run(id="20260102-000000-quick", nodes=[node(f"gpu-{number}") for number in (1, 2, 5)])
    (made.run(id="20260103-000000-quick") / "run.json").write_text("{")
    lines = on_terminal(columns, "results", "list", "--out", made.folder)
    assert lines[0].split() == head.split()
    assert len(lines) == 5
    assert lines[2].startswith("20260103-000000-quick    run.json is damaged: ")
    for line, run in zip(
        lines[3:], ("20260101-000000-certify", "20260102-000000-quick"), strict=True
    ):
        assert len(line) <= columns
        assert line.split()[0] == run
        assert "measured" in line
