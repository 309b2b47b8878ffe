"""Ledgers of real ranks: they sum to the wall time, and hidden work is found."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from runs import findings, local_executor, run, suite

from bench.cli import cli
from bench.configs import load_suite
from bench.ledger import PART_MEANING, read_ledger
from bench.results import RunReader

# As in the suite `quick`, and smaller.
QUICK = [
    ("gemm", {"shape": "64x64x64", "dtype": ["fp32", "bf16"], "impl": ["torch", "triton"]}),
    ("precision", {"shape": "64x64x64"}),
    ("stream", {"op": ["copy", "triad"], "size": "1MiB"}),
    ("transfer", {"direction": "h2d", "memory": "pageable", "size": "1MiB"}),
    ("launch", {"op": ["empty", "add"], "view": ["host", "device"]}),
]
GROUPS = [
    ("collectives", {"op": ["all_reduce", "broadcast", "send_recv"], "size": ["1KiB", "256KiB"]},
     {"over": "node"}),
    ("pairs", {"size": "64KiB", "of": "device"}),
    ("train", {"model": "tiny"}, {"over": "all"}),
]  # fmt: skip
HIDING = [
    ("queued", {"waits": [False, True]}),
    ("behind", {"victim": [1, -1]}, {"over": "node"}),
    ("faultygroup", {"kind": "kill"}, {"over": "node"}),
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    groups = [(name, {k: v for k, v in axes.items() if k != "of"}, *(place or [{"of": axes["of"]}]))
              for name, axes, *place in GROUPS]  # fmt: skip
    made = suite(QUICK, groups, HIDING, budget=0.2)
    finished, _ = run(made, local_executor(), tmp_path_factory.mktemp("ledger"))
    reader = RunReader(finished.folder)
    return reader, [(reader.header.cases[one.case], one) for one in read_ledger(finished.folder)]


def test_every_job_of_quick_has_a_ledger_that_sums_to_its_wall_time(measured):
    reader, ledgers = measured
    wanted = {entry.benchmark for stage in load_suite("quick").stages for entry in stage.entries}
    assert wanted <= {case.benchmark for case, _ in ledgers}
    rows = {(row.case, row.group) for row in reader.rows()}
    jobs = {(case.id, one.group) for case, one in ledgers}
    assert jobs <= rows
    # Every row is of a job that has one.
    labels = {(case.stage, case.label()) for case, _ in ledgers}
    assert {(case.stage, case.label()) for case in reader.header.cases} == labels
    for case, one in ledgers:
        assert sum(one.parts.values()) == pytest.approx(one.whole, abs=2e-5), case.label()
        assert min(one.parts.values()) > -2e-5, case.label()
        assert set(one.parts) <= set(PART_MEANING)
    status = {(row.case, row.group): row.status for row in reader.rows()}
    for case, one in ledgers:
        if status[case.id, one.group] in ("ok", "contended"):
            assert {"setup", "check", "warmup", "samples", "teardown"} <= set(one.parts)
        if case.scope == "group" and one.most:
            assert one.least.keys() == one.most.keys()
            assert all(one.least[part] <= one.most[part] for part in one.least)


def test_ledgers_of_devices_fill_their_stages(measured):
    """Nothing lies outside of them: jobs of one device come one after the other."""
    reader, ledgers = measured
    (stage,) = [one for one in reader.header.stages if one["name"] == "stage1"]
    busy = sum(one.whole - one.parts.get("start", 0.0)
               for case, one in ledgers if case.stage == "stage1")  # fmt: skip
    assert busy <= stage["seconds"] * 1.01
    assert busy > 0.5 * stage["seconds"]  # the rest is the stage's own: hosts are looked at
    started = [one.parts["start"] for case, one in ledgers if one.parts.get("start", 0.0) > 2e-3]
    assert len(started) >= len(reader.header.nodes[0].devices)


def test_nothing_is_said_of_benchmarks_that_hide_nothing(measured):
    _, ledgers = measured
    odd = {case.label(): one.said for case, one in ledgers if one.said}
    assert {label.partition("[")[0] for label in odd} == {"queued", "behind"}
    assert not {label for label in odd if "waits=True" in label or "victim=-1" in label}


def test_a_benchmark_that_measures_only_how_work_is_queued_is_told(measured):
    reader, ledgers = measured
    said = [one.said for case, one in ledgers if case.axes.get("waits") is False]
    assert said
    assert all("worked on for" in one and "behind its last sample" in one for one in said)
    rows = [
        row for row in reader.rows() if reader.header.cases[row.case].axes.get("waits") is False
    ]
    assert [row.reason for row in rows] == said
    assert any(kind == "note" and text in said for kind, _, text in findings(reader.path))
    assert any("behind its last sample" in event["text"] for event in reader.header.events)


def test_a_rank_that_works_behind_the_last_exchange_is_named_with_its_share(measured):
    reader, ledgers = measured
    (said,) = [one.said for case, one in ledgers if case.axes.get("victim") == 1 and one.said]
    assert said.startswith("rank 1 comes late to meetings between samples")
    (row,) = [row for row in reader.rows() if row.reason and row.reason.endswith(said)]
    assert row.value is not None


def test_a_killed_rank_leaves_a_ledger_that_ends_where_it_died(measured):
    reader, ledgers = measured
    (one,) = [one for case, one in ledgers if case.benchmark == "faultygroup"]
    (row,) = [row for row in reader.rows() if row.status == "failed"]
    assert re.search("crashed with SIGKILL, in its (warm-up|samples)$", row.reason)
    assert one.rank == 1
    assert one.parts["setup"] > 0
    assert "teardown" not in one.parts


def test_show_says_where_the_time_went(measured):
    reader, ledgers = measured

    def show(*more):
        words = ["results", "show", str(reader.path), *more]
        return CliRunner().invoke(cli, words, catch_exceptions=False).stdout

    found = json.loads(show("--json"))["time"]
    assert sum(one["jobs"] for one in found) == len(ledgers)
    assert sum(one["seconds"] for one in found) == pytest.approx(sum(o.whole for _, o in ledgers))
    usual = show()
    assert "where the time went: " in usual
    assert "meetings of ranks" not in usual
    assert "meetings of ranks" in show("--verbose")
