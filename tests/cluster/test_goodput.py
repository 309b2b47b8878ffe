"""Training while real processes are killed: found, started anew, restored, accounted for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import hengsuan
from runs import local_executor, run, suite

from bench.results import RunReader


def attempts(folder, key="k", *, kills, steps=12, every=4, **more):
    """Stages of one training: an attempt that is killed for each of ``kills``, then one more."""
    common = {
        "model": "tiny",
        "batch": 1,
        "path": str(folder),
        "key": key,
        "steps": steps,
        "every": every,
    }
    killed = [
        [
            (
                "resumable",
                {**common, "attempt": n, "kill_after": after, "victims": who, **more},
                {"over": "all"},
            )
        ]
        for n, (after, who) in enumerate(kills)
    ]
    last = {**common, "attempt": len(kills), **more}
    return suite(*killed, [("resumable", last, {"over": "all"})], limit=60.0)


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_ranks_that_are_killed_go_on_from_the_last_checkpoint(tmp_path):
    """First one rank dies, then all of the node, then nobody."""
    place = tmp_path / "checkpoints"
    place.mkdir()
    kills = [(0.6, "1"), (0.6, "0-1")]
    made = attempts(place, kills=kills, steps=80, every=2, dp="fsdp")
    _, rows = run(made, local_executor(), tmp_path / "runs")
    first, second, last = rows["resumable", "goodput"]
    for row, rank in ((first, "rank 1"), (second, "rank ")):
        assert row.status == "failed"
        assert rank in row.reason
        assert "crashed with SIGKILL" in row.reason
    assert last.status == "ok", last.reason
    found = {metric: got[-1].value for (_, metric), got in rows.items()}
    assert found["failures"] == 2
    parts = ("productive", "saving", "lost_work", "detection", "relaunch", "restoring")
    assert sum(found[name] for name in parts) == pytest.approx(found["total"], rel=1e-6)
    assert found["goodput"] == pytest.approx(found["productive"] / found["total"])
    assert 0 < found["goodput"] < 1
    assert found["lost_work"] > 0
    assert 0 <= found["detection"] < found["relaunch"]
    # Where a kill struck just behind a checkpoint, no whole step is done again.
    assert not last.reason or "losses differ by at most 0" in last.reason
    assert list(place.iterdir()) == []


@pytest.mark.alone
def test_a_training_that_nobody_interrupts_has_no_losses(tmp_path):
    _, rows = run(attempts(tmp_path, "", kills=[]), local_executor(), tmp_path / "runs")
    found = {metric: got[0].value for (_, metric), got in rows.items()}
    (row,) = rows["resumable", "goodput"]
    assert row.status == "ok", row.reason
    assert found["failures"] == found["lost_work"] == found["detection"] == 0
    assert found["productive"] + found["saving"] == pytest.approx(found["total"], rel=1e-6)
    assert [one.name for one in tmp_path.iterdir()] == ["runs"]


def goodput(*words, timeout=150):
    return subprocess.run(
        [*hengsuan(), "goodput", "--executor", "local", "--backend", "cpu", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_the_verb_kills_at_random_and_compares_with_the_optimum(tmp_path):
    place = tmp_path / "checkpoints"
    place.mkdir()
    words = (
        "--path",
        place,
        "--out",
        tmp_path / "runs",
        "--model",
        "tiny",
        "--batch",
        "1",
        "--json",
    )
    done = goodput("--work", "3s", "--mtbf", "2s", "--seed", "1", *words)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit"] == 0, done.stderr
    account = found["goodput"]
    assert account["failures"] >= 1
    assert done.stderr.count("attempt ") == account["failures"] + 1
    assert 0 < account["goodput"] < 1
    lost = sum(account["losses"].values())
    assert account["productive"] + lost == pytest.approx(account["total"], rel=1e-6)
    assert account["young"] > account["daly"] > 0
    assert account["interval"] == pytest.approx(account["every"] * account["step"])
    assert 0 < account["expected"] < 1
    header = RunReader(found["folder"]).header
    assert [one["name"] for one in header.stages][:2] == ["calibration", "attempt-1"]
    assert list(place.iterdir()) == []


def test_what_cannot_be_is_a_sentence(tmp_path):
    for words, code, why in (
        (("--cluster", "small"), 2, "a simulated fleet has none"),
        (("--work", "0s"), 2, "--work must be positive"),
        (("--path", tmp_path / "absent", "--out", tmp_path, "-q"), 3, "no such directory"),
    ):
        done = subprocess.run(
            [*hengsuan(), "goodput", *map(str, words)]
            + ([] if "--cluster" in words else ["--executor", "local", "--backend", "cpu"]),
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert why in done.stderr
        assert "Traceback" not in done.stderr
