"""The engine on this machine alone: what works, and every way in which a rank can fail."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drivers import hengsuan
from runs import RULE, busy, local_executor, rows_of, run, suite

from bench.backends.cpu import Cpu
from bench.cluster.agent import AgentSpec, new_token
from bench.cluster.agents import AgentExecutor
from bench.cluster.executor import Done
from bench.cluster.local import LocalHub
from bench.configs import Entry, StageConfig, Suite
from bench.configs.labels import Labelled
from bench.errors import Exit, UsageError
from bench.results import RunReader


def test_a_quick_run_measures_devices_and_groups(tmp_path):
    made = suite(
        [("fixed", {"tag": [0, 1]})],
        [("faultygroup", {"kind": "none"}, {"over": "node"})],
    )
    finished, rows = run(made, local_executor(), tmp_path)
    assert finished.exit is Exit.OK
    fixed = rows["fixed", "time"]
    assert len(fixed) == 4
    assert all(row.value >= 0.001 for row in fixed)
    assert all(row.provenance == "stand-in" for row in fixed)
    assert all(row.low <= row.value <= row.high for row in fixed)
    assert len(rows["faultygroup", "time"]) == 1
    assert (finished.folder / "samples.jsonl").read_text().count("\n") == 5
    assert not (finished.folder / "telemetry.jsonl").exists(), "nobody asked for it"


FAILING = {
    "segv": "crashed with SIGSEGV",
    "kill": "crashed with SIGKILL",
    "exit": "exited with code 7",
    "oom": "out of memory",
    "raise": "ValueError: the driver returned error 719",
    "hang": "not done at its limit",
    "stuck": "no sign of life",
    "stop": "is stopped",
}
MEASURED = ("ok", "contended")


def each_in_turn(folder, limit, kinds, entries):
    """One run of ``entries(number, kind)`` of every kind: it, and its rows by benchmark and axes.

    ``limit``: seconds, of the first entry of those kinds that end by it.
    """
    made = []
    for number, kind in enumerate(kinds):
        first, *rest = entries(number, kind)
        rule = {"limit": limit} if kind in ("hang", "stuck") else {}
        made += [Entry(benchmark=first[0], axes=first[1], place=first[2], rule=rule)]
        made += [Entry(benchmark=name, axes=axes, place=place) for name, axes, place in rest]
    one = Suite(name="test", rule=RULE, stages=[StageConfig(name="one", entries=made)])
    finished, _ = run(one, local_executor(), folder)
    reader = RunReader(finished.folder)
    found = {}
    for row in sorted(reader.rows(), key=lambda row: (row.case, row.group)):
        case = reader.header.cases[row.case]
        axes = tuple(case.axes[key] for key in ("kind", "victim", "tag") if key in case.axes)
        found.setdefault((case.benchmark, *axes), []).append(row)
    return finished, found


@pytest.fixture(scope="module")
def failing_devices(tmp_path_factory):
    return each_in_turn(
        tmp_path_factory.mktemp("devices"), 6.0, FAILING,
        lambda number, kind: [
            ("faulty", {"kind": kind, "device": 0}, {}), ("fixed", {"tag": number}, {})
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "of_device", "said"),
    [({"kernel_log": 7}, {}, "kernel_log"), ({}, {"cpus": "all of them"}, "lists no cores")],
)
def test_what_no_reader_of_a_run_takes_is_refused_before_anything_is_measured(
    tmp_path, facts, of_device, said
):
    """It would be told by every reader of the run, when it has ended."""

    class Strange(LocalHub):
        def nodes(self):
            (node,) = super().nodes()
            devices = tuple(
                msgspec.structs.replace(one, facts={**one.facts, **of_device})
                for one in node.devices
            )
            facts = {**node.facts, **facts_of_node}
            return [msgspec.structs.replace(node, facts=facts, devices=devices)]

    facts_of_node = facts
    executor = AgentExecutor(Strange(AgentSpec(token=new_token(), backend="cpu")), {})
    with pytest.raises(UsageError, match=f"suite test could not be read again: .*{said}") as told:
        run(suite([("fixed", {})]), executor, tmp_path)
    assert "mend the plugin" in told.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FAILING)
def test_a_failing_device_is_a_result_and_the_rest_goes_on(failing_devices, kind):
    finished, rows = failing_devices
    first, second = rows["faulty", kind]
    assert first.status == "failed"
    assert FAILING[kind] in first.reason
    assert second.status in MEASURED
    fixed = rows["fixed", list(FAILING).index(kind)]
    assert [row.group for row in fixed] == [0, 1]
    assert all(row.status in MEASURED for row in fixed)
    assert finished.exit is Exit.INFRASTRUCTURE


def test_a_run_is_not_resumed_with_other_labels(tmp_path):
    """Groups go by labels: rows of two labellings would lie under the same numbers."""

    def labelled(value):
        label = Labelled("site", value, "*", ("*",), "labels.yaml:1")
        hub = LocalHub(AgentSpec(token=new_token(), backend="cpu"))
        return AgentExecutor(hub, {}, labels=[label])

    made = suite([("faultygroup", {}, {"over": "site"})])
    finished, rows = run(made, labelled("a"), tmp_path)
    assert len(rows["faultygroup", "time"]) == 1
    again = (finished.header, Done(), 0.0)
    with pytest.raises(UsageError, match=r"was made with site a of node .*, which is b now"):
        run(made, labelled("b"), tmp_path, resume=again)
    assert rows_of(finished.folder) == rows


BREAKING = {
    "segv": "rank 1 .*crashed with SIGSEGV",
    "stuck": "rank 1 .*no sign of life",
    "stop": "rank 1 .*is stopped",
    "raise": "rank 1 .*error 719",
    "hang": "not done at its limit",
}


@pytest.fixture(scope="module")
def breaking_ranks(tmp_path_factory):
    over = {"over": "node"}
    return each_in_turn(
        tmp_path_factory.mktemp("ranks"), 8.0, BREAKING,
        lambda number, kind: [
            ("faultygroup", {"kind": kind}, over),
            # Each of these is a case of its own.
            ("faultygroup", {"kind": "none", "victim": 10 + number}, over),
        ],
    )  # fmt: skip


@pytest.mark.parametrize("kind", BREAKING)
def test_a_failing_rank_ends_its_group_and_names_itself(breaking_ranks, kind):
    finished, rows = breaking_ranks
    (broken,) = rows["faultygroup", kind, 1]
    (healthy,) = rows["faultygroup", "none", 10 + list(BREAKING).index(kind)]
    assert broken.status == "failed"
    assert re.search(BREAKING[kind], broken.reason)
    assert healthy.status in MEASURED
    assert finished.exit is Exit.INFRASTRUCTURE


def test_a_failed_sanity_check_is_invalid_and_a_finding(tmp_path):
    made = suite(
        [("faulty", {"kind": "wrong"})],
        [("faultygroup", {"kind": "wrong"}, {"over": "node"}), ("fixed", {})],
    )
    finished, rows = run(made, local_executor(), tmp_path)
    assert {row.status for row in rows["faulty", "time"]} == {"invalid"}
    assert "1 + 1 = 3" in rows["faulty", "time"][0].reason
    node = finished.header.nodes[0].name
    for row in rows["faulty", "time"]:
        assert row.reason.startswith(f"rank 0 ({node}/{row.group}): sanity check before")
        assert row.conditions >= 0  # the temperature of a device that computes wrongly, say
    (group,) = rows["faultygroup", "time"]
    assert group.status == "invalid"
    assert group.reason.startswith(f"rank 1 ({node}/1): ")
    assert "2 != 3" in group.reason
    assert finished.exit is Exit.FINDING


# Work that needs its core; 0.4 s are many ticks of the kernel's accounts.
WORK = [("gemm", {"shape": "256x256x256", "dtype": "fp32"})], {"budget": 0.4, "precision": 0.0}


def test_values_taken_beside_other_work_are_contended(tmp_path):
    entries, rule = WORK
    with busy([0]):
        finished, rows = run(suite(entries, **rule), local_executor(), tmp_path)
    beside = rows["gemm", "flops"][0]
    assert beside.status == "contended"
    assert "of the measured time" in beside.reason
    assert beside.value is not None  # kept, marked, and not counted
    assert finished.counts["contended"] >= 1


@pytest.mark.parametrize("again", [0, 1])
def test_what_is_contended_is_measured_again_as_often_as_the_rule_says(tmp_path, again):
    made = suite([("beside", {"folder": str(tmp_path)})], budget=0.4, precision=0.0, again=again)
    _, rows = run(made, local_executor(), tmp_path / "runs")
    for device, row in enumerate(rows["beside", "time"]):
        assert (tmp_path / str(device)).read_text().count("again") == 1 + again
        # Others than the first time's may use the core here as well.
        assert row.status == "contended" or again
        if row.status == "ok":
            assert row.reason.startswith("measured again; at first rank 0 (")


@pytest.mark.forked
def test_a_benchmark_of_which_every_value_is_contended_does_not_pass(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "name: s\nrule: {budget: 400ms, precision: 0.0001, warmup: 10ms}\nstages:\n"
        "  - name: one\n    benchmarks: [gemm: {shape: 256x256x256, dtype: fp32}, launch: {}]\n"
    )
    words = ["run", path, "--executor", "local", "--backend", "cpu", "--out", tmp_path, "--json"]
    with busy(range(len(Cpu().devices()))):
        done = subprocess.run([*hengsuan(), *words], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert found["exit"] == 3
    assert found["rows"]["contended"] > 0
    told = {one["name"]: one["text"] for one in found["scorecard"]["findings"]
            if one["kind"] == "undecided"}  # fmt: skip
    assert told["gemm"].startswith("no value of any of its cases counts, all were contended: rank ")
    assert "of the measured time" in told["gemm"]


def test_samples_of_suspects_or_none(tmp_path):
    made = suite([("fixed", {"tag": [0, 1]}), ("faulty", {"kind": "raise"})])
    finished, _ = run(made, local_executor(samples="none"), tmp_path / "none")
    assert (finished.folder / "samples.jsonl").read_bytes() == b""
    finished, _ = run(made, local_executor(samples="all"), tmp_path / "all")
    assert (finished.folder / "samples.jsonl").read_bytes().count(b"\n") == 4


def test_a_group_that_nobody_can_form_is_noted_not_hung(tmp_path):
    made = suite([("pairs", {}, {"of": "node"}), ("fixed", {})])
    finished, rows = run(made, local_executor(), tmp_path)
    assert finished.exit is Exit.OK
    assert ("pairs", "bandwidth") not in rows
    assert any("has no group here" in event["text"] for event in finished.header.events)


def test_repeats_are_spaced_in_time(tmp_path):
    made = Suite(
        name="test",
        rule={"budget": 0.05, "warmup": 0.01, "min_samples": 3},
        stages=[
            StageConfig(
                name="one", repeats=3, entries=[Entry(benchmark="fixed", axes={"tag": [0, 1]})]
            )
        ],
    )
    _, rows = run(made, local_executor(), tmp_path)
    order = [(row.repeat, row.group, row.case) for row in rows["fixed", "time"]]
    assert order == sorted(order)
    assert len(order) == 3 * 2 * 2


def test_a_benchmark_plugin_that_cannot_be_imported_is_listed(plugin):
    from bench.workloads.base import problems, registry

    assert "fixed" in registry()
    assert problems() == {"broken": "RuntimeError: this plugin is broken on purpose"}
