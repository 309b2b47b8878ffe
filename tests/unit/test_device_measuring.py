"""The device check times a task at several places in memory: contenders that torch computes."""

import copy
import sys
import textwrap
import time
import weakref
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device"))
pytest.importorskip("triton", reason="operations load their kernels with it")

import measuring
import torch
from cases import Task
from machine import Machine
from records import Cell, Record
from rivals import Contender, Prepared
from workers import OutOfTimeError, Worker

from bench.backends.registry import get

TASK = Task(
    kind="time", op="softmax", variant="forward", dtype="fp32", shape=(8, 64), figure="softmax"
)


def right(place, y):
    """What a contender gives that is right at every place."""
    return y


@pytest.fixture
def examine(monkeypatch):
    """Do the task with contenders that may spoil what they give: the record, what it said on the
    way, and how many of the operands were there yet at each place."""

    def done(ours=right, rival=right):
        told, given, counts = [], [], []

        def make(name, spoiled):
            places = []

            def bound(case, inputs, outputs):
                places.append(name)
                if name == "triton":
                    given.append(weakref.ref(inputs["x"]))
                    counts.append(sum(one() is not None for one in given))
                here = len(places)
                return Prepared(lambda: {"y": spoiled(here, inputs["x"].softmax(-1))})

            return Contender(name, "ours" if name == "triton" else "torch", bound)

        both = [make("triton", ours), make("torch", rival)]
        monkeypatch.setattr(measuring, "contenders", lambda *arguments: both)
        monkeypatch.setattr(measuring, "near", lambda record: True)
        machine = Machine(get("cpu"), torch.device("cpu"), 0, seconds=0.0)
        machine._sweep = torch.ones(8)  # there is no cache that matters
        machine.so_far = lambda record: told.append(copy.deepcopy(record))
        return measuring.examine(TASK, machine), told, counts

    return done


def test_operands_lie_elsewhere_each_time(examine):
    record, told, counts = examine()
    assert (record.status, record.places) == ("right", measuring.PLACES), record.reason
    # Memory that was given back would be given to the next operands.
    assert counts == list(range(1, measuring.PLACES + 1))
    # What is known already is told before each of them.
    assert [one.places for one in told] == list(range(1, measuring.PLACES))
    samples = [one.cells["triton"].samples for one in (*told, record)]
    assert samples == sorted(set(samples))
    assert samples[0] > 0


@pytest.mark.parametrize("status", ["wrong", "failed"])
def test_a_rival_that_is_wrong_at_another_place_does_not_count(examine, status):
    def rival(place, y):
        if place > 1 and status == "failed":
            raise RuntimeError("misaligned address")
        return y if place == 1 else y + 1

    record, _, _ = examine(rival=rival)
    assert (record.status, record.places) == ("right", measuring.PLACES), record.reason
    cell = record.cells["torch"]
    assert (cell.status, cell.seconds, cell.samples) == (status, None, 0)
    assert "at another place of the operands in memory" in cell.reason
    assert record.cells["triton"].seconds


@pytest.mark.parametrize("status", ["wrong", "failed"])
def test_a_kernel_that_is_wrong_at_another_place_is_wrong(examine, status):
    def ours(place, y):
        if place > 2 and status == "failed":
            raise RuntimeError("misaligned address")
        return y if place <= 2 else y + 1

    record, _, _ = examine(ours)
    assert (record.status, record.places) == (status, 2)
    assert "at another place of the operands in memory" in record.reason
    assert record.cells["triton"].seconds is None


def test_where_memory_is_short_there_are_fewer_places(examine):
    def rival(place, y):
        if place == 3:
            raise RuntimeError("Acme One is out of memory: tried to allocate 1 GiB")
        return y

    record, _, _ = examine(rival=rival)
    assert (record.status, record.places) == ("right", 2)
    assert {one.status for one in record.cells.values()} == {"ok"}
    assert record.cells["torch"].samples == record.cells["triton"].samples


@pytest.mark.parametrize("told", [True, False])
def test_what_a_record_says_already_stays_where_time_is_over(tmp_path, told):
    known = Record(**msgspec.structs.asdict(TASK), cells={"triton": Cell(family="ours")})
    says = [{"hello": {}}, *([{"so far": msgspec.to_builtins(known)}] if told else [])]
    script = tmp_path / "worker.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import json, sys, time
            for one in {says!r}:
                print(json.dumps(one), flush=True)
            time.sleep(600)
            """
        )
    )
    worker = Worker("cpu", 0, {}, 0.0, "")
    worker._command = [sys.executable, str(script)]
    kept = []
    try:
        worker.hello()
        process = worker._process
        if told:
            assert worker.do(TASK, time.monotonic() + 1, kept.append) == known
            assert kept == [known]
        else:
            with pytest.raises(OutOfTimeError):
                worker.do(TASK, time.monotonic() + 1, kept.append)
        assert process.poll() is not None  # whatever it was at
    finally:
        worker.close()
