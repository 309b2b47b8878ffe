"""`hengsuan watch`: a run of another process, on real terminals and without one."""

import fcntl
import io
import json
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from growing_run import DEVICES, NODES, complete, going, lost, row, write
from made_runs import case
from stored_runs import Runs
from terminals import Terminal

from bench.cli.following import Stages
from bench.cli.watch_verb import _newest
from bench.growing import Growing
from bench.inventory import Inventory
from bench.report.screen import Screen
from bench.report.watched import Watched

SIZE = NODES * DEVICES


def unstyled(raw):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode())


def watch(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "bench", "watch", *words], capture_output=True, text=True, cwd=cwd
    )


def test_a_run_is_watched_to_its_end(tmp_path):
    """Stages, counts, rates, who is slow, who was lost: and it ends with the run."""
    journal = going(tmp_path / "results")
    values = [1e12 if group != 77 else 0.6e12 for group in range(SIZE // 2, SIZE)]
    slow = enumerate(values, SIZE // 2)
    write(journal, *(row(0, group, value) for group, value in slow))
    seen = Terminal(["watch"], tmp_path, columns=100)
    # A frame arrives in pieces; these stand after its counts.
    seen.until(lambda: any("64 of 128 rows" in line for line in seen.lines))
    seen.until(lambda: any("worse than usual" in line for line in seen.lines))
    text = "\n".join(seen.lines)
    assert " device  fabric" in text
    assert "gemm 64x64x64 flops: 1 TFLOP/s, median of 64" in text
    assert "node-00009/5: gemm 64x64x64 flops 40% worse than usual" in text
    reason = "crashed with SIGKILL"
    write(journal, row(0, 3, status="failed", reason=reason), events=[lost("node-00003")])
    journal.save()
    seen.until(lambda: "agent-lost: node-00003: its agent was lost" in seen.text)
    seen.until(lambda: f"failed: node-00000: gemm 64x64x64: {reason}" in seen.text)
    write(journal, *(row(1, group, 5e10, time=3.0) for group in range(SIZE // 2)))
    seen.until(lambda: any("64 of 64 rows" in line for line in seen.lines))
    complete(journal)
    code = seen.end()
    assert code == 4  # somebody was lost
    text = "\n".join(seen.lines)
    assert "128 ok, 1 failed" in text
    assert "64 of 64 rows" not in text  # the picture is taken away
    assert f"run {journal.folder.name}: something was lost" in text
    assert f"hengsuan results show {journal.folder.name}" in text
    assert seen.screen.cursor.hidden is False


def test_a_terminal_that_becomes_narrow_while_it_is_looked_at(tmp_path):
    journal = going(tmp_path / "results")
    write(journal, *(row(0, group) for group in range(64)))
    seen = Terminal(["watch"], tmp_path, columns=100)
    seen.until(lambda: any("64 of 128 rows" in line for line in seen.lines))
    seen.resize(40)
    mark = len(seen.raw)
    write(journal, *(row(0, group) for group in range(64, 96)))
    seen.until(lambda: any("96 of 128 rows" in line for line in seen.lines))
    seen.rest(1.2)
    frame = seen.lines[-6:]
    assert sum("of 128 rows" in line for line in seen.lines) == 1
    assert any("gemm 64x64x64 flops: 1 TFLOP" in line for line in frame)
    assert max(map(len, unstyled(seen.raw[mark:]).splitlines())) <= 40
    seen.resize(120)
    write(journal, *(row(0, group) for group in range(96, SIZE)))
    seen.until(lambda: any("128 of 128 rows" in line for line in seen.lines))
    complete(journal)
    assert seen.end() == 0


def test_without_a_terminal_it_is_lines(tmp_path):
    journal = going(tmp_path / "results")
    write(journal, *(row(0, group) for group in range(SIZE)))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "watch"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "quick on 16 node(s), 128 device(s)" in process.stderr.readline()
    assert process.stderr.readline() == "stage 1/2 device: 128 rows\n"
    write(journal, *(row(1, group, 5e10) for group in range(SIZE // 2)))
    complete(journal)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "stage device ended after" in errors
    assert "stage 2/2 fabric: 64 rows" in errors
    assert "\x1b" not in out + errors
    assert "run 20260101-000000-quick complete: 192 ok" in out


def test_a_driver_that_died_is_said(tmp_path):
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from growing_run import going, row, write
        journal = going("results")
        write(journal, *(row(0, group) for group in range(5)))
        print("measuring", flush=True)
        time.sleep(60)
    """)
    driver = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout.readline() == "measuring\n"
    seen = subprocess.Popen(
        [sys.executable, "-m", "bench", "watch", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "quick on 16 node(s)" in seen.stderr.readline()
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    out, errors = seen.communicate(timeout=50)
    assert seen.returncode == 4, errors
    found = json.loads(out)
    assert found["died"]
    assert found["state"] == "running"
    assert found["rows"] == {"ok": 5}
    assert found["next"][0] == f"hengsuan run --resume {found['run']} --cluster small"
    said = watch("--quiet", found["run"], cwd=tmp_path).stdout
    assert said == f"run {found['run']}: its driver died: nobody measures any more\n"


def test_looking_can_be_ended_and_the_run_goes_on(tmp_path):
    journal = going(tmp_path / "results")
    write(journal, row(0, 0))
    seen = Terminal(["watch"], tmp_path)
    seen.until(lambda: any("1 of 128 rows" in line for line in seen.lines))
    seen.press(b"\x03")
    assert seen.end() == 130
    assert "Traceback" not in seen.text
    write(journal, row(0, 1))
    complete(journal)


def test_the_newest_that_has_not_ended_is_looked_at(tmp_path):
    complete(going(tmp_path / "results", "20260101-000000-quick", started="2026-01-01T00:00:00Z"))
    last = watch(cwd=tmp_path)
    assert last.returncode == 2
    assert "no run in results is in progress" in last.stderr
    assert "the last was 20260101-000000-quick" in last.stderr
    ends = going(tmp_path / "results", "20260102-000000-quick", started="2026-01-02T00:00:00Z")
    complete(ends, "interrupted")
    assert watch("20260102", cwd=tmp_path).returncode == 130
    newest = going(tmp_path / "results", "20260103-000000-quick", started="2026-01-03T00:00:00Z")
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "watch", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "20260103-000000-quick" in process.stderr.readline()
    complete(newest)
    out, _ = process.communicate(timeout=120)
    assert json.loads(out)["run"] == "20260103-000000-quick"


def test_rows_wait_for_the_header_that_declares_them(tmp_path):
    journal = going(tmp_path)
    declared = list(journal.header.cases)
    growing = Growing(journal.folder)
    screen = Screen(Console(file=io.StringIO(), width=80))
    watched = Watched(screen, growing.header, Inventory(fleet=growing.header.fleet))
    stages = Stages(growing, watched)
    write(journal, row(0, 0), row(2, 1))
    assert not stages.look()
    assert watched.picture.counts == {}
    journal.header.cases = [*declared, case(2, stage="device+1", title="again")]
    journal.save()
    assert stages.look()
    assert watched.picture.counts == {"ok": 2}
    assert watched.picture.stages == ["device", "device+1", "fabric"]
    assert watched.picture.current == "again"
    assert not stages.look()
    journal.close()


def test_a_stage_that_was_over_is_told_with_its_own_time(tmp_path):
    journal = going(tmp_path / "results")
    write(journal, row(0, 0, time=1.0), row(0, 1, time=121.0), row(1, 0, time=131.0))
    complete(journal)
    done = watch(journal.folder.name, cwd=tmp_path)
    assert "stage device ended after 2m 01s: 2 ok" in done.stderr
    assert re.search(r"stage fabric ended after 1\d(\.\d)? s: 1 ok", done.stderr)


def test_rows_of_groups_that_there_are_not_are_a_sentence(tmp_path):
    path = Runs(tmp_path).run(state="running")
    with (path / "measurements.jsonl").open("ab") as file:
        file.write(msgspec.json.Encoder().encode_lines([row(0, 10**6, status="failed")]))
    done = watch(path.name, "--out", ".", cwd=tmp_path)
    assert done.returncode == 4
    assert "measurements.jsonl" in done.stderr
    assert "defect" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "unknown run 'nope'"),
        (["--out", "nowhere"], "no run in nowhere is in progress"),
        (["./here"], "no run here"),
    ],
)
def test_what_cannot_be_watched_is_a_sentence(tmp_path, words, said):
    done = watch(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_somebody_measures_is_looked_at_before_what_died_since(tmp_path):
    made = Runs(tmp_path / "results")
    living, dead = made.runs(2, state="running")
    with (living / "measurements.jsonl").open("ab") as rows:
        fcntl.flock(rows, fcntl.LOCK_EX)
        assert _newest(made.folder) == living
    assert _newest(made.folder) == dead
