"""The input path of a node's ranks, from real files; what is wrong in them is found."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context, outcomes

from bench.errors import InfraError, UsageError
from bench.workloads.base import make
from bench.workloads.data import WINDOW
from bench.workloads.runner import run
from bench.workloads.tokens import HEADER, write_set

torch = pytest.importorskip("torch")

SMALL = {"seq": 64, "batch": 2, "ahead": 2, "size": 1 << 20}
STEP = WINDOW * 2 * 2 * 64
"""Tokens of a step of `SMALL`."""


def values(outcome):
    return {value.metric: value.value for value in outcome.values}


def alone(**axes):
    return run(make("data", {**SMALL, **axes}), context(0, 1), RULE)


@pytest.mark.parametrize("order", ["shuffled", "sequential"])
@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_tokens_and_bytes_count_by_the_steps(tmp_path, order, cache):
    outcome = alone(path=str(tmp_path), order=order, cache=cache)
    assert outcome.status == "ok", outcome.reason
    found = values(outcome)
    wanted = np.median(STEP / np.array(outcome.seconds))
    assert found["tokens_per_second"] == pytest.approx(wanted, rel=1e-6)
    assert found["bandwidth"] == pytest.approx(2 * wanted, rel=1e-6)
    assert outcome.reason.startswith(f"{tmp_path}, ")
    assert "page cache" in outcome.reason
    assert len(outcome.seconds) >= 6
    assert list(tmp_path.iterdir()) == []


def test_ranks_of_a_node_add_up(tmp_path):
    axes = {**SMALL, "path": str(tmp_path), "vocab": 100_000}
    first, second = outcomes("data", axes)
    assert first.status == second.status == "ok", first.reason
    count = min(len(first.seconds), len(second.seconds))
    rates = STEP / np.array(first.seconds[:count]) + STEP / np.array(second.seconds[:count])
    assert values(first)["tokens_per_second"] == pytest.approx(np.median(rates), rel=1e-3)
    assert values(first)["bandwidth"] == pytest.approx(4 * np.median(rates), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: os.truncate(path, HEADER), "has 4096 bytes, and its header says"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: write_set(path, 100_000, 70_000, seed=9), "it is another set now"),
        (lambda path: write_set(path, 100_000, 70_000, seed=8), ""),
    ],
    ids=["cut", "removed", "replaced", "the same"],
)
def test_a_set_that_changes_while_it_is_read_is_named(tmp_path, change, why):
    path = tmp_path / "set"
    write_set(path, 100_000, 70_000, seed=8)
    bench = make("data", {**SMALL, "path": str(path)})
    bench.setup(context(0, 1))
    bench.step()
    change(path)
    if why:
        with pytest.raises(InfraError, match=f"changed while it was read: {why}") as caught:
            bench.refresh()
        assert caught.value.where == str(path)
    else:
        bench.refresh()
        assert bench.check()
    bench.teardown()


def test_a_set_that_is_cut_in_the_midst_of_a_step_is_named(tmp_path):
    """In a process of its own: through a mapping, a page that is gone would kill it."""
    path = tmp_path / "set"
    write_set(path, 100_000, 512)
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from gloo_ranks import context\n"
        "from bench.errors import InfraError\n"
        "from bench.workloads.base import make\n"
        f"bench = make('data', {SMALL!r} | {{'path': sys.argv[1]}})\n"
        "bench.setup(context(0, 1))\n"
        "os.truncate(sys.argv[1], 8192)\n"
        "try:\n"
        "    bench.step()\n"
        "except InfraError as error:\n"
        "    print(error)\n"
        "bench.teardown()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.stdout == f"{path}: became shorter while it was read\n", done


def test_a_set_that_is_cut_before_its_cache_is_looked_at_is_named(tmp_path):
    path = tmp_path / "set"
    write_set(path, 100_000, 512)
    bench = make("data", {**SMALL, "path": str(path)})
    bench.setup(context(0, 1))
    bench._same = lambda: os.truncate(path, HEADER)
    bench.refresh()
    with pytest.raises(InfraError, match="became shorter while it was read"):
        bench.step()
    bench._same = path.unlink
    with pytest.raises(InfraError, match="cannot be read: No such file"):
        bench.refresh()
    bench.teardown()


def test_a_set_that_is_there_is_read_and_stays(tmp_path):
    path = tmp_path / "set"
    write_set(path, 100_000, 70_000, seed=8)
    outcome = alone(path=str(path))
    assert outcome.status == "ok", outcome.reason
    assert outcome.reason.startswith(f"{path}, ")
    assert path.exists()


def test_a_set_that_is_not_what_was_written_is_invalid(tmp_path):
    path = tmp_path / "set"
    write_set(path, 100_000, 512)
    data = bytearray(path.read_bytes())
    for place in range(HEADER, len(data), 100):
        data[place] ^= 1
    path.write_bytes(data)
    outcome = alone(path=str(path))
    assert outcome.status == "invalid"
    assert "tokens are not what was written, first token" in outcome.reason


def test_a_pipeline_that_mixes_up_its_batches_is_invalid(tmp_path):
    bench = make("data", {**SMALL, "path": str(tmp_path)})
    setup = bench.setup

    def broken(given):
        setup(given)
        whole = bench._to_device
        bench._to_device = lambda batch: whole(batch[::-1].copy())

    bench.setup = broken
    outcome = run(bench, context(0, 1), RULE)
    assert outcome.status == "invalid"
    assert "are not what was written" in outcome.reason


def test_files_that_are_no_sets_are_skipped_with_the_reason(tmp_path):
    path = tmp_path / "set"
    path.write_text("some text")
    assert "does not begin with HSTOKENS" in alone(path=str(path)).reason
    write_set(path, 50, 512)
    few = "has 0 sequence(s) of 64 tokens, and 1 reader(s) need one each: "
    assert alone(path=str(path)).reason.startswith(f"{path}: {few}")
    # One that is written for this is called by the directory: nobody gave its own name.
    assert alone(path=str(tmp_path), size=100).reason.startswith(f"{tmp_path}: {few}")
    path.write_bytes(path.read_bytes()[:-1])
    outcome = alone(path=str(path))
    assert outcome.status == "skipped"
    assert "cut short" in outcome.reason
    assert "no such directory" in alone(path=str(tmp_path / "absent")).reason


def test_a_set_that_cannot_be_written_is_said_with_its_place(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        outcome = alone(path=str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.status == "skipped"
    assert outcome.reason == f"path {tmp_path}: cannot be written: File too large"
    assert list(tmp_path.iterdir()) == []


def test_a_size_of_no_token_is_told_to_all_ranks(tmp_path):
    for outcome in outcomes("data", {**SMALL, "path": str(tmp_path), "size": 1}):
        assert outcome.status == "skipped"
    outcome = alone(path=str(tmp_path), size=1)
    assert outcome.reason == "a set has at least one token, of 2 bytes: ask for a larger size"
    assert list(tmp_path.iterdir()) == []


def test_no_sequence_is_read_twice_in_a_step(tmp_path):
    path, step = tmp_path / "set", WINDOW * 2 * 2
    write_set(path, (step - 1) * 64 + 1, 512)
    outcome = alone(path=str(path))
    assert outcome.status == "skipped"
    said = f"a step reads {step} sequences of 64 tokens, and the set has {step - 1}: "
    assert said in outcome.reason
    write_set(path, step * 64 + 1, 512)
    assert alone(path=str(path)).status == "ok"
    bench = make("data", {**SMALL, "path": str(path)})
    bench.setup(context(0, 1))
    assert sorted(start for batch in bench.starts for start in batch) == list(
        range(0, step * 64, 64)
    )
    bench.teardown()
    # Nor is it reckoned what no set has.
    assert "take a larger one" in alone(path=str(tmp_path), ahead=10**15).reason
    assert [one.name for one in tmp_path.iterdir()] == ["set"]


def test_bad_axes_are_refused_before_anything_starts():
    for name in ("seq", "batch", "workers", "ahead"):
        with pytest.raises(UsageError, match=f"{name} must be at least 1"):
            make("data", {name: 0})
    with pytest.raises(UsageError, match="path must be a file"):
        make("data", {"path": "s3://bucket"})
    with pytest.raises(UsageError, match="vocab must be between"):
        make("data", {"vocab": 1})
