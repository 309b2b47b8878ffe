"""Checkpoints of real ranks: restored bit by bit, to directories and addresses; damage is found."""

import errno
import functools
import os
import resource
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, several

from bench.errors import UsageError
from bench.timing import Rule
from bench.workloads.base import make, registry
from bench.workloads.runner import run
from bench.workloads.saved import StateError, state_bytes

torch = pytest.importorskip("torch")

RULE = Rule(budget=0.01, warmup=0.0, min_samples=3)
ALL = [(dp, mode) for dp in ("ddp", "fsdp") for mode in ("sync", "async")]


def values(outcome):
    return {value.metric: value.value for value in outcome.values}


def test_two_ranks_restore_every_bit_in_every_layout_and_mode(tmp_path):
    jobs = [
        (
            "checkpoint",
            {"model": "tiny", "dp": dp, "mode": mode, "path": str(tmp_path)},
            None,
        )
        for dp, mode in ALL
    ]
    # Each rank has a memory of its own.
    jobs.append(("checkpoint", {"path": "memory://measured"}, None))
    *measured, elsewhere = several(jobs, rule=RULE)
    assert {one.status for one in elsewhere} == {"skipped"}
    assert "must be shared storage" in elsewhere[1].reason
    for (dp, mode), ranks in zip(ALL, measured, strict=True):
        first = ranks[0]
        assert {one.status for one in ranks} == {"ok"}, (dp, mode, first.reason)
        found = values(first)
        size = state_bytes("tiny")
        assert found["save_bandwidth"] == pytest.approx(size / found["save_time"], rel=1e-6)
        assert found["restore_bandwidth"] == pytest.approx(size / found["restore_time"], rel=1e-6)
        assert ("blocked" in found) == (mode == "async")
        assert mode == "sync" or found["blocked"] < found["save_time"]
        assert f"in {tmp_path}, restored" in first.reason
    assert list(tmp_path.iterdir()) == []


def alone(**axes):
    given = context(0, 1)
    return run(make("checkpoint", {"model": "tiny", **axes}), given, RULE)


@pytest.mark.parametrize("scheme", ["memory://measured", "file://{}"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_addresses_are_measured_as_directories_are(tmp_path, scheme, mode):
    outcome = alone(path=scheme.format(tmp_path), mode=mode)
    assert outcome.status == "ok", outcome.reason
    assert values(outcome)["save_bandwidth"] > 0
    assert list(tmp_path.iterdir()) == []


def damage(bench, rank, *, how, which):
    """Rank 0 damages a file of every checkpoint between its save and its restore."""
    between = bench._between

    def damaged(place):
        between(place)
        if rank == 0:
            how(sorted(Path(place).glob(which))[0])

    bench._between = damaged


def flip(path):
    """One bit in the middle of the file, where the tensors are."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    os.truncate(path, path.stat().st_size * 2 // 3)


DAMAGES = [
    (flip, "*.distcp", "differ from what was saved: "),
    (cut, "*.distcp", "cannot be read back: "),
    (os.unlink, "*.distcp", "cannot be read back: "),
    (cut, ".metadata", "its .metadata is missing or cut short"),
]


def test_a_damaged_checkpoint_fails_the_check_on_every_rank(tmp_path):
    axes = {"model": "tiny", "dp": "fsdp", "path": str(tmp_path)}
    jobs = [
        ("checkpoint", axes, functools.partial(damage, how=how, which=which))
        for how, which, _ in DAMAGES
    ]
    for (_, _, reason), ranks in zip(DAMAGES, several(jobs, rule=RULE), strict=True):
        for one in ranks:
            assert one.status == "invalid"
            assert "sanity check before measuring failed" in one.reason
            assert reason in one.reason
            assert len(one.reason) < 600
            assert "Traceback" not in one.reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_storage_that_takes_no_more_is_named(tmp_path, mode):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        # Python 3.14 writes the rest itself, and so hears why it does not go.
        why = "(the storage took only a part|File too large)"
        said = f"the checkpoint cannot be written to {tmp_path}: rank 0: {why}"
        with pytest.raises(StateError, match=said):
            alone(path=str(tmp_path), mode=mode)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_full_storage_is_said_in_its_words(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "of-ours"))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError) as told:
        alone(path=str(tmp_path))
    wanted = f"the checkpoint cannot be written to {tmp_path}: rank 0: No space left on device"
    assert told.value.message == wanted


def test_a_checkpoint_that_is_removed_before_it_is_read_back_is_told(tmp_path):
    bench = make("checkpoint", {"model": "tiny", "path": str(tmp_path)})
    setup = bench.setup

    def removing(given):
        setup(given)
        save = bench.training.save

        def saved(place, **how):
            save(place, **how)
            shutil.rmtree(place)

        bench.training.save = saved

    bench.setup = removing
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert "the checkpoint cannot be read back: rank 0: " in outcome.reason


def test_a_restore_that_does_nothing_is_found(tmp_path):
    bench = make("checkpoint", {"model": "tiny", "path": str(tmp_path)})
    setup = bench.setup

    def broken(given):
        setup(given)
        bench.training.restore = lambda place: None

    bench.setup = broken
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert "tensors differ from what was saved" in outcome.reason


def test_what_has_no_place_is_skipped_with_the_reason(tmp_path, monkeypatch):
    assert "no such directory" in alone(path=str(tmp_path / "absent")).reason
    from bench.workloads import scratch

    free = scratch.shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: free)
    outcome = alone(path=str(tmp_path))
    assert outcome.status == "skipped"
    assert "has 1.049 MB free, and " in outcome.reason
    monkeypatch.undo()
    given = msgspec.structs.replace(context(0, 1), memory=1 << 20)
    small = run(make("checkpoint", {"model": "tiny"}), given, RULE)
    assert small.status == "skipped"
    assert "whose device has 1MiB" in small.reason
    assert list(tmp_path.iterdir()) == []


def test_bad_axes_are_refused_before_anything_starts():
    with pytest.raises(UsageError, match="threads must be 1 to 1024, not 99999999"):
        make("checkpoint", {"threads": 99_999_999})
    with pytest.raises(UsageError, match="threads must be 1 to 1024, not 0"):
        make("checkpoint", {"threads": 0})
    with pytest.raises(UsageError, match="mixture of experts"):
        make("checkpoint", {"model": "moe-1t"})
    names = [one.name for one in make("checkpoint", {}).reported()]
    assert names == [one.name for one in registry()["checkpoint"].measures][:-1]
