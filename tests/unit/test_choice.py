"""A suite with other values of an axis than its file has."""

import json
import subprocess
import sys

import pytest

from bench.cluster.choice import only, with_axis
from bench.configs import load_suite, suite_from_text
from bench.errors import UsageError

pytestmark = pytest.mark.warm


def axes(suite):
    return [(entry.benchmark, entry.axes) for stage in suite.stages for entry in stage.entries]


def test_an_axis_is_set_where_a_benchmark_has_it_and_nothing_else_changes():
    before = load_suite("conformance")
    after = with_axis(before, "path", "/mnt/data: odd")
    for (name, old), (same, new) in zip(axes(before), axes(after), strict=True):
        assert name == same
        more = {"path": "/mnt/data: odd"} if name in ("checkpoint", "data", "resumable") else {}
        assert new == {**old, **more}
    assert after.rule == before.rule
    for one, other in zip(before.stages, after.stages, strict=True):
        assert (one.name, one.needs, one.repeats) == (other.name, other.needs, other.repeats)
        assert [e.place for e in one.entries] == [e.place for e in other.entries]
        assert [e.rule for e in one.entries] == [e.rule for e in other.entries]
    # What a run keeps of it, to be continued by.
    assert axes(suite_from_text(after.text, "a run")) == axes(after)


def test_a_part_of_a_suite_with_another_axis():
    made = only(with_axis(load_suite("storage"), "size", "1MiB"), "storage rand_*")
    assert {(name, one["op"], str(one["size"])) for name, one in axes(made)} == {
        ("storage", "rand_read", "1MiB"),
        ("storage", "rand_write", "1MiB"),
    }


def test_an_axis_that_nobody_has_is_refused():
    with pytest.raises(UsageError, match="no benchmark of suite storage has an axis 'pth'"):
        with_axis(load_suite("storage"), "pth", "/mnt")


def planned(*words):
    command = [sys.executable, "-m", "bench", "run", "storage", "--dry-run", "--backend", "cpu"]
    return subprocess.run([*command, *words], capture_output=True, text=True)


def test_the_command_line_sets_axes():
    done = planned("--set", "path=/mnt/data", "--set", "size=64MiB", "--json")
    assert done.returncode == 0, done.stderr
    told = json.dumps(json.loads(done.stdout)["stages"])
    assert "/mnt/data" in told
    assert "64MiB" in told
    for bad in ("path", "=x", "path=[1, 2]", "path="):
        done = planned("--set", bad)
        assert done.returncode == 2
        assert "write AXIS=VALUE" in done.stderr
    done = planned("--set", "size=huge")
    assert done.returncode == 2
    assert "is not a size" in done.stderr
