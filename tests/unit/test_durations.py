"""How long a run will take: as earlier ones did, else by its plan, else by its pace."""

import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.analysis.durations import durations
from bench.cli.live import expect
from bench.report.picture import Picture


def stored(folder, number, seconds, **changes):
    """A run of the suite quick whose two stages took so long."""
    stages = [{"name": name, "began": 0.0, "seconds": one, "rows": {}} for name, one in seconds]
    name = f"2026010{number}-000000-quick"
    made = header(case(0), id=name, fleet=None, stages=stages, **changes)
    path = folder / name
    path.mkdir(parents=True)
    (path / "run.json").write_bytes(msgspec.json.encode(made))


NOW = header(case(0), id="20260109-000000-quick", fleet=None, state="running")


def test_stages_take_what_they_took(tmp_path):
    for number, seconds in enumerate((10, 30, 20), 1):
        stored(tmp_path, number, [("device", seconds), ("fabric", 2 * seconds)])
    found = durations(tmp_path, NOW)
    assert found.seconds == {"device": 20.0, "fabric": 40.0}
    assert found.runs == 3


def test_only_runs_alike_are_asked(tmp_path):
    stored(tmp_path, 1, [("device", 10)], state="interrupted")
    stored(tmp_path, 2, [("device", 10)], executor="ray")
    stored(tmp_path, 3, [("device", 10)], suite_text="another: suite")
    stored(tmp_path, 4, [("device", 10), ("device", 5)])  # it was resumed
    few = [msgspec.structs.replace(one, devices=[]) for one in NOW.nodes]
    stored(tmp_path, 9, [("device", 10)], nodes=few)  # of a smaller machine
    (tmp_path / "20260105-000000-quick").mkdir()
    (tmp_path / "20260105-000000-quick" / "run.json").write_text("{")
    stored(tmp_path, 7, [("device", "long")])
    stored(tmp_path, 8, [(None, 10)])
    assert durations(tmp_path, NOW).runs == 0
    stored(tmp_path, 6, [("device", 7)])
    assert durations(tmp_path, NOW).seconds == {"device": 7.0}
    assert durations(tmp_path / "nowhere", NOW).seconds == {}
    # A simulated fleet's seconds are not ours.
    assert durations(tmp_path, header(case(0), id="x")).seconds == {}


def test_only_the_newest_are_asked(tmp_path):
    for number in range(1, 9):
        stored(tmp_path, number, [("device", number)])
    assert durations(tmp_path, NOW).seconds == {"device": 6.0}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """It is always the same second."""
    monkeypatch.setattr("bench.report.picture.time", SimpleNamespace(monotonic=lambda: 1000.0))


def picture(**usual):
    made = Picture()
    made.stages = ["device", "fabric"]
    made.begin("device", 10)
    made.usual = usual
    return made


def test_what_is_left_is_of_all_stages(tmp_path):
    for number in (1, 2):
        stored(tmp_path, number, [("device", 100), ("fabric", 60)])
    made = picture()
    expect(made, tmp_path, NOW)
    made.began -= 40
    assert made.left == 60
    assert made.said_left() == "about 2m 00s left, as in 2 earlier runs"
    made.share = 0.1  # a few jobs after a slow start: by their pace 360 s more
    assert made.left == pytest.approx(0.2 * 360 + 0.8 * 60)
    made.share = 0.5  # it is faster than they were: 40 s more of this stage
    assert made.left == 40
    assert made.said_left() == "about 1m 40s left, as in 2 earlier runs"
    made.begin("fabric", 10)
    assert made.said_left() == "about 1m 00s left, as in 2 earlier runs"


def test_a_plan_says_at_most_and_nothing_says_this_stage():
    made = picture(device=100.0, fabric=60.0)
    made.basis, made.bound = ", by the plan", True
    assert made.said_left() == "at most 2m 40s of timing left, by the plan"
    made.began -= 50  # ranks start, kernels are compiled: the plan knows nothing of that
    assert made.said_left() == "at most 2m 40s of timing left, by the plan"
    made.began += 50
    made.usual = {}
    assert made.said_left() == ""
    made.began, made.share = made.began - 30, 0.75
    assert made.said_left() == "about 10 s left of this stage"
    made.stages = ["device"]
    assert made.said_left() == "about 10 s left"


def test_a_stage_that_takes_longer_than_ever_is_not_over():
    made = picture(device=10.0, fabric=60.0)
    made.began -= 500
    assert made.left == 0.0
    assert made.said_left() == "about 1m 00s left"
