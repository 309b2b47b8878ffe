"""Again and again: rounds as processes, what ends them, and what does not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stored_runs import Runs

from bench.cli import cli
from bench.cli.schedule import Rounds, words
from bench.errors import UsageError
from bench.host import process_tree
from bench.runs import list_runs

RUN = [sys.executable, "-m", "bench", "run", "quick", "--cluster", "small", "-q", "--json"]


def start(folder, *more):
    return subprocess.Popen(
        [*RUN, *map(str, more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def until(condition, limit=240.0):
    stop = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < stop, "not in time"
        time.sleep(0.05)
    return found


def end(process, number=signal.SIGTERM):
    """What it said after a signal, and its exit code."""
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out, err


def complete(folder):
    return [run for run in list_runs(folder / "results") if run.state == "complete"]


def test_rounds_add_to_the_history_until_they_are_told_to_end(tmp_path):
    process = start(tmp_path, "--every", "1s")
    until(lambda: len(complete(tmp_path)) >= 2)
    assert process.poll() is None
    # It sleeps, or the third is on its way.
    until(lambda: len(complete(tmp_path)) == len(list_runs(tmp_path / "results")))
    code, out, err = end(process)
    assert code in (0, 130)
    assert "round 1 ended with exit code 0; the next is at" in err
    assert '"state": "complete"' in out
    starts = [run.started for run in list_runs(tmp_path / "results")]
    assert starts == sorted(starts)


def test_a_failed_round_is_followed_by_others_and_the_last_one_counts(tmp_path):
    (tmp_path / "results").write_text("in the way")
    process = start(tmp_path, "--every", "2s")
    until(lambda: process.stderr.readline().startswith("round 1 ended with exit code 4"))
    (tmp_path / "results").unlink()
    until(lambda: process.stderr.readline().startswith("round 2 ended with exit code 0"))
    code, _, _ = end(process)
    assert code in (0, 130)
    assert complete(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_between_rounds_the_last_one_is_the_answer(tmp_path, number):
    process = start(tmp_path, "--every", "1h")
    until(lambda: "the next is at" in process.stderr.readline())
    began = time.monotonic()
    code, out, _ = end(process, number)
    assert code == 0
    assert json.loads(out)["state"] == "complete"
    assert time.monotonic() - began < 100  # of an hour


def test_what_is_wrong_with_the_command_line_ends_it(tmp_path):
    process = start(tmp_path, "--every", "1s", "--profile", "default", "--only", "nothing such*")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.count("error") == 1


def test_a_round_dies_with_who_started_it(tmp_path):
    slow = [sys.executable, "-m", "bench", "run", "standard", "--cluster", "fleet-10240", "-q"]
    process = subprocess.Popen([*slow, "--every", "1h"], cwd=tmp_path)
    child = until(lambda: process_tree(process.pid)[1:])[0]
    process.kill()
    process.wait()
    until(lambda: not os.path.exists(f"/proc/{child}") or _zombie(child))


def _zombie(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def test_a_password_stands_in_no_arguments_of_a_round(tmp_path):
    """Whoever lists processes reads arguments; the round has the URL all the same."""
    url = "postgresql://u:s3cret@127.0.0.1:1/d"
    process = start(tmp_path, "--every", "1h", "--store", url)
    child = until(lambda: process_tree(process.pid)[1:])[0]
    seen = until(lambda: _arguments(child))
    assert b"s3cret" not in seen
    lines = []
    until(lambda: "the next is at" in (lines.append(process.stderr.readline()) or lines[-1]))
    said = "".join(lines)
    assert "not pushed: postgresql://u@127.0.0.1:1/d: the store cannot be used" in said
    assert "later, with the store's URL in HENGSUAN_STORE: hengsuan results push results/" in said
    assert "s3cret" not in said + "".join(end(process)[1:])


def _arguments(pid):
    """Those of a round: for a moment it has the arguments of who started it."""
    seen = Path(f"/proc/{pid}/cmdline").read_bytes()
    return seen if b"--every" not in seen else b""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--every", "0"], "too short"),
        (["--every", "often"], "is not a duration"),
        (["--every", "1h", "--dry-run"], "--every is about measuring; --dry-run is not"),
        (["--every", "1h", "--resume", "x"], "--every is about measuring; --resume is not"),
        (["--idle-only", "--dry-run"], "--idle-only is about measuring"),
        (["--idle-only"], "a simulated fleet has nobody to give way to"),
        (["--metrics-port", "1", "--dry-run"], "--metrics-port is about measuring"),
        (["--metrics-file", "away/x.prom"], "there is no folder away"),
        (["--telemetry", "1s"], "--telemetry does not go with executor sim"),
    ],
)
def test_what_contradicts_itself_is_said(tmp_path, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, click.BadParameter)) as told:
        cli.main([*RUN[3:], *more], standalone_mode=False)
    assert said in str(told.value)
    assert not (tmp_path / "results").exists()


def test_idle_is_asked_of_this_machine_alone():
    with pytest.raises(UsageError, match="not those of a cluster"):
        cli.main(["run", "quick", "--idle-only", "--address", "a:1"], standalone_mode=False)


def test_a_round_is_told_what_was_typed():
    line = [
        "certify", "my suite.yaml", "--soak", "10m", "--retest", "20%", "-q", "--json",
        "--every", "24h", "--idle-only", "--out", "a b", "--telemetry", "off", "--budget", "90s",
    ]  # fmt: skip
    command = cli.get_command(click.Context(cli), "certify")
    context = command.make_context("certify", line[1:], resilient_parsing=True)
    told = words(context, ("every", "idle_only"))
    again = command.make_context("certify", list(told), resilient_parsing=True)
    left = {"every": None, "idle_only": False}
    assert again.params == {**context.params, **left}
    assert words(context, ("every", "idle_only", "suite"))[-1] != "my suite.yaml"


def test_a_run_that_gave_way_is_found_also_where_it_is_pushed(tmp_path):
    """What is recorded is not all that was typed: the URL of a store is left out."""
    path = Runs(tmp_path).run(state="interrupted", command=["hengsuan", "run", "quick", "--quiet"])
    command = ["run", "quick", "--store", "sqlite:///x.db", "--quiet"]
    rounds = Rounds(command, lambda folder: [], tmp_path, None, None, lambda text: None, {})
    assert rounds._left(set(), command) == path
    assert rounds._left({path.name}, command) is None
    assert rounds._left(set(), ["run", "standard", "--quiet"]) is None
