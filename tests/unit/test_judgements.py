"""What was judged twice: whose verdict changed, which findings came, went, stay or are waived."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import evidence, judged
from stored_runs import Runs, hengsuan

from bench.analysis.judgements import certifications, gates
from bench.gates import GATE, GateReport, Judged, write_gate
from bench.verdicts import VERDICT, NodeVerdict, Waived, write_verdict

HOT = evidence(text="gemm is 12.5 % below the fleet", device="gpu-1/0")
COOLER = evidence(text="gemm is 9.1 % below the fleet", device="gpu-1/0")
LOST = evidence(against="fault", text="rank 3 was lost after 12 s", metric="", device="")


def said(*nodes, **changes):
    """A verdict of nodes: (name, word, findings[, waived])."""
    _, made = judged(*((name, word) for name, word, *_ in nodes), **changes)
    made.nodes = [
        msgspec.structs.replace(one, evidence=found, waived=rest[0] if rest else [])
        for one, (_, _, found, *rest) in zip(made.nodes, nodes, strict=True)
    ]
    return made


def by_name(found):
    return {one.name: one for one in found.changes}


def parts(one):
    return [[item.text for item in those] for those in (one.new, one.gone, one.stay, one.waived)]


def test_findings_are_new_gone_or_stay_whatever_their_figures():
    before = said(("gpu-1", "reject", [HOT, LOST]), ("gpu-2", "accept", []))
    again = evidence(against="fault", text="rank 5 was lost after 3 s", metric="", device="")
    after = said(("gpu-1", "reject", [COOLER, again]), ("gpu-2", "reject", [HOT]))
    found = certifications([before], [after])
    one, two = by_name(found)["gpu-1"], by_name(found)["gpu-2"]
    assert (one.standing, two.standing, two.before, two.after) == (
        "as before",
        "worse",
        "accept",
        "reject",
    )
    assert parts(one) == [[], [], [f"device 0: {COOLER.text}", again.text], []]
    assert parts(two) == [[f"device 0: {HOT.text}"], [], [], []]
    back = by_name(certifications([after], [before]))
    assert (back["gpu-2"].standing, len(back["gpu-2"].gone)) == ("better", 1)


@pytest.mark.parametrize(
    "other",
    [{"device": "gpu-1/1"}, {"metric": "stream copy bandwidth"}, {"against": "history"}],
)
def test_another_device_metric_or_comparison_is_another_finding(other):
    moved = msgspec.structs.replace(HOT, **other)
    found = certifications([said(("gpu-1", "reject", [HOT]))], [said(("gpu-1", "reject", [moved]))])
    (one,) = found.changes
    assert [len(those) for those in parts(one)] == [1, 1, 0, 0]


def test_what_somebody_answers_for_is_not_gone():
    waiver = Waived(metric="gemm*", finding=HOT, reason="on order", until="2030-01-01")
    before = said(("gpu-1", "reject", [HOT]))
    after = said(("gpu-1", "accept", [], [waiver]))
    (one,) = certifications([before], [after]).changes
    assert (one.standing, [len(those) for those in parts(one)]) == ("better", [0, 0, 0, 1])
    (back,) = certifications([after], [before]).changes
    assert [len(those) for those in parts(back)] == [1, 0, 0, 0]


def test_a_node_is_itself_by_its_machine_and_one_that_is_not_judged_is_not_cured():
    before = said(("gpu-1", "reject", [HOT]), ("gpu-2", "reject", [HOT]))
    after = said(("gpu-1", "accept", []))
    (renamed,) = (msgspec.structs.replace(one, node="new-1") for one in after.nodes)
    after.nodes = [renamed, NodeVerdict(node="gpu-3", verdict="accept")]
    found = by_name(certifications([before], [after]))
    assert (found["new-1"].was, found["new-1"].standing) == ("gpu-1", "better")
    assert (found["gpu-2"].standing, found["gpu-2"].gone) == ("only before", [])
    assert found["gpu-3"].standing == "only after"


def test_nodes_of_which_nothing_is_said_are_counted():
    quiet = [(f"gpu-{number}", "accept", []) for number in range(5)]
    found = certifications([said(*quiet)], [said(*quiet)])
    assert (found.changes, found.alike, found.count("as before")) == ([], 5, 5)


def gate(**states):
    rest = {"unit": "s", "better": "lower", "margin": 0.05}
    made = [Judged(name=name, state=state, **rest) for name, state in states.items()]
    return GateReport(
        gate="g", how="pair", baseline="a", candidate="b", created="now", alpha=0.05, judged=made
    )


def test_metrics_of_gates_by_their_states():
    found = gates(
        ("one", gate(a="PASS", b="REGRESSED", c="INCONCLUSIVE", d="PASS")),
        ("two", gate(a="REGRESSED", b="PASS", c="INVALID", e="PASS")),
    )
    states = {one.name: one.standing for one in found.changes}
    assert states == {
        "a": "worse",
        "b": "better",
        "c": "worse",
        "d": "only before",
        "e": "only after",
    }
    assert (found.of, found.alike) == ("metric", 0)


@pytest.fixture
def runs(tmp_path):
    """Two runs: of the first gpu-1 is rejected, of the second gpu-0."""
    made = Runs(tmp_path / "results")
    first, second = made.runs(2)
    write_verdict(first, said(("gpu-0", "accept", []), ("gpu-1", "reject", [HOT]), run="run-000"))
    write_verdict(second, said(("gpu-0", "reject", [LOST]), ("gpu-1", "accept", []), run="run-001"))
    return first, second


@pytest.mark.parametrize("verb", [("compare",), ("results", "diff")])
def test_verbs_say_what_verdicts_say(runs, verb, tmp_path):
    done = hengsuan(*verb, *runs)
    assert "nodes run-000 → run-001: 1 worse, 1 better; new findings: 1" in done.output
    assert f"new: gpu-0: {LOST.text}" in done.output
    assert "gone: gpu-1: " in done.output
    (told,) = json.loads(hengsuan(*verb, *runs, "--json").stdout)["verdicts"]
    assert [one["standing"] for one in told["changes"]] == ["worse", "better"]
    above = tmp_path / "gated" / "candidate"
    above.mkdir(parents=True)
    gated = runs[1].rename(above / runs[1].name)
    write_gate(above.parent / GATE, gate(a="PASS"))
    write_gate(runs[0] / GATE, gate(a="REGRESSED"))
    done = hengsuan(*verb, runs[0], gated)
    assert "metrics run-000 → run-001: 1 better" in done.output


def test_a_verdict_of_one_run_alone_or_a_damaged_one_is_said(runs):
    (runs[1] / VERDICT).unlink()
    text = "run run-000 has a verdict and run run-001 has none"
    assert text in hengsuan("compare", *runs).output
    (runs[1] / VERDICT).write_text("{")
    done = hengsuan("compare", *runs)
    assert "a verdict cannot be read and is not compared" in done.output
    assert "overall" in done.output


def test_a_page_has_them_before_the_runs(runs, tmp_path):
    pytest.importorskip("plotly")
    hengsuan("compare", *runs, "--html", tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    at = page.index("whose verdict changed")
    assert at < page.index("What the runs say of themselves")
    assert LOST.text in page
