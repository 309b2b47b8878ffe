"""What a run ends with: the verdict in a line, and commands that make sense for what was found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header
from verbs import parse

from bench.analysis.finding import Finding
from bench.analysis.scores import Scorecard
from bench.cli.ending import SHOWN, ended, next_after_certify, next_after_run, verdict_of
from bench.errors import Exit
from bench.verdicts import Certification, Evidence, NodeVerdict

RUN = Path("results/20260101-000000-quick")


def card(*kinds, overall=82.0):
    found = [Finding(kind=kind, name="x", text="y") for kind in kinds]
    rest = {"run": "r", "suite": "s", "profile": "p", "provenance": "simulated", "categories": []}
    return Scorecard(overall=overall, coverage=0.5, findings=found, **rest)


def following(counts=None, *kinds, folder=RUN, **changes):
    made = header(case(0), **{"command": ["hengsuan", "run", "quick"], **changes})
    found = next_after_run(made, folder, counts or {"ok": 9}, card(*kinds))
    for command, why in found:
        parse(command)
        assert why
    assert len({command for command, _ in found}) == len(found) == SHOWN
    return [command for command, _ in found]


def test_a_good_run_is_looked_at_more_closely():
    found = following()
    name = RUN.name
    assert f"hengsuan expect {name}" in found
    assert all(name in command for command in found)


@pytest.mark.parametrize(
    ("counts", "kinds", "first"),
    [
        ({"ok": 1, "failed": 1}, (), f"hengsuan results show {RUN.name}"),
        ({"ok": 1, "missing": 1}, (), f"hengsuan results show {RUN.name}"),
        ({"ok": 1}, ("slow-pair",), f"hengsuan results fabric {RUN.name}"),
        ({"ok": 1, "contended": 3}, (), "hengsuan doctor"),
        ({"ok": 1}, ("drift",), f"hengsuan results facts {RUN.name}"),
    ],
)
def test_what_was_found_comes_first(counts, kinds, first):
    assert following(counts, *kinds)[0] == first


def test_a_run_that_was_cut_short_goes_on_where_it_began():
    simulated = ["hengsuan", "run", "quick", "--cluster", "small"]
    for state in ("interrupted", "failed", "running"):
        found = following(state=state, command=simulated)
        assert found[0] == f"hengsuan run --resume {RUN.name} --cluster small"
    certified = following(state="interrupted", command=["hengsuan", "certify"])
    assert certified[0] == f"hengsuan certify --resume {RUN.name}"


def test_a_run_of_which_nothing_counts_is_measured_again():
    assert following({"contended": 9})[:2] == ["hengsuan doctor", "hengsuan run quick"]
    assert following({"skipped": 9})[0] == "hengsuan run quick"


def test_a_run_elsewhere_is_named_by_its_path():
    assert all("'/some where/run'" in one for one in following(folder=Path("/some where/run")))


def verdicts(*words, provenance="measured", command=""):
    evidence = Evidence(verdict="reject", against="fleet", text="slow", command=command)
    nodes = [
        NodeVerdict(node=f"n{i}", verdict=word, evidence=[evidence] if word == "reject" else [])
        for i, word in enumerate(words)
    ]
    return Certification(
        run="r",
        suite="certify",
        profile="certify",
        provenance=provenance,
        began="2026-01-01",
        finished="2026-01-02",
        nodes=nodes,
    )


def after(made, **changes):
    found = next_after_certify(made, header(case(0), fleet=None, **changes), RUN)
    for command, _ in found:
        parse(command)
    assert len(found) == SHOWN
    return [command for command, _ in found]


def test_accepted_nodes_are_signed():
    found = after(verdicts("accept", "accept"))
    assert found[0].startswith(f"hengsuan certificate sign {RUN.name} ")
    assert not any("sign" in one for one in after(verdicts("accept", provenance="simulated")))


def test_rejected_nodes_are_measured_again():
    again = "hengsuan certify certify --nodes n0 --only 'gemm flops'"
    found = after(verdicts("reject", "accept", command=again))
    assert found[0] == again
    assert found[1] == f"hengsuan certify --from {RUN.name} --verbose"


def test_the_inconclusive_are_looked_into():
    found = after(verdicts("inconclusive"))
    assert found[:2] == [f"hengsuan results show {RUN.name}", "hengsuan doctor"]


@pytest.mark.parametrize(
    ("code", "said"),
    [(Exit.OK, "every check held"), (Exit.FINDING, "a finding"), (Exit.INFRASTRUCTURE, "lost")],
)
def test_the_verdict_has_run_word_and_score(code, said):
    line = verdict_of(header(case(0), provenance="simulated"), code, card())
    assert line.startswith("run run: ")
    assert said in line
    assert line.endswith("; score 82/100, coverage 50% (simulated)")
    assert "score none" in verdict_of(header(case(0)), code, card(overall=None))


@pytest.mark.parametrize(
    ("state", "counts", "code"),
    [
        ("complete", {"ok": 1}, 0),
        ("complete", {"ok": 1, "invalid": 1}, 1),
        ("complete", {"ok": 1, "missing": 1}, 4),
        ("failed", {"ok": 1}, 4),
        ("running", {"ok": 1}, 4),
        ("interrupted", {"ok": 1}, 130),
    ],
)
def test_how_a_run_of_somebody_else_ended(state, counts, code):
    lost = {"time": 1.0, "kind": "agent-lost", "node": "a", "text": "was lost"}
    assert ended(RUN, header(case(0), state=state), counts) == (code, [])
    found = ended(RUN, header(case(0), state=state, events=[lost]), counts)
    assert found == (max(code, 4), ["a: was lost"])


def test_run_and_certify_end_with_verdict_score_and_three_commands(tmp_path):
    for verb, suite in (("run", "quick"), ("certify", "certify")):
        done = subprocess.run(
            [sys.executable, "-m", "bench", verb, suite, "--cluster", "small"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "100"},
        )
        assert "Traceback" not in done.stderr
        *_, said, head, first, second, third = done.stdout.splitlines()
        assert head == "next:"
        for line in (first, second, third):
            parse(line)
        if verb == "run":
            assert said.startswith("run ")
            assert "every check held; score " in said
        else:
            assert done.stdout.splitlines()[0].partition(" ")[2].startswith("of 4 nodes")


def test_json_has_verdict_and_commands_as_well(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", "quick", "--cluster", "small", "--json", "-q"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    assert found["verdict"].startswith(f"run {found['run']}: ")
    assert len(found["next"]) == SHOWN
    for command in found["next"]:
        parse(command)
