"""Waivers: what somebody answers for, until when, and what nobody can."""

import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import evidence

from bench.analysis.waivers import apply_waivers, waived
from bench.configs.waivers import Waiver, load_waivers
from bench.errors import ConfigError, UsageError
from bench.verdicts import NodeVerdict

TODAY = date(2026, 6, 1)


def waiver(metric="gemm*", nodes=("gpu-07",), until=TODAY, **changes) -> Waiver:
    rest = {"metric": metric, "nodes": nodes, "until": until, "reason": "ticket 1"}
    return Waiver(**{**rest, "where": "w.yaml:2", **changes})


def judged(*found, verdict="reject", node="gpu-07") -> NodeVerdict:
    return NodeVerdict(node=node, verdict=verdict, evidence=list(found))


def applied(node, *waivers):
    (one,), notes = apply_waivers([node], waivers, TODAY)
    return one, notes


# ---- the file ----


def test_a_file_of_waivers(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text(
        "waivers:\n"
        '  - {node: "gpu-[07-08],edge-*", metric: "stream*", reason: slow, until: 2026-12-31}\n'
        "  - node: gpu-09\n    metric: corruption\n    corruption: true\n"
        '    reason: " known "\n    until: 2026-06-30\n'
    )
    first, second = load_waivers(path)
    assert first.nodes == ("gpu-07", "gpu-08", "edge-*")
    assert first.until == date(2026, 12, 31)
    assert first.where == f"{path}:2"
    assert first.covers("gpu-08", "stream copy 64MiB fp32 bandwidth")
    assert first.covers("edge-1", "stream triad")
    assert not first.covers("gpu-09", "stream copy")
    assert not first.covers("gpu-07", "gemm")
    assert (second.corruption, second.reason, second.where) == (True, "known", f"{path}:3")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("node: a, metric: m, reason: '', until: 2026-01-01", r"w.yaml:2: .*reason: must not be"),
        ("node: a, metric: m, reason: '  ', until: 2026-01-01", "reason: must not be empty"),
        ("node: a, metric: m, until: 2026-01-01", "the key 'reason' is missing"),
        ("node: a, metric: m, reason: r", "the key 'until' is missing"),
        ("node: a, metric: m, reason: r, until: soon", r"w.yaml:2: .*'soon' is no date"),
        ("node: a, metric: m, reason: r, until: 2026-02-30", "is no date"),
        ("node: 7, metric: m, reason: r, until: 2026-01-01", "node: must be text"),
        ("node: 'a[x]', metric: m, reason: r, until: 2026-01-01", "brackets that hold no ranges"),
        ("node: a, metric: '', reason: r, until: 2026-01-01", "metric: must not be empty"),
        ("node: a, metric: m, reason: r, until: 2026-01-01, all: true", "unknown key"),
        ("node: a, metric: m, reason: r, until: 2026-01-01, corruption: yes", "true or false"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, said):
    path = tmp_path / "w.yaml"
    path.write_text(f"waivers:\n  - {{{line}}}\n")
    with pytest.raises(UsageError, match=said):
        load_waivers(path)


@pytest.mark.parametrize("text", ["", "- a\n", "waivers: all\n", "waiver: []\n"])
def test_a_file_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "w.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_waivers(path)


# ---- what they do ----


def test_a_waived_finding_is_shown_and_does_not_reject():
    found = evidence()
    one, notes = applied(judged(found), waiver())
    assert (one.verdict, one.evidence, notes) == ("accept", [], [])
    (shown,) = one.waived
    assert (shown.finding, shown.reason, shown.until) == (found, "ticket 1", "2026-06-01")


def test_what_is_left_still_counts():
    other = evidence(metric="stream copy bandwidth")
    one, _ = applied(judged(evidence(), other), waiver())
    assert (one.verdict, one.evidence) == ("reject", [other])
    unsure = evidence(metric="stream copy bandwidth", verdict="inconclusive")
    assert applied(judged(evidence(), unsure), waiver())[0].verdict == "inconclusive"


def test_a_waiver_ends_after_its_day():
    node = judged(evidence())
    one, notes = applied(node, waiver(until=date(2026, 5, 31)))
    assert one == node
    assert notes == [
        "w.yaml:2: the waiver of gemm* ended on 2026-05-31: it does not count any more"
    ]


def test_whether_somebody_answers_for_a_finding_is_as_it_is_applied():
    held = [waiver(until=TODAY)]
    assert waived("gpu-07", evidence(), held, TODAY)
    assert not waived("gpu-07", evidence(), held, TODAY + timedelta(days=1))
    assert not waived("gpu-08", evidence(), held, TODAY)
    wrong = evidence(against="corruption")
    assert not waived("gpu-07", wrong, held, TODAY)
    assert waived("gpu-07", wrong, [waiver(corruption=True)], TODAY)


def test_what_one_waiver_cannot_do_is_said_once():
    alike = waiver(nodes=("gpu-*",))
    nodes = [judged(evidence(against="corruption"), node=f"gpu-0{index}") for index in range(3)]
    (note,) = apply_waivers(nodes, [alike], TODAY)[1]
    assert "gpu-00: " in note
    assert " and 2 more: a wrong result is waived only" in note
    (note,) = apply_waivers(nodes[:1], [alike], TODAY)[1]
    assert "more:" not in note


@pytest.mark.parametrize("against", ["corruption", "sanity"])
def test_wrong_results_are_waived_only_by_name(against):
    node = judged(evidence(against=against, metric=""))
    for metric in ("*", against):
        one, notes = applied(node, waiver(metric=metric))
        assert one == node
        assert "only where the waiver says corruption: true" in notes[0]
    one, notes = applied(node, waiver(metric="*"), waiver(metric=against, corruption=True))
    assert one.verdict == "accept"
    assert notes == ["w.yaml:2: nothing was found that the waiver of * is about"]


def test_what_was_not_measured_cannot_be_waived():
    node = judged(evidence(against="coverage", verdict="inconclusive"), verdict="inconclusive")
    one, notes = applied(node, waiver(metric="*", corruption=True))
    assert one == node
    assert "cannot be waived" in notes[0]


def test_other_nodes_and_metrics_are_not_touched():
    node = judged(evidence())
    one, notes = applied(node, waiver(nodes=("gpu-08",)), waiver(metric="stream*"))
    assert one == node
    assert len(notes) == 2


def test_a_verdict_that_no_evidence_explains_stays():
    node = judged(evidence(verdict="inconclusive"), verdict="reject")
    assert applied(node, waiver())[0].verdict == "reject"


def test_a_fault_is_named_by_what_it_is():
    one, _ = applied(judged(evidence(against="fault", metric="")), waiver(metric="fault"))
    assert one.verdict == "accept"
