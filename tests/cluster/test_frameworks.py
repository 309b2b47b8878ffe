"""The same decoder in PyTorch and PaddlePaddle, through the whole engine, scored in one suite."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import hengsuan
from processes import staying
from runs import local_executor, run, suite
from several import Several

from bench.cluster.agents import AgentExecutor
from bench.errors import Exit

ROOT = Path(__file__).parents[2]
TRAINER = ROOT / "tests" / "unit" / "trainer.py"
PADDLE = os.environ.get("PADDLE_PYTHON") or str(ROOT / ".venv" / "paddle" / "bin" / "python")
COUNTS = ("ok", "contended")

pytestmark = pytest.mark.forked


def test_a_rank_whose_program_crashes_is_named_and_nothing_else_is_lost(tmp_path):
    def program(mode):
        return {"program": f"{{python}} {TRAINER} {mode} {{rank}} {{ranks}}", "warmup_steps": 1}

    made = suite(
        [("command", program("crash-one")), ("command", program("endless")), ("fixed", {})],
        limit=60.0,
    )
    finished, rows = run(made, local_executor(), tmp_path)
    broken, healthy = rows["command", "step_p50"]
    node = finished.header.nodes[0].name
    assert broken.status == "failed"
    assert broken.reason.startswith(f"rank 1 ({node}/1): ProgramFailed: ")
    assert broken.reason.endswith("RuntimeError: device 3 fell off the bus")
    assert healthy.status in COUNTS
    assert all(row.status in COUNTS for row in rows["fixed", "time"])
    assert finished.exit is Exit.INFRASTRUCTURE
    assert not staying(lambda one: "trainer.py" in one.words or "guard.py" in one.words)


def test_two_nodes_have_a_launcher_each(tmp_path):
    axes = {
        "program": "{python} -m torch.distributed.run {commands}/torch_decoder.py",
        "environment": "NODES={nodes}",
        "launch": "node",
        "warmup_steps": 1,
    }
    made = suite([("command", axes)], limit=100.0)
    finished, rows = run(made, AgentExecutor(Several(count=2), {}), tmp_path)
    assert finished.header.schedules[0].groups == 1
    (row,) = rows["command", "tokens"]
    assert row.status in COUNTS, row.reason
    assert row.value == 4 * 64 * 2  # what torch knows of the world: a device on each node


def frameworks(folder, python):
    """(what ``run frameworks`` printed, rows by label and metric)."""
    environment = {key: value for key, value in os.environ.items() if key != "PADDLE_PYTHON"}
    if python:
        environment["PADDLE_PYTHON"] = python
    text = (ROOT / "configs" / "suites" / "frameworks.yaml").read_text()
    path = folder / "frameworks.yaml"
    path.write_text(text.replace("budget: 10s", "budget: 1s"))
    words = ["run", path, "--executor", "local", "--backend", "cpu", "--out", folder, "--json"]
    done = subprocess.run([*hengsuan(), *words], capture_output=True, text=True, env=environment)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    by_label = {}
    (made,) = folder.glob("*-frameworks")
    from bench.results import RunReader

    reader = RunReader(made)
    for row in reader.rows():
        case = reader.header.cases[row.case]
        by_label[case.axes.get("label", case.benchmark), case.metric] = row
    return found, by_label


def test_every_framework_that_is_here_trains_the_same_decoder(tmp_path):
    there = Path(PADDLE).exists()
    found, rows = frameworks(tmp_path, PADDLE if there else "")
    labels = ["train", "torch", "torchrun", *(["paddle"] if there else [])]
    for label in labels:
        row = rows[label, "tokens_per_second"]
        assert row.status in COUNTS, f"{label}: {row.reason}"
        assert row.value > 0
        if label != "train":
            assert rows[label, "tokens"].value == 4 * 64 * 2  # batch, sequence, two devices
            said = "paddle" if label == "paddle" else "torch"
            assert f"{said} " in row.reason or row.status == "contended"
    titles = {"command torch tiny fp32", "command torchrun by node tiny fp32"}
    titles |= {"command paddle tiny fp32"} if there else set()
    lines = {line["name"].partition(" over")[0] for line in lines_of(found["scorecard"])}
    assert titles <= lines
    if not there:
        assert rows["paddle", "tokens_per_second"].status == "skipped"
        pytest.skip("PaddlePaddle is not installed in .venv/paddle (.ci/paddle does that)")


def lines_of(card):
    for category in card["categories"]:
        yield from category["metrics"]
