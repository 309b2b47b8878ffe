"""Commands for schedulers: the right nodes, safely quoted, and not a whole fleet."""

import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import evidence, judged, node

from bench.hostlists import SEPARATOR, expand
from bench.identity import Identity
from bench.report.drain import drain, returning, scheduler_names, too_many, undrain
from bench.units import parse_share


def fleet(rejected: int, accepted: int, prefix="gpu-", **changes):
    names = [f"{prefix}{index:03d}" for index in range(rejected + accepted)]
    words = ["reject"] * rejected + ["accept"] * accepted
    return judged(*zip(names, words, strict=True), **changes)


def with_evidence(found, name, **changes):
    for place, one in enumerate(found.nodes):
        if one.node == name:
            found.nodes[place] = msgspec.structs.replace(one, evidence=[evidence(**changes)])
    return found


def test_rejected_nodes_are_drained_by_reason():
    nodes, found = fleet(4, 96)
    with_evidence(found, "gpu-003", cause="", against="corruption", metric="")
    commands, notes = drain(found, nodes)
    assert notes == []
    assert commands["slurm"] == [
        "scontrol update 'nodename=gpu-[000-002]' state=drain "
        "'reason=hengsuan run: cooling: hot and throttled'",
        "scontrol update nodename=gpu-003 state=drain 'reason=hengsuan run: corruption'",
    ]
    assert commands["kubernetes"] == [
        "kubectl cordon gpu-000 gpu-001 gpu-002 gpu-003",
        "kubectl taint nodes gpu-000 gpu-001 gpu-002 hengsuan/rejected=fleet:NoSchedule "
        "--overwrite",
        "kubectl taint nodes gpu-003 hengsuan/rejected=corruption:NoSchedule --overwrite",
    ]


@pytest.mark.parametrize(
    ("rejected", "nodes", "most", "drained"),
    [
        (1, 1, 0.05, True),
        (1, 10, 0.0, True),
        (2, 10, 0.05, False),
        (5, 100, 0.05, True),
        (6, 100, 0.05, False),
        (3, 10, 0.3, True),
        (29, 100, 0.29, True),
        (10, 10, 1.0, True),
    ],
)
def test_more_than_a_share_is_no_reason_to_drain(rejected, nodes, most, drained):
    inventory, found = fleet(rejected, nodes - rejected)
    commands, notes = drain(found, inventory, most)
    assert bool(commands) == drained
    assert notes == ([] if drained else [too_many(rejected, nodes, most)])
    if not drained:
        assert f"{rejected} of {nodes} nodes" in notes[0]
        assert "no reason to drain a fleet" in notes[0]


def test_nothing_rejected_gives_no_commands():
    nodes, found = fleet(0, 3)
    assert drain(found, nodes) == ({}, [])


def test_a_large_fleet_takes_several_commands_that_name_everybody_once():
    nodes, found = fleet(500, 9500, prefix="rack1-n")
    commands, _ = drain(found, nodes)
    assert len(commands["slurm"]) == 3
    words = [shlex.split(line) for line in commands["slurm"]]
    lists = [
        word.removeprefix("nodename=") for line in words for word in line if "nodename" in word
    ]
    named = [name for text in lists for item in SEPARATOR.split(text) for name in expand(item)]
    assert sorted(named) == [one.node for one in found.nodes[:500]]
    assert max(len(line) for lines in commands.values() for line in lines) < 8192


@pytest.mark.parametrize(
    ("name", "labels", "slurm", "kubernetes"),
    [
        ("gpu-07", {}, "gpu-07", "gpu-07"),
        ("gpu-07.example.org", {}, "gpu-07", "gpu-07.example.org"),
        ("10.0.0.7", {}, "10.0.0.7", "10.0.0.7"),
        ("pod-x", {"kubernetes-node": "gpu-07"}, "pod-x", "gpu-07"),
        ("pod-x", {"slurm-node": "n7"}, "n7", "pod-x"),
    ],
)
def test_a_scheduler_knows_nodes_by_label_or_name(name, labels, slurm, kubernetes):
    one = node(name, labels=labels or {"rack": "r1"})
    assert scheduler_names([one], "slurm") == {name: slurm}
    assert scheduler_names([one], "kubernetes") == {name: kubernetes}


EVIL = ["$(touch owned)", "a;touch owned", "--all", "a b", "a\ntouch owned", "", "'", "[red]x"]


@pytest.mark.parametrize("name", EVIL)
def test_a_name_that_no_scheduler_has_gives_no_command(name):
    nodes, found = judged((name, "reject"), ("gpu-1", "reject"))
    commands, notes = drain(found, nodes, most=1.0)
    assert all("touch" not in line and "--all" not in line for line in commands["slurm"])
    assert "nodename=gpu-1 " in commands["slurm"][0]
    assert len(notes) == 1
    assert "\n" not in notes[0]


@pytest.mark.parametrize("cause", ["$(touch owned)", "'; touch owned; '", "a\ntouch owned", "`x`"])
def test_a_reason_is_text_to_the_shell(tmp_path, cause):
    nodes, found = fleet(1, 1)
    with_evidence(found, "gpu-000", cause=cause)
    (line,) = drain(found, nodes)[0]["slurm"]
    script = f'scontrol() {{ printf "%s\\n" "$@"; }}\n{line}\n'
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"reason=hengsuan run: {' '.join(cause.split())}"
    assert list(tmp_path.iterdir()) == []


def test_a_long_reason_is_cut():
    nodes, found = fleet(1, 1)
    with_evidence(found, "gpu-000", cause="x" * 500)
    (line,) = drain(found, nodes)[0]["slurm"]
    assert len(line) < 200


def test_a_simulated_fleet_says_so():
    nodes, found = fleet(1, 99, provenance="simulated")
    for lines in drain(found, nodes)[0].values():
        assert lines[0] == "# a simulated fleet: these nodes do not exist"


def test_nodes_that_pass_again_come_back():
    nodes, before = judged(("a1", "reject"), ("a2", "reject"), ("a3", "accept"), ("a4", "reject"))
    _, now = judged(("a1", "accept"), ("a2", "reject"), ("a3", "accept"), ("a4", "accept"))
    back, kept = returning(now, [before])
    assert back == ["a1", "a4"]
    assert kept == []
    assert undrain(now, back, nodes) == {
        "slurm": ["scontrol update 'nodename=a[1,4]' state=undrain"],
        "kubernetes": [
            "kubectl taint nodes a1 a4 hengsuan/rejected-",
            "kubectl uncordon a1 a4",
        ],
    }
    assert undrain(now, ["a2"], nodes) == {}


def test_only_the_last_verdict_of_the_same_provenance_counts():
    _, rejected = judged(("a1", "reject"))
    _, accepted = judged(("a1", "accept"))
    _, simulated = judged(("a1", "reject"), provenance="simulated")
    assert returning(accepted, [rejected]) == (["a1"], [])
    assert returning(accepted, [rejected, accepted]) == ([], [])
    assert returning(accepted, [simulated]) == ([], [])
    assert returning(accepted, []) == ([], [])
    _, stood_in = judged(("a1", "reject"), provenance="stand-in", stands_for="h20")
    _, by_itself = judged(("a1", "accept"), provenance="stand-in")
    assert returning(by_itself, [stood_in]) == ([], [])


@pytest.mark.parametrize("less", [{"only": "stream *"}, {"suite": "probe"}])
def test_one_check_or_another_suite_brings_nobody_back(less):
    """What repeats a check of a rejected node must not hand out the command that releases it."""
    _, rejected = judged(("a1", "reject"), ("a2", "reject"), ("a3", "accept"))
    _, part = judged(("a1", "accept"), ("a2", "accept"), ("a3", "accept"))
    for name, value in less.items():
        setattr(part, name, value)
    back, (kept,) = returning(part, [rejected])
    assert back == []
    assert kept.startswith(f"a[1-2] stood rejected by the suite {rejected.suite} and was measured")
    assert next(iter(less.values())) in kept
    # Nor does it count as the last word, when the whole suite is measured at last.
    _, whole = judged(("a1", "accept"), ("a2", "reject"), ("a3", "accept"))
    assert returning(whole, [rejected, part]) == (["a1"], [])
    # A part that rejects is a rejection.
    _, worse = judged(("a3", "reject"))
    worse.only = "gemm *"
    assert returning(whole, [worse]) == (["a3"], [])


def test_commands_about_stand_ins_say_that_they_are():
    nodes, found = fleet(1, 9, provenance="stand-in", stands_for="h20")
    commands, _ = drain(found, nodes)
    for lines in commands.values():
        assert lines[0] == "# stand-ins for h20: held against that chip, not against what they are"
        assert len(lines) > 1


def test_a_renamed_node_comes_back_and_another_of_its_name_does_not():
    _, before = judged(("old", "reject"))
    _, now = judged(("new", "accept"), ("old", "accept"))
    now.nodes = [
        msgspec.structs.replace(now.nodes[0], identity=before.nodes[0].identity),
        msgspec.structs.replace(now.nodes[1], identity=Identity(machine="other")),
    ]
    assert returning(now, [before]) == (["new"], [])


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("100 %", 1), ("0", 0)])
def test_shares(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "5", "101%", "-1%", "nan", "x"])
def test_what_is_no_share(text):
    with pytest.raises(ValueError, match="is not a share"):
        parse_share(text)
