"""Two runs side by side: environment, hardware, and values whose intervals lie apart."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import node
from made_runs import case
from stored_runs import Runs, hengsuan

from bench.analysis.run_difference import run_difference
from bench.results import RunReader


@pytest.fixture
def made(tmp_path):
    return Runs(tmp_path / "results")


def between(before, after):
    return run_difference(RunReader(before), RunReader(after))


def states(found):
    return {one.metric: one.state for one in found.metrics}


def test_a_run_is_no_different_from_itself(made):
    path = made.run()
    found = between(path, path)
    assert (found.environment, found.hardware, found.unlike) == ([], [], "")
    assert states(found) == {"gemm flops": "alike", "launch time": "alike"}
    assert [one.change for one in found.metrics] == [0.0, 0.0]


def test_directions_are_those_of_the_metric(made):
    usual, slow = made.run(), made.run(by=1.1)
    found = between(usual, slow)
    assert states(found) == {"gemm flops": "worse", "launch time": "worse"}
    changes = {one.metric: one.change for one in found.metrics}
    assert changes["gemm flops"] == pytest.approx(1 / 1.1 - 1)
    assert changes["launch time"] == pytest.approx(0.1)
    assert set(states(between(slow, usual)).values()) == {"better"}


def test_what_overlaps_is_alike(made):
    found = between(made.run(), made.run(by=1.015))
    assert set(states(found).values()) == {"alike"}


def test_other_code_is_not_compared(made):
    cases = [case(0, title="gemm", source="1"), case(1, "launch", metric="time", unit="s")]
    found = between(made.run(), made.run(by=2.0, cases=cases))
    # The second's direction is another one too.
    assert states(found) == {"gemm flops": "changed", "launch time": "changed"}
    assert [one.change for one in found.metrics] == [None, None]


def test_what_only_one_has_is_named(made):
    one = [case(0, title="gemm")]
    two = [case(0, title="gemm"), case(1, "stream", metric="bandwidth", unit="B/s")]
    before, after = made.run(cases=one), made.run(cases=two)
    assert states(between(before, after))["stream bandwidth"] == "only after"
    assert states(between(after, before))["stream bandwidth"] == "only before"


def test_environment_and_hardware_are_told(made):
    before = made.run(environment={"versions": {"torch": "2.12"}})
    other = node("gpu-0")
    swapped = msgspec.structs.replace(other.devices[1], serial="gpu-0-9")
    other = msgspec.structs.replace(other, devices=(other.devices[0], swapped))
    after = made.run(
        environment={"versions": {"torch": "2.13"}}, nodes=[other, node("gpu-2")], suite="slow"
    )
    found = between(before, after)
    said = "; ".join(found.environment)
    assert "torch 2.12 → 2.13" in said
    assert "suite quick → slow" in said
    assert "nodes that are gone: gpu-1" in said
    assert "nodes that are new: gpu-2" in said
    assert len(found.hardware) == 2
    assert all(one.startswith("gpu-0: the device acme-1 gpu-0-") for one in found.hardware)


def test_provenances_are_not_compared(made):
    made.run()
    made.run(provenance="simulated", by=2.0)
    done = hengsuan("results", "diff", "run-000", "run-001", "--out", made.folder)
    assert done.exit_code == 3
    assert "run run-000 is measured and run run-001 is simulated" in done.stdout
    assert "worse" not in done.stdout


def test_the_verb_shows_what_changed(made):
    made.run(environment={"versions": {"torch": "2.12"}})
    made.run(by=[1.0, 1.0, 1.3, 1.3], environment={"versions": {"torch": "2.13"}})
    words = ("results", "diff", "run-000", "run-001", "--out", made.folder)
    done = hengsuan(*words)
    assert done.exit_code == 0
    assert "changed: torch 2.12 → 2.13" in done.stdout
    found = json.loads(hengsuan(*words, "--json").stdout)["difference"]
    assert [found["before"], found["after"]] == ["run-000", "run-001"]
    flops = next(one for one in found["metrics"] if one["metric"] == "gemm flops")
    assert flops["before"]["low"] == pytest.approx(0.99e14)
    # Half the devices are as they were, so that the interval reaches up to these.
    assert flops["state"] == "alike"
    every = hengsuan(*words, "--verbose")
    assert "gemm flops" in every.stdout
    assert "gemm flops" not in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run-000", "nope"], "unknown run 'nope'"),
        (["run-000", "damaged"], "damaged"),
    ],
    ids=" ".join,
)
def test_runs_that_cannot_be_read_are_sentences(made, words, message):
    made.run()
    (made.run(id="damaged") / "measurements.jsonl").write_text("[1]\n")
    done = hengsuan("results", "diff", *words, "--out", made.folder)
    assert done.exit_code in (2, 4)
    assert message in str(done.exception)


def test_what_neither_has_is_not_told(made):
    cases = [case(0, title="gemm"), case(1, "stream", metric="bandwidth", unit="B/s")]
    one, two = (made.run(cases=cases[:1]) for _ in range(2))
    for path in (one, two):
        declared = json.loads((path / "run.json").read_bytes())
        declared["cases"].append(msgspec.to_builtins(cases[1]))
        (path / "run.json").write_text(json.dumps(declared))
    assert states(between(one, two)) == {"gemm flops": "alike"}


def test_a_run_whose_rows_are_cut_off_is_not_compared(made):
    """With half of its devices its median may be another, and nobody slowed down."""
    counted = [{"name": "device", "began": 0.0, "seconds": 1.0, "rows": {"ok": 8}}]
    whole, half = made.run(stages=counted), made.run(stages=counted, rows=4)
    found = between(whole, half)
    assert found.metrics == []
    assert found.unlike == (
        "run run-001: 4 of its 8 rows are not in measurements.jsonl any more: copy the run again"
    )
    done = hengsuan("results", "diff", whole, half, "--lang", "zh")
    assert done.exit_code == 3
    assert "请重新复制该运行" in done.output
    assert "rows" not in done.output
    assert hengsuan("results", "diff", whole, whole).exit_code == 0
