"""What a person does to a run: Ctrl-C, Ctrl-Z, SIGTERM, kill -9 and --resume. Nothing is left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import hengsuan, resume, start, wait_for_rows
from processes import staying

from bench.results import RunReader
from bench.runs import find_run


def family(pid):
    """What the driver started and does not go."""
    return [one.words[:100] for one in staying(lambda one: one.is_rank or one.session == pid)]


@pytest.mark.forked
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_keeps_what_was_measured(tmp_path, number, again):
    """Also where whoever sends it is impatient."""
    process = start(tmp_path)
    folder = wait_for_rows(tmp_path, process, 5)
    process.send_signal(number)
    for _ in range(20 * again):
        time.sleep(0.02)
        # Only until it is said: what comes after the run ends its report.
        if json.loads((folder / "run.json").read_text())["state"] != "running":
            break
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    reader = RunReader(folder)
    assert reader.header.state == "interrupted"
    rows = list(reader.rows())
    assert len(rows) >= 5
    assert json.loads(out)["state"] == "interrupted"
    samples = (folder / "samples.jsonl").read_bytes().count(b"\n")
    assert samples == sum(row.n > 0 for row in rows), "what was measured is kept with its samples"
    assert "Task was destroyed" not in err
    assert "Traceback" not in err
    assert family(process.pid) == []


@pytest.mark.forked
def test_a_training_that_is_interrupted_has_no_goodput(tmp_path):
    """What its calibration took was printed as if it were the training's."""
    arguments = [
        *("goodput", "--executor", "local", "--work", "1h", "--mtbf", "1000h", "--json"),
        *("--path", str(tmp_path), "--out", str(tmp_path / "runs"), "--telemetry", "off"),
    ]
    process = subprocess.Popen(
        [*hengsuan(), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # As from a terminal: who runs the tests behind it ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if "stage 2/2 attempt-1" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, (said, err)
    told = json.loads(out)
    assert (told["exit"], told["goodput"]) == (130, None)
    assert told["problem"] == "interrupted before the training had come to its end"
    assert family(process.pid) == []


def test_ctrl_c_under_ray_leaves_no_process(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    process = start(tmp_path, executor="ray")
    wait_for_rows(tmp_path, process, 5)
    # A terminal sends Ctrl-C to the whole foreground group.
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert family(process.pid) == []


PATIENCE = """
from bench.cluster import listening, ray_head, ray_hub
listening.GAP, ray_hub.SILENCE, ray_head.LOOK, ray_head.HEAD_LIMIT = 1.0, 4.0, 0.5, 4.0
"""


@pytest.mark.alone
@pytest.mark.forked
def test_a_driver_that_was_stopped_has_lost_nobody(tmp_path):
    """Ctrl-Z stops a terminal's foreground group for longer than agents and head may be silent."""
    pytest.importorskip("ray", reason="Ray is not installed")
    process = start(tmp_path, executor="ray", patience=PATIENCE)
    folder = wait_for_rows(tmp_path, process, 5)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(6)
    os.killpg(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["lost"] == []
    reader = RunReader(folder)
    assert reader.header.state == "complete"
    assert [row.status for row in reader.rows()] == ["ok"] * (20 * 2 + 1)


def test_a_killed_driver_is_resumed(tmp_path):
    process = start(tmp_path)
    folder = wait_for_rows(tmp_path, process, 7)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert family(process.pid) == [], "ranks must die with their driver"
    before = list(RunReader(folder).rows())
    assert RunReader(folder).header.state == "running"

    again = resume(folder)
    assert again.returncode == 0, again.stderr
    reader = RunReader(folder)
    rows = list(reader.rows())
    assert reader.header.state == "complete"
    assert rows[: len(before)] == before
    keys = [(row.case, row.group, row.repeat) for row in rows]
    assert len(keys) == len(set(keys)) == 20 * 2 + 1
    assert max(row.time for row in rows) > max(row.time for row in before)
    assert find_run(folder.name, tmp_path / "runs") == folder


@pytest.mark.forked
def test_a_run_is_not_resumed_with_another_suite_or_on_other_devices(tmp_path):
    process = start(tmp_path)
    folder = wait_for_rows(tmp_path, process, 3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    header = json.loads((folder / "run.json").read_text())
    header["nodes"][0]["devices"][0]["serial"] = "another"
    (folder / "run.json").write_text(json.dumps(header))
    again = resume(folder)
    assert again.returncode == 2
    assert "same nodes" in again.stderr
    assert "Traceback" not in again.stderr
