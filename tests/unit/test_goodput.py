"""What the rows of an interrupted training say of its checkpoints' interval."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.analysis.checkpointing import daly, expected_goodput, young
from bench.analysis.goodput import LOSSES, assess, rows_of
from bench.records import Row

LOST = {"saving": 12.0, "lost_work": 20.0, "detection": 6.0, "relaunch": 15.0, "restoring": 9.0}
MEASURED = {
    **LOST,
    "goodput": 0.69,
    "total": 200.0,
    "productive": 138.0,
    "step_time": 0.5,
    "failures": 3.0,
    "interrupted": 1.0,
    "save_time": 1.5,
    "recovery": 8.0,
    "landing": 4.0,
}


def row(number, value):
    return Row(number, 0, 0, 1.0, value, value, value, 1, "ok", 0, "stand-in", "")


def rows(**changed):
    values = {**MEASURED, **changed}
    return {name: row(number, value) for number, (name, value) in enumerate(values.items())}


def test_what_an_interval_lets_expect_is_of_what_was_measured():
    found = assess(rows(), every=20, mtbf=60.0)
    assert (found.goodput, found.total, found.productive) == (0.69, 200.0, 138.0)
    assert (found.losses, tuple(found.losses)) == (LOST, LOSSES)
    assert (found.failures, found.interrupted) == (3, 1)
    assert (found.step, found.every, found.interval) == (0.5, 20, 10.0)
    assert (found.save, found.landing, found.recovery) == (1.5, 4.0, 8.0)
    assert found.detection == pytest.approx(2.0)  # of each failure
    assert found.young == pytest.approx(young(1.5, 60.0))
    assert found.daly == pytest.approx(daly(1.5, 60.0))
    # What is written beside the training is lost with a failure, as is the time until it is known.
    of = {"save": 1.5, "recovery": 2.0 + 4.0, "mtbf": 60.0, "interrupted": 8.0}
    assert found.expected == pytest.approx(expected_goodput(10.0, **of))
    assert found.best == pytest.approx(expected_goodput(found.daly, **of))
    assert found.expected < found.best < 1


def test_a_checkpoint_for_which_training_stands_still_lands_with_it():
    found = assess(rows(landing=None, interrupted=None), every=20, mtbf=60.0)
    assert (found.landing, found.interrupted) == (None, 0)
    of = {"save": 1.5, "recovery": 2.0, "mtbf": 60.0, "interrupted": 8.0}
    assert found.expected == pytest.approx(expected_goodput(10.0, **of))


@pytest.mark.parametrize("unknown", [{"save_time": None}, {"recovery": None}, {"failures": 0.0}])
def test_nothing_is_expected_where_a_cost_is_not_known(unknown):
    found = assess(rows(**unknown), every=20, mtbf=60.0)
    assert found.goodput == 0.69
    assert (found.young, found.daly, found.expected, found.best) == (None, None, None, None)


@pytest.mark.parametrize("save", [1e-6, 30.0, 119.999, 120.0, 500.0])
def test_however_long_a_save_is_there_is_a_best_interval(save):
    found = assess(rows(save_time=save), every=20, mtbf=60.0)
    assert found.daly == pytest.approx(daly(save, 60.0))
    assert found.daly > 0
    assert 0 < found.best < 1


@pytest.mark.parametrize("missing", ["goodput", "total", "productive", "step_time", "failures"])
def test_an_attempt_that_did_not_come_to_its_end_has_no_account(missing):
    assert assess(rows(**{missing: None}), every=20, mtbf=60.0) is None


def test_rows_are_of_the_stage_and_of_the_training():
    cases = [
        case(0, "resumable", metric="goodput", stage="attempt-1"),
        case(1, "resumable", metric="total", stage="attempt-1"),
        case(2, "resumable", metric="total", stage="attempt-2"),
        case(3, "train", metric="total", stage="attempt-1"),
    ]
    told = [row(number, float(number)) for number in range(5)]
    found = rows_of(header(*cases), told, "attempt-1")
    assert {name: row.value for name, row in found.items()} == {"goodput": 0.0, "total": 1.0}
