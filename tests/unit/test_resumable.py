"""Training that goes on from its last checkpoint, in this process: what comes out the same."""

import json
import re
import resource
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context, outcomes

from bench.errors import InfraError, UsageError
from bench.workloads.attempts import read_log
from bench.workloads.base import make, title_of
from bench.workloads.runner import run
from bench.workloads.saved import StateError, state_bytes

torch = pytest.importorskip("torch")

from torch.multiprocessing import ProcessRaisedException  # noqa: E402

AXES = {"model": "tiny", "batch": 1, "steps": 12, "every": 4}


class Died(Exception):
    """Stands for the end of the process."""


def bench_of(path, failed="", **more):
    return make("resumable", {**AXES, "path": str(path), "key": "k", "failed": failed, **more})


def dies(bench, after):
    """Have it end when so many steps are done."""
    train = bench._train

    def dying():
        if bench.done == after:
            raise Died
        return train()

    bench._train = dying


def dies_at_7(bench, rank):
    dies(bench, 7)


def interrupted(path, after, **more):
    """An attempt that ends when so many steps are done."""
    bench = bench_of(path, **more)
    dies(bench, after)
    with pytest.raises(Died):
        run(bench, context(0, 1), RULE)
    return path / "hengsuan-goodput-k"


def finished(path, spoil=None, **more):
    """The attempt after it; ``spoil(training)`` comes behind its restore."""
    bench = bench_of(path, "0.001-0.002", **more)
    setup = bench.setup

    def spoiled(given):
        setup(given)
        if spoil is not None:
            spoil(bench.training)

    bench.setup = spoiled
    return run(bench, context(0, 1), RULE)


def test_a_title_says_how_many_failures_there_were_not_when(tmp_path):
    """A hundred of them would fill lines of every table and page."""
    plain = title_of(bench_of(tmp_path))
    assert "failure" not in plain
    many = ",".join(f"{n}.250-{n}.500+" for n in range(1, 101))
    assert title_of(bench_of(tmp_path, many)) == f"{plain} after 100 failure(s)"


def test_steps_done_again_give_the_same_loss_to_the_last_bit(tmp_path):
    folder = interrupted(tmp_path, 7)
    assert json.loads((folder / "latest.json").read_text())["step"] == 4
    assert [one.name for one in folder.glob("step-*")] == ["step-00000004-00000"]
    (first,) = folder.glob("attempt-*")
    assert [line.step for line in read_log(first) if line.what == "step"] == list(range(1, 8))
    outcome = finished(tmp_path)
    assert outcome.status == "ok", outcome.reason
    assert outcome.reason == "3 step(s) done again, losses differ by at most 0"
    found = {value.metric: value.value for value in outcome.values}
    assert found["failures"] == 1
    assert found["lost_work"] > 0
    assert list(tmp_path.iterdir()) == []


def no_moments(training):
    """The optimizer as it would be without its part of the checkpoint."""
    for state in training.optimizer.state.values():
        for value in state.values():
            value.zero_()


def no_weights(training):
    with torch.no_grad():
        for weight in training.net.parameters():
            weight.mul_(1.5)


@pytest.mark.parametrize("spoil", [no_moments, no_weights])
def test_a_state_that_is_not_restored_whole_is_found(tmp_path, spoil):
    interrupted(tmp_path, 7)
    outcome = finished(tmp_path, spoil)
    assert outcome.status == "invalid"
    assert "losses of steps that were done again differ by" in outcome.reason


def test_a_checkpoint_of_another_step_is_found(tmp_path):
    folder = interrupted(tmp_path, 7)
    latest = json.loads((folder / "latest.json").read_text())
    (folder / "latest.json").write_text(json.dumps({**latest, "step": 2}))
    outcome = finished(tmp_path)
    assert outcome.status == "invalid"
    assert "what was restored is not what was saved" in outcome.reason


def test_a_checkpoint_that_is_damaged_is_named(tmp_path):
    folder = interrupted(tmp_path, 7)
    (held,) = folder.glob("step-*")
    (held / ".metadata").unlink()
    with pytest.raises(StateError) as said:
        finished(tmp_path)
    assert str(said.value).startswith(f"the checkpoint {held} cannot be read back: ")
    assert "its .metadata is missing" in str(said.value)
    latest = folder / "latest.json"
    for text, why in (
        ('{"step": 4}', "`folder`"),
        ('{"step": 4, "folder": "../step-00000004-00000"}', "no checkpoint beside it"),
        ('{"step": 4, "folder": "step-00000004-00000/.."}', "no checkpoint beside it"),
        ('{"step": 4, "folder": ""}', "no checkpoint beside it"),
    ):
        latest.write_text(text)
        with pytest.raises(StateError, match=rf"latest\.json is damaged: .*{why}"):
            finished(tmp_path)
    latest.unlink()
    latest.mkdir()
    with pytest.raises(StateError, match=r"latest\.json cannot be read: Is a directory"):
        finished(tmp_path)


def test_an_attempt_that_trained_and_left_no_log_is_told(tmp_path):
    """Who clears the folder in the midst would have the training look better than it was."""
    folder = interrupted(tmp_path, 7)
    (log,) = folder.glob("attempt-*")
    shutil.rmtree(folder)
    with pytest.raises(StateError, match=f"{log} is gone, the log of an attempt that had trained"):
        run(bench_of(tmp_path, "0.001-0.002+"), context(0, 1), RULE)
    # One that failed while it started has none.
    assert run(bench_of(tmp_path, "0.001-0.002"), context(0, 1), RULE).status == "ok"


@pytest.mark.parametrize(
    ("gone", "why"),
    [("attempt-00000", "the log of an attempt that had trained"), ("attempt-00001", "'ready'")],
)
def test_a_log_that_is_gone_at_the_end_is_told(tmp_path, gone, why):
    folder = interrupted(tmp_path, 7)
    bench = bench_of(tmp_path, "0.001-0.002+")
    land = None

    def setup(given):
        nonlocal land
        whole(given)
        land = bench.kept.land
        bench.kept.land = removed

    def removed():
        if bench.done == bench.steps:
            (folder / f"{gone}.jsonl").unlink(missing_ok=True)
        land()

    whole, bench.setup = bench.setup, setup
    with pytest.raises(StateError, match=why):
        run(bench, context(0, 1), RULE)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_storage_that_takes_no_more_is_named_with_the_step(tmp_path, mode):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(StateError) as said:
            run(bench_of(tmp_path, mode=mode), context(0, 1), RULE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    # Python 3.14 writes the rest itself, and so hears why it does not go.
    why = "(the storage took only a part|File too large)"
    place = re.escape(str(tmp_path))
    told = f"the checkpoint of step 4 cannot be written to {place}: rank 0: {why}"
    assert re.match(told, str(said.value))


def test_what_a_training_has_saved_is_no_lack_of_room(tmp_path, monkeypatch):
    """Storage has room for two checkpoints and a half: the last one, and a part of one that was
    never whole, are there already."""
    size = state_bytes("tiny")
    folder = interrupted(tmp_path, 7)
    (held,) = folder.glob("step-*")
    partial = folder / "step-00000008-00000"
    shutil.copytree(held, partial)
    whole = shutil.disk_usage

    def small(path):
        there = sum(file.stat().st_size for file in folder.glob("step-*/*"))
        return whole(path)._replace(free=int(2.5 * size) - there)

    monkeypatch.setattr(shutil, "disk_usage", small)
    bench = bench_of(tmp_path, "0.001-0.002")
    bench.setup(context(0, 1))
    assert bench.done == 4
    assert not partial.exists()
    assert held.exists()
    bench.teardown()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: whole(path)._replace(free=size // 2))
    outcome = finished(tmp_path)
    assert outcome.status == "skipped"
    assert re.fullmatch(
        f"path {tmp_path} has .* for checkpoints, and two of tiny need .*", outcome.reason
    )


def test_nothing_is_removed_where_it_is_not_known_what_is_whole(tmp_path):
    folder = interrupted(tmp_path, 7)
    (held,) = folder.glob("step-*")
    (folder / "latest.json").write_text("{")
    with pytest.raises(StateError, match=r"latest\.json is damaged"):
        finished(tmp_path)
    assert held.exists()


def test_an_attempt_whose_log_cannot_be_written_is_told(tmp_path, monkeypatch):
    folder = interrupted(tmp_path, 7)
    (folder / "attempt-00001.jsonl").mkdir()
    with pytest.raises(InfraError, match="the attempt's log cannot be written: Is a directory"):
        finished(tmp_path)
    shutil.rmtree(folder)
    folder.write_text("")
    outcome = finished(tmp_path)
    assert (outcome.status, outcome.reason) == (
        "skipped",
        f"path {folder}: is no directory on this node",
    )


def test_a_loss_that_does_not_fall_is_invalid(tmp_path):
    bench = make("resumable", {**AXES, "path": str(tmp_path)})
    setup = bench.setup

    def frozen(given):
        setup(given)
        for group in bench.training.optimizer.param_groups:
            group["lr"] = 0.0

    bench.setup = frozen
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert "loss went from" in outcome.reason
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_place_is_skipped_with_the_reason(tmp_path):
    for key in ("", "k"):
        axes = {**AXES, "path": str(tmp_path / "absent"), "key": key}
        outcome = run(make("resumable", axes), context(0, 1), RULE)
        assert outcome.status == "skipped"
        assert "absent: there is no such directory" in outcome.reason


@pytest.mark.parametrize(
    ("axes", "why"),
    [
        ({"steps": 1}, "steps must be at least 2"),
        ({"every": 0}, "every must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"batch": 10**25}, "batch must be at most 2147483647"),
        ({"path": "s3://bucket"}, "path must be a directory"),
        ({"key": "../up"}, "letters and digits"),
        ({"failed": "12"}, "failed must be times"),
        ({"failed": "1.5-2"}, "failed needs the key"),
        ({"ranks": -1}, "ranks must not be negative"),
        ({"model": "moe-1t"}, "mixture of experts"),
    ],
)
def test_bad_axes_are_refused_before_anything_starts(axes, why):
    with pytest.raises(UsageError, match=why):
        make("resumable", axes)


def test_asynchronous_checkpoints_are_gone_on_from_as_well(tmp_path):
    folder = interrupted(tmp_path, 11, mode="async")
    step = json.loads((folder / "latest.json").read_text())["step"]
    assert step in (4, 8)  # the second may not have been whole
    outcome = finished(tmp_path, mode="async")
    assert outcome.status == "ok", outcome.reason
    assert outcome.reason == f"{11 - step} step(s) done again, losses differ by at most 0"
    found = {value.metric: value.value for value in outcome.values}
    assert found["landing"] > 0
    assert found["save_time"] > 0
    assert list(tmp_path.iterdir()) == []


def test_fewer_ranks_share_the_sequences_of_those_that_were(tmp_path):
    """Two ranks train, one of them alone goes on: the same steps give the same losses."""
    axes = {**AXES, "path": str(tmp_path), "key": "k", "ranks": 2}
    with pytest.raises(ProcessRaisedException, match="Died"):
        outcomes("resumable", axes, spoil=dies_at_7)
    bench = make("resumable", {**axes, "failed": "0.001-0.002"})
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "ok", outcome.reason
    assert outcome.reason.startswith("3 step(s) done again")
    assert list(tmp_path.iterdir()) == []


def test_more_ranks_than_sequences_is_said(tmp_path):
    axes = {**AXES, "path": str(tmp_path), "ranks": 1}
    for outcome in outcomes("resumable", axes):
        assert outcome.status == "skipped"
        assert "2 ranks cannot share the 1 sequence(s) of a step" in outcome.reason
